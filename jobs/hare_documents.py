"""From crawl to unique text: the first part of the recipe in jobs/hare.py, which is read after it."""

from dataclasses import dataclass, replace

from hare_ray import cli
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
from hare_ray.dedup.drop_passages import DropPassages
from hare_ray.dedup.duplicates import Duplicates
from hare_ray.dedup.known import DuplicateIndex
from hare_ray.dedup.optout import OptOut, OptOutList
from hare_ray.dedup.passages import Passages
from hare_ray.dedup.repeated_passages import RepeatedPassages
from hare_ray.dedup.signature import Signature
from hare_ray.priors.scales import Scale
from hare_ray.stage import Keep, Rebalance, Source, Stage, Table

BLOCKLISTS = ""
"""Your lists of hosts and URLs to leave out: path, glob or URL of files with one a line; empty: none."""
KNOWN: tuple[str, ...] = ()
"""Folders of duplicate indexes that earlier crawls left (runs/may/duplicate_index/<id>): what they kept is not taken
again, and their text is not read."""
OPT_OUT = ""
"""Your list of who wants to be left out: path, glob or URL of files with a URL, host or id a line. All copies of their
texts leave D1; nothing before the selection is made anew. Empty: nobody."""
MIB = 1 << 20


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
    accepted = Keep(label="accepted", docs=text, verdicts=verdicts, carry=("lang_score",))
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


@dataclass(frozen=True)
class Unique:
    """What is left of copies, and how it was found."""

    texts: DropPassages
    documents: Table
    duplicates: Duplicates
    index: DuplicateIndex


def deduplicated(clean: Table, scale: Scale) -> Unique:
    """Exact and near copies across all sources go, the longest stays (paper, section 2); so do lines of the many."""
    parts = Rebalance(docs=clean, part_bytes=scale.part_mib * MIB)
    signature = Signature(docs=parts, ngram=5, unit="word", bands=14, rows=8, seed=1)
    lines = Passages(label="lines", docs=parts, unit="line", min_words=12)
    # A text whose lines nearly all stand in one other is a piece of it.
    contained = RepeatedPassages(label="contained", docs=parts, passages=lines, max_documents=1, min_share=0.9)
    duplicates = Duplicates(
        docs=parts, signatures=signature, min_similarity=0.5, prefer=("words",), edges=(contained,),
        known=tuple(Source(label=f"known_{n}", location=where) for n, where in enumerate(KNOWN)),
    )  # fmt: skip
    carry = ("duplicate_cluster", "duplicates")
    unique = Keep(label="unique", docs=parts, verdicts=(duplicates,), carry=carry)
    lines = Passages(label="unique_lines", docs=unique, unit="line", min_words=12)
    repeated = RepeatedPassages(docs=unique, passages=lines, max_documents=10, min_share=1.0)
    texts = DropPassages(label="pruned", docs=unique, repeated=repeated, min_words=50)
    index = DuplicateIndex(docs=parts, signatures=signature, duplicates=duplicates)
    return Unique(texts, parts, duplicates, index)


def opted_out(docs: Table, unique: Unique) -> tuple[OptOut, ...]:
    """The verdict on those whose URL, host or id is on your list, and on all copies of their texts."""
    if not OPT_OUT:
        return ()
    lists = (Source(label="opt_out_lists", location=OPT_OUT),)
    return (OptOut(docs=docs, opted_out=OptOutList(docs=unique.documents, duplicates=unique.duplicates, lists=lists)),)
