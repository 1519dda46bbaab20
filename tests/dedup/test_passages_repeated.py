"""Repeated passages on an in-memory desk: against plain Python, and whatever the cutting, order and memory."""

import random
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
import xxhash

from hare_ray.dedup.passages import Passages
from hare_ray.dedup.plan import cut_of
from hare_ray.dedup.repeated_passages import RepeatedPassages
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Table
from tests.dedup.crawl import MemoryDesk


class Documents(Table):
    writes = DOCUMENT


DOCS = Documents(label="docs")
PASSAGES = Passages(docs=DOCS, unit="line", min_words=3)
HASH = PASSAGES.prepare(lambda stage: Path())


def document(text, number=None):
    """The id begins with `number`, so that tests know which comes first."""
    digest = xxhash.xxh3_128_digest((text or "").encode())
    first = digest if number is None else number.to_bytes(8, "big") + digest[8:]
    return {"id": first, "url": "https://x", "file": "a", "offset": 0, "title": None, "text": text}


def repeated(rows, cuts=(), memory_bytes=1 << 30, max_documents=1, min_share=0.8):
    """Verdicts per row, edges as row numbers, with the rows cut into parts at `cuts`; and the books."""
    edges = [0, *sorted(cuts), len(rows)]
    parts = [pa.Table.from_pylist(rows[a:b], DOCUMENT) for a, b in pairwise(edges)]
    stage = RepeatedPassages(
        docs=DOCS, passages=PASSAGES, max_documents=max_documents, min_share=min_share, memory_bytes=memory_bytes
    )
    desk = MemoryDesk({"docs": parts, PASSAGES.name: [HASH(part) for part in parts]})
    books = stage.gather(desk)
    assert [len(desk.written[part]) for part in range(len(parts))] == [len(part) for part in parts]
    assert all(table.schema == stage.schema() for table in desk.written.values())
    verdicts = [row for part in range(len(parts)) for row in desk.written[part].to_pylist()]
    for verdict in verdicts:
        at = zip(verdict.pop("edge_part"), verdict.pop("edge_row"), strict=True)
        verdict["edges"] = [(edges[part] + row) for part, row in at]
    return verdicts, books


def gone(rows, **how):
    return [verdict["repeated"] for verdict in repeated(rows, **how)[0]]


def edges(rows, **how):
    return [verdict["edges"] for verdict in repeated(rows, **how)[0]]


A, B, C, D = "this is line a", "this is line b", "this is line c", "this is line d"


def lines(*some):
    return "\n".join(some)


def test_the_first_copy_by_id_stays():
    rows = [document(lines(A, B), 7), document(lines("nothing else", B, C), 3), document(lines(C, "x", B.upper()), 5)]
    assert gone(rows) == [[1], [], [0, 2]]
    assert [round(v["repeated_share"], 3) for v in repeated(rows)[0]] == [0.5, 0, round(8 / 9, 3)]
    assert repeated(rows)[1] == {"passages_compared": 6, "passages_shared": 2}


def test_only_what_more_documents_have_goes():
    rows = [document(lines(A, B, f"this is number {n}"), n) for n in range(3)] + [document(B, 9)]
    assert gone(rows, max_documents=3) == [[], [1], [1], [0]]
    assert gone(rows, max_documents=4) == [[]] * 4


def test_within_a_document_the_first_place_stays():
    rows = [document(lines(A, B, A, A)), document(lines(C, C, "read more", "read more"))]
    assert gone(rows) == [[2, 3], [1]]
    assert gone(rows, max_documents=5) == [[2, 3], [1]]
    assert edges(rows) == [[], []]


def test_a_repeat_within_counts_once_and_goes_with_the_rest():
    rows = [document(lines(A, A), 1), document(lines(B, A, A), 2)]
    assert gone(rows) == [[1], [1, 2]]
    assert gone(rows, max_documents=2) == [[1], [2]]


def test_rows_of_one_record_get_one_answer():
    rows = [document(lines(A, B), 1), document(lines(A, B), 1), document(lines(B, C), 2)]
    assert gone(rows) == [[], [], [0]]
    assert gone(rows, max_documents=2) == [[], [], []]
    assert edges(rows) == [[], [], []]


