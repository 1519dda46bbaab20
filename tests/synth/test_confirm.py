"""The second question about an item: what it shows, and which second answers confirm the first."""

import json
from typing import ClassVar

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.catalog import Catalog, place, read_ledger
from hare_ray.engine import run
from hare_ray.gather import Desk
from hare_ray.priors.checks import SLOTS, Checks, load_checks
from hare_ray.priors.reading import parse
from hare_ray.priors.tasks import load_forms, load_templates
from hare_ray.schema import REASON
from hare_ray.stage import Files, Gather, Keep, Map, PartFunction, Source, Stage, Table
from hare_ray.store import Root
from hare_ray.synth.confirm import CHECK, NOT_CONFIRMED, OUTCOMES, SCHEMAS, CheckPrompts, Confirmed
from hare_ray.synth.confirm_compare import against
from hare_ray.synth.prompt import GENERATED, PROMPT
from hare_ray.synth.tasks import Tasks

CONTENT = (
    "The mill at Arnhem was built by Jan Ros in 1912. It ground wheat for the bakers of the town until a storm broke "
    "its sails. Since then the wind turns nothing there, and {visitors} climb its stairs to see the old stones."
)
ITEMS = {
    "question_answering": {
        "question": "Who built the mill at Arnhem?",
        "answer": "The mill was built by Jan Ros in 1912.",
    },
    "multiple_choice": {
        "question": "What broke the sails of the mill?",
        "options": ["A storm", "The bakers", "Old stones", "The stairs"],
        "answer": "A storm",
    },
    "cloze": {"sentence": "It ground ____ for the bakers of the town.", "answer": "wheat"},
    "inference": {"statement": "A storm left the mill without its sails.", "label": "true"},
    "title": {"title": "The mill at Arnhem"},
}
TEMPLATES = {kind: next(t for t in load_templates() if t.task == kind) for kind in ITEMS}
SHARES = {"min_grounded": 0.7, "max_copied": 0.9, "max_example_overlap": 0.3, "seed": 1}


class Items(Map):
    """A prompt for each kind of ITEMS."""

    files: Stage
    writes: ClassVar[pa.Schema] = PROMPT
    derives: ClassVar[bool] = True

    def prepare(self, files: Files) -> PartFunction:
        return lambda splits: prompts_table().append_column(REASON, pa.nulls(len(ITEMS), pa.string()))


class Replies(Gather):
    """Answers by what occurs in a prompt; None where nothing does."""

    prompts: Table
    replies: tuple[tuple[str, str], ...]
    writes: ClassVar[pa.Schema] = GENERATED

    def gather(self, desk: Desk) -> None:
        for part in range(desk.parts(self.prompts)):
            texts = desk.read(self.prompts, part, ["prompt"])["prompt"].to_pylist()
            desk.write(
                part, generated([next((a for sign, a in self.replies if sign in (t or "")), None) for t in texts])
            )


def prompts_table() -> pa.Table:
    rows = []
    for number, kind in enumerate(ITEMS):
        url = f"https://example.org/{number}#{TEMPLATES[kind].name}"
        same = {"url": url, "topic": 0, "template": TEMPLATES[kind].name, "seed": CONTENT, "prompt": f"task {kind}"}
        rows.append({"id": bytes([number]) * 16, **same})
    return pa.Table.from_pylist(rows, PROMPT)


def generated(answers: list[str | None]) -> pa.Table:
    rows = [
        {"answer": a, "finish": "error: HTTP 500" if a is None else "stop", "prompt_tokens": 1, "completion_tokens": 1,
         "request": bytes(16)}
        for a in answers
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, GENERATED)


PROMPTS = Items(files=Source(location=__file__))
ANSWERS = Replies(prompts=PROMPTS, replies=tuple((f"task {kind}", json.dumps(item)) for kind, item in ITEMS.items()))
ASKED = CheckPrompts(
    prompts=PROMPTS, answers=ANSWERS, templates=tuple(TEMPLATES.values()), checks=load_checks(), **SHARES
)


def checks(items: dict = ITEMS) -> list[dict]:
    answers = generated([json.dumps(items[kind]) if items[kind] else None for kind in ITEMS])
    table = ASKED.prepare(lambda stage: pytest.fail("no files"))(prompts_table(), answers)
    assert table.schema == CHECK
    return table.to_pylist()


def test_the_second_prompt_shows_content_and_question_and_not_the_answer():
    found = dict(zip(ITEMS, checks(), strict=True))
    for kind in ("question_answering", "multiple_choice", "cloze", "inference"):
        prompt = found[kind]["prompt"]
        assert prompt.count(CONTENT) == 1  # with its braces
        assert found[kind]["kind"] == kind
        item = ITEMS[kind]
        assert next(iter(item.values())) in prompt
        if kind == "question_answering":
            assert item["answer"] not in prompt
        assert json.loads(found[kind]["schema"])["required"] == ["answer"]
    assert "ground wheat" not in found["cloze"]["prompt"].replace(CONTENT, "")
    assert found["cloze"]["expected"] == "wheat"
    assert found["inference"]["expected"] == "True"
    options = found["multiple_choice"]["prompt"].split("Question:")[1]
    assert f"{found['multiple_choice']['expected']}. A storm" in options


