"""Duplicates of given sketches against a brute-force reference, for any cutting, order and memory."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.dedup.duplicates import Duplicates
from hare_ray.dedup.match import WINDOW, bucket_pairs, buckets
from hare_ray.dedup.runs import cut, distinct, pack, sorted_order, unpack
from hare_ray.dedup.signature import Signature
from hare_ray.schema import DOCUMENT
from tests.dedup.crawl import (
    DOCS,
    MEANING,
    PASSAGES,
    SCORES,
    Documents,
    Meaning,
    MemoryDesk,
    Opinion,
    parts_of,
    signed_rows,
    verdicts,
)

BANDS, ROWS, LEAST = 4, 8, 0.4
SIGNED = Signature(docs=DOCS, ngram=5, unit="word", bands=BANDS, rows=ROWS, seed=1)


def stage_of(**fields):
    fields = {"min_similarity": LEAST, "prefer": (), **fields}
    return Duplicates(docs=DOCS, signatures=SIGNED, **fields)


def sketch_of(bands):
    """A sketch with one of a few values in each band; two sketches share the bands in which the values are equal."""
    return b"".join(bytes([16 * band + value] * ROWS) for band, value in enumerate(bands))


def alike(one, two):
    share = sum(a == b for a, b in zip(one, two, strict=True)) / len(one)
    return max(0.0, (share - 1 / 256) / (1 - 1 / 256))


def own_evidence(rows, i, j):
    one, two = rows[i]["sketch"], rows[j]["sketch"]
    if one is None or two is None:
        return False
    return rows[i]["id"] == rows[j]["id"] or one == two or alike(one, two) >= LEAST  # 2 bands of 4: they meet


def components(count, joined):
    label = list(range(count))
    while True:
        before = list(label)
        for i, j in joined:
            label[i] = label[j] = min(label[i], label[j])
        if label == before:
            return label


def reference(rows, edges):
    """Reason, offset of the kept copy, cluster, copies and similarity of every row, the slow way."""
    pairs = [p for p in itertools.combinations(range(len(rows)), 2) if own_evidence(rows, *p)]
    core = components(len(rows), pairs)
    door = [e for e in edges if all(rows[row]["sketch"] is not None for row in e[:2])]
    label = components(len(rows), [*pairs, *(edge[:2] for edge in door)])
    found = []
    for n, row in enumerate(rows):
        members = [m for m in range(len(rows)) if label[m] == label[n]]
        if row["sketch"] is None:
            found.append(("no_words", None, row["id"], 1, None))
            continue
        kept = min(members, key=lambda m: (-rows[m]["score"], rows[m]["id"], rows[m]["offset"]))
        smallest = min(rows[m]["id"] for m in members)
        if kept == n:
            found.append((None, None, smallest, len(members), None))
            continue
        touching = [(-s, k) for a, b, s, k in door if core[n] in (core[a], core[b])]
        other = ("same_meaning", "same_passages")[min(touching)[1]] if touching else ""
        reason = "near_duplicate" if core[n] == core[kept] else other
        reason = "exact_duplicate" if row["sketch"] == rows[kept]["sketch"] else reason
        reason = "same_record" if row["id"] == rows[kept]["id"] else reason
        similar = round(alike(row["sketch"], rows[kept]["sketch"]), 4)
        found.append((reason, rows[kept]["url"], smallest, len(members), similar))
    return found


@st.composite
def corpora(draw):
    texts = draw(st.lists(st.tuples(*[st.integers(0, 2)] * BANDS), min_size=1, max_size=9, unique=True))
    count = draw(st.integers(1, 14))
    rows = []
    for offset in range(count):
        bands = draw(st.sampled_from([None, *texts]))
        number = draw(st.integers(0, 40))
        rows.append(
            {
                "sketch": None if bands is None else sketch_of(bands), "id": bytes([number] * 15) + b"\x01",
                "url": f"https://{offset}", "offset": offset, "score": float(draw(st.integers(0, 2))),
            }
        )  # fmt: skip
    row = st.integers(0, count - 1)
    edges = draw(st.lists(st.tuples(row, row, st.sampled_from([0.25, 0.5]), st.integers(0, 1)), max_size=4))
    order = draw(st.permutations(range(count)))
    cuts = draw(st.lists(row, max_size=4))
    return rows, edges, list(order), sorted(cuts), draw(st.sampled_from([1 << 30, 20_000, 2_000]))


def tables_of(rows, edges, order, cuts):
    docs, signed = signed_rows([rows[n]["sketch"] for n in order], width=BANDS * ROWS)
    given = {name: [rows[n][name] for n in order] for name in ("id", "url", "offset")}
    columns = [given.get(name, docs.column(name)) for name in docs.column_names]
    docs = pa.table(
        [pa.array(c, t) if isinstance(c, list) else c for c, t in zip(columns, DOCUMENT.types, strict=True)],
        schema=DOCUMENT,
    )
    scores = pa.table({"score": [rows[n]["score"] for n in order]})
    bounds = [0, *cuts, len(order)]
    where = {}
    for part, (a, b) in enumerate(itertools.pairwise(bounds)):
        where |= {order[n]: (part, n - a) for n in range(a, b)}
    doors = []
    for kind in range(2):
        lists = [[(where[b], s) for a, b, s, k in edges if a == n and k == kind] for n in order]
        columns = [
            [[part for (part, _), _ in near] for near in lists],
            [[row for (_, row), _ in near] for near in lists],
        ]
        columns.append([[s for _, s in near] for near in lists])
        doors.append(
            pa.table([pa.array(c, f.type) for c, f in zip(columns, Meaning.writes, strict=True)], Meaning.writes.names)
        )
    tables = {"docs": docs, SIGNED.name: signed, "scores": scores, "meaning": doors[0], "passages": doors[1]}
    return {name: parts_of(table, cuts) for name, table in tables.items()}


@settings(max_examples=60, deadline=None)
@given(corpora())
def test_equals_brute_force_for_any_order_cutting_and_memory(corpus):
    rows, edges, order, cuts, memory_bytes = corpus
    stage = stage_of(prefer=("score",), opinions=(SCORES,), edges=(MEANING, PASSAGES), memory_bytes=memory_bytes)
    found, books = verdicts(MemoryDesk(tables_of(rows, edges, order, cuts)), stage)
    expected = reference(rows, edges)
    names = ("reason", "detail", "duplicate_cluster", "duplicates", "similarity")
    for n, verdict in zip(order, found, strict=True):
        if verdict["similarity"] is not None:
            verdict["similarity"] = round(verdict["similarity"], 4)
        assert tuple(verdict[name] for name in names) == expected[n]
    distinct_texts = len({row["sketch"] for row in rows} - {None})
    assert books["texts"] == distinct_texts
    assert books["pairs"] == books["pairs_verified"] + books["pairs_refused"]


def simple(sketches, memory_bytes=1 << 30, cuts=(), **fields):
    docs, signed = signed_rows(sketches, width=BANDS * ROWS)
    desk = MemoryDesk({"docs": parts_of(docs, cuts), SIGNED.name: parts_of(signed, cuts)})
    return verdicts(desk, stage_of(memory_bytes=memory_bytes, **fields))


def test_books_count_pairs_that_were_kept_and_refused():
    found, books = simple([sketch_of(bands) for bands in [(0, 0, 0, 0), (0, 0, 1, 1), (0, 2, 2, 2)]])
    assert [v["reason"] for v in found].count("near_duplicate") == 1
    assert books == {
        "texts": 3, "known_texts": 0, "buckets": 2, "largest_bucket": 3, "pairs": 3, "pairs_verified": 1,
        "pairs_refused": 2,
    }  # fmt: skip


def crowd(count, share, seed=0):
    """Sketches that all share their first band, of which `share` are of one family; numbers are random."""
    draw = np.random.default_rng(seed)
    family = draw.integers(0, 256, BANDS * ROWS, dtype=np.uint8)
    found = draw.integers(0, 256, (count, BANDS * ROWS), dtype=np.uint8)
    members = draw.random(count) < share
    found[members] = family
    found[:, :ROWS] = family[:ROWS]
    found[members, -1] = draw.integers(0, 256, members.sum(), dtype=np.uint8)
    found[members, -2] = draw.integers(0, 256, members.sum(), dtype=np.uint8)
    return [row.tobytes() for row in found], members


@pytest.mark.parametrize("memory_bytes", [1 << 30, 100_000])
def test_a_crowded_bucket_with_strangers_in_it_gives_one_cluster_in_few_pairs(memory_bytes):
    sketches, members = crowd(3000, 0.5)
    found, books = simple(sketches, memory_bytes, cuts=(100, 1700))
    assert books["pairs"] <= 3000 * 9 * BANDS
    assert books["largest_bucket"] == books["texts"]
    kept = [v["reason"] is None for v, member in zip(found, members, strict=True) if member]
    assert sum(kept) == 1
    assert all(v["duplicates"] == 1 for v, member in zip(found, members, strict=True) if not member)


def test_turns_do_not_change_books_or_verdicts():
    sketches, _ = crowd(2000, 0.7, seed=3)
    assert simple(sketches, 1 << 30) == simple(sketches, 30_000, cuts=(500, 501))


def test_a_thousand_copies_are_one_text():
    sketches = [sketch_of((0, 0, 0, 0))] * 1000 + [sketch_of((0, 0, 0, 1))]
    found, books = simple(sketches, cuts=(10, 990))
    assert books["texts"] == 2 and books["pairs"] == 1
    assert {v["duplicates"] for v in found} == {1001}
    assert [v["reason"] for v in found].count(None) == 1


def test_a_killed_run_does_only_what_is_missing():
    sketches, _ = crowd(200, 0.5)
    docs, signed = signed_rows(sketches, width=BANDS * ROWS)
    tables = {"docs": parts_of(docs, (50, 100)), SIGNED.name: parts_of(signed, (50, 100))}
    calm = verdicts(MemoryDesk(tables), stage_of())
    desk = MemoryDesk(tables)
    verdicts(desk, stage_of())
    written = desk.written
    for name in [name for name in desk.objects if "verify_pairs-done" in name or "write_verdicts" in name]:
        del desk.objects[name]
    desk.ran, desk.written = [], {}
    assert stage_of().gather(desk) == calm[1]
    assert {step for step, _ in desk.ran} == {"verify_pairs", "write_verdicts"}
    assert desk.written == written


def test_missing_preferences_lose_to_any_number():
    sketches = [sketch_of((0, 0, 0, 0))] * 3
    docs, signed = signed_rows(sketches, width=BANDS * ROWS)
    for scores in ([None, float("nan"), -5.0], [-5.0, None, float("nan")]):
        tables = {
            "docs": [docs],
            SIGNED.name: [signed],
            "scores": [pa.table({"score": pa.array(scores, pa.float64())})],
        }
        found, _ = verdicts(MemoryDesk(tables), stage_of(prefer=("score",), opinions=(SCORES,)))
        assert [v["reason"] is None for v in found] == [score == -5.0 for score in scores]


@pytest.mark.parametrize(
    ("part", "row", "message"),
    [(1, 0, "row 0 of part 1, expected one of 1 parts"), (0, 2, "row 2 of part 0, expected a part of 2 rows"),
     (-1, 0, "part -1"), (0, -1, "row -1")],
)  # fmt: skip
def test_an_edge_to_a_row_that_is_not_there_is_refused(part, row, message):
    docs, signed = signed_rows([sketch_of((0, 0, 0, 0)), sketch_of((1, 1, 1, 1))], width=BANDS * ROWS)
    lists = [[[], [part]], [[], [row]], [[], [0.5]]]
    edges = [pa.array(values, field.type) for values, field in zip(lists, Meaning.writes, strict=True)]
    tables = {"docs": [docs], SIGNED.name: [signed], "meaning": [pa.table(edges, Meaning.writes.names)]}
    with pytest.raises(ValueError, match=rf"meaning.*{message}"):
        verdicts(MemoryDesk(tables), stage_of(edges=(MEANING,)))


@pytest.mark.parametrize("count", [1, 1 << 16, 70_000])
def test_cut_gives_every_place_its_rows(count):
    places = np.random.default_rng(0).integers(0, count, 2000)
    places[-1] = count - 1
    found = {place: rows for place, rows in cut(places, count) if len(rows)}
    assert sorted(found) == sorted(set(places.tolist()))
    assert all(np.array_equal(rows, np.flatnonzero(places == place)) for place, rows in found.items())


def test_an_object_that_was_cut_short_is_refused():
    data = pack(np.arange(5, dtype=np.uint64), np.arange(5, dtype=np.uint32))
    assert [column.tolist() for column in unpack(data, (("u8", 1), ("u4", 1)))] == [[*range(5)]] * 2
    with pytest.raises(ValueError, match="59 bytes, expected records of 12"):
        unpack(data[:-1], (("u8", 1), ("u4", 1)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prefer": ("score",)}, "no table"),
        ({"prefer": ("url",)}, "numeric"),
        ({"prefer": ("score",), "opinions": (SCORES, Opinion(label="other", docs=DOCS))}, "exactly one"),
        ({"opinions": (Opinion(docs=Documents(label="elsewhere")),)}, "base"),
        ({"edges": (SCORES,)}, "edge_reason"),
        ({"edges": (Meaning(docs=Documents(label="elsewhere")),)}, "base"),
        ({"min_similarity": 1.5}, "min_similarity"),
    ],
)
def test_what_cannot_be_answered_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        stage_of(**fields)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 30), max_size=6), st.integers(0, 100), st.integers(WINDOW + 1, 60))
def test_buckets_give_the_first_and_the_texts_before_but_no_two_known_ones(sizes, ours, space):
    keys = np.repeat(np.arange(len(sizes), dtype=np.uint64), sizes)
    numbers = np.random.default_rng(sum(sizes)).permutation(len(keys))
    numbers = np.concatenate([np.empty(0, np.int64), *(np.sort(numbers[keys == key]) for key in range(len(sizes)))])
    numbers = numbers.astype(np.uint32)
    expected = []
    for key in range(len(sizes)):
        texts = numbers[keys == key].tolist()
        for place, text in enumerate(texts):
            others = {*texts[:place][:1], *texts[max(place - WINDOW, 0) : place]}
            expected += [(other, text) for other in others if other < ours]
    found, at = [], (0, 0)
    first, second = np.empty(space, np.uint32), np.empty(space, np.uint32)
    while at[0] < len(keys):
        at, held = bucket_pairs(keys, numbers, np.ones(len(keys), bool), ours, at, (first, second))
        found += zip(first[:held].tolist(), second[:held].tolist(), strict=True)
    assert sorted(found) == sorted(expected)
    counts = [size for size in sizes if size > 1]
    assert buckets(keys, np.ones(len(keys), np.int64)) == (len(counts), max(sizes, default=0))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(2**63, 2**63 + 3), max_size=60))
def test_sorted_order_is_a_stable_sort(keys):
    keys = np.array(keys, np.uint64)
    order, found = sorted_order(keys)
    assert order.tolist() == np.argsort(keys, kind="stable").tolist()
    assert np.array_equal(found, keys[order])


def test_keys_that_agree_in_all_leading_bits_are_sorted_too():
    keys = np.random.default_rng(1).integers(0, 50, 3000).astype(np.uint64)
    order, _ = sorted_order(keys)
    assert order.tolist() == np.argsort(keys, kind="stable").tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40))
def test_distinct_groups_equal_keys_in_order(pairs):
    wide = np.array(pairs, np.uint64).reshape(-1, 2)
    order, begins = distinct(wide)
    groups = [[]]
    for row, new in zip(order.tolist(), begins.tolist(), strict=True):
        groups = [*groups, [row]] if new else [*groups[:-1], [*groups[-1], row]]
    expected = {}
    for row, pair in enumerate(pairs):
        expected.setdefault(pair, []).append(row)
    assert sorted(groups[1:]) == sorted(expected.values())
