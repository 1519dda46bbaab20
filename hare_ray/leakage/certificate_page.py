"""The certificate as one HTML file, to be read on a screen or printed: styles inside, nothing from elsewhere.

It says what certificate.json says and no more; a policy in the head forbids the browser to load anything. Long lists
are cut, with the number of what is left out: hits.parquet and unchecked.jsonl hold all.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from hare_ray.leakage.shards import CheckShards

HERE = Path(__file__).parent
TEMPLATE = "certificate.html.j2"

LISTED = 40
"""Items shown of each split that nothing checks."""

METHODS = {
    "ngram": "words in a row",
    "short_exact": "whole question",
    "joined": "only with choices or answer",
    "unchecked": "not checked exactly",
}
"""Methods of an index in words, best first."""

REASONS = {
    "leaked_ngram": "shares a run of words with an item",
    "leaked_short_item": "holds a short item whole",
    "leaked_reworded": "holds an item with words changed",
    "leaked_overlap": "is largely made of benchmark text",
    "too_short": "too few words to mean anything by themselves",
    "too_common": "words too common to mean anything by themselves",
}
"""What reason codes mean; a code that is not here speaks for itself."""


@dataclass
class Listed:
    """Items that nothing checks: how many, why, and the first of each split."""

    counts: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    """By index, benchmark, split and reason."""
    first: dict[tuple[str, str, str, str], list[str]] = field(default_factory=dict)

    def add(self, item: dict[str, Any]) -> None:
        """Count one; keep its name while there is room."""
        key = (item["index"], item["benchmark"], item["split"], item["reason"])
        self.counts[key] += 1
        names = self.first.setdefault(key, [])
        if len(names) < LISTED:
            names.append(item["id"])

    def rows(self) -> list[dict[str, Any]]:
        """One per index, benchmark, split and reason."""
        keys = ("index", "benchmark", "split", "reason")
        return [
            {**dict(zip(keys, key, strict=True)), "count": self.counts[key], "ids": names}
            for key, names in sorted(self.first.items())
        ]


def page(told: dict[str, Any], listed: Listed) -> str:
    """The page about what certificate.json holds."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({"count": count, "reason": reason, "flat": flat})
    return environment.get_template(TEMPLATE).render(
        told=told,
        rows=rows(told),
        totals=totals(told),
        unchecked=listed.rows(),
        methods=METHODS,
        searched=[corpus["name"] for corpus in told["corpora"]],
        laws=[law(corpus, told["indexes"][corpus["index"]]) for corpus in told["corpora"]],
    )


def count(number: int) -> str:
    """With thin groups of three."""
    return f"{number:,}".replace(",", "\u202f")


def reason(code: str) -> str:
    """A reason code in words."""
    return REASONS.get(code, code.replace("_", " "))


def law(corpus: dict[str, Any], index: dict[str, Any]) -> str:
    """The rule of a corpus in words: what makes a leak of a hit, and what stays."""
    rule, n = corpus["rule"]["rule"], index["recipe"]["ngram"]
    hits, share = rule["min_hits"], rule["max_overlap"]
    text = "piece of a row" if corpus["kind"] == CheckShards.__name__ else "text"
    leaks = [
        f"at least {hits} run{'s' if hits > 1 else ''} of {n} words in common with the items",
        f"an item shorter than {n} words that stands in it whole",
    ]
    kept = [f"fewer than {hits} runs in common"] if hits > 1 else []
    if share:
        leaks[0] += f", if these are more than {100 * share:g} % of its own runs of {n} words"
        kept.append(f"runs in common that are no more than {100 * share:g} % of its own")
    if "reworded_share" in rule:
        leaks.append(f"at least {100 * rule['reworded_share']:g} % of the weight of a question, its words in order")
    stays = f"Kept is a {text} with only {' or '.join(kept)}." if kept else "Nothing that is found is kept."
    return f"A leak is a {text} with {'; or with '.join(leaks)}. {stays}"


def flat(rule: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values of a rule; those of what lies in it follow where it stands."""
    found = []
    for name, value in rule.items():
        if isinstance(value, dict):
            found += flat(value)
        elif name != "class":
            found.append((name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    return found


def totals(told: dict[str, Any]) -> dict[str, int]:
    """The numbers on top."""
    splits = [split for benchmark in told["benchmarks"].values() for split in benchmark.values()]
    items = sum(split["items"] for split in splits)
    counts = {name: sum(split[name] for split in splits) for name in ("checked", "exact", "joined", "unchecked")}
    return {
        "benchmarks": len(told["benchmarks"]),
        "items": items,
        **counts,
        "removed": sum(corpus["removed"] for corpus in told["corpora"] if not corpus["final"]),
    }


def rows(told: dict[str, Any]) -> list[dict[str, Any]]:
    """The table of benchmarks: a row per split; shares of methods are those of the index of the last corpus."""
    index = told["corpora"][-1]["index"]
    found = []
    for benchmark, splits in told["benchmarks"].items():
        for split, says in splits.items():
            methods = says["methods"].get(index, {})
            whole = max(1, sum(methods.values()))
            bars = [(name, methods.get(name, 0), methods.get(name, 0) / whole) for name in METHODS]
            found.append({"benchmark": benchmark, "split": split, **says, "bars": [bar for bar in bars if bar[1]]})
    return found
