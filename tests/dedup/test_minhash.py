"""MinHash against brute force and theory."""

import math

import numpy as np
import pyarrow as pa
import pytest
from datasketch import MinHash

from hare_ray.dedup.minhash import band_keys, permutations, similarity, sketches
from hare_ray.dedup.signature import Signature
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Table
from hare_ray.text import Words, ngram_hashes, words_of

BANDS, ROWS = 14, 8
COUNT = BANDS * ROWS
NONE = np.empty(0, np.int32)


class Documents(Table):
    writes = DOCUMENT


def signature(**other):
    return Signature(**{"docs": Documents(), "ngram": 3, "unit": "word", "bands": 4, "rows": 2, "seed": 0, **other})


def signed(stage, *texts):
    return stage.prepare(lambda stage: None)(pa.table({"text": pa.array(texts, pa.large_string())}))


def pairs_of(similar, count, size=200, seed=0):
    """Words of 2 * count documents, neighbours with this exact Jaccard similarity of their words as sets."""
    draw = np.random.default_rng(seed)
    shared = round(2 * size * similar / (1 + similar))
    sets = []
    for _ in range(count):
        pool = draw.integers(0, 2**64, 2 * size - shared, dtype=np.uint64)
        sets += [pool[:size], np.concatenate([pool[:shared], pool[size:]])]
    offsets = np.cumsum([0, *map(len, sets)])
    return Words(offsets, np.concatenate(sets), NONE, NONE), shared / (2 * size - shared)


def sketched(words, seed, rows=ROWS, bands=BANDS, ngram=1):
    stage = signature(bands=bands, rows=rows)
    whole = np.zeros((len(words), 2), np.uint64)
    return sketches(words, ngram, whole, permutations(bands * rows, seed), stage.sketch_bytes)


def byte_probability(similar):
    """Probability that a byte of two sketches is equal: by the same minimum, or by chance."""
    return similar + (1 - similar) / 256


def meeting_probability(similar, bands, rows):
    """Probability that two documents share at least one band key."""
    return 1 - (1 - byte_probability(similar) ** rows) ** bands


@pytest.mark.parametrize("similar", [0.05, 0.2, 0.5, 0.8, 0.95])
def test_estimate_is_unbiased_with_the_error_of_theory(similar):
    count = 600
    words, exact = pairs_of(similar, count)
    found = sketched(words, 1)
    errors = similarity(found[0::2], found[1::2], COUNT) - exact
    equal = byte_probability(exact)
    expected = math.sqrt(equal * (1 - equal) / COUNT) * 256 / 255
    assert abs(errors.mean()) < 4 * expected / math.sqrt(count)
    assert errors.std() == pytest.approx(expected, rel=0.15)


def test_error_is_no_larger_than_that_of_datasketch():
    words, exact = pairs_of(0.6, 100)
    theirs = []
    for i in range(0, 200, 2):
        both = [MinHash(COUNT, seed=1), MinHash(COUNT, seed=1)]
        for sketch, document in zip(both, (i, i + 1), strict=True):
            span = slice(words.offsets[document], words.offsets[document + 1])
            sketch.update_batch([h.tobytes() for h in words.hashes[span]])
        theirs.append(both[0].jaccard(both[1]) - exact)
    found = sketched(words, 1)
    ours = similarity(found[0::2], found[1::2], COUNT) - exact
    assert np.sqrt(np.mean(np.square(ours))) < 1.3 * np.sqrt(np.mean(np.square(theirs)))


@pytest.mark.parametrize("similar", [0.5, 0.65, 0.75, 0.85])
@pytest.mark.parametrize(("bands", "rows"), [(14, 8), (20, 5), (9, 13)])
def test_candidates_follow_the_s_curve(similar, bands, rows):
    count = 1000
    words, exact = pairs_of(similar, count, size=120, seed=2)
    keys = band_keys(sketched(words, 3, rows, bands), bands, rows)
    met = (keys[0::2] == keys[1::2]).any(axis=1).mean()
    # Where a band has under 8 rows, its key is made of two bytes of every minimum: hardly anything meets by chance.
    expected = meeting_probability(exact, bands, rows) if rows >= 8 else 1 - (1 - exact**rows) ** bands
    assert abs(met - expected) < 4 * math.sqrt(expected * (1 - expected) / count) + 2e-3


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 13])
def test_strangers_do_not_meet_in_short_bands_either(rows):
    draw = np.random.default_rng(8)
    words = Words(np.arange(0, 3001 * 20, 20), draw.integers(0, 2**64, 3000 * 20, dtype=np.uint64), NONE, NONE)
    keys = band_keys(sketched(words, 4, rows, 4), 4, rows)
    assert len(np.unique(keys)) >= keys.size - (1 if rows > 1 else 20)


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


