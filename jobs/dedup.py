"""One copy of every text: files in, Parquet out; exact, re-wrapped, re-cased and nearly equal copies are gone.

    python jobs/dedup.py 'crawl/*.jsonl.gz' --root runs/dedup            on all cores, through Ray
    python jobs/dedup.py corpus.parquet --root runs/dedup --plain        on the cores of this machine, without Ray
    hare why runs/dedup URL                                              which copy a document lost to
    hare show runs/dedup unique --reason near_duplicate                  examples of what is gone

JSONL, Parquet and Arrow rows need a column `text` (or `content`, `raw_content`); `url` and `title` are taken along
where there are any. WARC, WET, HTML and text files are read too: pages give their main text. Of copies the longest
stays. The result is a function of the documents alone: the order of files and the number of workers do not matter.
Killed, the same command goes on.

A later crawl is compared with what an earlier one kept, whose text is not read again:

    python jobs/dedup.py 'may/*.parquet' --root runs/may --index         also writes runs/may/index/...
    python jobs/dedup.py 'june/*.parquet' --root runs/june --index --known runs/may
"""

import argparse
import os
import sys
from dataclasses import dataclass

from rich.console import Console

from hare_ray import cli
from hare_ray.corpus.extract import Extract
from hare_ray.corpus.read import Read
from hare_ray.dedup.duplicates import Duplicates
from hare_ray.dedup.known import DuplicateIndex
from hare_ray.dedup.signature import Signature
from hare_ray.engine import ExecutorFactory, checked_root, run
from hare_ray.manifest import Manifest, load
from hare_ray.progress import Live
from hare_ray.stage import Keep, Source, Stage
from hare_ray.store import Root
from hare_ray.tree import tree

MIB = 1 << 20
INDEX = "index"
"""Name of the stage that an earlier run's index is found by."""


@dataclass(frozen=True)
class Graph:
    """What is made."""

    unique: Keep
    index: DuplicateIndex


def recipe(choice: cli.Choice) -> tuple[Stage, ...]:
    """What `hare plan` and `hare run` ask for; --source and --sample count."""
    if choice.source is None:
        raise ValueError("there is nothing to deduplicate; give --source, such as --source 'crawl/*.jsonl.gz'")
    return (deduplicated(choice.source, choice.sample).unique,)


def deduplicated(location: str, sample: float = 1.0, known: tuple[str, ...] = ()) -> Graph:
    """The documents below `location` without copies of each other or of what the indexes in `known` hold."""
    files = Source(label="files", location=location, part_bytes=16 * MIB)
    records = Read(files=files, sample=sample, max_payload_bytes=64 * MIB)
    texts = Extract(
        docs=records, engine="model", max_payload_bytes=64 * MIB, max_depth=1000, max_broken_share=0.01, min_chars=1
    )
    # Two texts with the share s of their word 5-grams in common meet with probability 1 - (1 - s^8)^14: 0.92 at 0.8,
    # 0.36 at 0.65. Of those that meet, texts with less than half in common are quotations rather than copies.
    signature = Signature(docs=texts, ngram=5, unit="word", bands=14, rows=8, seed=1)
    indexes = tuple(Source(label=f"known_{number}", location=index) for number, index in enumerate(known))
    duplicates = Duplicates(
        docs=texts, signatures=signature, min_similarity=0.5, prefer=("words",), known=indexes
    )  # fmt: skip
    unique = Keep(label="unique", docs=texts, verdicts=(duplicates,), carry=("duplicate_cluster", "duplicates"))
    return Graph(unique, DuplicateIndex(label=INDEX, docs=texts, signatures=signature, duplicates=duplicates))


def index_of(root: str) -> str:
    """Where an earlier run has its index; ValueError where it has none."""
    place = checked_root(root)
    manifest = load(Root(place), INDEX)
    if manifest is None:
        raise ValueError(f"{root} holds no index; run that deduplication again with --index, which takes moments")
    return folder(place, manifest)


def folder(root: str, manifest: Manifest) -> str:
    """Where a stage's files lie."""
    return f"{root.rstrip('/')}/{manifest['name']}/{manifest['fingerprint'][:12]}"


def on_ray(workers: int | None) -> ExecutorFactory:
    """The executor on Ray, whose import is heavy."""
    from hare_ray.on_ray import OnRay

    return lambda root: OnRay(root, workers)


def on_cores(workers: int) -> ExecutorFactory:
    """The executor without Ray."""
    from hare_ray.forked import Forked

    return lambda root: Forked(workers)


def deduplicate(options: argparse.Namespace, console: Console) -> None:
    """Print the plan, run it, say what came of it and where it is."""
    known = tuple(index_of(root) for root in options.known)
    graph, root = deduplicated(options.input, options.sample, known), checked_root(options.root)
    targets = (graph.unique, graph.index) if options.index else (graph.unique,)
    console.print(tree(f"{options.input} -> {root}", targets, {}), highlight=False)
    executor = on_ray(options.workers) if options.plain is None else on_cores(options.plain)
    manifests = run(*targets, root=root, executor=executor, progress=Live(console))
    console.print(cli.closing(list(manifests.values())))
    console.print(f"\none copy of each: {folder(root, manifests['unique'])}/part-*.parquet", highlight=False)


def parser() -> argparse.ArgumentParser:
    """The few flags."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("input", help="file, folder, glob or URL of JSONL, Parquet, Arrow, WARC, HTML or text files")
    found.add_argument("--root", required=True, help="directory of the run, or s3://, gs://; the result lies in it")
    found.add_argument("--workers", type=int, metavar="N", help="cores that Ray may use (all)")
    found.add_argument(
        "--plain", nargs="?", type=int, const=os.cpu_count(), metavar="N",
        help="without Ray, in N processes of this machine (all cores): nothing to start up",
    )  # fmt: skip
    found.add_argument("--index", action="store_true", help="also write the index that a later run can take as known")
    found.add_argument(
        "--known", action="append", default=[], metavar="ROOT", help="root of an earlier run with --index; repeatable"
    )
    found.add_argument("--sample", type=cli.fraction, default=1.0, help="share of the documents to read, such as 0.01")
    return found


def main(argv: list[str] | None = None) -> int:
    """Deduplicate; exit status 1 with a line that says how to mend it, where that is the user's to do."""
    options = parser().parse_args(argv)
    return cli.explained(lambda: deduplicate(options, cli.console_for()), cli.console_for(stderr=True))


if __name__ == "__main__":
    sys.exit(main())
