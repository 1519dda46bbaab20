"""What a training was given must fit together: said before a worker starts, where one would fail or train in vain.

    words     ids of tokenizer and sources below the shape's vocabulary; one tokenizer for all, and in earlier training
    start     config.json tells the very shape
    warm-up   ends before the course of the learning rate does

Configurations and tokenizers are read, weights are not.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hare_ray import tokenizer_files
from hare_ray.model.config import CONFIG, shape_of
from hare_ray.model.shape import Shape
from hare_ray.stage import Stage, Table
from hare_ray.train.certified import wholes
from hare_ray.train.schedule import Schedule

if TYPE_CHECKING:
    from hare_ray.gather import Desk


def check_words(stage: Stage, tokenizer: Stage, sources: tuple[Table, ...], vocabulary: int) -> None:
    """When it is put together: as far as stages tell how many ids they give, and what they were made with."""
    tables = [whole for source in sources for whole in wholes(source)]
    for one in (tokenizer, *tables):
        told = getattr(one, "vocabulary", None)
        if isinstance(told, int) and told > vocabulary:
            raise ValueError(
                f"{stage!r}: given {one!r} with vocabulary={told}, expected at most the {vocabulary} of the shape; "
                "give both the same"
            )
    for table in tables:
        maker = getattr(table, "tokenizer", None)
        if isinstance(maker, Stage):
            check_same_words(stage, tokenizer, table, maker)


def check_same_words(stage: Stage, mine: Stage, other: Stage, its: Stage) -> None:
    """Refuse another tokenizer than that of a source or of an earlier training."""
    if mine is not its and mine.fingerprint != its.fingerprint:
        raise ValueError(
            f"{stage!r}: given tokenizer={mine!r}, but {other!r} has {its!r}; give both the same: an id must mean the "
            "same word everywhere"
        )


def check_tokenizer(tokenizer: Stage, vocabulary: int, desk: Desk) -> None:
    """Read its files: no id above the embeddings, and special tokens that an export will find."""
    there = desk.names(tokenizer)
    files = {name: desk.read_file(tokenizer, name) for name in tokenizer_files.NAMES if name in there}
    tokenizer_files.check_ids(files, vocabulary)
    tokenizer_files.specials(files)


def check_start(stage: Stage, start: Stage, shape: Shape, desk: Desk) -> None:
    """Read the configuration of the folder that first weights come from."""
    if CONFIG not in desk.names(start):
        raise ValueError(
            f"{stage!r}: given start={start!r} without {CONFIG}, expected a folder in the format of Hugging "
            "Face; export a training first"
        )
    its = shape_of(json.loads(desk.read_file(start, CONFIG)), repr(start))
    if its != shape:
        raise ValueError(f"{stage!r}: given start={start!r} of {its}, expected {shape}; give both the same shape")


def check_warmup(stage: Stage, schedule: Schedule, tokens: int) -> None:
    """Refuse a stage that is over before the learning rate has risen; `tokens` of it, padding included."""
    begin, end = schedule.part
    whole = int(tokens / (end - begin))
    if schedule.warmup_tokens > whole:
        raise ValueError(
            f"{stage!r}: given a warm-up of {schedule.warmup_tokens:,} tokens, expected at most the {whole:,} that "
            "there are to train on; shorten it in the schedule, or bring more text"
        )
