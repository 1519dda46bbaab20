"""TaskPrompts and Tasks: what is asked, one crafted answer per reason, and true items in varied forms."""

import json
import subprocess
import sys
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.priors.tasks import Form, TaskTemplate, load_forms, load_templates
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Table
from hare_ray.synth import task_checks as why
from hare_ray.synth.prompt import GENERATED, PROMPT, SYNTHETIC_FILE, WRITTEN
from hare_ray.synth.task_answers import MAX_ANSWER_CHARS
from hare_ray.synth.task_forms import BLANK, SLOTS, check_forms, filled
from hare_ray.synth.tasks import TaskPrompts, Tasks

TEMPLATES, FORMS = load_templates(), load_forms()
TASK_OF = {template.name: template.task for template in TEMPLATES}
TEXT = (
    "The miller bought a new stone in spring. The old stone had cracked during the long winter. "
    "Now the mill grinds twelve sacks a day. Farmers come from three valleys."
)


class Documents(Table):
    writes = pa.schema([*DOCUMENT, pa.field("cluster", pa.int32())])


class Opinion(Table):
    on: Table
    writes = GENERATED

    @property
    def base(self):
        return self.on


class Prompts(Table):
    writes = PROMPT


DOCS = Documents(label="docs")
PROMPTS = Prompts(label="prompts")


def asking(**changes):
    fields = {"docs": DOCS, "seeds": Opinion(on=DOCS), "templates": TEMPLATES}
    return TaskPrompts(**{**fields, "max_seed_words": 20, "prompts_per_seed": 3, **changes})


def reading(**changes):
    fields = {"prompts": PROMPTS, "answers": Opinion(on=PROMPTS), "templates": TEMPLATES, "forms": FORMS}
    return Tasks(**{**fields, "min_grounded": 0.6, "max_copied": 0.6, "max_example_overlap": 0.2, "seed": 1, **changes})


def documents(count, topic="cluster", text=TEXT):
    rows = [
        {"id": i.to_bytes(16, "big"), "url": f"https://{i}", "file": "f", "offset": 0, "text": text, topic: i % 4}
        for i in range(count)
    ]
    return pa.Table.from_pylist(rows, pa.schema([*DOCUMENT, pa.field(topic, pa.int32())]))


def seeds(chosen, turns):
    return pa.table({"chosen": pa.array(chosen, pa.bool_()), "turn": pa.array(turns, pa.int32())})


def item(template, answer, key=0, stage=None, finish="stop", text=TEXT):
    """The one row that comes of an answer."""
    answer = answer if answer is None or isinstance(answer, str) else json.dumps(answer)
    prompt = {"id": key.to_bytes(16, "big"), "url": "https://x#t", "topic": 2, "template": template, "seed": text}
    came = {"answer": answer, "finish": finish, "prompt_tokens": 1, "completion_tokens": 1}
    read = (stage or reading()).prepare(None)
    got = read(
        pa.Table.from_pylist([{**prompt, "prompt": "p"}], PROMPT), pa.Table.from_pylist([came], GENERATED)
    ).to_pylist()
    assert len(got) == 1
    return got[0]


GOOD = {
    "question_answering": {
        "question": "How much does the mill grind?",
        "answer": "The mill grinds twelve sacks a day.",
    },
    "multiple_choice": {
        "question": "What had cracked?",
        "options": ["The old stone", "The wheel", "The dam", "The roof"],
        "answer": "The old stone",
    },
    "cloze": {"sentence": "The miller bought a new ____ in spring.", "answer": "stone"},
    "summarisation": {"summary": "The mill has a new stone and grinds twelve sacks a day."},
    "inference": {"statement": "The miller bought two stones.", "label": "unknown"},
    "paraphrase": {
        "sentence": "Farmers come from three valleys.",
        "paraphrase": "People who farm in three valleys visit.",
    },
    "title": {"title": "A New Stone for the Mill"},
    "yes_no": {
        "question": "Did the old stone last until spring?",
        "evidence": "The old stone had cracked during the long winter.",
        "answer": "no",
    },
    "keywords": {"keywords": ["mill", "stone", "farmers"]},
    "correction": {"right": "The mill grinds twelve sacks a day.", "wrong": "The mill grinds three sacks a day."},
    "ordering": {
        "sentences": [
            "The old stone cracked during winter.",
            "The miller bought a new stone.",
            "Now the mill grinds a day.",
        ]
    },
}


