"""Rules on the shape of a text: the first one a document breaks is its reason, what it measured the detail.

    reason                                                       family            what it says
    too_few_words, too_many_words                                Gopher            words that are not symbols alone
    short_words, long_words                                      Gopher            characters per such word
    number_signs, ellipses                                       Gopher            # and ... per word
    bullet_lines, ellipsis_lines                                 Gopher            lines that begin, end with one
    few_letters                                                  Gopher            words with a letter
    few_stop_words                                               Gopher            different ones
    duplicate_paragraphs, duplicate_paragraph_chars              GopherRepetition  seen before in the document
    duplicate_lines, duplicate_line_chars                        GopherRepetition  likewise
    frequent_2gram, .. 4gram; repeated_5grams, .. 10grams        GopherRepetition  share of the characters
    lorem_ipsum, curly_bracket, few_sentences, bad_phrases       C4                in the lines that it keeps
    few_ended_lines, short_lines                                 FineWeb           lines without an end, or short
    repeated_line_chars, many_line_feeds                         FineWeb           lines seen before; lists
    lorem_ipsum, javascript_warning                              Hare              anywhere
    incomplete, web_links, personal_information                  Hare              share of characters; e-mails, ..
    empty                                                        two of them       no text

Sources and limits: `rules_families`. How each is counted: `rules_counts`, `rules_kernel` and `pii`. Families are tried
in the order in which the recipe names them, and one that it does not name costs nothing.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa

from hare_ray.corpus.pii import personal
from hare_ray.corpus.rules_counts import DUPLICATE_NS, HARE, TOP_NS, Wanted
from hare_ray.corpus.rules_families import C4, Family, FineWeb, Gopher, Limit
from hare_ray.schema import DETAIL, REASON
from hare_ray.stage import Annotate, Files, PartFunction, Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from hare_ray.text.words import Text, Words

Measures = dict[str, "NDArray[np.float64]"]
"""Numbers per document, by name."""

SHARES = {
    "mean_word_chars": ("solid_chars", "solid_words"),
    "number_signs_per_word": ("number_signs", "words"),
    "ellipses_per_word": ("ellipses", "words"),
    "bullet_line_share": ("bullet_lines", "lines"),
    "ellipsis_line_share": ("ellipsis_lines", "lines"),
    "letter_word_share": ("letter_words", "words"),
    "duplicate_paragraph_share": ("duplicate_paragraphs", "paragraphs"),
    "duplicate_paragraph_char_share": ("duplicate_paragraph_chars", "chars"),
    "duplicate_line_share": ("duplicate_pieces", "pieces"),
    "duplicate_line_char_share": ("duplicate_piece_chars", "chars"),
    **{f"top_{n}gram_share": (f"top_{n}gram_chars", "chars") for n in TOP_NS},
    **{f"duplicate_{n}gram_share": (f"duplicate_{n}gram_chars", "chars") for n in DUPLICATE_NS},
    "ended_row_share": ("ended_rows", "rows"),
    "short_row_share": ("short_rows", "rows"),
    "duplicate_row_char_share": ("duplicate_row_chars", "unbroken_chars"),
    "line_feeds_per_word": ("line_feeds", "words"),
    "javascript_line_share": ("script_lines", "full_lines"),
    "complete_share": ("complete_chars", "dense_chars"),
    "link_share": ("link_chars", "dense_chars"),
}
"""Measures that are one count over another; 0 where there is nothing to count."""

SHOWN = (
    "mean_word_chars",
    "letter_word_share",
    "duplicate_line_share",
    "duplicate_5gram_share",
    "complete_share",
    "link_share",
)
"""Measures that become columns, for reports and for choosing limits; 0 where no family counts them."""


class Rules(Annotate):
    """The first rule that a document breaks, and what was measured."""

    docs: Table
    rules: tuple[Family, ...]

    code: ClassVar[int] = 2
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

    def __post_init__(self) -> None:
        """Refuse a family that is named twice: it would be counted by the fields of one of them."""
        super().__post_init__()
        names = [type(family).__name__ for family in self.rules]
        if len(set(names)) < len(names) or not names:
            raise ValueError(f"{self!r} is given the families {names}, expected each once and one at least")

    def prepare(self, files: Files) -> PartFunction:
        """Load the kernels."""
        del files
        from hare_ray.corpus.rules_kernel import counts

        return partial(_judge, self, counts)


def wanted(rules: tuple[Family, ...]) -> Wanted:
    """What the families need counted."""
    need = Wanted(families=sum(family.family for family in rules))
    fields = vars(need).copy()
    for family in rules:
        if isinstance(family, Gopher):
            fields["stop_words"] = family.stop_words
        elif isinstance(family, FineWeb):
            fields["short_line_chars"] = family.short_line_chars
        elif isinstance(family, C4):
            names = ("max_word_chars", "min_words_per_line", "policy_phrases", "bad_phrases")
            fields.update({name: getattr(family, name) for name in names})
    return Wanted(**fields)


def measures(counted: dict[str, NDArray[np.int64]], text: Text, families: int) -> Measures:
    """Everything the rules compare with a limit."""
    found = {name: values.astype(np.float64) for name, values in counted.items()}
    found["unbroken_chars"] = found["chars"] - found["line_feeds"]
    for name, (part, whole) in SHARES.items():
        found[name] = found[part] / np.maximum(found[whole], 1)
    found["words"] = found["solid_words"]
    if families & HARE:
        hits = personal(text)
        for name, numbers in (("emails", hits.emails), ("phones", hits.phones), ("addresses", hits.addresses)):
            found[name] = numbers.astype(np.float64)
    return found


def broken(limits: tuple[Limit, ...], found: Measures, rows: int) -> NDArray[np.int64]:
    """Number of the first limit each document breaks; len(limits) where it keeps them all."""
    first = np.full(rows, len(limits))
    for number in reversed(range(len(limits))):
        values = found[limits[number].measure]
        first[(values < limits[number].least) | (values > limits[number].most)] = number
    return first


def judged(
    rules: tuple[Family, ...],
    counts: Callable[[Text, Wanted, Words | None], dict[str, NDArray[np.int64]]],
    text: Text,
    words: Words | None = None,
) -> pa.Table:
    """Columns of `Rules` for a text column; `words` come from another tokenizer, None: our own."""
    need = wanted(rules)
    limits = tuple(limit for family in rules for limit in family.limits())
    found = measures(counts(text, need, words), text, need.families)
    first = broken(limits, found, len(text))
    missing = np.asarray(text.is_null())
    first[missing] = len(limits)
    details = np.full(len(text), None, object)
    for row in np.flatnonzero(first < len(limits)):
        details[row] = _detail(limits[first[row]], float(found[limits[first[row]].measure][row]))
    reasons = np.array([*(limit.reason for limit in limits), None], object)
    return pa.table(
        {
            "words": pa.array(found["words"].astype(np.int32), mask=missing),
            **{name: pa.array(found[name].astype(np.float32), mask=missing) for name in SHOWN},
            "reason": pa.array(reasons[first], pa.string()),
            "detail": pa.array(details, pa.string()),
        },
        schema=Rules.writes,
    )


def _detail(limit: Limit, value: float) -> str:
    """What was measured, and the limit."""
    bound = f"at least {limit.least:g}" if value < limit.least else f"at most {limit.most:g}"
    return f"{limit.measure} {value:.4g}, {bound} allowed"


def _judge(
    stage: Rules,
    counts: Callable[[Text, Wanted, Words | None], dict[str, NDArray[np.int64]]],
    docs: pa.Table,
) -> pa.Table:
    return judged(stage.rules, counts, docs["text"])
