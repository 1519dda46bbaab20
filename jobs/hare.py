"""The HARE method (arXiv 2406.11410), read top to bottom; every number of it is in this file or in hare_ray/priors.

    python jobs/hare.py --scale demo --root runs/demo
    python jobs/hare.py --scale 1b --root s3://bucket/hare --source 's3://bucket/crawl/*.warc.gz'
    python jobs/hare.py --scale 1b --plan
    ray job submit --working-dir . -- python jobs/hare.py --scale 1b --root s3://bucket/hare --source ...

What the paper leaves open is a named number with a reason: see hare_ray/priors/open_points.toml, which `--plan` prints.
"""

import argparse
import sys
from dataclasses import dataclass, replace

from rich.console import Console

from hare_ray import cli
from hare_ray.cluster import Assign, ClusterMap, Embed, KMeans, LabelClusters
from hare_ray.cluster.packaged import embedder
from hare_ray.corpus.blocklist import BlockList
from hare_ray.corpus.demo_crawl import DemoCrawl
from hare_ray.corpus.demo_packages import DOCUMENTED, versions
from hare_ray.corpus.extract import Extract
from hare_ray.corpus.language import Language
from hare_ray.corpus.pii import KINDS
from hare_ray.corpus.read import Read
from hare_ray.corpus.redact import Placeholder, Redact
from hare_ray.corpus.rights import Rights
from hare_ray.corpus.rules import Rules
from hare_ray.corpus.rules_families import PUBLISHED_GOPHER, PUBLISHED_REPETITION, Hare
from hare_ray.dedup.duplicates import Duplicates
from hare_ray.dedup.signature import Signature
from hare_ray.evaluate.harness import Evaluate
from hare_ray.leakage.decontaminate import Decontaminate
from hare_ray.leakage.holdout import HoldOut
from hare_ray.leakage.index import LeakIndex
from hare_ray.leakage.items import EvaluationItems
from hare_ray.model.export_stage import Export
from hare_ray.priors import load, shares
from hare_ray.priors.prompts import CONTINUATION, load_prompts, load_refusals
from hare_ray.priors.scales import Scale, scale_of
from hare_ray.priors.tasks import instructions_file, load_forms, load_templates
from hare_ray.quality import Committee, Score, Select
from hare_ray.stage import Keep, Make, Rebalance, Source, Stage, Table
from hare_ray.synth.generate import Generate
from hare_ray.synth.instructions import Instructions
from hare_ray.synth.rule_items import RuleItems
from hare_ray.synth.seeds import Seeds
from hare_ray.synth.tasks import TaskPrompts, Tasks
from hare_ray.synth.textbook import Textbook, TextbookPrompts
from hare_ray.synth.verify import Verify
from hare_ray.synth.writer import Writer, writer
from hare_ray.tokens import Mixture, Pack, Tokenizer
from hare_ray.train.pretrain import Pretrain, Schedule

INSTRUCTIONS = ""
"""Your instruction data: path, glob or URL of JSONL(.gz) files (the paper: OpenHermes-2.5, Auto-CoT, Dolly and more);
empty: the few dozen rows of hare_ray/priors/instructions.jsonl."""
BLOCKLISTS = ""
"""Your lists of hosts and URLs to leave out: path, glob or URL of files with one a line; empty: none."""
BENCHMARKS: tuple[str, ...] = ()
"""Your benchmarks: paths, globs or URLs of JSONL(.gz) files. Text that shares a 13-gram with them is dropped."""
TEXT_FIELDS = (  # of a benchmark item; each has some of them
    "question", "query", "text", "prompt", "sentence", "goal", "ctx", "endings", "choices", "options", "answer",
)  # fmt: skip

MIB = 1 << 20