@pytest.mark.parametrize("ids", [(1, 2), (2, 1)])
def test_a_part_of_another_document_points_to_it_whichever_is_first(ids):
    rows = [document(lines(A, B, C, D), ids[0]), document(lines(B, C), ids[1])]
    assert edges(rows) == [[], [0]]
    assert edges(rows, max_documents=9) == [[], [0]]


def test_similarity_is_the_share_of_words_in_the_other():
    verdicts, _ = repeated([document(lines(A, B, C, D)), document(lines(A, B, C, "one other"))], min_share=0.8)
    assert [round(v["edge_similarity"][0], 4) if v["edges"] else None for v in verdicts] == [None, round(12 / 14, 4)]
    assert edges([document(lines(A, B, C, D)), document(lines(A, B, C, "one other"))], min_share=0.9) == [[], []]


def test_two_long_documents_are_not_tied_by_a_short_one_in_both():
    long = [lines(A, *(f"{who} says number {n}" for n in range(9))) for who in ("anne", "bert")]
    for ids in ((1, 2, 3), (2, 3, 1), (1, 3, 2)):
        found = edges([document(text, n) for text, n in zip([*long, A], ids, strict=True)])
        assert found[:2] == [[], []] and found[2] in ([0], [1])


def test_of_several_the_document_with_most_of_the_words():
    rows = [document(lines(A, B, C, D), 3), document(lines(A, B, "x y z"), 1), document(lines(A, B, C, "x"), 2)]
    assert edges(rows) == [[], [], [0]]
    assert edges(rows, min_share=0.7) == [[2], [2], [0]]


def test_no_rows_empty_parts_and_texts_without_words():
    assert repeated([], cuts=())[0] == []
    rows = [document(None), document(""), document("...\n\n..."), document(A, 1), document(A, 2)]
    assert gone(rows, cuts=(0, 2, 2, 5)) == [[], [], [], [], [0]]


def reference(rows, max_documents, min_share):
    """All pairs in plain Python; for edges only who may point to whom, with the share."""
    split = [row["text"].split("\n") for row in rows]
    held, words = defaultdict(set), [sum(len(line.split()) for line in some) for some in split]
    for number, some in enumerate(split):
        for line in some:
            if len(line.split()) >= 3:
                held[line].add((rows[number]["id"], number))
    goes = []
    for number, some in enumerate(split):
        seen, found = set(), []
        for place, line in enumerate(some):
            if line in held:
                later = line in seen or (len(held[line]) > max_documents and min(held[line])[1] != number)
                found += [place] * later
                seen.add(line)
        goes.append(found)
    shared = defaultdict(int)
    for line, holders in held.items():
        for _, one in holders:
            for _, two in holders:
                shared[one, two] += len(line.split()) * (one != two)
    within = {pair: n / words[pair[0]] for pair, n in shared.items() if n and n >= min_share * words[pair[0]]}
    return goes, within


def corpus(seed):
    """Documents of lines from a pool, some common and some rare, and pieces of other documents."""
    draw = random.Random(seed)
    pool = [f"line {n} of the pool" for n in range(60)] + ["short one", "\u4eca \u5929 \u597d"]
    texts = []
    for number in range(40):
        some = [pool[min(int(draw.expovariate(0.08)), 61)] for _ in range(draw.randrange(1, 6))]
        some += [f"own line {number} {n}" for n in range(draw.randrange(4))]
        if texts and draw.random() < 0.4:
            source = draw.choice(texts).split("\n")
            some = source[draw.randrange(len(source)) :] + some[: draw.randrange(2)]
        texts.append(lines(*some))
    return [document(text) for text in dict.fromkeys(texts)]


@pytest.mark.parametrize("max_documents", [1, 3])
def test_equals_plain_python(max_documents):
    pointed = possible = 0
    for seed in range(12):
        rows = corpus(seed)
        verdicts, _ = repeated(rows, cuts=(5, 17), max_documents=max_documents, min_share=0.75)
        goes, within = reference(rows, max_documents, 0.75)
        assert [v["repeated"] for v in verdicts] == goes
        for number, verdict in enumerate(verdicts):
            assert len(verdict["edges"]) <= 1
            for other, share in zip(verdict["edges"], verdict["edge_similarity"], strict=True):
                assert (number, other) in within
                assert share <= within[number, other] + 1e-6
        pointed += sum(bool(v["edges"]) for v in verdicts)
        possible += len({number for number, _ in within})
    assert pointed >= 0.9 * possible > 50