def test_bytes_are_of_the_minima_of_numpy_also_beyond_a_block():
    draw = np.random.default_rng(6)
    lengths = [3, 4, 2048, 2050, 2051, 5000]
    words = Words(np.cumsum([0, *lengths]), draw.integers(0, 2**64, sum(lengths), dtype=np.uint64), NONE, NONE)
    a, b = permutations(9, 7)
    got = sketched(words, 7, rows=9, bands=1, ngram=3)
    offsets, hashes = ngram_hashes(words, 3)
    x = (hashes ^ (hashes >> np.uint64(32))).astype(np.uint32)
    for i in range(len(lengths)):
        minima = (x[offsets[i] : offsets[i + 1], None] * a + b).min(axis=0)
        assert (got[i] == (minima * np.uint32(0x9E3779B1)) >> np.uint32(24)).all()


def test_bands_of_one_document_differ():
    same = np.full((2, COUNT), 7, np.uint8)
    keys = band_keys(same, BANDS, ROWS)
    assert len(np.unique(keys)) == BANDS and (keys[0] == keys[1]).all()


def test_signature_of_every_kind_of_document():
    stage = signature()
    rows = signed(stage, "One two, three four!", "one TWO three-four", "one two", "two one", "", None, "...")
    assert rows.schema == stage.schema()
    assert rows.column("words").to_pylist() == [4, 4, 2, 2, 0, 0, 0]
    exact, sketch = rows.column("exact").to_pylist(), rows.column("sketch").to_pylist()
    assert exact[0] == exact[1] and sketch[0] == sketch[1]
    assert exact[2] != exact[3] and sketch[2] != sketch[3]
    assert exact[4:] == [None] * 3 and sketch[4:] == [None] * 3


def test_documents_shorter_than_a_shingle_meet_their_equals_only():
    texts = [f"word{i} and word{i + 1}" for i in range(500)]
    stage = signature(ngram=5, bands=BANDS, rows=ROWS)
    rows = signed(stage, *texts, "WORD7, and word8.")
    sketch = np.frombuffer(b"".join(rows.column("sketch").to_pylist()), np.uint8).reshape(-1, COUNT)
    keys = band_keys(sketch, BANDS, ROWS)
    assert (keys[7] == keys[500]).all()
    assert len(np.unique(keys[:500])) == 500 * BANDS


def test_character_shingles_forgive_a_misspelt_word():
    text = "The committee discussed the proposal at length before deciding to postpone the vote until spring"
    misspelt = text.replace("discussed", "discused").replace("postpone", "postpoen")
    by_unit = {}
    for unit, ngram in (("word", 5), ("character", 5)):
        rows = signed(signature(unit=unit, ngram=ngram, bands=BANDS, rows=ROWS), text, misspelt)
        first, second = (np.frombuffer(s, np.uint8)[None] for s in rows.column("sketch").to_pylist())
        by_unit[unit] = float(similarity(first, second, COUNT)[0])
        assert rows.column("words").to_pylist() == [15, 15]
    assert by_unit["character"] > 0.7 > 0.4 > by_unit["word"]


def test_estimates_are_of_true_shingle_sets_of_text():
    draw = np.random.default_rng(9)
    base = [f"w{i}" for i in draw.integers(0, 500, 300)]
    other = [word if draw.random() > 0.03 else "changed" for word in base]
    texts = [" ".join(base), " ".join(other)]
    offsets, hashes = ngram_hashes(words_of(pa.array(texts, pa.large_string())), 5)
    one, two = (set(hashes[offsets[i] : offsets[i + 1]].tolist()) for i in (0, 1))
    rows = signed(signature(ngram=5, bands=64, rows=16), *texts)
    first, second = (np.frombuffer(s, np.uint8)[None] for s in rows.column("sketch").to_pylist())
    assert similarity(first, second, 1024)[0] == pytest.approx(len(one & two) / len(one | two), abs=0.06)


def test_seed_changes_sketches_but_not_exact_hashes():
    one, two = (signed(signature(seed=seed), "a b c d e f") for seed in (1, 2))
    assert one.column("exact") == two.column("exact")
    assert one.column("sketch") != two.column("sketch")


@pytest.mark.parametrize("wrong", [{"ngram": 0}, {"bands": 0}, {"rows": 0}, {"seed": -1}, {"unit": "line"}])
def test_meaningless_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        signature(**wrong)