def recipe(choice: cli.Choice) -> tuple[Stage, ...]:
    """From crawl to a judged model; beside it the labels and the map that explain D1."""
    scale = scale_of(choice.scale)
    clean = cleaned(crawled(choice, scale), choice.sample)
    unique = deduplicated(clean, scale)
    items = held_out(unique, scale)
    d1, topics = selected(decontaminated(unique, items), scale)

    tokenizer = Tokenizer(docs=d1, vocabulary=scale.paper.model.vocabulary, max_bytes=1 << 30)
    open_data = packed("d1", d1, tokenizer, scale)
    first = trained("stage_1", mixed("stage_1", (open_data,), (1.0,), scale), tokenizer, scale, before=None)
    first_model = exported("stage_1_model", first, tokenizer)

    d2 = textbooks(d1, writer(choice.llm or scale.writers[0], first_model), scale)
    d2 = refined("d2", d2, items, topics, scale)
    d3 = tasks(d1, d2, writer(choice.llm or scale.writers[1], first_model), scale)
    d3 = refined("d3", d3, items, topics, scale)

    sources = (open_data, packed("d2", d2, tokenizer, scale), packed("d3", d3, tokenizer, scale))
    second = trained("stage_2", mixed("stage_2", sources, shares(), scale), tokenizer, scale, before=first)
    model = exported("model", second, tokenizer)
    judged = Evaluate(
        models=(first_model, model), names=("stage 1", "stage 2"), items=items.items, max_items=None, seed=1,
        context_tokens=scale.paper.training.sequence_tokens,
    )  # fmt: skip
    return judged, d1, d2, d3, topics.labels, topics.dots


def crawled(choice: cli.Choice, scale: Scale) -> Stage:
    """The crawl: yours, or documentation pages made on this machine."""
    if choice.source is None and scale.demo_pages is not None:
        return DemoCrawl(pages=scale.demo_pages, files=scale.demo_files, packages=versions(DOCUMENTED))
    location = choice.source or "your crawl: give --source"
    # Pages inflate to five to seven times their stored bytes; parts are even again behind the first filters.
    return Source(label="crawl", location=location, part_bytes=min(scale.part_mib, 32) * MIB)


def cleaned(crawl: Stage, sample: float) -> Redact:
    """Main text in the wanted languages (paper, section 2); of a page with an address or two, these alone go."""
    pages = Read(files=crawl, sample=sample, max_payload_bytes=8 * MIB)
    text = Extract(
        docs=pages, engine="model", max_payload_bytes=8 * MIB, max_depth=1000, max_broken_share=0.01, min_chars=200
    )
    lists = [Source(label="blocklists", location=BLOCKLISTS)] if BLOCKLISTS else []
    verdicts = (
        Rights(docs=text, refuse_robots=("noai",), allow_licenses=None, require_license=False),
        *(BlockList(docs=text, lists=source, banned_words=()) for source in lists),
        Language(docs=text, keep=("en",), min_score=0.5, min_wanted_share=0.7, model=None),
        heuristics("rules", text, min_words=50),
    )
    accepted = Keep(label="accepted", docs=text, verdicts=verdicts, carry=("lang_score", "words"))
    return Redact(label="clean", docs=accepted, placeholders=tuple(Placeholder(kind, f"<{kind}>") for kind in KINDS))


def heuristics(label: str, docs: Table, min_words: int) -> Rules:
    """Gopher's (arXiv 2112.11446), and HARE's, whose thresholds are ours; more are in rules_families, to be added here.

    Of the good pages that pass, FineWeb's would drop a fifth for lines that come again, C4's what holds a brace.
    """
    gopher = replace(PUBLISHED_GOPHER, min_words=min_words)
    hare = Hare(
        max_lorem_ipsum_lines=0, max_javascript_line_share=0.1, min_complete_share=0.4, max_link_share=0.1,
        max_emails=2, max_phones=1, max_addresses=1,
    )  # fmt: skip
    return Rules(label=label, docs=docs, rules=(gopher, PUBLISHED_REPETITION, hare))


def deduplicated(clean: Table, scale: Scale) -> Keep:
    """Exact and near copies across all sources go, the longest copy stays (paper, section 2)."""
    parts = Rebalance(docs=clean, part_bytes=scale.part_mib * MIB)
    signature = Signature(docs=parts, ngram=5, bands=14, rows=8, seed=1)
    duplicates = Duplicates(docs=parts, signatures=signature)
    return Keep(label="unique", docs=parts, verdicts=(duplicates,), carry=("duplicate_cluster", "duplicates"))


@dataclass(frozen=True)
class HeldOut:
    """What training must not see."""

    split: Table
    items: Make
    indexes: dict[str, LeakIndex]  # by corpus