def test_no_containment_is_missed_where_at_most_five_documents_have_a_passage():
    draw = random.Random(7)
    families = [[f"line {n} of family {number}" for n in range(12)] for number in range(60)]
    texts = [lines(*draw.sample(some, draw.randrange(3, 12))) for some in families for _ in range(5)]
    rows = [document(text) for text in dict.fromkeys(texts)]
    within = {number for number, _ in reference(rows, 1, 0.8)[1]}
    assert {number for number, found in enumerate(edges(rows)) if found} == within and len(within) > 50


def test_result_does_not_depend_on_order_parts_or_memory():
    rows = corpus(3) + corpus(4)
    rows = list({row["id"]: row for row in rows}.values())

    def answers(order, **how):
        some = [rows[i] for i in order]
        found, books = repeated(some, max_documents=2, **how)
        for verdict in found:
            verdict["edges"] = [some[n]["id"] for n in verdict["edges"]]
        return {row["id"]: verdict for row, verdict in zip(some, found, strict=True)}, books

    expected = answers(range(len(rows)))
    assert any(v["edges"] for v in expected[0].values()) and any(v["repeated"] for v in expected[0].values())
    draw = random.Random(6)
    for memory_bytes in (1 << 30, 9_000, 2_000):
        for parts in (1, 2, 11):
            cuts = [draw.randrange(len(rows)) for _ in range(parts - 1)]
            assert answers(draw.sample(range(len(rows)), len(rows)), cuts=cuts, memory_bytes=memory_bytes) == expected


@pytest.mark.parametrize("max_documents", [1, 299, 300])
def test_a_footer_in_pieces_is_paired_as_in_one(max_documents):
    rows = [document(lines("the footer of all", *(f"own line {n} {m}" for m in range(1 + n % 3)))) for n in range(300)]
    rows = [*rows, rows[7], rows[250]]
    calm = repeated(rows, max_documents=max_documents)
    assert sum(len(v["repeated"]) for v in calm[0]) == (0 if max_documents == 300 else len(rows) - 1)
    for memory_bytes in (60_000, 3_000):
        assert repeated(rows, (100, 180), memory_bytes, max_documents) == calm


def test_a_killed_run_does_only_what_is_missing():
    rows = corpus(5)
    parts = [pa.Table.from_pylist(rows[a:b], DOCUMENT) for a, b in pairwise([0, 9, 20, len(rows)])]
    stage = RepeatedPassages(docs=DOCS, passages=PASSAGES, max_documents=1, min_share=0.8, memory_bytes=9_000)
    desk = MemoryDesk({"docs": parts, PASSAGES.name: [HASH(part) for part in parts]})
    books, written = stage.gather(desk), desk.written
    for name in [name for name in desk.objects if "contain-done-1" in name or "write-done" in name]:
        del desk.objects[name]
    desk.ran, desk.written = [], {}
    assert stage.gather(desk) == books
    assert desk.ran == [("contain", 1), *(("write", group) for group in range(3))]
    assert desk.written == written


def test_less_memory_means_more_ranges_and_groups():
    assert cut_of([100], [300], 256, 1 << 30).partitions == 1
    plan = cut_of([1000] * 50, [3000] * 50, 256, 1 << 20)
    assert plan.partitions == 64 and 30 < len(plan.groups) <= 37
    assert [part for group in plan.groups for part in group] == list(range(50))


def test_passages_of_other_documents_and_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="base"):
        RepeatedPassages(docs=Documents(label="other"), passages=PASSAGES, max_documents=1, min_share=0.8)
    with pytest.raises(ValueError, match="max_documents=0"):
        RepeatedPassages(docs=DOCS, passages=PASSAGES, max_documents=0, min_share=0.8)
    with pytest.raises(ValueError, match="min_share=0"):
        RepeatedPassages(docs=DOCS, passages=PASSAGES, max_documents=1, min_share=0)


def test_memory_does_not_change_the_fingerprint():
    one, two = (
        RepeatedPassages(docs=DOCS, passages=PASSAGES, max_documents=1, min_share=0.8, memory_bytes=n) for n in (1, 2)
    )
    assert one.fingerprint == two.fingerprint
