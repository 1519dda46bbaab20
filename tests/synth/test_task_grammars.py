"""The schemas in xgrammar, which guides vLLM: they compile, and their limits hold there."""

import json

import pytest

from hare_ray.priors.tasks import load_templates
from hare_ray.synth.task_schemas import ITEMS, Text, schema_of

pytestmark = pytest.mark.slow
TEMPLATES = load_templates()


@pytest.fixture(scope="module")
def xgrammar():
    return pytest.importorskip("xgrammar")


@pytest.fixture(scope="module")
def compiler(xgrammar):
    """Over a vocabulary of single bytes."""
    vocabulary = [*(bytes([value]) for value in range(256)), b"</s>"]
    info = xgrammar.TokenizerInfo(vocabulary, xgrammar.VocabType.RAW, vocab_size=257, stop_token_ids=[256])
    return xgrammar.GrammarCompiler(info)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_the_grammar_takes_items_and_refuses_what_breaks_a_limit(xgrammar, compiler, template):
    compiled = compiler.compile_json_schema(schema_of(template))

    def takes(item):
        matcher = xgrammar.GrammarMatcher(compiled)
        return matcher.accept_string(json.dumps(item, ensure_ascii=False)) and matcher.accept_token(256)

    for text in template.examples:
        item = json.loads(text)
        assert takes(item)
        assert not takes({**item, "more": "x"})
        for key in template.keys:
            spec = ITEMS[template.kind][key]
            if isinstance(spec, Text):
                assert takes({**item, key: "\u00e9" * spec.chars})
                assert not takes({**item, key: "\u00e9" * (spec.chars + 1)})
            assert not takes({**item, key: ""})


def test_an_object_is_closed_at_the_limit(xgrammar, compiler):
    template = next(template for template in TEMPLATES if template.name == "title")
    matcher = xgrammar.GrammarMatcher(compiler.compile_json_schema(schema_of(template)))
    assert matcher.accept_string('{"title": "' + "x" * ITEMS["title"]["title"].most)
    mask = xgrammar.allocate_token_bitmask(1, 257)
    matcher.fill_next_token_bitmask(mask)
    left = [token for token in range(257) if int(mask[0][token // 32]) >> token % 32 & 1]
    assert left == [ord('"')]