def held_out(unique: Keep, scale: Scale) -> HeldOut:
    """2 % is held out and becomes the evaluation; it and your benchmarks are what leaks are looked for of."""
    split = HoldOut(docs=unique, share=0.02)
    items = EvaluationItems(
        docs=unique, split=split, max_documents=scale.evaluation_documents, choices=4, seed=1,
        min_words=8, max_words=40, context_sentences=2,
    )  # fmt: skip
    texts = (items, *(Source(label=f"benchmark_{n}", location=where) for n, where in enumerate(BENCHMARKS)))
    # n of D1 is GPT-3's; of D2 within the paper's 10 to 15, of D3 within its 4 to 8 (A.4).
    of_13 = LeakIndex(items=texts, text_fields=TEXT_FIELDS, ngram=13, min_words=8)
    of_8 = LeakIndex(label="leak_index_of_8", items=texts, text_fields=TEXT_FIELDS, ngram=8, min_words=8)
    return HeldOut(split, items, {"d1": of_13, "d2": of_13, "d3": of_8})


def decontaminated(unique: Keep, held: HeldOut) -> Keep:
    """Nothing that is held out stays, nor what shares a 13-gram with it or with a benchmark."""
    leaks = Decontaminate(docs=unique, index=held.indexes["d1"], min_hits=1, max_overlap=0.0)
    return Keep(label="leak_free", docs=unique, verdicts=(held.split, leaks))


@dataclass(frozen=True)
class Topics:
    """What D1 is sorted and judged by, and synthetic text after it."""

    model: Source
    centroids: Make
    committee: Make
    labels: Make
    dots: Make


def selected(leak_free: Keep, scale: Scale) -> tuple[Keep, Topics]:
    """D1: of every topic the better documents, no topic over three times its even share; with labels and map."""
    # Semantic diversity: topics from embeddings.
    model = Source(label="embedder", location=embedder())
    embedding = Embed(docs=leak_free, model=model, dimensions=384, max_tokens=256, batch_rows=32, dtype="bfloat16")
    centroids = KMeans(
        embeddings=embedding, clusters=None, sample_rows=5_000_000, iterations=20, seed=1, spherical=True
    )
    clusters = Assign(embeddings=embedding, centroids=centroids)
    labels = LabelClusters(docs=leak_free, clusters=clusters, words_per_label=4, nearest=5, documents_per_cluster=200)
    dots = ClusterMap(docs=leak_free, embeddings=embedding, clusters=clusters, max_rows=5000, seed=1)

    # Even quality: a committee taught by example texts scores every document.
    committee = Committee(
        good=load("quality_good"), poor=load("quality_poor"), model=model, dimensions=384, max_tokens=256,
        temperature=5.0, seed=1, folds=5,
    )  # fmt: skip
    scores = Score(docs=leak_free, embeddings=embedding, committee=committee)
    select = Select(clusters=clusters, scores=scores, keep_share=0.8, min_quality=0.1, topic_cap=3.0)
    opinions, carry = (clusters, scores), ("cluster", "quality", "weight")
    d1 = Keep(label="d1", docs=leak_free, verdicts=(select,), opinions=opinions, carry=carry)
    return d1, Topics(model, centroids, committee, labels, dots)


def textbooks(d1: Keep, llm: Writer, scale: Scale) -> Keep:
    """D2: seeds from every topic x prompts of priors/, written by the LLM, checked row by row (paper, A.2)."""
    seeds = Seeds(label="d2_seeds", docs=d1, per_topic=100_000, total=scale.prompts[0], salt="D2")
    kinds = ("web", "wiki", "code") if llm.chat else (CONTINUATION,)
    prompts = TextbookPrompts(
        label="d2_prompts", docs=d1, seeds=seeds, templates=load_prompts(kinds), prompts_per_seed=1,
        max_seed_words=250 if llm.chat else 60,
    )  # fmt: skip
    answers = answered("d2_answers", prompts, llm, 1500, scale.gpus)
    written = Textbook(label="d2_written", prompts=prompts, answers=answers, may_be_empty=True)
    verify = Verify(
        label="d2_verify", docs=written, min_words=100 if llm.chat else 30, max_words=1600, must_end_sentence=True,
        refusals=load_refusals(), max_seed_overlap=0.3, max_repetition=0.15, max_word_share=0.15, min_variety=0.25,
        variety_words=100, max_letterless_share=0.2,
    )  # fmt: skip
    language = Language(
        label="d2_language", docs=written, keep=("en",), min_score=0.65, min_wanted_share=None, model=None
    )
    rules = heuristics("d2_rules", written, min_words=30)
    return Keep(label="d2_verified", docs=written, verdicts=(verify, language, rules), may_be_empty=True)


