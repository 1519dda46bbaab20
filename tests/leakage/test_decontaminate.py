"""LeakIndex and Decontaminate: planted leaks, coverage, no false alarms, one crafted document per reason."""

import gzip
import json
import os
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.leakage.decontaminate import Decontaminate, leading
from hare_ray.leakage.index import LeakIndex, read_items, texts_in
from hare_ray.leakage.lookup import KeySet
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Make, Table

FIELDS = ("question", "query", "sentence_good", "ctx", "text", "choices", "endings", "mc1_targets", "answer")


class Documents(Table):
    writes = DOCUMENT


class Given(Make):
    """Files that exist already; the fingerprint does not matter here."""


DOCS = Documents()


def built(folder, *sources, ngram=13, min_words=5):
    """The index over folders of files, its folder, and what it consumed."""
    stages = {Given(label=f"given{i}"): source for i, source in enumerate(sources)}
    index = LeakIndex(items=tuple(stages), text_fields=FIELDS, ngram=ngram, min_words=min_words)
    out = folder / "index"
    out.mkdir()
    desk = SimpleNamespace(
        folder=out, files=lambda stage: stages[stage], names=lambda stage: [p.name for p in stages[stage].iterdir()]
    )
    consumed = index.make(desk)
    return index, out, consumed


def checked(index, out, texts, min_hits=1, max_overlap=0.0):
    stage = Decontaminate(docs=DOCS, index=index, min_hits=min_hits, max_overlap=max_overlap)
    table = stage.prepare(lambda stage: out)(pa.table({"text": pa.array(texts, pa.large_string())}))
    assert table.schema == stage.schema()
    return table.to_pylist()


QUESTION = (
    "Farmer Giles sells 16 fresh eggs each morning at the county market, and eats three of them for his "
    "breakfast. How many dollars does he earn?"
)
OPTIONS = ["twenty-two dollars", "none at all", "he's losing money"]
SHORT = "Which of these metals floats on cold water?"


@pytest.fixture
def index(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    exam = [
        {"id": "long", "question": QUESTION, "choices": OPTIONS, "answer": "twenty-two dollars"},
        {"id": "short", "question": SHORT, "choices": ["lead", "sodium", "gold"], "answer": 1},
        {
            "id": "joined",
            "question": "Floats?",
            "choices": ["lead and gold and even iron", "sodium but not any of the others"],
        },
    ]
    with gzip.open(source / "exam.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write("".join(json.dumps(item) + "\n" for item in exam))
    pairs = [{"sentence_good": "Who left the room?"}, {"sentence_good": "All of the cats left the room."}]
    (source / "pairs.jsonl").write_text("".join(json.dumps(item) + "\n" for item in pairs))
    return built(tmp_path, source)


def unrelated(count=400, seed=0):
    draw = random.Random(seed)
    return " ".join(f"word{draw.randrange(5000)}" for _ in range(count))


def test_leaked_ngram_is_dropped_and_named(index):
    verdict = checked(*index[:2], [f"{unrelated(100)} {QUESTION} {unrelated(100)}"])[0]
    assert (verdict["reason"], verdict["detail"]) == ("leaked_ngram", "exam/long")
    assert verdict["leak_benchmark"] == "exam"
    grams = len(QUESTION.split()) - 12
    assert verdict["leak_overlap"] == pytest.approx(grams / (200 + grams), abs=1e-6)


def test_leaked_short_item_is_dropped_and_named(index):
    verdict = checked(*index[:2], [f"{unrelated(50)} {SHORT} Sodium."])[0]
    assert verdict["reason"] == "leaked_short_item" and verdict["detail"] == "exam/short"
    assert verdict["leak_benchmark"] == "exam" and verdict["leak_overlap"] == 0


@pytest.mark.parametrize(
    "text",
    [
        QUESTION,
        QUESTION.upper(),
        QUESTION.replace(" ", "\n"),
        QUESTION.replace(",", "").replace(".", " -- ").replace("?", ""),
        "**Question:** _" + QUESTION.replace("county market", "[county market](https://x.org)") + "_",
        QUESTION + "\nAnswer: 72",
        QUESTION + " (A) " + " (B) ".join(OPTIONS),
        "Q: " + QUESTION.replace("eggs", "\u201ceggs\u201d").replace("each", "e\u0301ach".replace("\u0301", "")),
        SHORT + " lead sodium gold",
        "Floats?\n- lead and gold and even iron\n- sodium but not any of the others",
        SHORT.lower().replace(" ", " \t"),
        f"<b>{SHORT}</b>",
        "all of the cats; left the room",
    ],
)
def test_planted_leaks_are_all_found(index, text):
    assert checked(*index[:2], [f"{unrelated()} {text} {unrelated(seed=1)}"])[0]["reason"] is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        None,
        unrelated(),
        QUESTION.split(".")[0].rsplit(" ", 10)[0],
        " ".join(reversed(QUESTION.split())),
        "Which of these metals floats on cold mercury?",
        "Which of these metals floats on cold",
        "Who left the room?",
        "Floats?",
    ],
)
def test_what_is_no_leak_is_kept(index, text):
    verdict = checked(*index[:2], [text])[0]
    assert verdict == {"leak_benchmark": None, "leak_overlap": 0, "reason": None, "detail": None}