def test_prompts_show_content_examples_and_keys_of_seeds_only():
    made = asking().prepare(None)(documents(4), seeds([True, False, True, False], [0, None, 1, None]))
    rows = made.to_pylist()
    assert made.schema.names == [*PROMPT.names, "reason"]
    assert len(rows) == 6 and len({row["id"] for row in rows}) == 6
    assert {row["topic"] for row in rows} == {0, 2} and made["reason"].null_count == 6
    for row in rows:
        template = next(t for t in TEMPLATES if t.name == row["template"])
        assert row["url"].endswith(f"#{template.name}")
        assert row["seed"] == TEXT[: TEXT.index(" Now")]
        for shown in (row["seed"], *template.examples, *(f'"{key}"' for key in template.keys)):
            assert shown in row["prompt"]
        assert not {"{content}", "{examples}", "{demand}"} & set(row["prompt"].split())


def test_templates_take_turns_in_every_topic():
    rounds = len(TEMPLATES)
    made = asking().prepare(None)(
        documents(4 * rounds), seeds([True] * 4 * rounds, [i // 4 for i in range(4 * rounds)])
    )
    counts = Counter(zip(made["topic"].to_pylist(), made["template"].to_pylist(), strict=True))
    assert len(counts) == 4 * len(TEMPLATES) and set(counts.values()) == {3}


def test_prompts_come_from_d1_and_d2_and_from_documents_without_topic_alike():
    one = seeds([True], [0])
    kinds = [asking().prepare(None)(documents(1, topic), one).drop_columns(["topic"]) for topic in ("cluster", "topic")]
    assert kinds[0].equals(kinds[1])
    bare = documents(1).drop_columns(["cluster"])
    assert asking().prepare(None)(bare, one)["topic"].null_count == 3
    assert len(asking().prepare(None)(documents(1, text=" "), one)) == 0
    assert len(asking().prepare(None)(documents(0), seeds([], []))) == 0


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_a_good_item_of_every_template_is_written_with_its_origin(template):
    row = item(template.name, GOOD[template.kind])
    assert row["reason"] is None and row["title"] is None
    assert (row["url"], row["topic"], row["template"], row["seed"]) == ("https://x#t", 2, template.name, TEXT)
    assert (row["file"], row["offset"], row["finish"]) == (SYNTHETIC_FILE, 0, "stop")
    assert not {"{", "}"} & set(row["text"])
    for example in template.examples:
        assert tuple(json.loads(example)) == template.keys


@pytest.mark.parametrize("task", sorted(GOOD))
def test_all_forms_of_a_task_are_used(task):
    template = next(t for t in TEMPLATES if t.task == task)
    plain = tuple(Form(task, f"{form.text} #{n}") for n, form in enumerate(f for f in FORMS if f.task == task))
    others = tuple(form for form in FORMS if form.task != task)
    stage = reading(forms=(*plain, *others))
    used = Counter(item(template.name, GOOD[task], key, stage)["text"].split("#")[-1] for key in range(40 * len(plain)))
    assert len(used) == len(plain) >= 4 and min(used.values()) > 20


EXAMPLE = json.loads(TEMPLATES[0].examples[0])

REFUSED = [
    ("question_answering", None, why.NO_ANSWER),
    ("question_answering", " \n", why.NO_ANSWER),
    ("question_answering", "{" + " " * MAX_ANSWER_CHARS, why.TOO_LARGE),
    ("question_answering", "I would rather not.", why.NOT_JSON),
    ("question_answering", '{"question": "How much', why.NOT_JSON),
    ("question_answering", "[" * 9000 + "{" * 9000, why.NOT_JSON),
    ("question_answering", '{"question":' * 1500, why.NOT_JSON),
    ("question_answering", {"question": "What?"}, why.MISSING_KEY),
    ("question_answering", {"question": "What?", "answer": " "}, why.MISSING_KEY),
    ("question_answering", {"question": ["What?"], "answer": "The mill"}, why.MISSING_KEY),
    ("question_answering", {"question": "Who?", "answer": "Queen Victoria of England"}, why.NOT_GROUNDED),
    ("question_answering", {"question": "Who?", "answer": "..."}, why.NOT_GROUNDED),
    ("multiple_choice", {**GOOD["multiple_choice"], "options": "The mill"}, why.MISSING_KEY),
    ("multiple_choice", {**GOOD["multiple_choice"], "options": ["The old stone", "A", "B"]}, why.WRONG_OPTIONS),
    ("multiple_choice", {**GOOD["multiple_choice"], "options": ["The old stone", "a", "A!", "b"]}, why.WRONG_OPTIONS),
    ("multiple_choice", {**GOOD["multiple_choice"], "answer": "The moon"}, why.ANSWER_NOT_IN_OPTIONS),
    ("multiple_choice", {**GOOD["multiple_choice"], "answer": "B. The dam"}, why.ANSWER_NOT_IN_OPTIONS),
    ("multiple_choice", {**GOOD["multiple_choice"], "answer": "E"}, why.ANSWER_NOT_IN_OPTIONS),
    ("multiple_choice", {**GOOD["multiple_choice"], "answer": "The roof"}, why.NOT_GROUNDED),
    (
        "multiple_choice",
        {**GOOD["multiple_choice"], "options": ["The old stone", "stone!", "The dam", "The roof"]},
        why.AMBIGUOUS_OPTIONS,
    ),
    (
        "multiple_choice",
        {**GOOD["multiple_choice"], "options": ["The old stone", "None of the above", "The dam", "The roof"]},
        why.AMBIGUOUS_OPTIONS,
    ),
    ("cloze", {"sentence": "The miller bought a new stone in spring.", "answer": "stone"}, why.BLANK_MISSING),
    ("cloze", {"sentence": "The ____ bought a new ____ in spring.", "answer": "stone"}, why.BLANK_MISSING),
    ("cloze", {"sentence": "The king of ____ plays chess at home.", "answer": "stone"}, why.NOT_GROUNDED),
    ("cloze", {"sentence": "The miller bought a new ____ in spring.", "answer": "hat"}, why.NOT_GROUNDED),
    ("summarisation", {"summary": TEXT}, why.NOT_SHORTER),
    ("summarisation", {"summary": "Elephants drink nearly every evening."}, why.NOT_GROUNDED),
    ("inference", {"statement": "The mill is old.", "label": "maybe"}, why.ANSWER_NOT_IN_OPTIONS),
    ("paraphrase", {"sentence": "Farmers come.", "paraphrase": "farmers come"}, why.COPIED),
    ("paraphrase", {"sentence": "Kings ride horses.", "paraphrase": "Horses carry kings."}, why.NOT_GROUNDED),
    ("summarisation", {"summary": "The miller bought a new stone in spring. The old stone had cracked."}, why.COPIED),
    ("inference", {"statement": "now the mill grinds twelve sacks a day", "label": "false"}, why.COPIED),
    ("inference", {"statement": "In May of 1801 the miller paid.", "label": "true"}, why.NOT_GROUNDED),
    ("yes_no", {**GOOD["yes_no"], "answer": "perhaps"}, why.ANSWER_NOT_IN_OPTIONS),
    ("yes_no", {**GOOD["yes_no"], "evidence": "Camels drink water rarely."}, why.NOT_GROUNDED),
    ("keywords", {"keywords": ["mill", "stone", "camel"]}, why.NOT_GROUNDED),
    ("keywords", {"keywords": ["mill", "stone", "Stone"]}, why.WRONG_KEYWORDS),
    ("keywords", {"keywords": ["mill", "stone"]}, why.WRONG_KEYWORDS),
    (
        "correction",
        {"right": "Farmers come from three valleys.", "wrong": "farmers come from three valleys"},
        why.COPIED,
    ),
    ("correction", {**GOOD["correction"], "wrong": "Farmers come from three valleys."}, why.COPIED),
    ("correction", {**GOOD["correction"], "wrong": "Ships carry salt."}, why.NOT_GROUNDED),
    ("title", {"title": ""}, why.MISSING_KEY),
    ("title", {"title": "Camels Of The Desert"}, why.NOT_GROUNDED),
    ("title", {"title": "The Mill of 1801"}, why.NOT_GROUNDED),
    ("title", {"title": "stone " * 20}, why.OVER_LIMIT),
    ("question_answering", {**GOOD["question_answering"], "question": "How much? " + "x" * 240}, why.OVER_LIMIT),
    ("multiple_choice", {**GOOD["multiple_choice"], "options": ["a", "b", "c", "d" * 120]}, why.OVER_LIMIT),
    ("question_answering", {"question": "What about 1801?", "answer": "The mill grinds."}, why.NOT_GROUNDED),
    ("question_answering", {**GOOD["question_answering"], "question": EXAMPLE["question"]}, why.COPIES_EXAMPLE),
    (
        "question_answering",
        {**GOOD["question_answering"], "question": EXAMPLE["question"].replace("Why", "Say when and why")},
        why.COPIES_EXAMPLE,
    ),
    ("ordering", {"sentences": ["The mill.", "The stone."]}, why.WRONG_SENTENCES),
    ("ordering", {"sentences": ["The mill.", "The stone.", "the stone"]}, why.WRONG_SENTENCES),
    ("ordering", {"sentences": ["The mill.", "The stone.", "Seven camels slept."]}, why.NOT_GROUNDED),
]


@pytest.mark.parametrize(("template", "answer", "reason"), REFUSED)
def test_every_reason(template, answer, reason):
    row = item(template, answer)
    assert row["reason"] == reason
    assert row["text"] == (answer if answer is None or isinstance(answer, str) else json.dumps(answer))


def test_the_crafted_answers_cover_all_reasons():
    constants = {v for k, v in vars(why).items() if k.isupper() and isinstance(v, str) and v == k.lower()}
    assert {reason for _, _, reason in REFUSED} == constants and len(constants) == 15


def test_details_name_what_is_wrong():
    answer = {"question": "Who bought it?", "answer": "The miller bought it with Victoria in 1801."}
    assert item("question_answering", answer)["detail"] == "not in the seed: 1801, victoria"
    assert item("title", {"title": "x" * 120})["detail"] == "title: 120 characters"
    assert item("cloze", None, finish="not_asked")["detail"] == "not_asked"
    assert item("cloze", '{"sentence": "The', finish="length")["detail"] == "length"
    assert item("cloze", '{"sentence": "The')["detail"] is None


def test_what_the_seed_says_may_stand_in_an_item_though_an_example_says_it_too():
    answer = {"question": "How is it?", "answer": EXAMPLE["answer"]}
    assert item("question_answering", answer, text=f"{EXAMPLE['answer']} So it is.")["reason"] is None
    assert item("question_answering", answer)["reason"] == why.NOT_GROUNDED


def test_tokens_are_those_of_the_answer():
    assert item("cloze", GOOD["cloze"])["tokens"] == 1 and item("cloze", None)["tokens"] is None
    assert item("cloze", "?")["tokens"] == 1


CHOICE = GOOD["multiple_choice"]
LETTERED = [f"{letter}) {option}" for letter, option in zip("ABCD", CHOICE["options"], strict=True)]


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps(CHOICE),
        f"Here it is:\n```json\n{json.dumps(CHOICE, indent=2)}\n```\nI hope {{this}} helps.",
        f"The {{object}} is {json.dumps(CHOICE)} {{",
        json.dumps({**CHOICE, "answer": "A"}),
        json.dumps({**CHOICE, "answer": "(a)"}),
        json.dumps({**CHOICE, "answer": "Option A."}),
        json.dumps({**CHOICE, "answer": "A. the old stone!"}),
        json.dumps({**CHOICE, "options": LETTERED}),
        json.dumps({**CHOICE, "options": LETTERED, "answer": "A"}),
        json.dumps({**CHOICE, "options": dict(zip("ABCD", CHOICE["options"], strict=True)), "answer": "a"}),
        json.dumps({**CHOICE, "question": "What had cracked?\n"}).replace("\\n", "\n"),
        json.dumps([CHOICE]),
        json.dumps({"item": CHOICE}),
        json.dumps({"thought": "It is easy."}) + json.dumps(CHOICE),
        json.dumps({**CHOICE, "answer": "\u0007The old\x00stone\x1b"}),
    ],
)
def test_lenient_in_form(answer):
    got, expected = item("multiple_choice", answer), item("multiple_choice", CHOICE)
    assert got["reason"] is None and got["text"] == expected["text"]