def tasks(d1: Keep, d2: Keep, llm: Writer, scale: Scale) -> Keep:
    """D3: tasks in natural language, by the LLM on seeds of D2 and D1, by rules, and from open instruction data."""
    templates, forms, half = load_templates(), load_forms(), scale.prompts[1] // 2
    prompts = tuple(
        TaskPrompts(
            label=f"d3_prompts_of_{name}", docs=docs, templates=templates, prompts_per_seed=1, max_seed_words=200,
            seeds=Seeds(label=f"d3_seeds_of_{name}", docs=docs, per_topic=100_000, total=half, salt="D3", topic=topic),
            may_be_empty=True,
        )
        for name, docs, topic in (("d2", d2, "topic"), ("d1", d1, "cluster"))
    )  # fmt: skip
    asked = Rebalance(label="d3_prompts", docs=prompts, part_bytes=scale.part_mib * MIB, may_be_empty=True)
    answers = answered("d3_answers", asked, llm, 512, scale.gpus)
    items = Tasks(
        label="d3_written", prompts=asked, answers=answers, templates=templates, forms=forms, min_grounded=0.7, seed=1,
        may_be_empty=True,
    )  # fmt: skip
    rule_seeds = Seeds(label="rule_seeds", docs=d1, per_topic=10, total=None, salt="rules")
    by_rule = RuleItems(
        docs=d1, seeds=rule_seeds, forms=forms, per_document=1, min_words=6, max_words=40, context_sentences=2,
        max_excerpt_words=150, seed=1, may_be_empty=True,
    )  # fmt: skip
    files = Source(label="instruction_files", location=INSTRUCTIONS or instructions_file())
    instructions = Instructions(files=files, max_record_bytes=MIB, forms=forms, seed=1, may_be_empty=True)
    joined = Rebalance(label="d3_items", docs=(items, by_rule, instructions), part_bytes=scale.part_mib * MIB)
    verify = Verify(
        label="d3_verify", docs=joined, min_words=5, max_words=400, must_end_sentence=False, refusals=load_refusals(),
        max_seed_overlap=1.0, max_repetition=0.3, max_word_share=0.3, min_variety=0.2, variety_words=100,
        max_letterless_share=0.4,
    )  # fmt: skip
    return Keep(label="d3_verified", docs=joined, verdicts=(verify,))


def answered(label: str, prompts: Table, llm: Writer, max_tokens: int, gpus: int) -> Generate:
    """One answer for every prompt; a base model stops after 128 tokens."""
    return Generate(
        label=label, prompts=prompts, model=llm.model, llm=llm.llm, endpoint=llm.endpoint, chat=llm.chat,
        max_tokens=max_tokens if llm.chat else 128, temperature=0.8, top_p=0.95, seed=1,
        linger_seconds=60.0 if label == "d2_answers" else 0.0, gpus=gpus, replicas=8 if gpus else 1,
    )  # fmt: skip


