"""What can be said of leaks, and what cannot: every benchmark, every corpus, every hit, on paper.

    indexes   LeakIndex: items.parquet, coverage.json, unchecked.jsonl, settings.json
    tables    opinions of Decontaminate and CheckShards, called `names`
    ->        certificate.json   as below
              certificate.html   the same to be read or printed; nothing is loaded from elsewhere
              hits.parquet       every hit: `hare_ray.leakage.hits.HITS`
              unchecked.jsonl    every item that nothing checks, with the index that says so and its reason

    certificate.json
      format        2
      clean         whether there is a last look and it found no leak by the rules of its corpora
      final         {corpora: [name], rows, leaks, below, bases: {stage: fingerprint of what is trained on}}
      corpora       [{name, stage, kind, final, rows, hits, removed, below, reasons: {reason: rows}, rule: {...},
                      index}]
      indexes       {name: {settings: {...}, recipe: {...}, items, unchecked}}
      benchmarks    {benchmark: {split: {items, checked, exact, joined, unchecked,
                     methods: {index: {method: items}}, corpora: {name: {hits, removed, items}}}}}
      examples      [a row of hits.parquet], some of each corpus and split
      limits        [what it cannot promise]

`checked` are the items that every index which a corpus was searched with can find by some method: `exact` by their
question alone (ngram, short_exact), `joined` only where choices or answer stand beside it; `unchecked` is the rest.
`hits` counts rows that name an item, `removed` those that were dropped for it, `below` those that the rule keeps
although they have words in common. In a corpus that is `final`, the rows as they are trained on, whatever would be
removed is a leak that is left, and training refuses to begin; `bases` is how it knows that these are its own rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from hare_ray.leakage.hits import DOCUMENT, Corpus, Tally, look_through, write_hits
from hare_ray.stage import Make, Table

if TYPE_CHECKING:
    from hare_ray.gather import Desk

CERTIFICATE, PAGE, HITS_FILE, UNCHECKED_FILE = (
    "certificate.json",
    "certificate.html",
    "hits.parquet",
    "unchecked.jsonl",
)

FORMAT = 2

UNCHECKED = "unchecked"
"""The method of items that no method fits."""

EXACT = ("ngram", "short_exact")
"""Methods that find an item by its question alone."""

LIMITS = (
    "Rewording is found while most of an item's words stay in their order. A question that was told anew in other "
    "words is not found, nor is one that was translated.",
    "Items of too few or too common words mean nothing by themselves; they are listed as not checked.",
    "An item whose bare question is too short or too common, but not its question with choices or answer (joined), is "
    "found only where these stand beside the question. The question alone may be in the text.",
    "Under a rule with a share, such as half for text that a model wrote, runs of an item's words that make up no more "
    "than that share of a text stay in it. They are counted as below the threshold, and trained on.",
    "One item is named per hit, the one with most in common. A text may hold more, so that counts of items are lower "
    "bounds.",
    "Facts are not leaks. A text that answers a question without asking it is kept, and models are meant to learn "
    "from it.",
    "Synthetic text is searched like any other, but the model that wrote it, and every pretrained model that judged "
    "or sorted text, learned from data that nobody here has seen. What it knows of a benchmark may come through in "
    "words of its own.",
    "Only the benchmarks that are listed were looked for, in the version that lay here on the day.",
    "A row of training holds one piece of a long document. What a cut separates is searched in the documents, not in "
    "the rows.",
)


class Certificate(Make):
    """The result of all searches for leaks."""

    indexes: tuple[Make, ...]
    """What the tables were searched with, each once."""
    names: tuple[str, ...]
    """What the corpora are called, such as D1; in the order of `tables`."""
    tables: tuple[Table, ...]
    """Opinions of Decontaminate and CheckShards."""
    final: tuple[str, ...]
    """Names of the corpora that are trained on as they are: in these, any leak is one too many."""
    documents: tuple[Table, ...] = ()
    """Tables with id and url, on the bases of those tables that hold no ids themselves."""

    code: ClassVar[int] = 2
    imports: ClassVar[tuple[str, ...]] = ("jinja2",)

    def __post_init__(self) -> None:
        """Refuse names without tables, and hits that would lead to no document."""
        if len(self.names) != len(self.tables) or len(set(self.names)) < len(self.names) or not self.tables:
            raise ValueError(
                f"{self!r}: given {len(self.tables)} tables and the names {self.names}, "
                "expected one or more tables and as many different names"
            )
        if set(self.final) - set(self.names):
            raise ValueError(f"{self!r}: given final={self.final}, expected names among {self.names}")
        if len({index.name for index in self.indexes}) < len(self.indexes) or not self.indexes:
            raise ValueError(f"{self!r}: given indexes {self.indexes}, expected one or more, each once")
        for table in self.tables:
            self.index_of(table)
            self._documents_of(table)

    @property
    def final_tables(self) -> tuple[Table, ...]:
        """The opinions on what is trained on."""
        return tuple(table for name, table in zip(self.names, self.tables, strict=True) if name in self.final)

    def index_of(self, table: Table) -> Make:
        """The index that a table was searched with."""
        own = getattr(table, "index", self.indexes[0])
        if any(index is own for index in self.indexes):  # before fingerprints, which ask for the listing of sources
            return own
        for index in self.indexes:
            if index.fingerprint == own.fingerprint:
                return index
        raise ValueError(f"{self!r}: given {table!r}, which was searched with {own!r}; put that among `indexes`")

    def _documents_of(self, table: Table) -> Table | None:
        if DOCUMENT in table.schema().names:
            return None
        for documents in self.documents:
            if documents.base is table.base:
                return documents
        raise ValueError(
            f"{self!r}: given {table!r} without a column {DOCUMENT}, expected a table on {table.base!r} with a column "
            "id among `documents`; give the base itself"
        )

    def make(self, desk: Desk) -> dict[str, int]:
        """Read the opinions, write the files; returns rows that were searched, hits, and leaks that are left."""
        corpora = [
            Corpus(name, table, self._documents_of(table)) for name, table in zip(self.names, self.tables, strict=True)
        ]
        tallies = look_through(desk, corpora)
        hits = write_hits(desk, tallies.values(), HITS_FILE)
        unchecked = sum(1 for _ in self._unchecked(desk))
        told = self.told(desk, tallies)
        (desk.folder / CERTIFICATE).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        self._write_page(desk, told)
        rows = sum(tally.rows for tally in tallies.values())
        return {"rows": rows, "hits": hits, "leaks_left": told["final"]["leaks"], "unchecked_items": unchecked}

    def told(self, desk: Desk, tallies: dict[str, Tally]) -> dict[str, Any]:
        """What certificate.json says."""
        left = sum(tallies[name].removed for name in self.final)
        coverage = {index.name: json.loads(desk.read_file(index, "coverage.json")) for index in self.indexes}
        searched = {self.index_of(table).name for table in self.tables}
        return {
            "format": FORMAT,
            "clean": bool(self.final) and not left,
            "final": {
                "corpora": list(self.final),
                "rows": sum(tallies[name].rows for name in self.final),
                "leaks": left,
                "below": sum(tallies[name].below for name in self.final),
                "bases": {table.base.name: table.base.fingerprint for table in self.final_tables},
            },
            "corpora": [
                self._corpus(name, table, tallies[name]) for name, table in zip(self.names, self.tables, strict=True)
            ],
            "indexes": {index.name: self._index(desk, index, coverage[index.name]) for index in self.indexes},
            "benchmarks": benchmarks(coverage, searched, tallies),
            "examples": [
                example
                for tally in tallies.values()
                for whose in sorted(tally.found)
                for example in tally.found[whose].examples
            ],
            "limits": list(LIMITS),
        }

    def _corpus(self, name: str, table: Table, tally: Tally) -> dict[str, Any]:
        return {
            "name": name,
            "stage": table.name,
            "kind": type(table).__name__,
            "final": name in self.final,
            "rows": tally.rows,
            "hits": tally.hits,
            "removed": tally.removed,
            "below": tally.below,
            "reasons": dict(sorted(tally.reasons.items())),
            "rule": numbers(table.recipe["fields"]),
            "index": self.index_of(table).name,
        }

    def _index(self, desk: Desk, index: Make, coverage: dict[str, Any]) -> dict[str, Any]:
        splits = [split for benchmark in coverage.values() for split in benchmark.values()]
        return {
            "settings": json.loads(desk.read_file(index, "settings.json")),
            "recipe": numbers(index.recipe["fields"]),
            "items": sum(split["items"] for split in splits),
            "unchecked": sum(split.get(UNCHECKED, 0) for split in splits),
        }

    def _unchecked(self, desk: Desk) -> Iterator[dict[str, Any]]:
        """Items that nothing checks; written down as they pass by."""
        with (desk.folder / UNCHECKED_FILE).open("w", encoding="utf-8") as file:
            for index in self.indexes:
                for line in desk.read_file(index, UNCHECKED_FILE).decode().split("\n"):
                    if line.strip():
                        item = {"index": index.name, **json.loads(line)}
                        file.write(json.dumps(item, ensure_ascii=False) + "\n")
                        yield item

    def _write_page(self, desk: Desk, told: dict[str, Any]) -> None:
        from hare_ray.leakage.certificate_page import Listed, page

        listed = Listed()
        with (desk.folder / UNCHECKED_FILE).open(encoding="utf-8") as lines:
            for line in lines:
                listed.add(json.loads(line))
        (desk.folder / PAGE).write_text(page(told, listed), encoding="utf-8")


def numbers(fields: dict[str, Any]) -> dict[str, Any]:
    """A recipe without its inputs: what a person decided."""
    own = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            if "stage" not in value:
                own[name] = numbers(value)
        elif isinstance(value, list):
            if not any(isinstance(inner, dict) and "stage" in inner for inner in value):
                own[name] = value
        elif value is not None:
            own[name] = value
    return own


def benchmarks(
    coverage: dict[str, dict[str, Any]], searched: set[str], tallies: dict[str, Tally]
) -> dict[str, dict[str, Any]]:
    """Per benchmark and split what is checked, how, and what was found where."""
    every = sorted({(name, split) for told in coverage.values() for name, splits in told.items() for split in splits})
    found: dict[str, dict[str, Any]] = {}
    for benchmark, split in every:
        counts = {index: told[benchmark][split] for index, told in coverage.items() if split in told.get(benchmark, {})}
        used = [counts.get(index, {}) for index in searched]
        items = max(count["items"] for count in counts.values())
        checked = min(count.get("items", 0) - count.get(UNCHECKED, 0) for count in used)
        exact = min(sum(count.get(method, 0) for method in EXACT) for count in used)
        corpora = {}
        for name, tally in tallies.items():
            there = tally.found.get((benchmark, split))
            if there is not None:
                corpora[name] = {"hits": there.documents, "removed": there.removed, "items": len(there.items)}
        found.setdefault(benchmark, {})[split] = {
            "items": items,
            "checked": checked,
            "exact": exact,
            "joined": checked - exact,
            "unchecked": items - checked,
            "methods": {
                index: {method: number for method, number in count.items() if method != "items" and number}
                for index, count in counts.items()
            },
            "corpora": corpora,
        }
    return found
