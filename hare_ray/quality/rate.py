"""Labels from an LLM: a share of the documents is rated by a rubric, through the same service that writes text.

    RatingPrompts   documents            -> id, url, text, prompt   one row for each document that is drawn
    Generate        id, prompt           -> answer, finish          (the room synth; the two only exchange tables)
    Ratings         prompts and answers  -> LABELLED                label = score / 5, group "llm"

A document is drawn where a hash of its id, salted, falls below `share`: the same documents however rows lie in parts,
and with a larger share the same and more. What is labelled is the text as shown, `max_words` of the rubric up to the
end of a sentence, because nothing else was judged. An LLM gives points for criteria before it names their sum (the
additive scale of FineWeb-Edu, arXiv 2406.17557), so the score stands at the end, and the last one that an answer
names counts: "Score: 3", "**Score:** 4/5", or, where no score is so called, "3 points", "4 out of 5" or a last line
that is nothing but a number. What a reasoning model thinks first, between <think> and </think>, is no answer; where it
was cut off before it had thought to the end, there is none.

    reason              where                                                            detail
    no_answer           none came                                                        the error
    no_score            an answer names no score, or is still being thought about        its end
    score_out_of_range  the score is below 0 or above 5, or of another scale, as 4/10    the score
"""

from __future__ import annotations

import math
import re
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from hare_ray.priors.quality import MAX_POINTS, Rubric
from hare_ray.quality.labels import LABELLED
from hare_ray.schema import DETAIL, ID, REASON
from hare_ray.stage import Files, Map, PartFunction, Table

NO_ANSWER = "no_answer"
NO_SCORE = "no_score"
SCORE_OUT_OF_RANGE = "score_out_of_range"

RATED = "llm"
"""Group of the labels, and the file that their documents are said to come from."""

