"""The HARE method (arXiv 2406.11410), read top to bottom; every number of it is in this file or in hare_ray/priors.

    python jobs/hare.py --scale demo --root runs/demo
    python jobs/hare.py --scale 1b --root s3://bucket/hare --source 's3://bucket/crawl/*.warc.gz'
    python jobs/hare.py --scale 1b --plan
    ray job submit --working-dir . -- python jobs/hare.py --scale 1b --root s3://bucket/hare --source ...

What the paper leaves open is a named number with a reason: see hare_ray/priors/open_points.yaml, which `--plan` prints.
"""

import sys
from dataclasses import dataclass

from rich.table import Table as Grid

from hare_documents import MIB, cleaned, crawled, deduplicated
from hare_ray import cli
from hare_ray.dedup.duplicates import Duplicates
from hare_ray.dedup.known import DuplicateIndex
from hare_ray.dedup.signature import Signature
from hare_ray.evaluate.harness import Evaluate
from hare_ray.evaluate.tasks import LEADERBOARD
from hare_ray.leakage.benchmarks import Benchmarks
from hare_ray.leakage.certificate import Certificate
from hare_ray.leakage.decontaminate import Decontaminate
from hare_ray.leakage.holdout import HoldOut
from hare_ray.leakage.index import LeakIndex
from hare_ray.leakage.items import EvaluationItems
from hare_ray.leakage.leaks import Rule
from hare_ray.leakage.shards import CheckShards
from hare_ray.model.export_stage import Export
from hare_ray.priors import load_mixtures
from hare_ray.priors.benchmarks import load_benchmark_forms, load_leaderboard
from hare_ray.priors.scales import Scale, scale_of
from hare_ray.stage import Keep, Make, Rebalance, Source, Stage, Table
from hare_ray.synth.diversity import Diversity
from hare_ray.synth.writer import writer
from hare_ray.tokens import Mixture, Pack, Repeats, Tokenizer
from hare_ray.train.pretrain import Pretrain, Schedule
from hare_ray.train.settings import Speed
from hare_synthesis import Written, tasks, textbooks
from hare_topics import Topics, judged, selected

BENCHMARKS: tuple[str, ...] = ()
"""Your benchmarks: paths, globs or URLs of JSONL(.gz) or Parquet files. Text that holds an item of them is dropped."""

LEAKS = {  # n of the n-grams in common, and the share of a document's that may be: GPT-3's rule for web text,
    # HARE's for what is written (A.4): of its n of 10 to 15 the strictest; of 4 to 8 see open_points.yaml
    "d1": (13, 0.0), "d2": (10, 0.5), "d3": (8, 0.5),
}  # fmt: skip


def recipe(choice: cli.Choice) -> tuple[Stage, ...]:
    """From crawl to a judged model; beside it what explains D1, and the index that later crawls are compared with."""
    scale = scale_of(choice.scale)
    clean = cleaned(crawled(choice, scale), choice.sample)
    unique = deduplicated(clean, scale)
    held = held_out(unique.texts, scale)
    ours = Keep(label="training", docs=unique.texts, verdicts=(held.split,))
    leaks = searched("d1", ours, held)
    leak_free = Keep(label="leak_free", docs=ours, verdicts=(leaks,))
    asked = tuple(choice.llm or one for one in scale.writers)  # of D2 and D3; empty: the model trained here
    llms = {one: writer(one, None) for one in asked if one}
    d1, topics = selected(leak_free, unique, scale, llms.get(asked[0]))

    tokenizer = Tokenizer(docs=d1, vocabulary=scale.paper.model.vocabulary, max_bytes=1 << 30)
    sources = {"D1": packed("d1", d1, tokenizer, scale, topics.repeats)}
    search, checks = [leaks], [read_again("d1", sources["D1"], held)]
    seen = certificate("stage_1", search, checks, held)
    first = trained("stage_1", mixed("stage_1", sources, scale), tokenizer, seen, scale)
    first_model = exported("stage_1_model", first, tokenizer)

    here = writer("", first_model)
    written = textbooks(d1, llms.get(asked[0], here), scale)
    d2, leaks, d2_diversity = refined("d2", written, unique.index, held, topics, scale)
    search.append(leaks)
    written = tasks(d1, d2, llms.get(asked[1], here), scale)
    d3, leaks, d3_diversity = refined("d3", written, unique.index, held, topics, scale)
    search.append(leaks)

    sources |= {"D2": packed("d2", d2, tokenizer, scale), "D3": packed("d3", d3, tokenizer, scale)}
    checks += [read_again("d2", sources["D2"], held), read_again("d3", sources["D3"], held)]
    seen = certificate("stage_2", search, checks, held)
    second = trained("stage_2", mixed("stage_2", sources, scale), tokenizer, seen, scale, first)
    model = exported("model", second, tokenizer)
    evaluated = Evaluate(
        models=(first_model, model), names=("stage 1", "stage 2"), items=held.items, max_items=None, seed=1,
        context_tokens=scale.paper.training.sequence_tokens, tasks=LEADERBOARD if scale.public_benchmarks else (),
    )  # fmt: skip
    return evaluated, d1, d2, d3, topics.labels, topics.dots, unique.index, d2_diversity, d3_diversity


