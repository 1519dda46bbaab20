"""Semantic duplicates against a brute-force reference, for any cutting and memory, and on crafted vectors."""

import math
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.dedup import semantic_spans
from hare_ray.dedup.semantic import SEMANTIC_DUPLICATE, SemanticDuplicates
from hare_ray.dedup.semantic_steps import bytes_per_row
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Table
from tests.dedup.crawl import DOCS, SCORES, Documents, MemoryDesk, parts_of, verdicts
from tests.dedup.semantic_ray import CLUSTERS, embedding_column, embedding_schema
from tests.dedup.test_dedup_memory import FolderDesk

LEAST = 0.8


class Given(Table):
    """Vectors or clusters that a test makes up."""

    docs: Table
    columns: tuple[str, ...]
    dimensions: int = 2

    def schema(self) -> pa.Schema:
        return CLUSTERS if "cluster" in self.columns else embedding_schema(self.dimensions)

    @property
    def base(self):
        return self.docs.base


def stages_of(dimensions, **fields):
    embeddings = Given(label="embeddings", docs=DOCS, columns=("embedding",), dimensions=dimensions)
    clusters = Given(label="clusters", docs=DOCS, columns=("cluster",))
    fields = {"min_similarity": LEAST, "prefer": (), **fields}
    return SemanticDuplicates(docs=DOCS, embeddings=embeddings, clusters=clusters, **fields)


def unit(vectors):
    vectors = np.array(vectors, np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0).astype(np.float16)


def angles(*degrees):
    """Vectors of two dimensions."""
    return unit([(math.cos(math.radians(d)), math.sin(math.radians(d))) for d in degrees])


def desk_of(vectors, clusters, ids=None, scores=None, cuts=()):
    """Documents of these vectors; ids are numbers."""
    count = len(vectors)
    ids = range(count) if ids is None else ids
    docs = {
        "id": [number.to_bytes(16, "big") for number in ids], "url": [f"https://{n}" for n in range(count)],
        "file": ["f"] * count, "offset": list(range(count)), "title": [None] * count, "text": [None] * count,
    }  # fmt: skip
    cluster = [pa.array(clusters, pa.int32()), pa.array(np.zeros(count, np.float32))]
    tables = {
        "docs": pa.table(docs, schema=DOCUMENT),
        "embeddings": pa.table({"embedding": embedding_column(vectors)}),
        "clusters": pa.table(cluster, schema=CLUSTERS),
        "scores": pa.table({"score": pa.array(scores or [0.0] * count, pa.float64())}),
    }
    return MemoryDesk({name: parts_of(table, cuts) for name, table in tables.items()})


def found_of(vectors, clusters=None, *, ids=None, scores=None, cuts=(), **fields):
    """Verdicts and books."""
    desk = desk_of(vectors, [0] * len(vectors) if clusters is None else clusters, ids, scores, cuts)
    if scores is not None:
        fields = {"prefer": ("score",), "opinions": (SCORES,), **fields}
    return verdicts(desk, stages_of(vectors.shape[1], **fields))


def kept(found):
    return [n for n, verdict in enumerate(found) if verdict["reason"] is None]


def cosine(one, two):
    """By sums that round nothing: in whole multiples of 2^-24."""
    a, b = ([int(x) for x in np.ldexp(v.astype(np.float64), 24)] for v in (one, two))
    dot, squares = sum(x * y for x, y in zip(a, b, strict=True)), sum(x * x for x in a) * sum(y * y for y in b)
    return dot / math.sqrt(squares) if squares else 0.0


def reference(vectors, clusters, ids, scores, least):
    """For every row the row that stays and speaks for it, or none, and their cosine: the rule as a loop."""
    order = sorted(range(len(vectors)), key=lambda n: (-scores[n], ids[n], n))
    stays, speakers = [], {}
    for n in order:
        better = [(cosine(vectors[n], vectors[m]), -place, m) for place, m in enumerate(stays)
                  if clusters[n] == clusters[m]]  # fmt: skip
        similar = [entry for entry in better if entry[0] >= least]
        speakers[n] = (max(similar)[2], max(similar)[0]) if similar else (None, None)
        if not similar:
            stays.append(n)
    return [speakers[n] for n in range(len(vectors))]


