"""LeakIndex: what is covered and what is not, and that looking for anchors alone loses nothing."""

import json
import random
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hare_ray.leakage.anchors import Weights, spread_anchors, window_anchors
from hare_ray.leakage.index import LeakIndex
from hare_ray.leakage.leaks import Rule
from hare_ray.leakage.phrasings import Item, answered, in_context, listed
from hare_ray.leakage.scan import Index
from hare_ray.text import words_of
from tests.leakage.planted import NUMBERS, Given, built, checked, item

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
EXACT = Rule(min_hits=1, max_overlap=0.0, reworded_share=None)


@pytest.fixture(scope="module")
def exam(tmp_path_factory):
    items = [
        item("long", LONG),
        item("short", "Which rare metals float nowhere?", ("tin",), "tin"),
        item("joined", "Why?", ("because of all these many words here", "or because of all these others")),
        item("tiny", "Why?", (), "So."),
        item("empty", None),
        item("short", "Which rare metals sink everywhere?", benchmark="other", split="train"),
    ]
    common = [item(str(i), "this that and then", benchmark="common") for i in range(60)]
    return built(tmp_path_factory.mktemp("exam"), items, common, row_group_size=2)


def test_coverage_adds_up_and_names_what_is_unchecked(exam):
    _, out, books = exam
    coverage = json.loads((out / "coverage.json").read_text())
    assert coverage == {
        "exam": {"test": {"items": 5, "ngram": 1, "short_exact": 1, "joined": 1, "unchecked": 2}},
        "other": {"train": {"items": 1, "ngram": 0, "short_exact": 1, "joined": 0, "unchecked": 0}},
        "common": {"test": {"items": 60, "ngram": 0, "short_exact": 0, "joined": 0, "unchecked": 60}},
    }
    lines = [json.loads(line) for line in (out / "unchecked.jsonl").read_text().splitlines()]
    assert lines[0] == {"benchmark": "exam", "split": "test", "id": "tiny", "words": 1, "reason": "too_short"}
    assert lines[1]["id"] == "empty" and lines[2]["reason"] == "too_common"
    assert {"items": 66, "ngram": 1, "short_exact": 2, "joined": 1, "unchecked": 62}.items() <= books.items()


def test_only_questions_with_a_rare_anchor_count_as_looked_for_reworded(exam):
    _, out, books = exam
    rows = pq.read_table(out / "items.parquet").to_pylist()
    assert [row["id"] for row in rows if row["reworded"]] == ["long", "joined"]
    assert books["reworded"] == 2


def test_index_bytes_are_the_same_again(tmp_path):
    items = [item("a", LONG, ("x y", "z"), "z"), item("b", "Which rare metals float nowhere?")]
    first, again = (built(tmp_path / name, items)[1] for name in ("one", "two"))
    files = sorted(path.name for path in first.iterdir())
    assert files == sorted(path.name for path in again.iterdir())
    assert all((again / name).read_bytes() == (first / name).read_bytes() for name in files)


def test_an_ngram_belongs_to_the_first_item(tmp_path):
    index, out, _ = built(tmp_path, [item("b", LONG), item("a", LONG)])
    assert checked((index, out), [LONG])[0]["detail"] == "exam/test/b"


def test_of_items_with_one_text_that_with_it_in_the_question_is_named_within_a_batch(tmp_path):
    index, out, _ = built(tmp_path, [item("a", "Why now?", (), LONG), item("b", LONG)])
    assert checked((index, out), [LONG])[0]["detail"] == "exam/test/b"


def test_the_method_is_that_of_the_bare_question(tmp_path):
    passage = "Zinc whiskers short circuits"
    items = [
        item("bare", "Which rare metals float nowhere?", (), "tin", f"{LONG} fifteen"),
        item("passage", "Is it?", (), "yes", passage),
        item("alone", "Is it?"),
    ]
    index, out, _ = built(tmp_path, items)
    methods = pq.read_table(out / "items.parquet").select(["words", "method"]).to_pylist()
    assert [tuple(row.values()) for row in methods] == [(5, "short_exact"), (2, "joined"), (2, "unchecked")]
    texts = ["Which rare metals float nowhere?", LONG, passage, f"{passage}. Is it?", "Is it?"]
    found = [row["leak_item"] for row in checked((index, out), texts, EXACT)]
    assert found == ["bare", "bare", "passage", "passage", None]


def test_items_without_a_column_for_passages_are_read(tmp_path):
    rows = [{name: value for name, value in item("a", LONG).items() if name != "context"}]
    index, out, books = built(tmp_path, rows)
    assert books["ngram"] == 1 and checked((index, out), [LONG])[0]["leak_item"] == "a"


