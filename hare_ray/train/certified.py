"""No training on a corpus that was not searched for what the model will be judged by.

    evaluated      benchmarks, "name" for all of it or "name/split", as the certificate calls them
    certificate    certificate.json; read here are `final` {corpora, rows, leaks} and
                   `benchmarks` {name: {split: {items, checked}}}

When a training is put together, the certificate's last look must be at the very tables that it reads, and a training
that goes on from another may be judged only by what that one was searched for: a model remembers all its stages. When
it starts, the certificate must cover every benchmark and its last look must have found nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hare_ray.priors.benchmarks import covers
from hare_ray.stage import Stage

CERTIFICATE = "certificate.json"

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
    missing = [source for source in sources if id(source.base) not in seen]
    if missing:
        raise ValueError(
            f"{stage!r}: given {certificate!r}, whose last look is not at {missing}; "
            "expected a check of every table it trains on among its `final`"
        )


def check_stages(stage: Stage, evaluated: tuple[str, ...], before: tuple[str, ...]) -> None:
    """Refuse benchmarks that an earlier stage of the same model was not told of."""
    unknown = [name for name in evaluated if not covers(before, name)]
    if unknown:
        raise ValueError(
            f"{stage!r}: given evaluated={evaluated}, but the training before it was told of {before} only; expected "
            f"{unknown} there as well, as the model keeps what it read; give both the same"
        )


def check_certificate(stage: Stage, told: Mapping[str, Any], evaluated: tuple[str, ...]) -> None:
    """Refuse a certificate that leaves a benchmark out, or that says of leaks."""
    final, benchmarks = told["final"], told["benchmarks"]
    if not final["corpora"]:
        raise ValueError(
            f"{stage!r}: given a certificate without a last look, expected one of the packed rows; "
            "name the check of the rows among its `final`"
        )
    for wanted in evaluated:
        name, _, split = wanted.partition("/")
        splits = benchmarks.get(name, {})
        chosen = {each: says for each, says in splits.items() if split in ("", each)}
        unchecked = [each for each, says in chosen.items() if says["items"] and not says["checked"]]
        if unchecked or not chosen:
            known = [f"{each}/{part}" for each, parts in benchmarks.items() for part in parts]
            raise ValueError(
                f"{stage!r}: given the benchmark {wanted!r}, of which nothing was checked"
                f"{f' in {unchecked}' if splits else ''}; expected one of {', '.join(known) or 'none'}; {CURE}"
            )
    if final["leaks"]:
        raise ValueError(
            f"{stage!r}: given a certificate whose last look found leaks in {final['leaks']} of {final['rows']} rows "
            f"of {', '.join(final['corpora'])}, expected none; see certificate.html for where, drop these documents, "
            "and pack again"
        )