@st.composite
def corpora(draw):
    count = draw(st.integers(0, 24))
    seed = draw(st.integers(0, 2**16))
    random = np.random.default_rng(seed)
    dimensions = draw(st.sampled_from([2, 3, 8]))
    vectors = random.standard_normal((count, dimensions))
    for n in range(1, count):  # copies, texts without words, and edits that may be near the threshold
        kind = random.integers(0, 5)
        if kind == 0:
            vectors[n] = vectors[random.integers(0, n)]
        elif kind == 1:
            vectors[n] = 0
        elif kind <= 3:
            vectors[n] = vectors[random.integers(0, n)] + 0.5 * vectors[n]
    clusters = random.integers(0, draw(st.integers(1, 4)), count).tolist()
    ids = random.integers(0, 30, count).tolist()
    scores = random.integers(0, draw(st.integers(1, 3)), count).astype(float).tolist()
    cuts = sorted(draw(st.lists(st.integers(0, count), max_size=4)))
    rows = draw(st.sampled_from([1, 2, 5, 1000]))
    return unit(vectors), clusters, ids, scores, cuts, rows * bytes_per_row(dimensions)


@settings(max_examples=80, deadline=None)
@given(corpora(), st.sampled_from([0, semantic_spans.MOST_PAIRS]))
def test_equals_the_rule_for_any_cutting_and_memory(corpus, most_pairs):
    vectors, clusters, ids, scores, cuts, memory_bytes = corpus
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(semantic_spans, "MOST_PAIRS", most_pairs)
        found, books = found_of(vectors, clusters, ids=ids, scores=scores, cuts=cuts, memory_bytes=memory_bytes)
    for n, (speaker, similar) in enumerate(reference(vectors, clusters, ids, scores, LEAST)):
        stands = n if speaker is None else speaker
        assert found[n]["reason"] == (None if speaker is None else SEMANTIC_DUPLICATE)
        assert found[n]["detail"] == (None if speaker is None else f"https://{speaker}")
        assert found[n]["semantic_cluster"] == ids[stands].to_bytes(16, "big")
        assert found[n]["semantic_similarity"] == (None if speaker is None else pytest.approx(similar, abs=1e-6))
    assert books.get("compared_rows", 0) == np.count_nonzero(vectors.any(axis=1))