def test_options_stand_in_orders_that_differ_from_item_to_item():
    rows = [{**prompts_table().to_pylist()[1], "id": bytes([n]) * 16} for n in range(60)]
    answers = generated([json.dumps(ITEMS["multiple_choice"])] * 60)
    table = ASKED.prepare(lambda stage: pytest.fail("no files"))(pa.Table.from_pylist(rows, PROMPT), answers)
    letters = table["expected"].to_pylist()
    assert min(map(letters.count, "ABCD")) >= 6
    assert len(set(table["id"].to_pylist())) == 60


def test_refused_items_other_tasks_and_missing_answers_are_not_asked_about():
    broken = {**ITEMS, "cloze": {"sentence": "no gap", "answer": "wheat"}, "inference": None}
    found = dict(zip(ITEMS, checks(broken), strict=True))
    for kind in ("title", "cloze", "inference"):
        assert [found[kind][name] for name in ("prompt", "schema", "kind", "expected")] == [None] * 4
    assert found["question_answering"]["prompt"]


def told(kind: str, expected: str, answer: object) -> str | None:
    return against(kind, expected, json.dumps({"answer": answer}), 0.5)


@pytest.mark.parametrize(
    ("kind", "expected", "answer"),
    [
        ("multiple_choice", "B", "B"),
        ("multiple_choice", "B", "b) The bakers"),
        ("cloze", "wheat", "Wheat."),
        ("inference", "True", True),
        ("inference", "Unknown", "unknown"),
        ("yes_no", "No", "no"),
        ("question_answering", "The mill was built by Jan Ros in 1912.", "Jan Ros built the mill."),
        ("question_answering", "1912", "It opened in 1912."),
        ("question_answering", "1,912 people", "There were 1912 people."),
        ("question_answering", "three", "3"),
        ("question_answering", "There were three mills.", "3 mills"),
        ("question_answering", "The one who built it in 1912 was Jan Ros.", "Jan Ros built it in 1912 with 2 men."),
        ("question_answering", "It wasn't built in Rome.", "It was not built in Rome."),
        ("question_answering", "The wind doesn\u2019t turn it.", "The wind never turns it."),
        ("question_answering", "It is No. 5 of the mills.", "Number 5 of the mills"),
        ("question_answering", "It is written in C++.", "C++"),
        ("question_answering", "the", "The."),
        ("cloze", "oak", "the oak"),
        ("cloze", "An oak tree", "oak tree."),
        ("cloze", "three", "3"),
        ("cloze", "C++", "c++."),
        ("cloze", "the", "The"),
        ("cloze", "well-known", "well known"),
    ],
)
def test_an_equal_answer_confirms(kind, expected, answer):
    assert told(kind, expected, answer) is None


@pytest.mark.parametrize(
    ("kind", "expected", "answer", "detail"),
    [
        ("multiple_choice", "B", "C", "the second answer is 'C', not 'B'"),
        ("multiple_choice", "A", "none", "the second answer is 'none'"),
        ("cloze", "wheat", "rye", "not 'wheat'"),
        ("inference", "True", "unknown", "not 'True'"),
        ("yes_no", "No", "yes", "not 'No'"),
        ("question_answering", "Jan Ros built the mill.", "A storm broke its sails.", "F1 of 0.00"),
        (
            "question_answering",
            "Jan Ros built the mill in 1912.",
            "Jan Ros built the mill in 1921.",
            "1921 in the second",
        ),
        ("question_answering", "Jan Ros built the mill.", "unknown", "F1 of 0.00"),
        ("question_answering", "Jan Ros", {"name": "Jan Ros"}, "no second answer can be read"),
        ("cloze", "wheat", "", "no second answer can be read"),
        ("cloze", "wheat", "  ", "no second answer can be read"),
        ("question_answering", "It was not built in Rome.", "It was built in Rome.", "the first answer alone says no"),
        ("question_answering", "It was built in Rome.", "It wasn't built in Rome.", "the second answer alone says no"),
        ("question_answering", "The wind turns it.", "The wind never turns it.", "the second answer alone says no"),
        ("question_answering", "With salt", "Without salt", "the second answer alone says no"),
        ("question_answering", "three mills", "4 mills", "4 in the second answer, 3 in the first"),
        ("question_answering", "one mill", "two mills", "2 in the second answer, 1 in the first"),
        ("question_answering", "It was -5 degrees.", "It was 5 degrees.", "5 in the second answer, -5 in the first"),
        ("cloze", "C++", "C#", "the second answer is 'C#', not 'C++'"),
        ("cloze", "C++", "C", "not 'C++'"),
        ("cloze", "-5", "5", "not '-5'"),
        ("cloze", "an oak", "a beech", "not 'an oak'"),
        ("cloze", "not", "never", "not 'not'"),
    ],
)
def test_another_answer_speaks_against_the_item(kind, expected, answer, detail):
    assert detail in (told(kind, expected, answer) or "")


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(SCHEMAS)), st.text(max_size=40), st.text(max_size=40))
def test_any_second_answer_is_judged_and_told_in_valid_text(kind, expected, answer):
    for text in (answer, json.dumps({"answer": answer}), '{"answer": "\\ud800' + answer.replace('"', "") + '"}'):
        detail = against(kind, expected, text, 0.5)
        assert detail is None or detail.encode()
    if kind == "question_answering" and any(map(str.isalnum, answer)):
        assert told(kind, answer, answer) is None


