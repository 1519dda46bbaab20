"""Rules on the shape of a text: the first one a document breaks is its reason, what it measured the detail.

    reason                what is measured                                     limits               from
    too_few_words         words                                                min_words            Gopher
    too_many_words        words                                                max_words            Gopher
    short_words           characters per word                                  min_mean_word_chars  Gopher
    long_words            characters per word                                  max_mean_word_chars  Gopher
    many_symbols          number signs and ellipses per word                   max_symbols_..       Gopher
    bullet_lines          share of lines that begin with a bullet              max_bullet_..        Gopher
    ellipsis_lines        share of lines that end in an ellipsis               max_ellipsis_..      Gopher
    few_letters           share of tokens with a letter                        min_letter_..        Gopher
    few_stop_words        different ones of `stop_words`                       min_stop_words       Gopher
    lorem_ipsum           times                                                max_lorem_ipsums     C4
    javascript_warning    share of lines with the word javascript              max_javascript_..    C4
    duplicate_lines       share of lines seen before in the document           max_duplicate_..     Gopher
    duplicate_paragraphs  share of characters in paragraphs seen before        max_duplicate_..     Gopher
    repeated_2gram        share of word characters in the most frequent one    max_top_2gram_share  Gopher
    repeated_5grams       share of word characters in 5-grams seen before      max_duplicate_..     Gopher
    incomplete            share of characters in complete sentences            min_complete_share   HARE
    web_links             share of characters in links                         max_link_share       HARE
    personal_information  e-mail addresses, telephone numbers, IP addresses    max_emails, ..       HARE

Gopher is arXiv 2112.11446, appendix A1.1; C4 is arXiv 1910.10683, section 2.2; HARE is arXiv 2406.11410,
section 2, which names its three heuristics (semantically incomplete samples, web links, personal information)
without thresholds. How each is counted: `rules_kernel`, `rules_scan` and `pii`. Where C4 drops lines, these
drop the document: what remains of a page without its incomplete lines is a text that nobody wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa

from hare_ray.corpus.pii import personal
from hare_ray.schema import DETAIL, REASON
from hare_ray.stage import Annotate, Files, PartFunction, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

Measures = dict[str, "NDArray[np.float64]"]
"""Numbers per document, by name."""


class Rule(NamedTuple):
    """`reason` where `measure` is below the field `limit` (a min_) or above it (a max_)."""

    reason: str
    measure: str
    limit: str


RULES = (
    Rule("too_few_words", "words", "min_words"),
    Rule("too_many_words", "words", "max_words"),
    Rule("short_words", "mean_word_chars", "min_mean_word_chars"),
    Rule("long_words", "mean_word_chars", "max_mean_word_chars"),
    Rule("many_symbols", "symbols_per_word", "max_symbols_per_word"),
    Rule("bullet_lines", "bullet_line_share", "max_bullet_line_share"),
    Rule("ellipsis_lines", "ellipsis_line_share", "max_ellipsis_line_share"),
    Rule("few_letters", "letter_token_share", "min_letter_token_share"),
    Rule("few_stop_words", "stop_words", "min_stop_words"),
    Rule("lorem_ipsum", "lorem_ipsums", "max_lorem_ipsums"),
    Rule("javascript_warning", "javascript_line_share", "max_javascript_line_share"),
    Rule("duplicate_lines", "duplicate_line_share", "max_duplicate_line_share"),
    Rule("duplicate_paragraphs", "duplicate_paragraph_share", "max_duplicate_paragraph_share"),
    Rule("repeated_2gram", "top_2gram_share", "max_top_2gram_share"),
    Rule("repeated_5grams", "duplicate_5gram_share", "max_duplicate_5gram_share"),
    Rule("incomplete", "complete_share", "min_complete_share"),
    Rule("web_links", "link_share", "max_link_share"),
    Rule("personal_information", "emails", "max_emails"),
    Rule("personal_information", "phones", "max_phones"),
    Rule("personal_information", "addresses", "max_addresses"),
)

SHARES = {
    "mean_word_chars": ("word_chars", "words"),
    "symbols_per_word": ("symbols", "words"),
    "bullet_line_share": ("bullet_lines", "lines"),
    "ellipsis_line_share": ("ellipsis_lines", "lines"),
    "letter_token_share": ("letter_tokens", "tokens"),
    "javascript_line_share": ("javascript_lines", "lines"),
    "duplicate_line_share": ("duplicate_lines", "lines"),
    "duplicate_paragraph_share": ("duplicate_paragraph_chars", "chars"),
    "top_2gram_share": ("top_2gram_chars", "word_chars"),
    "duplicate_5gram_share": ("duplicate_5gram_chars", "word_chars"),
    "complete_share": ("complete_chars", "chars"),
    "link_share": ("link_chars", "chars"),
}
"""Measures that are one count over another; 0 where there is nothing to count."""

SHOWN = (
    "mean_word_chars",
    "letter_token_share",
    "duplicate_line_share",
    "duplicate_5gram_share",
    "complete_share",
    "link_share",
)
"""Measures that become columns, for reports and for choosing limits."""


class Rules(Annotate):
    """The first rule that a document breaks, and what was measured."""

    docs: Table
    min_words: int
    max_words: int
    min_mean_word_chars: float
    max_mean_word_chars: float
    max_symbols_per_word: float
    max_bullet_line_share: float
    max_ellipsis_line_share: float
    min_letter_token_share: float
    stop_words: tuple[str, ...]
    min_stop_words: int
    max_lorem_ipsums: int
    max_javascript_line_share: float
    max_duplicate_line_share: float
    max_duplicate_paragraph_share: float
    max_top_2gram_share: float
    max_duplicate_5gram_share: float
    min_complete_share: float
    max_link_share: float
    max_emails: int
    max_phones: int
    max_addresses: int

    imports: ClassVar[tuple[str, ...]] = ("numba",)

    writes: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("words", pa.int32()),
            *(pa.field(name, pa.float32()) for name in SHOWN),
            REASON,
            DETAIL,
        ]
    )
    reads: ClassVar[tuple[str, ...] | None] = ("text",)

    def prepare(self, files: Files) -> PartFunction:
        """Load the kernels."""
        del files
        from hare_ray.corpus.rules_kernel import counts

        return partial(_judge, self, counts)


def measures(counted: dict[str, NDArray[np.int64]], text: pa.ChunkedArray) -> Measures:
    """Everything the rules compare with a limit."""
    found = {name: values.astype(np.float64) for name, values in counted.items()}
    for name, (part, whole) in SHARES.items():
        found[name] = found[part] / np.maximum(found[whole], 1)
    for name, hits in personal(text)._asdict().items():
        found[name] = hits.astype(np.float64)
    return found


def broken(stage: Rules, found: Measures, rows: int) -> NDArray[np.int64]:
    """Number of the first rule each document breaks; len(RULES) where it keeps them all."""
    first = np.full(rows, len(RULES))
    for number in reversed(range(len(RULES))):
        rule = RULES[number]
        limit = getattr(stage, rule.limit)
        breaks = found[rule.measure] < limit if rule.limit.startswith("min_") else found[rule.measure] > limit
        first[breaks] = number
    return first


def _judge(
    stage: Rules, counts: Callable[[Any, tuple[str, ...]], dict[str, NDArray[np.int64]]], docs: pa.Table
) -> pa.Table:
    text = docs["text"]
    found = measures(counts(text, stage.stop_words), text)
    first = broken(stage, found, len(text))
    missing = np.asarray(text.is_null())
    first[missing] = len(RULES)
    details = np.full(len(text), None, object)
    for row in np.flatnonzero(first < len(RULES)):
        measure = RULES[first[row]].measure
        details[row] = f"{measure} {found[measure][row]:.4g}"
    reasons = np.array([*(rule.reason for rule in RULES), None], object)
    return pa.table(
        {
            "words": pa.array(found["words"].astype(np.int32), mask=missing),
            **{name: pa.array(found[name].astype(np.float32), mask=missing) for name in SHOWN},
            "reason": pa.array(reasons[first], pa.string()),
            "detail": pa.array(details, pa.string()),
        },
        schema=stage.writes,
    )
