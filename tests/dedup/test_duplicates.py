"""Duplicates of texts on an in-memory desk: reasons, the rule of the kept copy, independence of order and cutting."""

import os
import random
from pathlib import Path

import pytest

from hare_ray.dedup.duplicates import Duplicates
from hare_ray.dedup.index_files import IndexFiles
from hare_ray.dedup.plan import BYTES_PER_KNOWN, bytes_per_text, plan_of
from hare_ray.schema import DOCUMENT
from tests.corpus.reading import json_lines, read_bytes
from tests.dedup.crawl import DOCS, SIGNATURE, Documents, document, duplicates, words


def reasons(rows, **how):
    return [verdict["reason"] for verdict in duplicates(rows, **how)]


def test_unique_documents_are_clusters_of_their_own():
    rows = [document(" ".join(words(60, seed))) for seed in range(20)]
    for row, verdict in zip(rows, duplicates(rows, cuts=(7, 7, 13)), strict=True):
        assert verdict == {
            "reason": None,
            "detail": None,
            "duplicate_cluster": row["id"],
            "duplicates": 1,
            "similarity": None,
        }


def test_same_record_keeps_the_first_by_file_and_offset():
    text = " ".join(words(50, 1))
    rows = [document(text, "https://a", file, offset) for file, offset in [("b", 0), ("a", 9), ("a", 5)]]
    verdicts = duplicates(rows, cuts=(1,))
    assert [v["reason"] for v in verdicts] == ["same_record", "same_record", None]
    assert {v["detail"] for v in verdicts} == {"https://a", None}
    assert {v["duplicates"] for v in verdicts} == {3}


def test_a_record_read_from_two_files_is_the_same_record(tmp_path):
    crawled = [{"text": " ".join(words(50, seed)), "url": f"https://{seed}"} for seed in range(2)]
    files = {"a.jsonl": crawled, "b.jsonl": crawled[1:]}
    read = [row for name, rows in files.items() for row in read_bytes(tmp_path, json_lines(rows), name).to_pylist()]
    rows = [{**row, "text": row["payload"].decode()} for row in read]
    rows = [{name: row[name] for name in DOCUMENT.names} for row in rows]
    assert [(v["reason"], v["detail"], v["duplicates"]) for v in duplicates(rows, cuts=(2,))] == [
        (None, None, 1),
        (None, None, 2),
        ("same_record", "https://1", 2),
    ]


def test_exact_duplicate_names_the_kept_copy():
    text = " ".join(words(50, 2))
    rows = [document(text, "https://a"), document(text.upper() + "!", "https://b")]
    kept = min(rows, key=lambda row: row["id"])
    for row, verdict in zip(rows, duplicates(rows), strict=True):
        assert verdict["duplicate_cluster"] == kept["id"]
        assert (verdict["reason"], verdict["detail"]) == (
            (None, None) if row is kept else ("exact_duplicate", kept["url"])
        )


def test_near_duplicate_keeps_the_copy_with_most_words():
    text = words(300, 3)
    rows = [document(" ".join(text[:n]), f"https://{n}") for n in (298, 300, 299)]
    assert [(v["reason"], v["detail"]) for v in duplicates(rows, cuts=(1, 2))] == [
        ("near_duplicate", "https://300"),
        (None, None),
        ("near_duplicate", "https://300"),
    ]


def test_reasons_speak_of_the_kept_copy():
    long, short = words(300, 4), words(300, 4)[:-1]
    rows = [document(" ".join(long), "https://l"), document(" ".join(short), "https://s", offset=1)]
    rows += [document(" ".join(long), "https://l2"), document(" ".join(short), "https://s", offset=2)]
    verdicts = reasons(rows)
    assert sorted(map(str, (verdicts[0], verdicts[2]))) == ["None", "exact_duplicate"]
    assert (verdicts[1], verdicts[3]) == ("near_duplicate", "near_duplicate")


def test_short_documents_meet_only_their_equals():
    texts = ["one two", "two one", "one", "one two three", "ONE, two!", "a b c d", "a b c e"]
    verdicts = duplicates([document(text, f"https://{i}") for i, text in enumerate(texts)])
    assert [v["duplicates"] for v in verdicts] == [2, 1, 1, 1, 2, 1, 1]
    assert sorted(str(v["reason"]) for v in verdicts if v["duplicates"] == 2) == ["None", "exact_duplicate"]


@pytest.mark.parametrize("text", ["", None, " \n\t", "...!?"])
def test_documents_without_words_are_dropped_and_never_copies(text):
    rows = [document(text, "https://a", offset=i) for i in range(4)]
    for row, verdict in zip(rows, duplicates(rows), strict=True):
        assert verdict == {
            "reason": "no_words", "detail": None, "duplicate_cluster": row["id"], "duplicates": 1, "similarity": None,
        }  # fmt: skip


def test_no_rows_and_empty_parts():
    assert duplicates([]) == []
    assert reasons([document("x y z")], cuts=(0, 1)) == [None]


def edited(text, kind):
    if kind == "wrapped":
        return "\r\n  ".join(text.split(" "))
    if kind == "cased":
        return text.swapcase()
    return text.replace(".", "").replace(",", "").replace("-", " ").replace("'", "")