def test_the_marked_option_is_the_right_one_in_every_place():
    forms = (Form("multiple_choice", "{a}|{b}|{c}|{d}|{letter}|{number}|{answer}|{question}"),)
    stage = reading(forms=(*forms, *(form for form in FORMS if form.task != "multiple_choice")))
    letters = Counter()
    for key in range(200):
        *options, letter, number, answer, _ = item("multiple_choice", CHOICE, key, stage)["text"].split("|")
        assert sorted(options) == sorted(CHOICE["options"])
        assert options["ABCD".index(letter)] == options[int(number) - 1] == answer == "The old stone"
        letters[letter] += 1
    assert min(letters[letter] for letter in "ABCD") > 25


def test_the_given_order_puts_the_sentences_right():
    forms = (Form("ordering", "{items}\n{order}\n{ordered}"),)
    stage = reading(forms=(*forms, *(form for form in FORMS if form.task != "ordering")))
    orders = set()
    for key in range(60):
        *items, order, ordered = item("ordering", GOOD["ordering"], key, stage)["text"].split("\n")
        shown = [line.split(". ", 1)[1] for line in items]
        right = [shown[int(number) - 1] for number in order.split(", ")]
        assert right == GOOD["ordering"]["sentences"] and " ".join(right) == ordered and shown != right
        orders.add(order)
    assert len(orders) == 5


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(TASK_OF)),
    st.text(max_size=80)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    ).map(json.dumps)
    | st.dictionaries(
        st.sampled_from(
            ["question", "answer", "options", "sentence", "summary", "statement", "label", "title", "sentences"]
        ),
        st.sampled_from(["\ud800 the mill", "The old stone", "A", "true", BLANK, 7, True, None, [], {}, [{}]])
        | st.lists(st.sampled_from(["the mill", "stone", "A) x", "\udfff", 3, None, "twelve sacks"]), max_size=5),
    ).map(json.dumps),
)
def test_any_answer_is_a_row_or_a_reason(template, answer):
    answer = answer.encode("utf-8", "replace").decode()
    row = item(template, answer)
    assert (row["reason"] is None) == (row["text"] != answer)


