"""DATASET_CARD.md and MODEL_CARD.md in the form of Hugging Face: YAML front matter, then Markdown.

Every line is a fact of the manifests or of the files that stages made; what they do not say is left out. There are no
dates, speeds or seconds in a card, so equal runs give equal cards. A card of a model is written where one was trained.

YAML values are written as JSON, which YAML contains. Names and texts of the run are escaped for Markdown, so a URL or
a label cannot become a link, a table or HTML.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from hare_ray.report import sections, words
from hare_ray.report.known import Known
from hare_ray.report.reading import FINAL, Run
from hare_ray.report.records import Entry, Input, recipe

DATASET, MODEL = "DATASET_CARD.md", "MODEL_CARD.md"

FILES_LISTED = 50
"""Files of a source that a card names; a crawl can have a million."""

ENTRIES_SHOWN = 12
"""Longest list of a recipe that is written out."""

REDACTED = "redacted_"
"""Beginning of the names of the counts of placeholders, in books."""
VALUE_CHARS = 160
"""Longest text of a recipe that is written out; examples and prompts are longer."""

SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"), (1e7, "1M<n<10M"),
         (1e8, "10M<n<100M"), (1e9, "100M<n<1B"), (1e10, "1B<n<10B"), (1e11, "10B<n<100B"))  # fmt: skip
"""Names that the hub has for numbers of rows, by what they stay below."""

SPECIAL = re.compile(r"([\\`*\[\]<>|#~$&]|(?<!\w)_|_(?!\w))")
"""What Markdown or HTML may read as more than text; an underscore inside a word is none."""

GAP = re.compile(r"\n{3,}")
"""Empty lines that templates leave where a section is left out."""


@dataclass(frozen=True)
class Files:
    """The files of a source, or those that a stage made in place of one."""

    stage: str
    kind: str
    total: int
    size: int | None
    entries: list[dict[str, Any]]


def write(run: Run, known: Known) -> list[str]:
    """Put the cards into the run's directory; returns their names."""
    environment = _environment()
    context = _context(run, known)
    names = [DATASET, *([MODEL] if known.trained else [])]
    for name in names:
        text = environment.get_template(f"{name.lower()}.j2").render(context)
        run.root.write(name, (GAP.sub("\n\n", text).strip() + "\n").encode())
    return names


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    named = (words.spoken, words.count, words.shown, words.compact, words.share, md, value)
    environment.filters.update({function.__name__: function for function in named})
    environment.filters["yaml"] = lambda item: json.dumps(item, ensure_ascii=False)
    return environment


def md(text: object) -> str:
    """Text as plain text of one line of Markdown."""
    return SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def value(item: Any) -> str:
    """A recipe's value in few words; long texts and lists are counted."""
    if isinstance(item, Input):
        return f"`{item.name}`"
    if isinstance(item, dict):
        return "; ".join(f"{md(key)} {value(inner)}" for key, inner in item.items()) or "none"
    if isinstance(item, list):
        if item and all(_of_numbers(inner) for inner in item):
            return " / ".join(map(value, item))
        if len(item) > ENTRIES_SHOWN or sum(len(str(inner)) for inner in item) > VALUE_CHARS:
            return f"{len(item):,} entries"
        return ", ".join(value(inner) for inner in item) or "none"
    if isinstance(item, str) and len(item) > VALUE_CHARS:
        return f"a text of {len(item):,} characters"
    if item is None or isinstance(item, bool):
        return {None: "none", True: "yes", False: "no"}[item]
    return md(item) if isinstance(item, str) else str(item)


def _of_numbers(item: Any) -> bool:
    """Whether it is a dataclass with numbers and no texts: the limits of a family of rules."""
    if not isinstance(item, dict):
        return False
    values = [inner for key, inner in item.items() if key != "class"]
    return any(isinstance(v, int | float) for v in values) and not any(isinstance(v, str) for v in values)


def _redacted(run: Run, known: Known) -> list[str]:
    """Placeholders that took the place of personal information on the way to D1, by kind."""
    books = [run.books(step.name) for step in known.funnel.steps]
    counts = [(key.removeprefix(REDACTED), n) for book in books for key, n in book.items() if key.startswith(REDACTED)]
    return [f"{kind} {count:,}" for kind, count in counts]


