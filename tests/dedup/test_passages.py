"""Passages of documents and texts without some of them, against plain Python."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.dedup.drop_passages import DropPassages
from hare_ray.dedup.passages import Passages
from hare_ray.dedup.repeated_passages import RepeatedPassages
from hare_ray.schema import DOCUMENT, conform
from hare_ray.stage import Table


class Documents(Table):
    writes = pa.schema([*DOCUMENT, pa.field("lang_score", pa.float32())])


DOCS = Documents(label="docs")


def stages(unit, min_words=3, words_left=1):
    passages = Passages(docs=DOCS, unit=unit, min_words=min_words)
    repeated = RepeatedPassages(docs=DOCS, passages=passages, max_documents=1, min_share=0.8)
    return passages, repeated, DropPassages(docs=DOCS, repeated=repeated, min_words=words_left)


def documents(*texts):
    rows = [
        {
            "id": bytes([n]) * 16, "url": f"https://{n}", "file": "a", "offset": n, "title": None, "text": text,
            "lang_score": 0.5,
        }
        for n, text in enumerate(texts)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, Documents.writes)


def hashed(text, unit="line", min_words=3):
    row = stages(unit, min_words)[0].prepare(lambda stage: stage)(documents(text)).to_pylist()[0]
    return row["passages"], row["passage_words"]


def without(text, numbers, unit="line", words_left=1):
    """The text and the reason after these passages went."""
    table = pa.table({"repeated": pa.array([[], numbers, []], pa.list_(pa.int32()))})
    docs = documents("first one stays", text, None)
    stage = stages(unit, words_left=words_left)[2]
    out = stage.prepare(lambda stage: stage)(docs, table)
    assert out.column("text").to_pylist()[::2] == ["first one stays", None]
    row = out.to_pylist()[1]
    assert row["removed_passages"] == len(numbers)
    assert row["removed_bytes"] == len(text.encode()) - len(row["text"].encode())
    return row["text"], row["reason"]


def test_a_passage_is_a_line_or_what_stands_between_blank_lines():
    text = "\n One two three\n***\n\n \t \r\nfour five six\r\nseven\n\n\n"
    assert hashed(text)[1] == [3, 0, 3, 1]
    assert hashed(text, "paragraph")[1] == [3, 4]


def test_passages_of_few_words_have_no_hash():
    assert [value == 0 for value in hashed("Read more\nthis line has enough words\n...")[0]] == [True, False, True]


@pytest.mark.parametrize("text", ["", None, "\n\n", " \t\r\n "])
def test_blank_texts_have_no_passages(text):
    assert hashed(text) == ([], [])


def test_copies_in_other_case_and_punctuation_and_form_are_equal():
    (one,), _ = hashed("Cr\u00e8me br\u00fbl\u00e9e, s'il vous pla\u00eet!")
    (two,), _ = hashed("  CRE\u0300ME BRU\u0302LE\u0301E \u2014 s\u2019il vous plai\u0302t")
    (three,), _ = hashed("Cr\u00e8me br\u00fbl\u00e9e, s'il te pla\u00eet!")
    assert one == two != three


def test_rewrapped_paragraphs_are_equal():
    one, two = "the quick brown fox\njumps over the dog", "the quick\nbrown fox jumps\nover the dog"
    assert hashed(one, "paragraph")[0] == hashed(two, "paragraph")[0]
    assert hashed(one)[0] != hashed(two)[0]


def test_characters_are_words_where_there_are_no_spaces():
    assert hashed("\u4eca\u5929\u5929\u6c14\u5f88\u597d\n\u0e27\u0e31\u0e19")[1] == [6, 2 + 1]


def test_order_and_number_of_words_count():
    assert len(set(hashed("a b c\nb a c\na b c c\na b\nc a b c", min_words=2)[0])) == 5


def test_a_passage_goes_with_the_blank_lines_after_it():
    text = "\nmenu home about\n\nThe text.\nMore text.\r\n\nall rights reserved\n\n"
    assert without(text, [0, 3]) == ("\nThe text.\nMore text.", None)
    assert without(text, [1], "paragraph") == ("\nmenu home about\n\nall rights reserved\n\n", None)
    assert without(text, [1]) == ("\nmenu home about\n\nMore text.\r\n\nall rights reserved\n\n", None)


def test_documents_with_few_words_left_are_dropped():
    text = "one two three\nfour five six"
    assert without(text, [0], words_left=3) == ("four five six", None)
    assert without(text, [0], words_left=4)[1] == "few_words_left"
    assert without(text, [0, 1]) == ("", "few_words_left")


def test_other_columns_stay_and_the_books_hold_what_went():
    stage = stages("line")[2]
    docs = documents("one two\nthree", "four")
    out = stage.prepare(lambda stage: stage)(docs, pa.table({"repeated": pa.array([[0], []], pa.list_(pa.int32()))}))
    out = conform(out, stage.schema(), "out")
    kept = [name for name in docs.column_names if name != "text"]
    assert out.select(kept).equals(docs.select(kept))
    assert stage.counts(out) == {"removed_passages": 1, "removed_bytes": len("one two\n")}
    assert stage.counts(out.slice(0, 0)) == {"removed_passages": 0, "removed_bytes": 0}


def test_parts_without_rows():
    passages, _, drop = stages("paragraph")
    none = documents()
    assert passages.prepare(lambda stage: stage)(none).schema == passages.writes
    repeated = pa.table({"repeated": pa.array([], pa.list_(pa.int32()))})
    assert len(drop.prepare(lambda stage: stage)(none, repeated)) == 0


def reference(text, paragraph):
    """Passages as lists of lines, with the number of the line each begins at."""
    found, running = [], False
    for number, line in enumerate(text.split("\n")):
        if not line.strip(" \t\r"):
            running = False
        elif running and paragraph:
            found[-1][1].append(line)
        else:
            found.append((number, [line]))
            running = True
    return found


TEXTS = st.lists(st.sampled_from(["\n", "\n", "a b c", "\r", " ", "\t", ".", "\u00e9t\u00e9", "\u6c34\u706b"])).map(
    "".join
)


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.booleans(), st.data())
def test_equals_plain_python(text, paragraph, data):
    unit = "paragraph" if paragraph else "line"
    expected = reference(text, paragraph)
    hashes, counts = hashed(text, unit, min_words=1)
    alone = [hashed("\n".join(lines), "paragraph", min_words=1) for _, lines in expected]
    assert [(value, count) for value, count in zip(hashes, counts, strict=True)] == [
        (value[0], count[0]) for value, count in alone
    ]
    gone = data.draw(st.sets(st.integers(0, len(expected) - 1), min_size=1)) if expected else set()
    if gone:
        lines = text.split("\n")
        bounds = [number for number, _ in expected] + [len(lines)]
        for number in sorted(gone, reverse=True):
            del lines[bounds[number] : bounds[number + 1]]
        kept = "\n".join(lines)
        assert without(text, sorted(gone), unit)[0].rstrip("\n\r\t ") == kept.rstrip("\n\r\t ")


@pytest.mark.parametrize(("field", "value"), [("unit", "sentence"), ("min_words", 0)])
def test_passages_that_mean_nothing_are_refused(field, value):
    with pytest.raises(ValueError, match=f"{field}={value!r}"):
        Passages(**{"docs": DOCS, "unit": "line", "min_words": 3, field: value})