def refined(name: str, verified: Keep, held: HeldOut, topics: Topics, scale: Scale) -> Keep:
    """The stages of D1 again: duplicates, leaks (rate of n-grams over 50 %; paper, A.4), quality."""
    empty = name == "d2"  # every text may have been refused; D3 has items of other origin
    parts = Rebalance(label=f"{name}_parts", docs=verified, part_bytes=scale.part_mib * MIB, may_be_empty=empty)
    signature = Signature(label=f"{name}_signature", docs=parts, ngram=5, bands=14, rows=8, seed=1)
    duplicates = Duplicates(label=f"{name}_duplicates", docs=parts, signatures=signature)
    unique = Keep(label=f"{name}_unique", docs=parts, verdicts=(duplicates,), may_be_empty=empty)
    leaks = Decontaminate(label=f"{name}_leaks", docs=unique, index=held.indexes[name], min_hits=1, max_overlap=0.5)
    leak_free = Keep(label=f"{name}_leak_free", docs=unique, verdicts=(leaks,), may_be_empty=empty)
    embedding = Embed(
        label=f"{name}_embed", docs=leak_free, model=topics.model, dimensions=384, max_tokens=256, batch_rows=32,
        dtype="bfloat16",
    )  # fmt: skip
    clusters = Assign(label=f"{name}_assign", embeddings=embedding, centroids=topics.centroids)
    scores = Score(label=f"{name}_score", docs=leak_free, embeddings=embedding, committee=topics.committee)
    # The committee knows running text, so items only lose its very worst.
    select = Select(
        label=f"{name}_select", clusters=clusters, scores=scores, keep_share=1.0,
        min_quality=0.1 if name == "d2" else 0.02, topic_cap=1e9,
    )  # fmt: skip
    return Keep(
        label=name, docs=leak_free, verdicts=(select,), opinions=(clusters, scores), carry=("cluster", "quality"),
        may_be_empty=empty,
    )  # fmt: skip


def packed(name: str, docs: Table, tokenizer: Tokenizer, scale: Scale) -> Pack:
    """Whole documents in sequences."""
    return Pack(
        label=f"{name}_packed", docs=docs, tokenizer=tokenizer, sequence_tokens=scale.paper.training.sequence_tokens,
        token_bytes=2, seed=1, may_be_empty=True,
    )  # fmt: skip


def mixed(stage: str, sources: tuple[Pack, ...], weights: tuple[float, ...], scale: Scale) -> Mixture:
    """Sequences by weight; a source that comes short gives its share to the others."""
    paper, training = scale.paper, scale.paper.training
    return Mixture(
        label=f"{stage}_mixture", sources=sources, names=("D1", "D2", "D3")[: len(sources)], weights=weights,
        tokens=int(paper.stage_1_tokens if stage == "stage_1" else paper.stage_2_tokens), max_epochs=16.0,
        sequence_tokens=training.sequence_tokens, batch_sequences=training.batch_tokens // training.sequence_tokens,
    )  # fmt: skip


def trained(stage: str, mixture: Mixture, tokenizer: Tokenizer, scale: Scale, before: Pretrain | None) -> Pretrain:
    """The first stage warms up and stays; the second goes on and falls to 0 at its end (the paper names no shape)."""
    training = scale.paper.training
    warmup = training.warmup_steps * training.batch_tokens
    return Pretrain(
        label=stage, mixture=mixture, sources=mixture.sources, tokenizer=tokenizer, before=before,
        schedule=Schedule(warmup, 0.0) if before is None else Schedule(0, training.decay_share),
        shape=scale.paper.model, training=training, batch_sequences=mixture.batch_sequences,
        micro_batch=scale.micro_batch, workers=scale.workers, gpu=scale.gpus > 0,
        seed=1 if before is None else 2, checkpoint_steps=scale.checkpoint_steps,
    )  # fmt: skip


def exported(label: str, stage: Pretrain, tokenizer: Tokenizer) -> Export:
    """The model as transformers, vLLM and lm-eval load it; positions are rotary, so prompts may be longer."""
    return Export(label=label, trained=stage, tokenizer=tokenizer, dtype="bfloat16", context_tokens=2048)


def main() -> int:
    """Plan, or run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_choice(parser)
    parser.add_argument("--plan", action="store_true", help="print every number of the recipe; nothing runs")
    options = parser.parse_args()
    command = plan if options.plan else cli.run_command
    return cli.explained(lambda: command(recipe, options, cli.console_for()), cli.console_for(stderr=True))


def plan(recipe: cli.Recipe, options: argparse.Namespace, console: Console) -> None:
    """The tree, and the paper's tables before it."""
    scale = scale_of(options.scale)
    if scale.demo_pages is None:
        console.print(*scale.paper.tables())
    cli.plan_command(recipe, options, console)


if __name__ == "__main__":
    sys.exit(main())