def test_from_items_to_kept_items_with_the_reason_in_the_ledger(tmp_path):
    right = next(row for row in checks() if row["kind"] == "multiple_choice")["expected"]
    signs = (("Who built", "It was Jan Ros who built the mill."), ("What broke", right), ("ground ____", "rye"))
    replies = tuple((f"Question: {s}" if "____" not in s else f"It {s}", json.dumps({"answer": a})) for s, a in signs)
    second = Replies(label="second", prompts=ASKED, replies=replies)  # the inference got an error of the server
    verdict = Confirmed(checks=ASKED, answers=second, min_f1=0.5)
    kept = Keep(docs=PROMPTS, verdicts=(verdict,), opinions=(ANSWERS,), carry=tuple(GENERATED.names))
    items = Tasks(
        prompts=kept, answers=kept, templates=tuple(TEMPLATES.values()), forms=load_forms(), may_be_empty=True, **SHARES
    )
    manifests = run(items, verdict, kept, root=str(tmp_path))
    where = place(Root(str(tmp_path)), manifests["keep"])
    ledger = read_ledger(where, 0).to_pylist()
    assert [(row["url"].split("#")[1], row["reason"]) for row in ledger] == [(TEMPLATES["cloze"].name, NOT_CONFIRMED)]
    assert ledger[0]["detail"] == "the second answer is 'rye', not 'wheat'"
    catalog = Catalog({items.fingerprint: place(Root(str(tmp_path)), manifests["tasks"])})
    written = catalog.read(items, 0)["template"].to_pylist()
    assert written == [TEMPLATES[kind].name for kind in ITEMS if kind != "cloze"]
    books = manifests["confirmed"]["books"]
    assert books["reasons"] == {NOT_CONFIRMED: 1}
    assert {outcome: books[outcome] for outcome in OUTCOMES} == {
        "confirmed": 2, "not_confirmed": 1, "unconfirmed": 1, "not_asked": 1,
    }  # fmt: skip


def test_outcomes_of_no_rows_are_none():
    stage = Confirmed(checks=ASKED, answers=ANSWERS, min_f1=0.5)
    assert stage.counts(stage.schema().empty_table()) == dict.fromkeys(OUTCOMES, 0)


def test_other_checks_answers_and_a_threshold_that_is_none_are_refused():
    other = Replies(label="other", prompts=Items(label="others", files=Source(location=__file__)), replies=())
    with pytest.raises(ValueError, match="base"):
        Confirmed(checks=ASKED, answers=other, min_f1=0.5)
    with pytest.raises(ValueError, match=r"min_f1=1\.5"):
        Confirmed(checks=ASKED, answers=ANSWERS, min_f1=1.5)


def test_the_checks_are_of_known_tasks_and_show_all_slots():
    found = load_checks()
    assert {check.task for check in found} == set(SLOTS) == set(SCHEMAS)
    for check in found:
        assert all(f"{{{slot}}}" in check.text for slot in (*SLOTS[check.task], "content"))
        assert "{demand}" not in check.text
        assert "{item}" not in check.text


GOOD = 'frame: "{demand} {content} {item}"\nchecks:\n  - task: cloze\n    demand: what\n    item: "{sentence}"\n'


@pytest.mark.parametrize(
    ("was", "now", "message"),
    [
        ("task: cloze", "task: clozes", "given 'clozes', expected one of question_answering"),
        ("{sentence}", "{question}", r"given the slots \['question'\], expected each of \['sentence'\]"),
        ("demand: what", 'demand: "what {content}"', "expected none"),
        ("{demand} {content}", "{content} {demand}", "expected demand first"),
        ("{item}", "item", "expected demand first"),
    ],
)
def test_a_wrong_edit_of_the_checks_is_told_with_its_line(was, now, message):
    assert parse(GOOD, Checks, "checks.yaml").checks[0].task == "cloze"
    assert was in GOOD
    with pytest.raises(ValueError, match=rf"^checks\.yaml, line \d+: .*{message}"):
        parse(GOOD.replace(was, now), Checks, "checks.yaml")
