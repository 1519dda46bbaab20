"""The reader of priors: what a person may write, and what each slip of the pen is answered with."""

from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.priors import Mixtures, Sources, reading
from hare_ray.priors.benchmarks import Known
from hare_ray.priors.paper import OpenPoints
from hare_ray.priors.prices import Prices
from hare_ray.priors.prompts import Prompts, Refusals
from hare_ray.priors.quality import Examples, Rubric
from hare_ray.priors.reading import parse
from hare_ray.priors.tasks import Tasks
from hare_ray.priors.titles import TopicTitle
from hare_ray.priors.topics import TopicWeights

SHIPPED: dict[str, Any] = {
    "sources": Sources,
    "mixtures": Mixtures,
    "prices": Prices,
    "prompts": Prompts,
    "refusals": Refusals,
    "tasks": Tasks,
    "task_forms": dict[str, tuple[str, ...]],
    "benchmarks": Known,
    "open_points": OpenPoints,
    "quality_examples": Examples,
    "rubric": Rubric,
    "topics": TopicWeights,
    "topic_title": TopicTitle,
}


@dataclass(frozen=True)
class Inner:
    name: str
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.share > 1:
            raise ValueError(f"given share={self.share}, expected 1 at most")


@dataclass(frozen=True)
class Outer:
    word: str
    count: int
    share: float
    sure: bool
    kind: Literal["even", "odd"]
    many: tuple[Inner, ...] = ()
    table: dict[str, int] | None = None
    maybe: float | None = None


GOOD = """# a comment
word: some words
count: 3
share: 0.25
sure: true
kind: odd
many:
  - name: first
    share: 1e-4
  - name: |-
      two
      lines
table:
  one: 1
maybe: null
"""


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def loader(request, monkeypatch):
    """Both of PyYAML's parsers, whose nodes and messages differ a little."""
    if not hasattr(yaml, request.param):
        pytest.skip(f"this PyYAML has no {request.param}")
    monkeypatch.setattr(reading, "LOADER", getattr(yaml, request.param))


def test_a_document_becomes_the_dataclass_of_its_annotations(loader):
    many = (Inner("first", 0.0001), Inner("two\nlines"))
    assert parse(GOOD, Outer, "good.yaml") == Outer("some words", 3, 0.25, True, "odd", many, {"one": 1}, None)
    assert parse(GOOD.replace("\n", "\r\n").encode("utf-8-sig"), Outer, "good.yaml").many == many
    assert isinstance(parse(GOOD.replace("0.25", "1"), Outer, "good.yaml").share, float)
    assert parse(GOOD.replace("count: 3", "count: 1_000"), Outer, "good.yaml").count == 1000