@pytest.mark.parametrize("kind", ["wrapped", "cased", "unpunctuated"])
def test_surface_edits_are_all_found(kind):
    texts = [", it's well-known. ".join([" ".join(words(9, 100 * s + i)) for i in range(5)]) for s in range(50)]
    rows = [document(text, f"https://{i}") for i, text in enumerate(texts)]
    rows += [document(edited(text, kind), f"https://{i}/{kind}") for i, text in enumerate(texts)]
    assert sum(reason == "exact_duplicate" for reason in reasons(rows)) == 50


def corpus():
    """Chains of near-duplicates, exact copies, repeated records, short and empty texts."""
    draw = random.Random(5)
    rows = []
    for seed in range(25):
        text = words(draw.randrange(3, 120), seed)
        for copy in range(draw.randrange(1, 5)):
            if draw.random() < 0.5 and len(text) > 30:
                text = [*text[1:], f"x{copy}"]
            url = f"https://{seed}/{copy}"
            rows.append(document(" ".join(text), url, f"f{draw.randrange(3)}", len(rows)))
            if draw.random() < 0.3:
                rows.append({**rows[-1], "file": f"f{draw.randrange(3)}", "offset": 1000 + len(rows)})
    return [*rows, document("", "https://e1"), document("", "https://e2")]


def test_result_does_not_depend_on_order_parts_or_memory():
    rows = corpus()
    key = [(row["file"], row["offset"], row["url"]) for row in rows]
    expected = dict(zip(key, duplicates(rows), strict=True))
    assert {v["reason"] for v in expected.values()} == {
        None,
        "same_record",
        "exact_duplicate",
        "near_duplicate",
        "no_words",
    }
    draw = random.Random(6)
    for memory_bytes in (1 << 30, 40_000, 5_000):
        for parts in (1, 2, 11):
            order = draw.sample(range(len(rows)), len(rows))
            cuts = [draw.randrange(len(rows)) for _ in range(parts - 1)]
            verdicts = duplicates([rows[i] for i in order], cuts, memory_bytes=memory_bytes)
            assert dict(zip([key[i] for i in order], verdicts, strict=True)) == expected


def test_every_cluster_keeps_exactly_one_row():
    verdicts = duplicates(corpus(), cuts=(5, 30))
    for cluster in {v["duplicate_cluster"] for v in verdicts if v["reason"] != "no_words"}:
        members = [v for v in verdicts if v["duplicate_cluster"] == cluster]
        assert [v["reason"] for v in members].count(None) == 1
        assert {v["duplicates"] for v in members} == {len(members)}


def test_less_memory_means_more_partitions_and_groups():
    assert plan_of([100], (14, 112), 1 << 30).partitions == 1
    plan = plan_of([1000] * 50, (14, 112), 1 << 20)
    assert (plan.partitions, plan.band_bits) == (64, 6)
    assert 30 < len(plan.groups) <= 50
    assert [part for group in plan.groups for part in group] == list(range(50))


def test_known_texts_count_in_the_plan():
    memory_bytes, old = 1 << 30, 10**9
    index = IndexFiles(DOCS, (old // 2048,) * 2048, (), (), 112)
    alone, plan = (plan_of([50_000] * 20, (14, 112), memory_bytes, known) for known in ((), (index,)))
    assert plan.groups == alone.groups
    assert alone.partitions < old * BYTES_PER_KNOWN / memory_bytes < plan.partitions < 4 * old * 112 / memory_bytes
    assert (10**6 * bytes_per_text(112) + old * BYTES_PER_KNOWN) / plan.partitions <= memory_bytes


def test_signatures_of_other_documents_are_refused():
    other = Documents(label="other")
    with pytest.raises(ValueError, match="base"):
        Duplicates(docs=other, signatures=SIGNATURE, min_similarity=0.5, prefer=())


def test_memory_does_not_change_the_fingerprint():
    one, two = (
        Duplicates(docs=DOCS, signatures=SIGNATURE, min_similarity=0.5, prefer=(), memory_bytes=m) for m in (1, 2)
    )
    assert one.fingerprint == two.fingerprint


@pytest.mark.parametrize("name", ["articles_100", "articles_1000"])
def test_planted_pairs_in_real_articles_are_all_found(name):
    if "HARE_DATA" not in os.environ:
        pytest.skip("HARE_DATA is not set")
    folder = Path(os.environ["HARE_DATA"]) / "dedup"
    lines = (folder / f"{name}.train").read_text().splitlines()
    rows = [document(line.split(" ", 1)[1], f"https://{line.split(' ', 1)[0]}") for line in lines]
    verdicts = dict(zip([row["url"] for row in rows], duplicates(rows, cuts=(30, 60)), strict=True))
    pairs = [line.split() for line in (folder / f"{name}.truth").read_text().splitlines()]
    for first, second in pairs:
        one, two = verdicts[f"https://{first}"], verdicts[f"https://{second}"]
        assert one["duplicate_cluster"] == two["duplicate_cluster"]
        assert (one["reason"] is None) != (two["reason"] is None)
    assert sum(v["reason"] is not None for v in verdicts.values()) == len(pairs)
