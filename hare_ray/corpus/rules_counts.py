"""Names of what is counted in a document, and their places in its row of numbers.

Three notions of a line, because the published rules have three: `lines` end at every line boundary of Unicode
(Gopher's quality rules, C4), `pieces` lie between runs of line feeds (Gopher's repetition rules), `rows` end at line
feeds and hold more than white space (FineWeb).
"""

from __future__ import annotations

from dataclasses import dataclass

COUNTS = (
    "chars",  # code points, with white space
    "line_feeds",
    "words",
    "word_chars",
    "solid_words",  # with a character that is no punctuation
    "solid_chars",  # of solid words
    "letter_words",
    "stop_words",  # different ones
    "number_signs",
    "ellipses",  # "..." and the one character
    "lines",
    "bullet_lines",
    "ellipsis_lines",
    "paragraphs",
    "duplicate_paragraphs",
    "duplicate_paragraph_chars",
    "pieces",
    "duplicate_pieces",
    "duplicate_piece_chars",
    "top_2gram_chars",  # of all times, spaces between words included
    "top_3gram_chars",
    "top_4gram_chars",
    "duplicate_5gram_chars",  # of the words alone
    "duplicate_6gram_chars",
    "duplicate_7gram_chars",
    "duplicate_8gram_chars",
    "duplicate_9gram_chars",
    "duplicate_10gram_chars",
    "rows",
    "ended_rows",
    "short_rows",
    "duplicate_row_chars",
    "kept_lines",  # by C4, as are the sentences in them
    "kept_sentences",
    "long_word_lines",
    "open_lines",
    "few_word_lines",
    "kept_lorem_ipsums",  # 1 where a line that would stay has it, and none with a curly bracket comes before
    "javascript_lines",
    "kept_curly_brackets",  # 1 likewise
    "policy_lines",
    "bad_phrase_lines",
    "dense_chars",  # no white space
    "complete_chars",
    "link_chars",
    "full_lines",  # with more than white space
    "lorem_ipsum_lines",  # of all lines, as the next
    "script_lines",
)
(
    CHARS, LINE_FEEDS, WORDS, WORD_CHARS, SOLID_WORDS, SOLID_CHARS, LETTER_WORDS, STOP_WORDS, NUMBER_SIGNS, ELLIPSES,
    LINES, BULLET_LINES, ELLIPSIS_LINES, PARAGRAPHS, DUPLICATE_PARAGRAPHS, DUPLICATE_PARAGRAPH_CHARS, PIECES,
    DUPLICATE_PIECES, DUPLICATE_PIECE_CHARS, TOP_2GRAM_CHARS, _, _, DUPLICATE_5GRAM_CHARS, _, _, _, _, _, ROWS,
    ENDED_ROWS, SHORT_ROWS, DUPLICATE_ROW_CHARS, KEPT_LINES, KEPT_SENTENCES, LONG_WORD_LINES, OPEN_LINES,
    FEW_WORD_LINES, KEPT_LOREM_IPSUMS, JAVASCRIPT_LINES, KEPT_CURLY_BRACKETS, POLICY_LINES, BAD_PHRASE_LINES,
    DENSE_CHARS, COMPLETE_CHARS, LINK_CHARS, FULL_LINES, LOREM_IPSUM_LINES, SCRIPT_LINES,
) = range(len(COUNTS))  # fmt: skip

TOP_NS = (2, 3, 4)
"""n of the n-grams of which the most frequent counts; consecutive in COUNTS."""

DUPLICATE_NS = (5, 6, 7, 8, 9, 10)
"""n of those whose repetition counts; consecutive in COUNTS."""

GOPHER, REPETITION, C4, FINEWEB, HARE = (1 << bit for bit in range(5))
"""Families of rules, as bits: what belongs to none that is wanted is not counted."""


@dataclass(frozen=True)
class Wanted:
    """What is to be counted: families of rules as bits, and those of their fields that counting depends on."""

    families: int
    stop_words: tuple[str, ...] = ()
    short_line_chars: int = 0
    max_word_chars: int = 0
    min_words_per_line: int = 0
    policy_phrases: tuple[str, ...] = ()
    bad_phrases: tuple[str, ...] = ()