@pytest.mark.parametrize(
    ("was", "now", "line", "told"),
    [
        ("share: 0.25", "share: eleven", 4, "share: given eleven, expected a number such as 1.0"),
        ("share: 0.25", "share: '0.25'", 4, "share: given '0.25', expected a number such as 1.0; without quotes"),
        ("share: 0.25", "share: .nan", 4, "share: given .nan, expected a number"),
        ("share: 0.25", "share: 1e999", 4, "share: given 1e999, expected a number"),
        ("share: 0.25", "share:", 4, "share: given nothing, expected a number"),
        ("share: 0.25", "share: [1]", 4, "share: given a list, expected a number"),
        ("count: 3", "count: 3.5", 3, "count: given 3.5, expected a whole number such as 3"),
        ("count: 3", "count: 010", 3, "count: given 010, expected a whole number"),
        ("count: 3", "count: 1:30", 3, "count: given 1:30, expected a whole number"),
        ("sure: true", "sure: yes", 5, "sure: given yes, expected true or false"),
        ("word: some words", "word: no", 2, "YAML takes it for something else; put it in quotes: \"no\""),
        ("word: some words", "word: 2024-01-01", 2, 'put it in quotes: "2024-01-01"'),
        ("word: some words", "word: 3.10", 2, 'put it in quotes: "3.10"'),
        ("word: some words", "word: ''", 2, "word: given nothing, expected a text"),
        ("word: some words", "word: '  '", 2, "word: given nothing, expected a text"),
        ("word: some words", "word: ~", 2, "word: given ~, expected a text"),
        ("word: some words", "word: number # 5", 2, "where YAML ends the text; put the text in quotes"),
        ("word: some words", "word: this: that", 2, "put a text that holds a colon and a space in quotes"),
        ("share: 0.25", "share: 10%", 4, "given 10%, expected a number such as 1.0; write 0.1, without the sign"),
        ("count: 3", "count: 10%", 3, "count: given 10%, expected a whole number such as 3"),
        ("maybe: null", "maybe: none", 15, "maybe: given none, expected a number such as 1.0, or null"),
        ("maybe: null", "maybe: [1]", 15, "maybe: given a list, expected a number such as 1.0, or null"),
        ("  one: 1", "  one: 1\nmany:", 15, "many: stands here for the second time"),
        ("table:\n  one", "table:\n\tone", 14, "indent with spaces, never tabs"),
        ("count: 3", "count:3", 3, "count: not readable as YAML; put a space after the colon: 'count: '"),
        ("word: some words", "word:some words", 2, "word: not readable as YAML; put a space after the colon"),
        ("  - name: first", "  - name:first", 8, "name: not readable as YAML; put a space after the colon"),
        ("maybe: null", "maybe:null", 15, "maybe: not readable as YAML; put a space after the colon"),
        ("kind: odd\n", "", 5, "kind: is missing in this entry; expected the keys word, count"),
        ("word: some words", "word: see:\n  other:3", 2, "put a text that holds a colon and a space in quotes"),
        ("word: some words", "word: @home", 2, "put a text that begins with a sign such as @ in quotes"),
        ("word: some words", "word: *some", 2, "put a text that begins with * in quotes"),
        ("word: some words", "word: !!binary aGk=", 2, "word: given aGk=, expected a text"),
        ("word: some words", "word: 'open", 2, "close the quote"),
        ("word: some words", "  word: some words", 3, "begin in the same column"),
        ("word: some words", "wrod: some words", 2, "wrod: there is no such key here; did you mean 'word'?"),
        ("word: some words", "fruit: apple", 2, "fruit: there is no such key here; expected word, count"),
        ("word: some words\n", "", 2, "word: is missing in this entry; expected the keys word, count"),
        ("count: 3", "count: 3\nword: again", 4, "word: stands here for the second time, after line 2; keep one"),
        ("kind: odd", "kind: ood", 6, "kind: given ood, expected one of even, odd; did you mean odd?"),
        ("    share: 1e-4", "    share: 2", 9, "many: given share=2.0, expected 1 at most"),
        ("  - name: first\n", "  - first\n  - name: x\n", 8, "many: given first, expected entries such as 'name: "),
        ("  one: 1", "  one: two", 14, "one: given two, expected a whole number"),
        ("  one: 1", "  - 1", 14, "table: given a list, expected entries"),
        ("many:\n", "many: text\nmore:\n", 8, "more: there is no such key"),
        (GOOD, "", 1, "given nothing, expected entries"),
        (GOOD, "just words", 1, "given just words, expected entries"),
        ("# a comment", "---\na: 1\n---", 3, "not readable as YAML"),
        ("some words", "some \x07words", 2, "given a character that no text holds"),
    ],
)  # fmt: skip
def test_each_slip_is_told_with_file_line_and_cure(loader, was, now, line, told):
    assert was in GOOD
    with pytest.raises(ValueError) as stop:
        parse(GOOD.replace(was, now, 1), Outer, "some.yaml")
    assert str(stop.value).startswith(f"some.yaml, line {line}: ")
    assert told in str(stop.value)
    assert "\n" not in str(stop.value)


EMPTIED = """word: some words
count: 3
share: 0.25
sure: true
kind: odd
many:
maybe: null
"""


def test_a_list_that_was_emptied_is_told_how_to_write_none(loader):
    with pytest.raises(ValueError, match=r"x\.yaml, line 6: many: given nothing, .*; write \[\] where there is none$"):
        parse(EMPTIED, Outer, "x.yaml")
    assert parse(EMPTIED.replace("many:", "many: []"), Outer, "x.yaml").many == ()


