"""Row-local checks on synthetic text: the first that fails is the reason, what it measured the detail.

    text, seed, tokens  ->  words int32, seed_overlap float32, repetition float32, reason, detail

    reason         fails where                                                                    limit
    refusal        the LLM speaks of itself, of its orders, or declines (the phrase is the detail) refusals
    too_short      words, or the LLM's tokens where they are known, < limit                       min_words, min_tokens
    too_long       words, or the LLM's tokens where they are known, > limit                       max_words, max_tokens
    boilerplate    a set phrase about the text opens or closes it, or it holds more than limit    max_boilerplate
    incomplete     the last characters end no sentence and no block of code                       must_end_sentence
    copies_seed    share of the text's word 5-grams that the seed holds > limit                   max_seed_overlap
    repetitive     share of word 4-grams seen before in the text > limit                          max_repetition
                   share of the most frequent word > limit                                        max_word_share
    low_variety    distinct words / words < limit, in texts of variety_words and more             min_variety
    not_words      share of tokens without a letter > limit                                       max_letterless_share

HARE (arXiv 2406.11410, A.4) drops synthetic text that is too short or too long; the rest are the ways in which
language models fail: they refuse, run in circles, echo their prompt, or stop in the middle. A refusal comes first,
since it is short as well. Whether texts repeat each other, or a benchmark, is no matter of one row: the stages for
duplicates and leaks follow. Words and their folding are those of `hare_ray.text`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hare_ray.priors.prompts import Refusals
from hare_ray.schema import DETAIL, REASON
from hare_ray.stage import Annotate, Files, PartFunction, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hare_ray.synth.verify_kernel import Measures

REFUSAL = "refusal"
BOILERPLATE = "boilerplate"
TOO_SHORT = "too_short"
TOO_LONG = "too_long"
INCOMPLETE = "incomplete"
COPIES_SEED = "copies_seed"
REPETITIVE = "repetitive"
LOW_VARIETY = "low_variety"
NOT_WORDS = "not_words"

UNKNOWN = -1
"""In place of a number of tokens that nobody counted."""

MOST = 2**31 - 1


class Verify(Annotate):
    """Whether a synthetic text is one, as far as it tells by itself."""

    docs: Table
    """WRITTEN, or anything with `text`, `seed` and `tokens`."""
    min_words: int
    max_words: int
    """HARE's limits are tokens: about 2,000 in D2, at most 512 in D3; English has about 1.3 tokens a word."""
    min_tokens: int | None
    max_tokens: int | None
    """Of the LLM's answer as its server counted them; of an item that is its JSON. None, or no count: not asked."""
    max_boilerplate: int
    """Set phrases inside a text: one may be chance."""
    must_end_sentence: bool
    """Running text (D2) does; an item (D3) may end with a bare answer."""
    refusals: Refusals
    max_seed_overlap: float
    """Copying a passage lifts it at once, a shared topic hardly: unrelated texts share no 5-gram. 1: an item may quote
    its seed."""
    max_repetition: float
    """Gopher (arXiv 2112.11446, A1.1) allows 0.15 of the characters in repeated 5-grams, 0.16 in the top 4-gram; one
    English Wikipedia article in a hundred has more than 0.09 of repeated 4-grams."""
    max_word_share: float
    """Of English text about 0.07 is one word, of one Wikipedia article in a hundred more than 0.13."""
    min_variety: float
    """Falls with length (Heaps' law): Wikipedia articles of 1,000 words have 0.35 to 0.5."""
    variety_words: int
    """Shorter texts are not asked for variety."""
    max_letterless_share: float
    """Gopher asks 0.8 of the tokens to hold a letter, so 0.2; text full of formulas or code has more."""

    code: ClassVar[int] = 2
    imports: ClassVar[tuple[str, ...]] = ("numba",)
    reads: ClassVar[tuple[str, ...] | None] = ("text", "seed", "tokens")
    writes: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("words", pa.int32(), nullable=False),
            pa.field("seed_overlap", pa.float32(), nullable=False),
            pa.field("repetition", pa.float32(), nullable=False),
            REASON,
            DETAIL,
        ]
    )

    def __post_init__(self) -> None:
        """Refuse limits that nothing passes and shares that are none."""
        super().__post_init__()
        if not 1 <= self.min_words <= self.max_words:
            raise ValueError(
                f"{self!r}: given min_words={self.min_words}, max_words={self.max_words}; "
                "expected at least 1 and no less than that"
            )
        if self.max_boilerplate < 0 or (self.min_tokens or 0) > (MOST if self.max_tokens is None else self.max_tokens):
            raise ValueError(
                f"{self!r}: given max_boilerplate={self.max_boilerplate}, min_tokens={self.min_tokens}, "
                f"max_tokens={self.max_tokens}; expected at least 0, and no fewer tokens at most than at least"
            )
        for name in ("max_seed_overlap", "max_repetition", "max_word_share", "min_variety", "max_letterless_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{self!r}: given {name}={getattr(self, name)}, expected a share from 0 to 1")

    def prepare(self, files: Files) -> PartFunction:
        """Hash the phrases."""
        del files
        from hare_ray.synth.verify_kernel import Phrases, measured

        phrases = Phrases.of(self.refusals)

        def verify(docs: pa.Table) -> pa.Table:
            found = measured(docs.column("text"), docs.column("seed"), phrases)
            tokens = np.asarray(pc.fill_null(docs.column("tokens"), UNKNOWN))
            reason, detail = _verdicts(_checks(self, found, tokens), len(docs))
            columns = [
                pa.array(found.words, pa.int32()),
                pa.array(found.seed_overlap, pa.float32()),
                pa.array(found.repetition, pa.float32()),
                pa.array(reason, pa.string()),
                pa.array(detail, pa.string()),
            ]
            return pa.table(columns, schema=self.writes)

        return verify


