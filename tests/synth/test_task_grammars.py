"""The schemas in llguidance, which guides vLLM: they compile, and their limits hold there."""

import json

import pytest

from hare_ray.priors.tasks import load_templates
from hare_ray.synth.confirm import ANSWER_CHARS
from hare_ray.synth.confirm import SCHEMAS as CHECK_SCHEMAS
from hare_ray.synth.task_schemas import ITEMS, Text, Texts, schema_of

TEMPLATES = load_templates()
SCHEMAS = {template.name: schema_of(template) for template in TEMPLATES}
NAMES = [template.name for template in TEMPLATES]


class Vocabulary:
    """Single bytes."""

    eos_token_id = 256
    bos_token_id = None
    tokens = (*(bytes([value]) for value in range(256)), b"</s>")
    special_token_ids = (256,)

    def __call__(self, text):
        return list(text)


@pytest.fixture(scope="module")
def matcher():
    llguidance = pytest.importorskip("llguidance")
    tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Vocabulary()))

    def made(schema):
        """As vLLM makes it where it is told `disable_any_whitespace`."""
        grammar = llguidance.LLMatcher.grammar_from_json_schema(schema, defaults={"whitespace_flexible": False})
        found = llguidance.LLMatcher(tokenizer, grammar)
        assert not found.get_error()
        return found

    return made


@pytest.fixture(scope="module")
def takes(matcher):
    def taken(schema, text):
        found, data = matcher(schema), list(text.encode())
        return found.validate_tokens(data) == len(data) and found.consume_tokens(data) and found.is_accepting()

    return taken


def told(item):
    return json.dumps(item, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize("template", TEMPLATES, ids=NAMES)
def test_the_grammar_takes_items_and_refuses_what_breaks_a_limit(takes, template):
    schema = SCHEMAS[template.name]
    for text in template.examples:
        item = json.loads(text)
        assert takes(schema, told(item))
        assert not takes(schema, json.dumps(item))  # a blank after a colon
        assert not takes(schema, told({**item, "more": "x"}))
        for key in template.keys:
            spec = ITEMS[template.kind][key]
            assert not takes(schema, told({**item, key: ""}))
            if isinstance(spec, Text):
                for mark in ("\u00e9", '"', "\n", "\\", "\U0001f600"):
                    assert takes(schema, told({**item, key: mark * spec.chars}))
                    assert not takes(schema, told({**item, key: mark * (spec.chars + 1)}))
            if isinstance(spec, Texts):
                assert takes(schema, told({**item, key: ["x" * spec.chars] * spec.many}))
                assert not takes(schema, told({**item, key: ["x" * (spec.chars + 1)] * spec.many}))
                assert not takes(schema, told({**item, key: ["x"] * (spec.many + 1)}))
                assert not takes(schema, told({**item, key: ["x"] * (spec.fewest - 1)}))


@pytest.mark.parametrize("escape", [r"\ud800", r"\ud83d\ude00", r"\u00e9", r"\x41"])
def test_escapes_of_more_than_control_characters_are_not_to_be_had(takes, escape):
    assert takes(SCHEMAS["title"], r'{"title":"The mill\n\u0007"}')
    assert not takes(SCHEMAS["title"], f'{{"title":"The mill{escape}"}}')


def test_an_object_is_closed_at_the_limit(matcher):
    found = matcher(SCHEMAS["title"])
    assert found.consume_tokens(list(b'{"title":"' + b"x" * ITEMS["title"]["title"].most))
    left = [token for token, bias in enumerate(found.compute_logit_bias()) if bias]
    assert left == [ord('"')]


@pytest.mark.parametrize("task", sorted(CHECK_SCHEMAS))
def test_a_second_answer_is_one_string_or_one_of_its_labels(takes, task):
    schema = CHECK_SCHEMAS[task]
    labels = json.loads(schema)["properties"]["answer"].get("enum")
    for answer in labels or ("x", "\u00e9" * ANSWER_CHARS):
        assert takes(schema, told({"answer": answer}))
    for answer in ("", "x" * (ANSWER_CHARS + 1), *(["maybe"] if labels else [])):
        assert not takes(schema, told({"answer": answer}))
