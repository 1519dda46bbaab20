"""No training on a corpus that was not searched for what the model will be judged by.

    evaluated      benchmarks, "name" for all of it or "name/split", as the certificate calls them
    certificate    certificate.json; read here are `final` {corpora, rows, leaks, bases} and
                   `benchmarks` {name: {split: {items, exact, joined, unchecked}}}

When a training is put together, the certificate's last look must be at the very tables that it reads, and a training
that goes on from another may be judged only by what that one was searched for: a model remembers all its stages. A
stage before it that cannot tell what it was searched for, as files of another run cannot, is refused where anything is
evaluated.

When it starts, the fingerprints of its tables must be among those that the certificate names, since a certificate that
is given as files may be about any corpus. It must cover every benchmark: of each split at least MIN_CHECKED of the
items; a split without items asks nothing and passes. And its last look must have found no leak by its rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hare_ray.priors.benchmarks import covers
from hare_ray.stage import Keep, Stage, Table

CERTIFICATE = "certificate.json"

MIN_CHECKED = 0.5
"""Share of a split's items that some search can find, at least. With fewer, most of a score would come from items of
which nothing is known, and "no leak" would be said of the smaller half."""

CURE = "add the benchmark to those that the corpora are searched for, and make the certificate again"


def check_recipe(
    stage: Stage, certificate: Stage | None, evaluated: tuple[str, ...], sources: tuple[Stage, ...]
) -> None:
    """Refuse benchmarks without a certificate, and a certificate whose last look was at other tables."""
    if certificate is None:
        if evaluated:
            raise ValueError(
                f"{stage!r}: given evaluated={evaluated} and no certificate, expected the Certificate of its corpora; "
                "give one, or leave `evaluated` empty for a model that nobody judges"
            )
        return
    looked = getattr(certificate, "final_tables", None)
    if looked is None:  # files of another run: what they say is checked at the start
        return
    seen = {id(table.base) for table in looked}
    missing = [source for source in sources if not any(id(one.base) in seen for one in wholes(source))]
    if missing:
        raise ValueError(
            f"{stage!r}: given {certificate!r}, whose last look is not at {missing}; "
            "expected a check of every table it trains on among its `final`"
        )


def wholes(table: Stage) -> tuple[Stage, ...]:
    """The table, and those it is a choice of rows from: what is in none of a table's rows is in none of the chosen."""
    return (table, *wholes(table.docs)) if isinstance(table, Keep) else (table,)


def trainings(stage: Stage) -> tuple[Stage, ...]:
    """The trainings that made a model: the stage, or those behind it that are no tables and say what they may judge."""
    if hasattr(stage, "evaluated"):
        return (stage,)
    parents = (parent for parent in stage.parents if not isinstance(parent, Table))
    return tuple(dict.fromkeys(one for parent in parents for one in trainings(parent)))


def check_stages(stage: Stage, evaluated: tuple[str, ...], before: tuple[Stage, ...], model: Stage) -> None:
    """Refuse benchmarks that the earlier trainings behind `model` were not told of, or cannot tell of."""
    if not evaluated:
        return
    if not before or not all(isinstance(getattr(one, "evaluated", None), tuple) for one in before):
        raise ValueError(
            f"{stage!r}: given evaluated={evaluated}, and {model!r} to go on from, which does not say what its corpus "
            "was searched for; expected a training with a certificate and `evaluated` of its own, as the model keeps "
            "what it read; put that training itself into the recipe, or leave `evaluated` empty"
        )
    for one in before:
        told: tuple[str, ...] = getattr(one, "evaluated", ())
        unknown = [name for name in evaluated if not covers(told, name)]
        if unknown:
            raise ValueError(
                f"{stage!r}: given evaluated={evaluated}, but the training before it was told of {told} only; expected "
                f"{unknown} there as well, as the model keeps what it read; give both the same"
            )


def check_certificate(
    stage: Stage, told: Mapping[str, Any], evaluated: tuple[str, ...], sources: tuple[Stage, ...]
) -> None:
    """Refuse a certificate of another corpus, one that leaves a benchmark out, and one that says of leaks."""
    final = told["final"]
    if not final["corpora"]:
        raise ValueError(
            f"{stage!r}: given a certificate without a last look, expected one of the packed rows; "
            "name the check of the rows among its `final`"
        )
    _check_bases(stage, final, sources)
    for wanted in evaluated:
        _check_benchmark(stage, told["benchmarks"], wanted)
    if final["leaks"]:
        raise ValueError(
            f"{stage!r}: given a certificate whose last look found leaks in {final['leaks']} of {final['rows']} rows "
            f"of {', '.join(final['corpora'])}, expected none; see certificate.html for where, drop these documents, "
            "and pack again"
        )


def _check_bases(stage: Stage, final: Mapping[str, Any], sources: tuple[Stage, ...]) -> None:
    """By fingerprint alone: in another run the same table may have another name."""
    bases: dict[str, str] = final.get("bases", {})
    known = set(bases.values())
    missing = [source for source in sources if not any(one.base.fingerprint in known for one in wholes(source))]
    if missing:
        given = ", ".join(f"{name} {fingerprint[:12]}" for name, fingerprint in bases.items())
        wanted = ", ".join(f"{source.base.name} {source.base.fingerprint[:12]}" for source in missing)
        raise ValueError(
            f"{stage!r}: given a certificate whose last look was at {given or 'tables that it does not name'}, "
            f"expected {wanted} as well; make a certificate of the tables that are trained on"
        )


def _check_benchmark(stage: Stage, benchmarks: Mapping[str, Any], wanted: str) -> None:
    """All splits of a benchmark, or the one that is named."""
    name, _, split = wanted.partition("/")
    chosen = {each: says for each, says in benchmarks.get(name, {}).items() if split in ("", each)}
    if not chosen:
        known = [f"{each}/{part}" for each, parts in benchmarks.items() for part in parts]
        raise ValueError(
            f"{stage!r}: given the benchmark {wanted!r}, of which nothing was checked; "
            f"expected one of {', '.join(known) or 'none'}; {CURE}"
        )
    for each, says in chosen.items():
        checked = says["exact"] + says["joined"]
        if checked < MIN_CHECKED * says["items"]:
            raise ValueError(
                f"{stage!r}: given the benchmark {wanted!r}, of whose split {each!r} {checked} of {says['items']} "
                f"items can be found ({says['exact']} exactly, {says['joined']} only with choices or answer, "
                f"{says['unchecked']} not at all), expected at least {MIN_CHECKED:.0%}; judge by other splits or "
                "benchmarks, or index them with smaller min_words and min_weight and make the certificate again"
            )
