"""Whether what a model is asked was kept out of what it read: as far as its training was told.

The trainings of a model are the nearest stages above it that say what it will be judged by (`evaluated`, as Pretrain
does); each of these has seen to those before it. A model that comes from files, or was trained elsewhere, has none:
it is judged all the same, and the results say that nobody searched.

A file of a benchmark names its split, and that split or the whole benchmark must have been told. lm-eval's names carry
none: it asks the test split, or the validation split where the answers of the test are withheld, so that a training
that was told of other splits only, such as the development split of mmlu, was not searched for what is asked.
"""

from __future__ import annotations

from collections.abc import Iterable

from hare_ray.priors.benchmarks import EVERY_SPLIT, covers
from hare_ray.stage import Stage

ASKED_SPLITS = (EVERY_SPLIT, "test", "validation", "valid", "val")
"""Splits whose items a name without a split may ask."""


def trainings(model: Stage) -> list[Stage]:
    """The nearest stages, from the model upwards, that were told what they will be judged by; each once."""
    found: list[Stage] = []
    seen: set[int] = set()
    waiting = [model]
    while waiting:
        stage = waiting.pop(0)
        if id(stage) in seen:
            continue
        seen.add(id(stage))
        if isinstance(getattr(stage, "evaluated", None), tuple):
            found.append(stage)
        else:
            waiting += stage.parents
    return found


def check_told(judge: Stage, models: Iterable[Stage], asked: tuple[str, ...]) -> None:
    """Refuse to ask what a training was not told of."""
    for model in models:
        for training in trainings(model):
            told: tuple[str, ...] = getattr(training, "evaluated", ())
            untold = [name for name in dict.fromkeys(asked) if not _covered(told, name)]
            if untold:
                raise ValueError(
                    f"{judge!r}: given {model!r}, whose training {training!r} was told of {told or 'no benchmark'}; "
                    f"expected {', '.join(untold)} among them, as its corpus was never searched for these; put them "
                    "into its `evaluated` with a certificate that covers them, or do not ask them"
                )


def _covered(told: tuple[str, ...], name: str) -> bool:
    """Whether the items that are asked are among those that the corpus was searched for."""
    if "/" in name:
        return covers(told, name)
    return any(covers(told, f"{name}/{split}") for split in ASKED_SPLITS)


def certificate_of(model: Stage) -> str | None:
    """Names of the certificates of a model's trainings; None where a training has none, or nobody knows of one."""
    found = [getattr(training, "certificate", None) for training in trainings(model)]
    names = [certificate.name for certificate in found if isinstance(certificate, Stage)]
    return ", ".join(dict.fromkeys(names)) if names and len(names) == len(found) else None