def test_no_items_find_nothing(tmp_path):
    index, out, books = built(tmp_path, [])
    assert books["items"] == 0 and json.loads((out / "coverage.json").read_text()) == {}
    assert [verdict["reason"] for verdict in checked((index, out), [LONG, "", None])] == [None] * 3


@pytest.mark.parametrize(("ngram", "anchor_words"), [(13, 4), (13, 3), (8, 4), (4, 4), (5, 1), (6, 5)])
def test_every_ngram_in_common_is_found(tmp_path, ngram, anchor_words):
    """Against sets of tuples, on words so few that there are overlaps everywhere."""
    draw = random.Random(ngram)

    def text(count):
        return [f"w{draw.randrange(12)}" for _ in range(count)]

    items = [text(draw.randrange(3, 60)) for _ in range(40)]
    documents = [text(draw.randrange(40)) for _ in range(60)]
    for document in documents[::2]:
        source = draw.choice(items)
        begin = draw.randrange(len(source))
        document[5:5] = source[begin : begin + draw.randrange(20)]
    rows = [item(str(i), " ".join(words)) for i, words in enumerate(items)]
    numbers = {"ngram": ngram, "anchor_words": anchor_words, "min_words": anchor_words}
    _, out, _ = built(tmp_path, rows, **numbers)
    index = Index.of(out)
    words = words_of(pa.array([" ".join(document) for document in documents]))
    found = index.ngrams(words, index.hits(words))
    known = {tuple(i[at : at + ngram]) for i in items for at in range(len(i) - ngram + 1)}
    expected = [
        (number, at)
        for number, document in enumerate(documents)
        for at in range(len(document) - ngram + 1)
        if tuple(document[at : at + ngram]) in known
    ]
    firsts = found.firsts - words.offsets[found.documents]
    assert list(zip(found.documents.tolist(), firsts.tolist(), strict=True)) == expected and len(expected) >= 15


def test_every_window_holds_an_anchor_and_spread_anchors_lie_apart():
    draw = np.random.default_rng(0)
    weights = draw.random(500, np.float32)
    offsets = np.array([0, 200, 205, 205, 500])
    anchors = set(window_anchors(weights, offsets, 13, 4).tolist())
    for begin, stop in pairwise(offsets):
        for first in range(begin, stop - 12):
            assert anchors & set(range(first, first + 10))
    starts, documents = spread_anchors(weights, offsets, 5, 4)
    assert np.bincount(documents, minlength=4).tolist() == [5, 2, 0, 5]
    assert all(offsets[d] <= at <= offsets[d + 1] - 4 for at, d in zip(starts, documents, strict=True))


def test_weights_count_items_not_words():
    words = np.array([7, 7, 9, 9, 7], np.uint64)
    weights = Weights.none().plus(words, np.array([0, 3, 5])).plus(words[:2], np.array([0, 1, 2]))
    assert weights.words.tolist() == [7, 9] and weights.items.tolist() == [4, 2] and weights.total == 4
    seven, nine, other = weights.of(np.array([7, 9, 11], np.uint64)).tolist()
    assert 0 < seven < nine < other == 1


def test_forms_of_an_item():
    one = Item("b", "s", "1", "Is _ big?", ["ox", "ant"], "ox")
    assert listed(one) == ["Is _ big? A ox B ant", "Is _ big? 1 ox 2 ant"]
    assert answered(one) == ["Is _ big?\nox", "Is _ big?\nAnswer: ox", "Is ox big?", "Is ant big?"]
    many = Item("b", "s", "3", "Which?", [f"c{n}" for n in range(10)], None)
    assert listed(many)[0].endswith("I c8 J c9") and listed(many)[1].endswith("9 c8 10 c9")
    assert len(listed(many._replace(choices=["c"] * 27))) == 1
    assert in_context(one) == [] and in_context(one._replace(context="It is.")) == ["It is.", "It is.\nIs _ big?"]
    name = Item("b", "s", "2", "What does snake_case_ mean?", ["x"], None)
    assert answered(name) == []


@pytest.mark.parametrize(
    "wrong",
    [{"min_words": 14}, {"anchor_words": 5}, {"anchor_words": 0}, {"anchors_per_question": 0}, {"min_weight": -1.0}],
)
def test_meaningless_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        LeakIndex(benchmarks=(Given(),), **{**NUMBERS, **wrong})


def test_recipe_holds_every_number(exam):
    assert NUMBERS.items() <= exam[0].recipe["fields"].items()
    assert exam[0].inputs.keys() == {"benchmarks"}
    settings = json.loads((exam[1] / "settings.json").read_text())
    assert settings == NUMBERS
