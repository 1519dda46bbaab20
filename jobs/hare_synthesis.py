"""What an LLM writes: D2 and D3 of the recipe in jobs/hare.py, from seeds of D1."""

from dataclasses import dataclass

from hare_documents import MIB, heuristics
from hare_ray.corpus.language import Language
from hare_ray.priors.checks import load_checks
from hare_ray.priors.prompts import CONTINUATION, SOURCES, load_prompts, load_refusals
from hare_ray.priors.scales import Scale
from hare_ray.priors.tasks import instructions_file, load_forms, load_templates
from hare_ray.stage import Keep, Rebalance, Source, Table
from hare_ray.synth.confirm import CheckPrompts, Confirmed
from hare_ray.synth.generate import Generate
from hare_ray.synth.instructions import Instructions
from hare_ray.synth.rule_items import RuleItems
from hare_ray.synth.seeds import Seeds
from hare_ray.synth.tasks import TaskPrompts, Tasks
from hare_ray.synth.textbook import Textbook, TextbookPrompts
from hare_ray.synth.verify import Verify
from hare_ray.synth.writer import Writer

INSTRUCTIONS = ""
"""Your instruction data: path, glob or URL of JSONL(.gz) files (the paper: OpenHermes-2.5, Auto-CoT, Dolly and more);
empty: the few dozen rows of hare_ray/priors/instructions.jsonl."""

THROUGH = "serve"
"""How a model of your own is run: "serve" keeps it warm from D2 to D3 and takes GPUs as requests wait, "batch" asks it
inside a Ray Data pipeline. An endpoint (--llm http://...) needs neither."""


@dataclass(frozen=True)
class Written:
    """Texts that passed the checks of a row, and what the LLM was asked for them."""

    verified: Keep
    prompts: Table


def textbooks(d1: Keep, llm: Writer, scale: Scale) -> Written:
    """D2: seeds from every topic x source x audience x style, written by the LLM, checked row by row (paper, A.2)."""
    templates = load_prompts(SOURCES if llm.chat else (CONTINUATION,))
    seeds = Seeds(
        label="d2_seeds", docs=d1, per_topic=100_000, total=scale.prompts[0], salt="D2", kinds=templates.kinds
    )
    prompts = TextbookPrompts(
        label="d2_prompts", docs=d1, seeds=seeds, templates=templates, prompts_per_seed=1,
        max_seed_words=350 if llm.chat else 60,
    )  # fmt: skip
    answers = answered("d2_answers", prompts, llm, 2400 if llm.chat else 128, scale.gpus)
    written = Textbook(label="d2_written", prompts=prompts, answers=answers, may_be_empty=True)
    verify = Verify(
        label="d2_verify", docs=written, min_words=100 if llm.chat else 30, max_words=2000, min_tokens=None,
        max_tokens=2400, must_end_sentence=True, refusals=load_refusals(), max_boilerplate=1, max_seed_overlap=0.3,
        max_repetition=0.15, max_word_share=0.15, min_variety=0.25, variety_words=100, max_letterless_share=0.2,
    )  # fmt: skip
    language = Language(
        label="d2_language", docs=written, keep=("en",), min_score=0.65, min_wanted_share=None, model=None
    )
    rules = heuristics("d2_rules", written, min_words=30)
    verified = Keep(label="d2_verified", docs=written, verdicts=(verify, language, rules), may_be_empty=True)
    return Written(verified, prompts)


def tasks(d1: Keep, d2: Keep, llm: Writer, scale: Scale) -> Written:
    """D3: tasks in natural language, by the LLM on seeds of D2 and D1, by rules, and from open instruction data."""
    forms, half = load_forms(), scale.prompts[1] // 2
    prompts = tuple(
        TaskPrompts(
            label=f"d3_prompts_of_{name}", docs=docs, templates=load_templates(), prompts_per_seed=1,
            max_seed_words=200, may_be_empty=True,
            seeds=Seeds(label=f"d3_seeds_of_{name}", docs=docs, per_topic=100_000, total=half, salt="D3", topic=topic),
        )
        for name, docs, topic in (("d2", d2, "topic"), ("d1", d1, "cluster"))
    )  # fmt: skip
    asked = Rebalance(label="d3_prompts", docs=prompts, part_bytes=scale.part_mib * MIB, may_be_empty=True)
    items = by_llm(asked, llm, scale)
    rule_seeds = Seeds(label="rule_seeds", docs=d1, per_topic=10, total=None, salt="rules")
    by_rule = RuleItems(
        docs=d1, seeds=rule_seeds, forms=forms, per_document=1, min_words=6, max_words=40, context_sentences=2,
        max_excerpt_words=150, seed=1, may_be_empty=True,
    )  # fmt: skip
    files = Source(label="instruction_files", location=INSTRUCTIONS or instructions_file())
    instructions = Instructions(files=files, max_record_bytes=MIB, forms=forms, seed=1, may_be_empty=True)
    joined = Rebalance(label="d3_items", docs=(items, by_rule, instructions), part_bytes=scale.part_mib * MIB)
    verify = Verify(
        label="d3_verify", docs=joined, min_words=5, max_words=380, min_tokens=None, max_tokens=512,
        must_end_sentence=False, refusals=load_refusals(), max_boilerplate=1, max_seed_overlap=1.0, max_repetition=0.3,
        max_word_share=0.3, min_variety=0.2, variety_words=100, max_letterless_share=0.4,
    )  # fmt: skip
    language = Language(
        label="d3_language", docs=joined, keep=("en",), min_score=0.3, min_wanted_share=None, model=None
    )
    return Written(Keep(label="d3_verified", docs=joined, verdicts=(verify, language)), asked)


def by_llm(asked: Table, llm: Writer, scale: Scale) -> Tasks:
    """Items in JSON by guided decoding, as text; what an LLM that follows instructions does not confirm is refused."""
    templates, checks = (
        load_templates(),
        {"min_grounded": 0.6, "max_copied": 0.5, "max_example_overlap": 0.2, "seed": 1},
    )
    answers = answered("d3_answers", asked, llm, 512, scale.gpus)
    confirmed = None
    if llm.chat:
        again = CheckPrompts(
            label="d3_checks", prompts=asked, answers=answers, templates=templates, checks=load_checks(), **checks
        )
        second = answered("d3_second_answers", again, llm, 128, scale.gpus, temperature=0.0)
        confirmed = Confirmed(label="d3_confirmed", checks=again, answers=second, min_f1=0.4)
    return Tasks(
        label="d3_written", prompts=asked, answers=answers, templates=templates, forms=load_forms(),
        confirmed=confirmed, may_be_empty=True, **checks,
    )  # fmt: skip


def answered(label: str, prompts: Table, llm: Writer, max_tokens: int, gpus: int, temperature: float = 0.8) -> Generate:
    """One answer for every prompt."""
    return Generate(
        label=label, prompts=prompts, model=llm.model, llm=llm.llm, endpoint=llm.endpoint, through=THROUGH,
        chat=llm.chat, max_tokens=max_tokens, temperature=temperature, top_p=0.95, seed=1,
        linger_seconds=60.0 if label in ("d2_answers", "d3_answers") else 0.0, gpus=gpus, replicas=8 if gpus else 1,
    )  # fmt: skip
