"""JSON schemas of items: what they allow is what the readers take, and it fits into an answer."""

import json
from dataclasses import replace

import pytest
from jsonschema import Draft202012Validator

from hare_ray.priors.tasks import load_templates
from hare_ray.synth.task_schemas import ITEMS, MAX_ITEM_CHARS, Label, Text, Texts, check_keys, schema_of

TEMPLATES = load_templates()
BY_NAME = {template.name: template for template in TEMPLATES}


def allowed(template, item):
    return Draft202012Validator(json.loads(schema_of(template))).is_valid(item)


def longest(spec):
    if isinstance(spec, Label):
        return max(spec.names, key=len)
    return "x" * spec.chars if isinstance(spec, Text) else ["x" * spec.chars] * spec.many


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_examples_follow_the_schema_and_nothing_else_does(template):
    Draft202012Validator.check_schema(json.loads(schema_of(template)))
    for text in template.examples:
        item = json.loads(text)
        assert allowed(template, item)
        assert not any(len(value) < 1 for value in item.values())
        assert not allowed(template, {**item, "more": "x"})
        for key in item:
            assert not allowed(template, {**item, key: 7})
            assert not allowed(template, {name: value for name, value in item.items() if name != key})
        assert not any(mark in text for mark in ("\\n", '\\"', "\\u"))


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_an_item_ends_before_its_answer_does(template):
    specs = {key: ITEMS[template.kind][key] for key in template.keys}
    item = {key: longest(spec) for key, spec in specs.items()}
    assert allowed(template, item)
    assert sum(spec.most for spec in specs.values()) <= MAX_ITEM_CHARS
    assert len(json.dumps(item)) < 3 * 512
    for key, spec in specs.items():
        if isinstance(spec, Text):
            assert not allowed(template, {**item, key: "x" * (spec.chars + 1)})
        if isinstance(spec, Texts):
            assert not allowed(template, {**item, key: ["x"] * (spec.many + 1)})
            assert not allowed(template, {**item, key: ["x"] * (spec.fewest - 1)})


def test_choices_have_four_options_and_labels_are_closed():
    item = {"question": "q", "answer": "a"}
    kept = [n for n in range(8) if allowed(BY_NAME["multiple_choice"], {**item, "options": ["a"] * n})]
    assert kept == [4]
    labels = [w for w in ("true", "True", "maybe", "") if allowed(BY_NAME["inference"], {"statement": "s", "label": w})]
    assert labels == ["true"]


def test_the_schema_is_a_function_of_task_and_keys():
    template = BY_NAME["cloze"]
    assert schema_of(replace(template, name="other", text="{content}{examples}", examples=())) == schema_of(template)
    turned = replace(template, keys=template.keys[::-1])
    assert list(json.loads(schema_of(turned))["properties"]) == ["answer", "sentence"]
    with pytest.raises(ValueError, match=r"'cloze' with the keys .*'hint'.* expected .*'sentence'"):
        check_keys(replace(template, keys=("sentence", "answer", "hint")), "it")