def test_items_do_not_reach_over_the_end_of_a_document(index):
    words = QUESTION.split()
    halves = [" ".join(words[:12]), " ".join(words[12:24]), *SHORT.rsplit(" ", 2)]
    assert all(verdict["reason"] is None for verdict in checked(*index[:2], halves))


def test_verdicts_do_not_depend_on_neighbours(index):
    texts = [unrelated(), QUESTION, "", SHORT, None, unrelated(seed=2) + "." + SHORT, OPTIONS[0]]
    together = checked(*index[:2], texts)
    assert together == [checked(*index[:2], [text])[0] for text in texts]
    assert [v["reason"] is None for v in together] == [True, False, True, False, True, False, True]


def test_min_hits_and_max_overlap_must_both_be_passed(index):
    text = f"{unrelated(200)} {QUESTION}"
    grams = len(QUESTION.split()) - 12
    assert checked(*index[:2], [text], min_hits=grams)[0]["reason"] == "leaked_ngram"
    kept = checked(*index[:2], [text], min_hits=grams + 1)[0]
    assert kept["reason"] is None and kept["detail"] is None
    assert kept["leak_benchmark"] == "exam" and kept["leak_overlap"] > 0
    assert checked(*index[:2], [text, QUESTION], max_overlap=0.5)[0]["reason"] is None
    assert checked(*index[:2], [text, QUESTION], max_overlap=0.5)[1]["reason"] == "leaked_ngram"


def test_coverage_adds_up_and_names_what_is_unchecked(index):
    _, out, consumed = index
    coverage = json.loads((out / "coverage.json").read_text())
    assert coverage == {
        "exam": {"items": 3, "ngram": 1, "short_exact": 1, "joined": 1, "unchecked": 0},
        "pairs": {"items": 2, "ngram": 0, "short_exact": 1, "joined": 0, "unchecked": 1},
    }
    assert json.loads((out / "unchecked.jsonl").read_text()) == {
        "benchmark": "pairs",
        "id": "1",
        "words": 4,
        "reason": "too_short",
    }
    assert consumed == {"files": 2, "items": 5}


def test_a_benchmark_without_items_is_listed_and_finds_nothing(tmp_path):
    (tmp_path / "cloze.jsonl").write_text("")
    index, out, consumed = built(tmp_path, tmp_path)
    none = {"items": 0, "ngram": 0, "short_exact": 0, "joined": 0, "unchecked": 0}
    assert json.loads((out / "coverage.json").read_text()) == {"cloze": none}
    assert consumed == {"files": 1, "items": 0}
    assert [v["reason"] for v in checked(index, out, [QUESTION, SHORT, "", None])] == [None] * 4