def planted(count, topics, seed=0):
    """Clusters of vectors of which a fifth are edits of others."""
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((count, 32))
    clusters = random.integers(0, topics, count)
    edits, of = np.arange(count - count // 5, count), random.integers(0, count - count // 5, count // 5)
    vectors[edits], clusters[edits] = vectors[of] + 0.3 * vectors[edits], clusters[of]
    return unit(vectors), clusters.tolist(), random.permutation(count).tolist()


@pytest.mark.parametrize("cuts", [(), (0, 100, 700, 700, 1999)])
@pytest.mark.parametrize(("rows", "most_pairs"), [(10_000, 10_000), (300, 10_000), (64, 10_000), (64, 0)])
def test_tiles_blocks_and_ranges_are_decided_as_by_the_loop(cuts, rows, most_pairs, monkeypatch):
    monkeypatch.setattr(semantic_spans, "MOST_PAIRS", most_pairs)
    vectors, clusters, ids = planted(2000, 3)
    found, books = found_of(vectors, clusters, ids=ids, cuts=cuts, memory_bytes=rows * bytes_per_row(32))
    speakers = [v["detail"] for v in found]
    order = sorted(range(2000), key=lambda n: ids[n])
    stays = np.zeros(2000, bool)
    alike = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    pairs = 0
    for n in order:
        better = np.flatnonzero(stays & (np.array(clusters) == clusters[n]))
        pairs += len(better)
        best = better[alike[n, better].argmax()] if len(better) else n
        stays[n] = best == n or alike[n, best] < LEAST
        assert speakers[n] == (None if stays[n] else f"https://{best}")
    assert 1500 < stays.sum() < 1700
    assert books == {
        "compared_rows": 2000, "compared_clusters": 3, "largest_cluster": max(map(clusters.count, range(3))),
        "pairs": pairs,
    }  # fmt: skip


def test_a_chain_keeps_both_its_ends():
    """SemDeDup drops the third, for its likeness to the second, which is gone."""
    found, _ = found_of(angles(0, 30, 60))  # cos 30 = 0.87, cos 60 = 0.5
    assert kept(found) == [0, 2]
    assert found[1]["detail"] == "https://0"


def test_the_most_similar_of_those_that_stay_speaks():
    found, _ = found_of(angles(0, 50, 29, 20), min_similarity=0.85)
    assert [v["detail"] for v in found] == [None, None, "https://1", "https://0"]
    found, _ = found_of(angles(50, 0, 25), min_similarity=0.85)
    assert found[2]["semantic_similarity"] == pytest.approx(math.cos(math.radians(25)), abs=1e-3)


@pytest.mark.parametrize(
    ("scores", "stays"), [([1.0, 2.0, 3.0], 2), ([3.0, 2.0, 1.0], 0), ([None, -1.0, math.nan], 1), ([1.0, 1.0, 1.0], 1)]
)
def test_the_preferred_stays_and_of_equals_the_smaller_id(scores, stays):
    found, _ = found_of(angles(0, 5, 10), ids=[2, 1, 3], scores=scores)
    assert kept(found) == [stays]
    assert {v["detail"] for n, v in enumerate(found) if n != stays} == {f"https://{stays}"}


def test_the_similarity_to_the_centroid_may_be_preferred():
    desk = desk_of(angles(0, 5), [0, 0])
    near = pa.table([pa.array([0, 0], pa.int32()), pa.array([0.5, 0.9], pa.float32())], schema=CLUSTERS)
    desk.tables["clusters"] = [near]
    assert kept(verdicts(desk, stages_of(2, prefer=("similarity",)))[0]) == [1]


@pytest.mark.parametrize("rows", [1, 700, 5000])
def test_of_equal_vectors_one_stays(rows):
    vectors = np.repeat(unit(np.random.default_rng(1).standard_normal((1, 16))), 1500, axis=0)
    found, books = found_of(vectors, min_similarity=1.0, cuts=(400,), memory_bytes=rows * bytes_per_row(16))
    assert kept(found) == [0]
    assert {v["semantic_similarity"] for v in found[1:]} == {1.0}
    assert books["pairs"] == 1499


def test_a_pair_exactly_at_the_threshold_goes_and_one_a_bit_below_stays():
    vectors = planted(50, 1, seed=4)[0][[0, 45]]
    exact = cosine(*vectors)
    assert kept(found_of(vectors, min_similarity=exact)[0]) == [0]
    assert kept(found_of(vectors, min_similarity=math.nextafter(exact, 1))[0]) == [0, 1]


def test_clusters_of_one_other_clusters_and_rows_without_text_stay():
    vectors = angles(0, 0, 0, 0)
    vectors[2:] = 0
    found, books = found_of(vectors, [0, 7, 7, 0])
    assert kept(found) == [0, 1, 2, 3]
    assert [v["semantic_cluster"][-1] for v in found] == [0, 1, 2, 3]
    assert books == {"compared_rows": 2, "compared_clusters": 2, "largest_cluster": 1, "pairs": 0}


def test_empty_parts_and_empty_tables():
    found, _ = found_of(angles(0, 1, 2), cuts=(0, 0, 1, 3))
    assert kept(found) == [0]
    assert found_of(np.empty((0, 2), np.float16))[0] == []
    assert found_of(np.empty((0, 2), np.float16), cuts=(0, 0))[1]["compared_rows"] == 0
    zero = np.zeros((3, 2), np.float16)
    assert kept(found_of(zero)[0]) == [0, 1, 2]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_vectors_that_are_no_numbers_are_refused_by_part_and_rows(value):
    vectors = angles(0, 10, 20, 30)
    vectors[2:, 1] = value
    with pytest.raises(ValueError, match=r"2 of 3 rows .* part 1 of Given\(embeddings\)"):
        found_of(vectors, cuts=(1,))


def test_missing_vectors_are_refused():
    desk = desk_of(angles(0, 10), [0, 0])
    desk.tables["embeddings"] = [pa.table({"embedding": pa.array([None, [0, 1]], pa.list_(pa.float16(), 2))})]
    with pytest.raises(ValueError, match="1 of 2 rows"):
        verdicts(desk, stages_of(2))


def test_a_cluster_larger_than_memory_is_decided_in_blocks(tmp_path):
    vectors, _, _ = planted(6000, 1)
    vectors = np.tile(vectors, 8)  # 256 dimensions, the same cosines
    found = []
    for rows in (10_000, 1000):
        memory_bytes = rows * bytes_per_row(256)
        desk = FolderDesk(desk_of(vectors, [0] * 6000, cuts=range(500, 6000, 500)).tables, tmp_path / str(rows))
        found.append((verdicts(desk, stages_of(256, memory_bytes=memory_bytes)), desk.peaks["decide"]))
    assert found[0][0] == found[1][0]
    assert found[1][1] < 2 * memory_bytes < found[0][1]


def test_objects_grow_more_slowly_than_the_pairs_of_groups_and_ranges(monkeypatch):
    """4 x the rows are 16 x the pairs of a group and a range, but some 8 x the objects."""
    monkeypatch.setattr(semantic_spans, "MOST_PAIRS", 0)
    monkeypatch.setattr("hare_ray.dedup.plan.TASK_ROWS", 10)
    counts = []
    for groups in (16, 64):
        count = 20 * groups
        clusters = np.random.default_rng(groups).integers(0, 10 * groups, count).tolist()
        cuts, memory_bytes = range(20, count, 20), 20 * bytes_per_row(2)
        desk = desk_of(angles(*range(count)), clusters, cuts=cuts)
        verdicts(desk, stages_of(2, memory_bytes=memory_bytes))
        counts.append(len(desk.objects))
        least = 3 * groups**2 * 0.9
    assert counts[1] < 10 * counts[0]
    assert counts[1] < least / 2


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(0, 9), st.integers(0, 2**16))
def test_runs_of_spans_have_every_group_once_and_no_more_rows_than_a_task_holds(ranges, groups, seed):
    first = semantic_spans.first_ranges(ranges)
    assert (first[0], first[-1]) == (0, ranges)
    assert all(a < b for a, b in pairwise(first))
    rows = np.random.default_rng(seed).integers(0, 12, (groups, len(first) - 1))
    spans = semantic_spans.spans_of(first, rows, 10)
    joined = [[] for _ in first[1:]]
    for span, run in spans.items:
        here = list(spans.groups(span, run))
        joined[span] += here
        assert rows[here, span].sum() <= 10 or np.count_nonzero(rows[here, span]) == 1
    assert all(found == list(range(groups)) for found in joined)
    assert spans.runs_of(ranges - 1) == spans.runs[-1]


