"""MinHash against brute force and theory."""

import math

import numpy as np
import pyarrow as pa
import pytest
from datasketch import MinHash

from hare_ray.dedup.minhash import band_keys, minima, permutations
from hare_ray.dedup.signature import Signature
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Table

BANDS, ROWS = 14, 8


def pairs_of(similarity, count, size=200, seed=0):
    """(offsets, hashes) of 2 * count shingle sets, neighbours with this exact Jaccard similarity."""
    draw = np.random.default_rng(seed)
    shared = round(2 * size * similarity / (1 + similarity))
    sets = []
    for _ in range(count):
        pool = draw.integers(0, 2**64, 2 * size - shared, dtype=np.uint64)
        sets += [pool[:size], np.concatenate([pool[:shared], pool[size:]])]
    offsets = np.cumsum([0, *map(len, sets)])
    return (offsets, np.concatenate(sets)), shared / (2 * size - shared)


def estimate(first, second):
    """Jaccard similarity of two documents, estimated from their minima."""
    return float(np.mean(first == second))


def meeting_probability(similarity, bands, rows):
    """Probability that two documents of this Jaccard similarity share at least one band key."""
    return 1 - (1 - similarity**rows) ** bands


def no_words(documents):
    return np.zeros((documents, 2), np.uint64)


@pytest.mark.parametrize("similarity", [0.2, 0.5, 0.8, 0.95])
def test_estimate_is_unbiased_with_the_error_of_theory(similarity):
    count, permuted = 600, BANDS * ROWS
    shingles, exact = pairs_of(similarity, count)
    least = minima(*shingles, *permutations(permuted, 1))
    errors = np.array([estimate(least[2 * i], least[2 * i + 1]) - exact for i in range(count)])
    expected = math.sqrt(exact * (1 - exact) / permuted)
    assert abs(errors.mean()) < 4 * expected / math.sqrt(count)
    assert errors.std() == pytest.approx(expected, rel=0.15)


def test_error_is_no_larger_than_that_of_datasketch():
    shingles, exact = pairs_of(0.6, 100)
    least = minima(*shingles, *permutations(128, 1))
    offsets, hashes = shingles
    theirs = []
    for i in range(0, 200, 2):
        sketches = [MinHash(128, seed=1), MinHash(128, seed=1)]
        for sketch, document in zip(sketches, (i, i + 1), strict=True):
            sketch.update_batch([h.tobytes() for h in hashes[offsets[document] : offsets[document + 1]]])
        theirs.append(sketches[0].jaccard(sketches[1]) - exact)
    ours = [estimate(least[i], least[i + 1]) - exact for i in range(0, 200, 2)]
    assert np.sqrt(np.mean(np.square(ours))) < 1.3 * np.sqrt(np.mean(np.square(theirs)))


@pytest.mark.parametrize("similarity", [0.5, 0.65, 0.75, 0.85])
def test_candidates_follow_the_s_curve(similarity):
    count = 1000
    shingles, exact = pairs_of(similarity, count, size=120, seed=2)
    keys = band_keys(shingles, no_words(2 * count), BANDS, ROWS, 3)
    met = (keys[0::2] == keys[1::2]).any(axis=1).mean()
    expected = meeting_probability(exact, BANDS, ROWS)
    assert abs(met - expected) < 4 * math.sqrt(expected * (1 - expected) / count) + 1e-3


def test_permutations_are_independent():
    """Which shingle is the smallest under one permutation says nothing about another: agreement 1/n."""
    draw = np.random.default_rng(4)
    size, count = 50, 2000
    hashes = draw.integers(0, 2**64, size * count, dtype=np.uint64)
    a, b = permutations(16, 5)
    x = (hashes ^ (hashes >> np.uint64(32))).astype(np.uint32).reshape(count, size, 1)
    winners = (x * a + b).argmin(axis=1)
    agreement = [(winners[:, i] == winners[:, j]).mean() for i in range(16) for j in range(i)]
    assert np.mean(agreement) == pytest.approx(1 / size, rel=0.05)
    assert max(agreement) < 1 / size + 5 * math.sqrt(1 / size / count)


def test_minima_equal_those_of_numpy_also_beyond_a_block():
    draw = np.random.default_rng(6)
    lengths = [0, 1, 3, 2048, 2049, 5000]
    hashes = draw.integers(0, 2**64, sum(lengths), dtype=np.uint64)
    offsets = np.cumsum([0, *lengths])
    a, b = permutations(9, 7)
    got = minima(offsets, hashes, a, b)
    x = (hashes ^ (hashes >> np.uint64(32))).astype(np.uint32)
    for i, length in enumerate(lengths):
        values = x[offsets[i] : offsets[i + 1], None] * a + b
        expected = values.min(axis=0) if length else np.full(9, 2**32 - 1)
        assert (got[i] == expected).all()


def test_bands_of_one_document_differ():
    keys = band_keys((np.array([0, 0, 4]), np.arange(4, dtype=np.uint64)), no_words(2), BANDS, 1, 0)
    assert len(np.unique(keys)) == keys.size


def test_signature_of_every_kind_of_document():
    class Documents(Table):
        writes = DOCUMENT

    stage = Signature(docs=Documents(), ngram=3, bands=4, rows=2, seed=0)
    texts = ["One two, three four!", "one TWO three-four", "one two", "two one", "", None, "..."]
    rows = stage.prepare(lambda stage: None)(pa.table({"text": pa.array(texts, pa.large_string())}))
    assert rows.schema == stage.schema()
    assert rows.column("words").to_pylist() == [4, 4, 2, 2, 0, 0, 0]
    exact, bands = rows.column("exact").to_pylist(), rows.column("bands").to_pylist()
    assert exact[0] == exact[1] and bands[0] == bands[1]
    assert exact[2] != exact[3] and not set(bands[2]) & set(bands[3])
    assert exact[4:] == [None] * 3 and bands[4:] == [None] * 3


def test_seed_changes_keys_but_not_exact_hashes():
    class Documents(Table):
        writes = DOCUMENT

    docs = Documents()
    text = pa.table({"text": pa.array(["a b c d e f"], pa.large_string())})
    one, two = (
        Signature(docs=docs, ngram=3, bands=4, rows=2, seed=seed).prepare(lambda stage: None)(text) for seed in (1, 2)
    )
    assert one.column("exact") == two.column("exact")
    assert one.column("bands") != two.column("bands")


@pytest.mark.parametrize("wrong", [{"ngram": 0}, {"bands": 0}, {"rows": 0}, {"seed": -1}])
def test_meaningless_numbers_are_refused(wrong):
    class Documents(Table):
        writes = DOCUMENT

    with pytest.raises(ValueError, match="expected"):
        Signature(docs=Documents(), **{"ngram": 5, "bands": 2, "rows": 2, "seed": 0, **wrong})