def test_index_bytes_are_the_same_again(index, tmp_path):
    (tmp_path / "again").mkdir()
    _, again, _ = built(tmp_path / "again", tmp_path / "source")
    files = sorted(path.name for path in index[1].iterdir())
    assert files == sorted(path.name for path in again.iterdir())
    assert all((again / name).read_bytes() == (index[1] / name).read_bytes() for name in files)


def test_a_key_belongs_to_the_first_item(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"id": name, "text": QUESTION}) + "\n")
    index, out, _ = built(tmp_path, tmp_path)
    assert checked(index, out, [QUESTION])[0]["detail"] == "a/a"


def test_without_short_items_only_ngrams_count(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": QUESTION}) + "\n")
    index, out, _ = built(tmp_path, tmp_path)
    assert [v["reason"] for v in checked(index, out, [SHORT, QUESTION])] == [None, "leaked_ngram"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"stem": "a", "choices": [{"text": "b", "label": "A"}, {"text": "c"}]}, ["a", "b", "A", "c"]),
        ({"yes": 1, "no": 0}, ["yes", "no"]),
        ([["a"], 3, None, "b"], ["a", "b"]),
    ],
)
def test_nested_texts_are_read_in_order(value, expected):
    assert list(texts_in(value)) == expected


def test_unusable_sources_are_refused(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    with pytest.raises(ValueError, match=r"no \.jsonl"):
        built(tmp_path, one)
    for folder in (one, two):
        (folder / "same.jsonl").write_text('{"other": "text"}\n')
    with pytest.raises(ValueError, match="two benchmarks"):
        built(one, one, two)
    with pytest.raises(ValueError, match=r"line 1: given fields \['other'\]"):
        list(read_items("same", one / "same.jsonl", ("text",)))


@pytest.mark.parametrize("wrong", [{"min_hits": 0}, {"max_overlap": 1.0}, {"max_overlap": -0.1}])
def test_meaningless_thresholds_are_refused(index, wrong):
    with pytest.raises(ValueError, match="expected"):
        Decontaminate(docs=DOCS, index=index[0], **{"min_hits": 1, "max_overlap": 0.0, **wrong})
    with pytest.raises(ValueError, match="min_words"):
        LeakIndex(items=(Given(),), text_fields=FIELDS, ngram=5, min_words=6)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1)), st.lists(st.integers(0, 2**64 - 1)))
def test_key_set_is_a_set(keys, others):
    unique = np.unique(np.array(keys, np.uint64))
    asked = np.array(keys + others, np.uint64)
    at, owners = KeySet.of(unique, np.arange(len(unique), dtype=np.int32)).hits(asked)
    assert at.tolist() == [i for i, key in enumerate(asked.tolist()) if key in set(keys)]
    assert unique[owners].tolist() == asked[at].tolist()


def test_recipe_holds_every_number(index):
    numbers = {"ngram": 13, "min_words": 5, "text_fields": list(FIELDS)}
    assert numbers.items() <= index[0].recipe["fields"].items()
    assert index[0].inputs.keys() == {"items"}


def test_leading_item_has_most_hits_then_the_smallest_number():
    documents = np.array([0, 0, 0, 2, 2, 2, 2])
    items = np.array([9, 4, 9, 7, 3, 7, 3], np.int32)
    assert leading(documents, items, 4).tolist() == [9, -1, 3, -1]


def test_boolq_is_found_in_wikipedia_and_nothing_in_other_text(tmp_path):
    if "HARE_DATA" not in os.environ:
        pytest.skip("HARE_DATA is not set")
    data = Path(os.environ["HARE_DATA"])
    source = tmp_path / "source"
    source.mkdir()
    (source / "boolq_val.jsonl.gz").symlink_to(data / "eval" / "boolq_val.jsonl.gz")
    index, out, consumed = built(tmp_path, source, min_words=8)
    assert consumed["items"] == 3270

    def found(name):
        with gzip.open(data / "text" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            texts = [json.loads(line)["text"] for line in lines]
        return {verdict["detail"] for verdict in checked(index, out, texts) if verdict["reason"]}

    assert len(found("enwiki_2014_dev")) >= 10
    assert found("sms_spam") == set()