class KilledError(Exception):
    """What stops a run."""


class MortalDesk(MemoryDesk):
    """Dies at the n-th object or part it is asked to keep."""

    def __init__(self, tables, lives):
        super().__init__(tables)
        self.lives = lives

    def spend(self):
        self.lives -= 1
        if self.lives < 0:
            raise KilledError

    def put(self, name, data):
        self.spend()
        super().put(name, data)

    def write(self, part, table):
        self.spend()
        super().write(part, table)


@pytest.mark.parametrize("most_pairs", [0, 10_000])
def test_a_killed_run_goes_on_and_does_no_finished_step_again(most_pairs, monkeypatch):
    monkeypatch.setattr(semantic_spans, "MOST_PAIRS", most_pairs)
    vectors, clusters, ids = planted(40, 3)
    tables = desk_of(vectors, clusters, ids, cuts=(13, 27)).tables
    stage = stages_of(32, memory_bytes=10 * bytes_per_row(32))
    calm = MemoryDesk(tables)
    expected = verdicts(calm, stage)
    writes = len(calm.objects) + len(calm.written)
    for lives in range(writes):
        desk = MortalDesk(tables, lives)
        desk.stage = stage
        with pytest.raises(KilledError):
            stage.gather(desk)
        desk.lives = writes
        before, desk.ran = set(desk.objects), []
        books, written = stage.gather(desk), desk.written
        assert (pa.concat_tables([written[n] for n in sorted(written)]).to_pylist(), books) == expected
        done = {name.partition("-")[2] for name in before if "-done-" in name}
        assert not done & {f"{step}-done-{item}" for step, item in desk.ran}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_similarity": 0.0}, "above 0 and at most 1"),
        ({"min_similarity": 1.01}, "above 0 and at most 1"),
        ({"prefer": ("score",)}, "no table"),
        ({"prefer": ("url",)}, "expected a numeric column"),
        ({"prefer": ("score",), "opinions": (SCORES, SCORES)}, "exactly one"),
    ],
)
def test_settings_that_mean_nothing_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        stages_of(2, **fields)


def test_tables_of_other_documents_and_without_the_columns_are_refused():
    good = stages_of(2)
    other = Given(label="clusters", docs=Documents(label="others"), columns=("cluster",))
    fields = {"docs": DOCS, "min_similarity": LEAST, "prefer": ()}
    with pytest.raises(ValueError, match="make it from these documents"):
        SemanticDuplicates(**fields, embeddings=good.embeddings, clusters=other)
    with pytest.raises(ValueError, match="expected 'cluster'"):
        SemanticDuplicates(**fields, embeddings=good.embeddings, clusters=good.embeddings)


def test_memory_is_no_part_of_the_recipe():
    assert stages_of(2, memory_bytes=1).fingerprint == stages_of(2).fingerprint
    assert stages_of(2, min_similarity=0.9).fingerprint != stages_of(2).fingerprint