@dataclass(frozen=True)
class HeldOut:
    """What training must not see."""

    split: Table
    items: Make
    indexes: dict[str, LeakIndex]  # by corpus


def held_out(unique: Table, scale: Scale) -> HeldOut:
    """2 % is held out and becomes the evaluation; it and all benchmarks are what leaks are looked for of."""
    split = HoldOut(docs=unique, share=0.02)
    items = EvaluationItems(
        docs=unique, split=split, max_documents=scale.evaluation_documents, choices=4, seed=1,
        min_words=8, max_words=40, context_sentences=2,
    )  # fmt: skip
    files = (items, *(Source(label=f"benchmark_{n}", location=where) for n, where in enumerate(BENCHMARKS)))
    benchmarks = Benchmarks(files=files, tasks=public(scale), forms=load_benchmark_forms())
    indexes = {
        name: LeakIndex(
            label=f"leak_index_{name}" if name != "d1" else "leak_index", benchmarks=(benchmarks,), ngram=ngram,
            min_words=4, min_weight=1.0, anchor_words=4, anchors_per_question=10,
            anchor_weight=0.9, reworded_weight=2.0,
        )
        for name, (ngram, _) in LEAKS.items()
    }  # fmt: skip
    return HeldOut(split, items, indexes)


def public(scale: Scale) -> tuple[str, ...]:
    """Benchmarks of others, by lm-eval's names."""
    return load_leaderboard() if scale.public_benchmarks else ()


def searched(name: str, docs: Table, held: HeldOut) -> Decontaminate:
    """Which documents hold an item of what is held out or of a benchmark."""
    return Decontaminate(
        label="decontaminate" if name == "d1" else f"{name}_leaks", docs=docs, index=held.indexes[name], rule=rule(name)
    )


def rule(name: str) -> Rule:
    """What of a document may be in common with the benchmarks."""
    return Rule(min_hits=1, max_overlap=LEAKS[name][1], reworded_share=0.7)


def read_again(name: str, packed: Pack, held: HeldOut) -> CheckShards:
    """The same search in what is trained on: the tokens."""
    return CheckShards(
        label=f"{name}_shards", sequences=packed, tokenizer=packed.tokenizer, index=held.indexes[name],
        rule=rule(name), token_bytes=packed.token_bytes,
    )  # fmt: skip


def certificate(stage: str, search: list[Decontaminate], checks: list[CheckShards], held: HeldOut) -> Certificate:
    """What was looked for and found in the documents, and, at last, in the tokens; training asks to see it."""
    names = tuple(LEAKS)[: len(checks)]
    shards = tuple(f"{name.upper()} shards" for name in names)
    return Certificate(
        label=f"{stage}_certificate", indexes=tuple(held.indexes[name] for name in names),
        names=(*(name.upper() for name in names), *shards), tables=(*search, *checks), final=shards,
        documents=tuple(table.docs for table in search),
    )  # fmt: skip