class _Check(NamedTuple):
    """Where a check fails, and what to say of a row that it refuses."""

    reason: str
    fails: NDArray[np.bool_]
    detail: Callable[[int], str]


def _checks(stage: Verify, found: Measures, tokens: NDArray[np.int32]) -> tuple[_Check, ...]:
    """All checks, in the order in which they are asked."""

    def saying(name: str) -> Callable[[int], str]:
        return lambda row: f"{name} {getattr(found, name)[row]:.4g}"

    def count(row: int) -> str:
        return f"tokens {tokens[row]}"

    known = tokens != UNKNOWN
    few = known & (tokens < (stage.min_tokens or 0))
    many = known & (tokens > (MOST if stage.max_tokens is None else stage.max_tokens))
    varied = (found.words < stage.variety_words) | (found.variety >= stage.min_variety)
    return (
        _Check(REFUSAL, found.refusal != "", lambda row: str(found.refusal[row])),
        _Check(TOO_SHORT, found.words < stage.min_words, saying("words")),
        _Check(TOO_LONG, found.words > stage.max_words, saying("words")),
        _Check(TOO_SHORT, few, count),
        _Check(TOO_LONG, many, count),
        _Check(BOILERPLATE, found.framing != "", lambda row: f"opens or closes with {found.framing[row]!r}"),
        _Check(
            BOILERPLATE,
            found.boilerplate > stage.max_boilerplate,
            lambda row: f"{found.boilerplate[row]} set phrases, such as {found.set_phrase[row]!r}",
        ),
        _Check(INCOMPLETE, ~found.ends & stage.must_end_sentence, lambda row: f"ends in {found.tail[row].as_py()!r}"),
        _Check(COPIES_SEED, found.seed_overlap > stage.max_seed_overlap, saying("seed_overlap")),
        _Check(REPETITIVE, found.repetition > stage.max_repetition, saying("repetition")),
        _Check(REPETITIVE, found.word_share > stage.max_word_share, saying("word_share")),
        _Check(LOW_VARIETY, ~varied, saying("variety")),
        _Check(NOT_WORDS, found.letterless_share > stage.max_letterless_share, saying("letterless_share")),
    )


def _verdicts(checks: tuple[_Check, ...], rows: int) -> tuple[list[str | None], list[str | None]]:
    """Reason and detail of every row, by the first check that fails."""
    first = np.full(rows, len(checks))
    for number in reversed(range(len(checks))):
        first[checks[number].fails] = number
    reason: list[str | None] = [None] * rows
    detail: list[str | None] = [None] * rows
    for row in np.flatnonzero(first < len(checks)).tolist():
        check = checks[first[row]]
        reason[row], detail[row] = check.reason, check.detail(row)
    return reason, detail
