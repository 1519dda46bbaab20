"""A SentencePiece .model (arXiv 1808.06226), cut to fewer pieces.

Two types. In BPE the pair whose joined text has the highest score is joined first, which is byte-pair encoding with
scores for ranks: what `hare_ray.tokens.byte_pairs` says of halves holds. In Unigram the pieces of a text are those of
the highest sum of scores, out of all ways to cut it, so any piece may go without others. What stays whatever it counts:
control, unknown, user-defined and byte pieces, the sign for a space, and without all 256 byte pieces every single
character.

How a model becomes a tokenizer.json is told in `hare_ray.tokens.sentence_piece_json`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hare_ray.tokens.byte_pairs import BYTE_ENTRIES, SPACE, all_halves
from hare_ray.tokens.vocabulary import Entries

UNIGRAM, BPE = 1, 2
"""Types of a model."""

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
"""Types of a piece."""

SPECIAL_IDS = ("unk_id", "bos_id", "eos_id", "pad_id")
"""Fields of the trainer's settings that name pieces; -1: there is none."""


def model_file(folder: Path) -> Path:
    """The one .model file of a folder."""
    found = sorted(folder.glob("*.model"))
    if len(found) != 1:
        raise ValueError(
            f"given {folder} with {[path.name for path in found]} and no tokenizer.json, "
            "expected a tokenizer.json or one SentencePiece .model"
        )
    return found[0]


def read(folder: Path) -> Any:
    """The model as a protobuf message; ValueError for types that are not handled."""
    from sentencepiece import sentencepiece_model_pb2

    model: Any = sentencepiece_model_pb2.ModelProto()  # pyright: ignore[reportAttributeAccessIssue]
    model.ParseFromString(model_file(folder).read_bytes())
    trainer = model.trainer_spec
    if (
        trainer.model_type not in (UNIGRAM, BPE)
        or trainer.treat_whitespace_as_suffix
        or not model.normalizer_spec.escape_whitespaces
    ):
        raise ValueError(
            f"given {model_file(folder)} of type {trainer.model_type} (whitespace as suffix: "
            f"{trainer.treat_whitespace_as_suffix}, escaped: {model.normalizer_spec.escape_whitespaces}), "
            f"expected Unigram ({UNIGRAM}) or BPE ({BPE}) with spaces escaped and in front of words"
        )
    return model


def entries(model: Any) -> Entries:
    """What the model says of its pieces."""
    always = {UNKNOWN, CONTROL, USER_DEFINED} | ({BYTE} if model.trainer_spec.byte_fallback else set())
    spelt = {p.piece for p in model.pieces if p.type == BYTE} if model.trainer_spec.byte_fallback else set()
    alphabet = not spelt >= BYTE_ENTRIES
    fixed = np.array(
        [p.type in always or p.piece == SPACE or (alphabet and len(p.piece) == 1) for p in model.pieces], bool
    )
    found = np.full((len(fixed), 2), -1, np.int64)
    if model.trainer_spec.model_type == BPE:
        scores = normal(model)
        ids = {piece.piece: n for n, piece in enumerate(model.pieces) if piece.piece in scores}
        own = all_halves(ids, lambda left, right: rank(scores, left + right))
        found[: len(own)] = own
    return Entries(fixed, found)


def normal(model: Any) -> dict[str, float]:
    """Scores of the pieces that text is cut into."""
    return {piece.piece: piece.score for piece in model.pieces if piece.type == NORMAL}


def rank(scores: dict[str, float], joined: str) -> float | None:
    """The order in which a pair is joined: the highest score first."""
    score = scores.get(joined)
    return None if score is None else -score


def pruned(model: Any, remap: NDArray[np.int32]) -> Any:
    """The model with the pieces that `remap` keeps, under their new ids."""
    found = type(model)()
    found.CopyFrom(model)
    del found.pieces[:]
    found.pieces.extend(piece for piece, new in zip(model.pieces, remap, strict=True) if new >= 0)
    trainer = found.trainer_spec
    trainer.vocab_size = len(found.pieces)
    for name in SPECIAL_IDS:
        old = getattr(trainer, name)
        setattr(trainer, name, int(remap[old]) if 0 <= old < len(remap) else -1)
    return found


def specials(model: Any) -> dict[str, str]:
    """The special tokens by the names that Hugging Face gives them."""
    trainer, found = model.trainer_spec, {}
    for name in SPECIAL_IDS:
        number = getattr(trainer, name)
        if 0 <= number < len(model.pieces) and model.pieces[number].type in (UNKNOWN, CONTROL):
            found[name.replace("_id", "_token")] = model.pieces[number].piece
    return found