def test_values_with_braces_are_not_filled_again():
    assert filled("{a} {b} {'x': {b}}", {"a": "{b}", "b": "{a}"}) == "{b} {a} {'x': {a}}"


def test_the_priors_fit_their_tasks_and_wrong_ones_are_refused():
    check_forms(FORMS, SLOTS, "the priors")
    assert min(Counter(form.task for form in FORMS).values()) >= 4
    template = TEMPLATES[0]
    for text in ("{content}", "{content} {examples} {topic}"):
        with pytest.raises(ValueError, match="slots"):
            asking(templates=(TaskTemplate("t", template.task, text, (), template.keys),), prompts_per_seed=1)
    with pytest.raises(ValueError, match="own name"):
        asking(templates=(template, template))
    with pytest.raises(ValueError, match="prompts_per_seed"):
        asking(prompts_per_seed=len(TEMPLATES) + 1)
    with pytest.raises(ValueError, match="no form"):
        reading(forms=FORMS[:1])
    for text in ("{question}", "{question} {answer} {title}"):
        with pytest.raises(ValueError, match="slots"):
            reading(forms=(*FORMS, Form("question_answering", text)))
    with pytest.raises(ValueError, match="share"):
        reading(min_grounded=1.1)
    with pytest.raises(ValueError, match="base"):
        reading(answers=Opinion(on=DOCS))
    with pytest.raises(ValueError, match="template"):
        item("another", {})


def test_empty_parts_keep_their_schema():
    made = reading().prepare(None)(PROMPT.empty_table(), GENERATED.empty_table())
    assert len(made) == 0 and made.schema.names == [*WRITTEN.names, "reason", "detail"]


def test_building_the_stages_imports_nothing_heavy():
    code = (
        "import sys; from hare_ray.synth import tasks, rule_items, instructions; from hare_ray.priors import tasks;"
        "heavy = {'ray', 'torch', 'numba', 'transformers', 'vllm'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