RATING_PROMPT = pa.schema(
    [
        ID,
        pa.field("url", pa.string(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("prompt", pa.large_string(), nullable=False),
    ]
)
"""`id`: of the document and the rubric; `url`: `<document's url>#rating`; `text`: as shown inside `prompt`."""

END_CHARS = 100
"""Of an answer without a score, for the ledger."""

_NUMBER = r"([-+]?[0-9]{1,6}(?:[.,][0-9]{1,6})?)"
_OF = r"(?:\s{0,2}(?:/|out of|of)\s{0,2}([0-9]{1,6}))?"
_SCORE = re.compile(
    r"(?<![a-z])score(?![a-z])[\W_]{0,12}?(?:\([^()\n]{0,20}\)[\W_]{0,8}?)?(?:(?:is|of|would be|n)[\W_]{0,8}?)?"
    rf"{_NUMBER}[*_]{{0,2}}{_OF}",
    re.IGNORECASE,
)
_POINTS = re.compile(
    rf"(?<![0-9.,/]){_NUMBER}[*_]{{0,2}}\s{{0,2}}(?:points?\b|(?:/|out of)\s{{0,2}}([0-9]{{1,6}}))", re.IGNORECASE
)
_ALONE = re.compile(rf"[\W_]{{0,12}}?{_NUMBER}{_OF}[\W_]{{0,12}}")
_THOUGHT = re.compile(r"\A(?:(?!<think>).)*?</think>|<think>.*?</think>", re.IGNORECASE | re.DOTALL)
"""A block of thoughts; the first may have been opened by the model's chat template, before its answer begins."""
_THINKING = re.compile("<think>", re.IGNORECASE)
_FIRST, _SECOND, _SHIFT = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53), np.uint64(33)
"""Of MurmurHash3's final mix, after which every bit of a word depends on all."""


class RatingPrompts(Map):
    """A share of the documents into prompts that ask for a score."""

    derives: ClassVar[bool] = True
    imports: ClassVar[tuple[str, ...]] = ("numba",)
    reads: ClassVar[tuple[str, ...] | None] = ("id", "url", "text")
    writes: ClassVar[pa.Schema] = RATING_PROMPT

    docs: Table
    rubric: Rubric
    share: float
    """Of the documents, drawn by hash."""
    salt: str
    """Another salt draws others."""

    def __post_init__(self) -> None:
        """Refuse a share that draws nothing or more than all."""
        super().__post_init__()
        if not 0 < self.share <= 1:
            raise ValueError(f"{self!r}: given share={self.share}, expected more than 0 and at most 1")

    def prepare(self, files: Files) -> PartFunction:
        """The function of documents."""
        del files
        return partial(_prompts, self)


def drawn(ids: pa.ChunkedArray, share: float, salt: str) -> NDArray[np.int64]:
    """Rows whose salted hash is below `share` of all hashes."""
    if len(ids) == 0:
        return np.empty(0, np.int64)
    column = pa.concat_arrays(ids.chunks)
    words = np.frombuffer(column.buffers()[1], np.uint64)[2 * column.offset :][: 2 * len(column)].reshape(-1, 2)
    hashes = _mixed(_mixed(words[:, 0] ^ np.uint64(xxhash.xxh3_64_intdigest(salt.encode()))) ^ words[:, 1])
    return np.flatnonzero(hashes <= np.uint64(min(math.floor(share * 2.0**64), 2**64 - 1)))


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    words = (words ^ (words >> _SHIFT)) * _FIRST
    words = (words ^ (words >> _SHIFT)) * _SECOND
    return words ^ (words >> _SHIFT)


def _prompts(stage: RatingPrompts, docs: pa.Table) -> pa.Table:
    from hare_ray.text.sentences import cut_at_sentence

    chosen = docs.select(["id", "url", "text"]).take(pa.array(drawn(docs["id"], stage.share, stage.salt)))
    told = xxhash.xxh3_128_digest(stage.rubric.instruction.encode())
    out: list[dict[str, Any]] = []
    for doc in chosen.to_pylist():
        shown = cut_at_sentence(doc["text"] or "", stage.rubric.max_words)
        if shown:
            key = xxhash.xxh3_128_digest(doc["id"] + told)
            prompt = stage.rubric.fill(shown)
            out.append({"id": key, "url": f"{doc['url']}#rating", "text": shown, "prompt": prompt})
    return pa.Table.from_pylist(out, pa.schema([*RATING_PROMPT, REASON]))


class Ratings(Map):
    """Answers into labelled texts."""

    code: ClassVar[int] = 2
    writes: ClassVar[pa.Schema] = LABELLED

    prompts: Table
    """RATING_PROMPT."""
    answers: Table
    """Opinion on `prompts`: `answer` and `finish`."""

    def __post_init__(self) -> None:
        """Refuse other prompts' answers, and tables of another kind."""
        super().__post_init__()
        for table, names in ((self.prompts, ("id", "url", "text")), (self.answers, ("answer", "finish"))):
            missing = [name for name in names if name not in table.schema().names]
            if missing:
                raise ValueError(f"{self!r}: {table!r} has no column {missing}, expected {names}: see RatingPrompts")

    def prepare(self, files: Files) -> PartFunction:
        """The function of prompts and answers."""
        del files
        return _ratings


def _ratings(prompts: pa.Table, answers: pa.Table) -> pa.Table:
    judged = [rated(*pair) for pair in zip(*(answers[name].to_pylist() for name in ("answer", "finish")), strict=True)]
    rows = len(judged)
    columns = {
        "id": prompts["id"],
        "url": prompts["url"],
        "file": pa.array([RATED] * rows, pa.string()),
        "offset": pa.array(np.zeros(rows, np.int64)),
        "title": pa.nulls(rows, pa.string()),
        "text": prompts["text"],
        "label": pa.array([label for label, _, _ in judged], pa.float32()),
        "group": pa.array([RATED] * rows, pa.string()),
        "reason": pa.array([reason for _, reason, _ in judged], pa.string()),
        "detail": pa.array([detail for _, _, detail in judged], pa.string()),
    }
    schema = pa.schema([*LABELLED, REASON, DETAIL])
    return pa.table([columns[name] for name in schema.names], schema=schema)


def rated(answer: str | None, finish: str) -> tuple[float, str | None, str | None]:
    """Label, reason and detail of an answer; a label of 0 where there is a reason."""
    if answer is None:
        return 0.0, NO_ANSWER, finish
    found = last_score(answer)
    if found is None:
        return 0.0, NO_SCORE, answer.strip()[-END_CHARS:]
    score, scale = found
    if scale != MAX_POINTS or not 0 <= score <= MAX_POINTS:
        return 0.0, SCORE_OUT_OF_RANGE, f"{score:g}/{scale}"
    return score / MAX_POINTS, None, None


def last_score(answer: str) -> tuple[float, int] | None:
    """The last score that an answer names, and the best score of its scale, 5 where it says nothing of it."""
    answer = _THOUGHT.sub("\n", answer)
    if _THINKING.search(answer):
        return None
    for pattern in (_SCORE, _POINTS):
        if found := list(pattern.finditer(answer)):
            return _read(found[-1])
    alone = _ALONE.fullmatch(answer.strip().rsplit("\n", 1)[-1])
    return _read(alone) if alone else None


def _read(found: re.Match[str]) -> tuple[float, int]:
    return float(found[1].replace(",", ".")), int(found[2] or MAX_POINTS)