@dataclass(frozen=True)
class Whole:
    """A record that refuses in the words of `refusal`."""

    title: str
    refusal: str
    parts: tuple[Inner, ...]

    def __post_init__(self) -> None:
        raise ValueError(self.refusal)


@pytest.mark.parametrize(
    ("refusal", "line"),
    [
        ("parts: given what a title is not", 4),  # it begins with the key
        ("my entry: given title=3, expected parts", 2),  # it names the key, and others later
        ("given shares and a share of 1.2", 4),  # it names a key of the entries
        ("given 'parts', expected a title", 2),  # what was given is not what is meant
        ("given nonsense", 1),  # it names nothing: the first line of the entry
    ],
)
def test_what_a_record_refuses_is_told_with_the_line_of_what_it_names(loader, refusal, line):
    text = f"{{refusal: {refusal!r},\ntitle: some,\n\nparts: [{{name: a}}]}}"
    with pytest.raises(ValueError) as stop:
        parse(text, Whole, "x.yaml")
    assert str(stop.value) == f"x.yaml, line {line}: {refusal}"


def test_a_file_that_is_not_utf8_is_told_with_its_line():
    with pytest.raises(ValueError, match=r"some\.yaml, line 2: given bytes that are not UTF-8"):
        parse(b"# a\nword: caf\xe9", Outer, "some.yaml")


def test_a_hash_inside_a_text_is_part_of_it(loader):
    assert parse(GOOD.replace("some words", "C#5 and a#b"), Outer, "x").word == "C#5 and a#b"
    assert parse(GOOD.replace("some words", "'number # 5'  # told"), Outer, "x").word == "number # 5"


def shipped(name: str) -> str:
    return (files("hare_ray.priors") / f"{name}.yaml").read_text(encoding="utf-8")


def edited(text: str, data: st.DataObject) -> str:
    """A few lines deleted, doubled, moved or changed, as a person might by mistake."""
    lines = text.split("\n")
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        what = data.draw(st.sampled_from(["delete", "double", "swap", "indent", "value", "insert"]))
        if what == "delete" and len(lines) > 1:
            del lines[at]
        elif what == "double":
            lines.insert(at, lines[at])
        elif what == "swap":
            other = data.draw(st.integers(0, len(lines) - 1))
            lines[at], lines[other] = lines[other], lines[at]
        elif what == "indent":
            lines[at] = data.draw(st.sampled_from([" ", "\t", "- ", "#", "'"])) + lines[at]
        elif what == "value":
            scalars = [
                "",
                "no",
                "~",
                "-1",
                "1e400",
                "[",
                "{a: b",
                "*x",
                "&x y",
                "!!int x",
                "'",
                "a: b",
                "|",
                "%",
                "\x00",
            ]
            lines[at] = lines[at].split(":")[0] + ": " + data.draw(st.sampled_from(scalars) | st.text(max_size=8))
        else:
            where = data.draw(st.integers(0, len(lines[at])))
            lines[at] = lines[at][:where] + data.draw(st.text(min_size=1, max_size=3)) + lines[at][where:]
    return "\n".join(lines)


@pytest.mark.parametrize("name", SHIPPED)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_edit_of_a_shipped_file_loads_or_is_refused_with_file_and_line(name, data):
    try:
        parse(edited(shipped(name), data), SHIPPED[name], f"{name}.yaml")
    except ValueError as error:
        assert str(error).startswith(f"{name}.yaml, line "), error


@pytest.mark.parametrize(
    "name", sorted(SHIPPED.keys() - {"prices", "topics", "topic_title"})
)  # these explain each setting beside it
def test_every_shipped_file_begins_with_words_for_its_reader_and_an_example(name):
    opening = shipped(name).split("\n\n")[0]
    assert opening.startswith("# ")
    assert "edit" in opening
    assert any(line.startswith(("#   - ", "#     - ")) for line in opening.split("\n"))