def _context(run: Run, known: Known) -> dict[str, Any]:
    entries = recipe(run)
    return {
        "name": run.root.url.rstrip("/").rsplit("/", 1)[-1],
        "known": known,
        "documents": run.rows(FINAL),
        "characters": run.books(FINAL).get("characters"),
        "languages": _languages(entries),
        "redacted": _redacted(run, known),
        "size": _size(run, known),
        "sources": list(_sources(run, known)),
        "recipe": entries,
        "training": [entry for entry in entries if entry.class_name == "Pretrain"],
        "writers": _writers(known),
        "limits": list(_limits(run, known, entries)),
        "exported": any(entry.class_name == "Export" for entry in entries),
    }


def _languages(entries: list[Entry]) -> list[str]:
    """Codes of the languages that the documents were judged to be in."""
    kept = (entry.fields.get("keep", []) for entry in entries if entry.class_name == "Language")
    return list(dict.fromkeys(code for codes in kept for code in codes if isinstance(code, str)))


def _size(run: Run, known: Known) -> str | None:
    """The hub's name for the number of documents, real and synthetic."""
    rows = run.rows(FINAL)
    if rows is None:
        return None
    rows += sum(branch.kept or 0 for branch in known.synthetic)
    return next((name for below, name in SIZES if rows < below), "n>1T" if rows >= 1e12 else "100B<n<1T")


def _sources(run: Run, known: Known) -> Iterator[Files]:
    """Files that existed, and those that the first base was read from."""
    for name in run.order:
        made = run.known[name]
        if made["kind"] == "source" or (name == known.funnel.source and made.get("files")):
            files = made.get("files", [])
            sizes = [entry["bytes"] for entry in files if "bytes" in entry]
            size = sum(sizes) if len(sizes) == len(files) else None
            yield Files(name, made["recipe"]["class"], len(files), size, files[:FILES_LISTED])


def _writers(known: Known) -> list[str]:
    """Models that wrote synthetic text."""
    return list(dict.fromkeys(writing.model for branch in known.synthetic for writing in branch.writings))


def _limits(run: Run, known: Known, entries: list[Entry]) -> Iterator[str]:
    """What a user has to know, as sentences in Markdown."""
    for entry in entries:
        yield from _limits_of(run, entry)
    for branch in known.synthetic:
        if branch.sentence:
            yield f"{md(branch.name)}: {md(branch.sentence)}"
    for mix in known.mixtures:
        if mix.synthetic_share is not None:
            yield f"Share of {md(mix.name)} that is not from the crawl: {words.share(mix.synthetic_share, 1)}."
    for evaluation in known.evaluations:
        yield from (md(sentence) for sentence in evaluation.sentences)


def _limits_of(run: Run, entry: Entry) -> Iterator[str]:
    """Those that follow from one stage."""
    sample = entry.fields.get("sample")
    if isinstance(sample, float) and sample < 1:
        yield f"Sample: {words.share(sample, 1)} of the records were read (stage `{entry.name}`)."
    if entry.class_name == "Language":
        yield f"Languages kept: {value(entry.fields.get('keep', []))} (stage `{entry.name}`)."
    if entry.class_name == "HoldOut" and "share" in entry.fields:
        yield f"Held-out share: {words.share(entry.fields['share'], 1)} of the documents (stage `{entry.name}`)."
    if entry.class_name == "LeakIndex":
        yield from _leaks(run, entry)


def _leaks(run: Run, entry: Entry) -> Iterator[str]:
    against = run.known[entry.name]["inputs"].get("benchmarks", [])
    ngram = f", n-grams of {entry.fields['ngram']} words" if isinstance(entry.fields.get("ngram"), int) else ""
    coverage = sections.splits(run, entry.name)
    items = sum(counts.get("items", 0) for counts in coverage.values())
    names = ", ".join(f"`{name}`" for name in dict.fromkeys((*against, *sorted(coverage))))
    if names:
        yield f"Decontaminated against: {names}; {items:,} items{ngram} (stage `{entry.name}`)."
    unchecked = sum(counts.get("unchecked", 0) for counts in coverage.values())
    if unchecked:
        yield f"{unchecked:,} of these items could not be checked."
    unable = sections.unable(run) if entry.name == "leak_index" else None
    if unable:
        yield f"The leak check had nothing to check against: {unable}."