def refined(
    name: str, written: Written, crawled: DuplicateIndex, held: HeldOut, topics: Topics, scale: Scale
) -> tuple[Keep, Decontaminate, Diversity]:
    """The stages of D1 again: copies among them and of the crawl, leaks (rate of n-grams over 50 %; A.4), quality."""
    empty = name == "d2"  # every text may have been refused; D3 has items of other origin
    parts = Rebalance(label=f"{name}_parts", docs=written.verified, part_bytes=scale.part_mib * MIB, may_be_empty=empty)
    signature = Signature(label=f"{name}_signature", docs=parts, ngram=5, unit="word", bands=14, rows=8, seed=1)
    duplicates = Duplicates(
        label=f"{name}_duplicates", docs=parts, signatures=signature, min_similarity=0.5, prefer=("words",),
        known=(crawled,),
    )  # fmt: skip
    unique = Keep(label=f"{name}_unique", docs=parts, verdicts=(duplicates,), may_be_empty=empty)
    leaks = searched(name, unique, held)
    leak_free = Keep(label=f"{name}_leak_free", docs=unique, verdicts=(leaks,), may_be_empty=empty)
    kept, vectors = judged(name, leak_free, topics)
    diversity = Diversity(
        label=f"{name}_diversity", prompts=written.prompts, texts=leak_free, embeddings=vectors, sample=1000
    )
    return kept, leaks, diversity


def packed(name: str, docs: Table, tokenizer: Tokenizer, scale: Scale, repeats: Repeats | None = None) -> Pack:
    """Whole documents in sequences, as often as their topic is to be read."""
    return Pack(
        label=f"{name}_packed", docs=docs, tokenizer=tokenizer, sequence_tokens=scale.paper.training.sequence_tokens,
        token_bytes=2, seed=1, repeats=repeats, may_be_empty=True,
    )  # fmt: skip


def mixed(stage: str, sources: dict[str, Pack], scale: Scale) -> Mixture:
    """Sequences by weight; a source that comes short gives its share to the others."""
    paper, training, prior = scale.paper, scale.paper.training, load_mixtures()
    weights = prior.weights(stage)
    return Mixture(
        label=f"{stage}_mixture", sources=tuple(sources[part] for part in weights), names=tuple(weights),
        weights=tuple(weights.values()), max_epochs=prior.max_epochs, sequence_tokens=training.sequence_tokens,
        tokens=int(paper.stage_1_tokens if stage == "stage_1" else paper.stage_2_tokens),
        batch_sequences=training.batch_tokens // training.sequence_tokens,
    )  # fmt: skip


def trained(
    stage: str, mixture: Mixture, tokenizer: Tokenizer, seen: Certificate, scale: Scale, before: Pretrain | None = None
) -> Pretrain:
    """The first stage warms up and stays; the second goes on and falls to 0 at its end (the paper names no shape)."""
    training = scale.paper.training
    warmup = training.warmup_steps * training.batch_tokens
    return Pretrain(
        label=stage, mixture=mixture, sources=mixture.sources, tokenizer=tokenizer, before=before,
        certificate=seen, evaluated=("bits_per_byte", "cloze", *public(scale)),
        schedule=Schedule(warmup, 0.0) if before is None else Schedule(0, training.decay_share),
        shape=scale.paper.model, training=training, batch_sequences=mixture.batch_sequences,
        micro_batch=scale.micro_batch, workers=scale.workers, gpu=scale.gpus > 0,
        speed=Speed(compile=scale.gpus > 0, zero_stage=1), log_steps=10 if scale.gpus else 1,
        seed=1 if before is None else 2, checkpoint_steps=scale.checkpoint_steps,
    )  # fmt: skip


def exported(label: str, stage: Pretrain, tokenizer: Tokenizer) -> Export:
    """The model as transformers, vLLM and lm-eval load it; positions are rotary, so prompts may be longer."""
    return Export(label=label, trained=stage, tokenizer=tokenizer, dtype="bfloat16", context_tokens=2048)


def facts(choice: cli.Choice) -> list[Grid]:
    """The paper's tables, before the plan of one of its scales."""
    scale = scale_of(choice.scale)
    return scale.paper.tables() if scale.demo_pages is None else []


if __name__ == "__main__":
    sys.exit(cli.job(recipe, __doc__, facts))
