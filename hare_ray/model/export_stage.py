"""The trained model as a folder of Hugging Face: loads in transformers, vLLM, lm-eval and llama.cpp.

    trained     weights.safetensors (float32, names as in MistralForCausalLM), shape.json, summary.json
    tokenizer   tokenizer.json; tokenizer_config.json and special_tokens_map.json, or they are made
    ->          config.json, generation_config.json, model.safetensors, the tokenizer's files, README.md (model card)

The card tells architecture, data, training and recipe from manifests and files of the run alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from hare_ray import tokenizer_files
from hare_ray.model.card import Card
from hare_ray.model.shape import Shape
from hare_ray.stage import Make, Stage, Table

if TYPE_CHECKING:
    from hare_ray.gather import Desk

WEIGHTS, SHAPE, SUMMARY = "weights.safetensors", "shape.json", "summary.json"
"""Files of a finished training stage that are read here."""

CARD = "README.md"

MIXTURE = "mixture.json"
"""File of a Make that says how many sequences of which table a training reads."""

READ = "sequences read"

RESULTS = (
    "stage",
    "parameters",
    "steps",
    "sequences",
    "tokens",
    "real_tokens",
    "targets",
    "first_loss",
    "final_loss",
    "spikes",
)
"""Of summary.json; what it says of time, memory and device would make equal models unequal folders."""

DTYPES = ("bfloat16", "float16", "float32")

FLOWS = ("in", "made", "out")
"""Entries of a table's books that say how it came to be, not what it holds."""


class Export(Make):
    """Config, weights, tokenizer and model card."""

    trained: Stage
    """A training stage."""
    tokenizer: Stage
    """What its tokens were made with."""
    dtype: str
    """Type of the weights: 'bfloat16', 'float16' or 'float32'."""
    context_tokens: int
    """Longest text that readers let it take. Positions are rotary, so it may be more than a training sequence."""

    imports: ClassVar[tuple[str, ...]] = ("torch", "safetensors")

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if self.dtype not in DTYPES:
            raise ValueError(f"{self!r}: given dtype={self.dtype!r}, expected one of {DTYPES}")
        if self.context_tokens < 1:
            raise ValueError(f"{self!r}: given context_tokens={self.context_tokens}, expected at least 1")

    def make(self, desk: Desk) -> dict[str, int]:
        """Copy, cast, describe."""
        from safetensors.torch import load_file

        from hare_ray.model.export import SpecialTokens, to_hf

        files = desk.files(self.trained)
        shape = Shape(**json.loads((files / SHAPE).read_text(encoding="utf-8")))
        words = tokenizer_files.in_folder(desk.files(self.tokenizer))
        ids = special_ids(words, shape.vocabulary)
        special = SpecialTokens(bos=ids["bos_token"], eos=ids["eos_token"], pad=ids["pad_token"])
        state = load_file(files / WEIGHTS)
        to_hf(state, shape, desk.folder, dtype=self.dtype, context_tokens=self.context_tokens, special=special)
        for name, data in tokenizer_files.completed(words).items():
            (desk.folder / name).write_bytes(data)
        summary = json.loads((files / SUMMARY).read_text(encoding="utf-8"))
        (desk.folder / CARD).write_text(self.card(desk, shape, summary).text(), encoding="utf-8")
        return {"weights": sum(weight.numel() for weight in state.values()), "tensors": len(state)}

    def card(self, desk: Desk, shape: Shape, summary: dict[str, Any]) -> Card:
        """What manifests and summary say."""
        manifest = desk.manifest(self.trained)
        read = sequences_read(desk, self.trained)
        # A table that no mixture read from only helped to choose, as the sample of an inherited model did.
        tables = [table for table in self.tables() if read[table.name] or not read]
        return Card(
            shape=shape,
            dtype=self.dtype,
            context_tokens=self.context_tokens,
            stage=self.trained.name,
            fingerprint=manifest["fingerprint"],
            summary={name: summary[name] for name in RESULTS if name in summary},
            recipe=self.recipe_of_training(desk),
            sources=tuple((table.name, {**numbers(desk.manifest(table)), READ: read[table.name]}) for table in tables),
        )

    def recipe_of_training(self, desk: Desk) -> dict[str, Any]:
        """Fields of the training stage, and by name those of what it was given: a mixture, an earlier training."""
        given = (stage for stage in self.trained.parents if isinstance(stage, Make) and stage is not self.tokenizer)
        others = {stage.name: desk.manifest(stage)["recipe"]["fields"] for stage in given}
        return {**desk.manifest(self.trained)["recipe"]["fields"], **others}

    def tables(self) -> list[Table]:
        """The tables nearest to the training, behind mixtures and earlier training; not the tokenizer's."""
        return list(dict.fromkeys(nearest_tables(self.trained, self.tokenizer)))


def nearest_tables(stage: Stage, beside: Stage) -> Iterator[Table]:
    """Tables that a stage without rows was made of, directly or through others without rows."""
    for parent in stage.parents:
        if isinstance(parent, Table):
            yield parent
        elif parent is not beside:
            yield from nearest_tables(parent, beside)


def sequences_read(desk: Desk, stage: Stage) -> Counter[str]:
    """Sequences of each packed table that the mixtures behind a training took, over all its stages."""
    found: Counter[str] = Counter()
    for parent in stage.parents:
        if isinstance(parent, Make):
            if MIXTURE in desk.names(parent):
                mixture = json.loads((desk.files(parent) / MIXTURE).read_text(encoding="utf-8"))
                found.update({source["table"]: source["actual"] for source in mixture["sources"]})
            found.update(sequences_read(desk, parent))
    return found


def numbers(manifest: dict[str, Any]) -> dict[str, int]:
    """Rows of a table, and what its books count beside them."""
    rows = sum(part["rows"] for part in manifest["parts"])
    books = {name: count for name, count in manifest["books"].items() if isinstance(count, int)}
    return {"rows": rows, **{name: count for name, count in books.items() if name not in ("rows", *FLOWS)}}


def special_ids(words: tokenizer_files.Contents, vocabulary: int) -> dict[str, int | None]:
    """Ids of the tokens that begin, end and fill a text; None where the tokenizer has none."""
    tokenizer_files.check_ids(words, vocabulary)
    ids = tokenizer_files.ids(words)
    return {name: None if token is None else ids[token] for name, token in tokenizer_files.specials(words).items()}
