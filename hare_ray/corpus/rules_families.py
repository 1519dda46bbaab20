"""Families of rules, one per source: each is a value whose fields are its limits, and tells what they limit.

    Gopher            arXiv 2112.11446, appendix A1.1: quality
    GopherRepetition  arXiv 2112.11446, appendix A1.1, table A1: repetition removal
    C4                arXiv 1910.10683, section 2.2, and the published code's length and policy rules for lines
    FineWeb           arXiv 2406.17557, section 3.6: custom filters
    Hare              arXiv 2406.11410, section 2, which names incomplete texts, web links and personal information
                      without thresholds; placeholders and script warnings are C4's, as rules for documents

The published definitions leave room; counts and order are those that datatrove (0.10) computes, so that its results
can be compared with ours. Of C4, which removes lines, these are the rules for what remains of a document; the lines
themselves are removed by `rules_clean`. Constants hold the published limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar, NamedTuple, TypeAlias

from hare_ray.corpus import rules_counts
from hare_ray.corpus.rules_counts import DUPLICATE_NS, TOP_NS


class Limit(NamedTuple):
    """`reason` where `measure` is below `least` or above `most`."""

    reason: str
    measure: str
    least: float = -inf
    most: float = inf


@dataclass(frozen=True)
class Gopher:
    """Shape of words and lines."""

    min_words: int
    max_words: int
    min_mean_word_chars: float
    max_mean_word_chars: float
    max_number_signs_per_word: float
    max_ellipses_per_word: float
    max_bullet_line_share: float
    max_ellipsis_line_share: float
    min_letter_word_share: float
    stop_words: tuple[str, ...]
    min_stop_words: int

    family: ClassVar[int] = rules_counts.GOPHER

    def limits(self) -> tuple[Limit, ...]:
        """In the order in which they are tried."""
        return (
            Limit("too_few_words", "words", least=self.min_words),
            Limit("too_many_words", "words", most=self.max_words),
            Limit("short_words", "mean_word_chars", least=self.min_mean_word_chars),
            Limit("long_words", "mean_word_chars", most=self.max_mean_word_chars),
            Limit("number_signs", "number_signs_per_word", most=self.max_number_signs_per_word),
            Limit("ellipses", "ellipses_per_word", most=self.max_ellipses_per_word),
            Limit("bullet_lines", "bullet_line_share", most=self.max_bullet_line_share),
            Limit("ellipsis_lines", "ellipsis_line_share", most=self.max_ellipsis_line_share),
            Limit("few_letters", "letter_word_share", least=self.min_letter_word_share),
            Limit("few_stop_words", "stop_words", least=self.min_stop_words),
        )


@dataclass(frozen=True)
class GopherRepetition:
    """Lines, paragraphs and n-grams that come again."""

    max_duplicate_paragraph_share: float
    max_duplicate_paragraph_char_share: float
    max_duplicate_line_share: float
    max_duplicate_line_char_share: float
    max_top_ngram_shares: tuple[float, float, float]
    """Of the characters, for n = 2, 3, 4."""
    max_duplicate_ngram_shares: tuple[float, float, float, float, float, float]
    """Of the characters, for n = 5 to 10."""

    family: ClassVar[int] = rules_counts.REPETITION

    def limits(self) -> tuple[Limit, ...]:
        """In the order in which they are tried."""
        top = zip(TOP_NS, self.max_top_ngram_shares, strict=True)
        duplicate = zip(DUPLICATE_NS, self.max_duplicate_ngram_shares, strict=True)
        return (
            Limit("empty", "chars", least=1),
            Limit("duplicate_paragraphs", "duplicate_paragraph_share", most=self.max_duplicate_paragraph_share),
            Limit(
                "duplicate_paragraph_chars",
                "duplicate_paragraph_char_share",
                most=self.max_duplicate_paragraph_char_share,
            ),
            Limit("duplicate_lines", "duplicate_line_share", most=self.max_duplicate_line_share),
            Limit("duplicate_line_chars", "duplicate_line_char_share", most=self.max_duplicate_line_char_share),
            *(Limit(f"frequent_{n}gram", f"top_{n}gram_share", most=most) for n, most in top),
            *(Limit(f"repeated_{n}grams", f"duplicate_{n}gram_share", most=most) for n, most in duplicate),
        )


@dataclass(frozen=True)
class C4:
    """What is left of a document without the lines that C4 removes."""

    max_word_chars: int
    """A line with a longer token is removed."""
    min_words_per_line: int
    policy_phrases: tuple[str, ...]
    """A line with one of them is removed."""
    min_sentences: int
    bad_phrases: tuple[str, ...]
    """A document with one of them as words of their own is dropped; empty: no list."""

    family: ClassVar[int] = rules_counts.C4

    def limits(self) -> tuple[Limit, ...]:
        """In the order in which they are tried."""
        return (
            Limit("lorem_ipsum", "kept_lorem_ipsums", most=0),
            Limit("curly_bracket", "kept_curly_brackets", most=0),
            Limit("few_sentences", "kept_sentences", least=self.min_sentences),
            Limit("bad_phrases", "bad_phrase_lines", most=0),
        )


@dataclass(frozen=True)
class FineWeb:
    """Lists, menus and lines that come again."""

    min_ended_line_share: float
    """Lines that end in a character that ends sentences."""
    short_line_chars: int
    max_short_line_share: float
    max_duplicate_line_char_share: float
    max_line_feeds_per_word: float

    family: ClassVar[int] = rules_counts.FINEWEB

    def limits(self) -> tuple[Limit, ...]:
        """In the order in which they are tried."""
        return (
            Limit("empty", "rows", least=1),
            Limit("few_ended_lines", "ended_row_share", least=self.min_ended_line_share),
            Limit("short_lines", "short_row_share", most=self.max_short_line_share),
            Limit("repeated_line_chars", "duplicate_row_char_share", most=self.max_duplicate_line_char_share),
            Limit("many_line_feeds", "line_feeds_per_word", most=self.max_line_feeds_per_word),
        )


@dataclass(frozen=True)
class Hare:
    """Incomplete, linked, private; placeholders and script warnings."""

    max_lorem_ipsum_lines: int
    max_javascript_line_share: float
    min_complete_share: float
    """Of the characters, in complete sentences."""
    max_link_share: float
    max_emails: int
    max_phones: int
    max_addresses: int

    family: ClassVar[int] = rules_counts.HARE

    def limits(self) -> tuple[Limit, ...]:
        """In the order in which they are tried."""
        return (
            Limit("lorem_ipsum", "lorem_ipsum_lines", most=self.max_lorem_ipsum_lines),
            Limit("javascript_warning", "javascript_line_share", most=self.max_javascript_line_share),
            Limit("incomplete", "complete_share", least=self.min_complete_share),
            Limit("web_links", "link_share", most=self.max_link_share),
            Limit("personal_information", "emails", most=self.max_emails),
            Limit("personal_information", "phones", most=self.max_phones),
            Limit("personal_information", "addresses", most=self.max_addresses),
        )


Family: TypeAlias = Gopher | GopherRepetition | C4 | FineWeb | Hare

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
"""Gopher's."""

POLICY_PHRASES = (
    "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies",
)  # fmt: skip
"""Of C4's published code."""

PUBLISHED_GOPHER = Gopher(
    min_words=50, max_words=100_000, min_mean_word_chars=3, max_mean_word_chars=10, max_number_signs_per_word=0.1,
    max_ellipses_per_word=0.1, max_bullet_line_share=0.9, max_ellipsis_line_share=0.3, min_letter_word_share=0.8,
    stop_words=STOP_WORDS, min_stop_words=2,
)  # fmt: skip

PUBLISHED_REPETITION = GopherRepetition(
    max_duplicate_paragraph_share=0.3, max_duplicate_paragraph_char_share=0.2, max_duplicate_line_share=0.3,
    max_duplicate_line_char_share=0.2, max_top_ngram_shares=(0.2, 0.18, 0.16),
    max_duplicate_ngram_shares=(0.15, 0.14, 0.13, 0.12, 0.11, 0.1),
)  # fmt: skip

PUBLISHED_C4 = C4(
    max_word_chars=1000, min_words_per_line=3, policy_phrases=POLICY_PHRASES, min_sentences=5, bad_phrases=(),
)  # fmt: skip

PUBLISHED_FINEWEB = FineWeb(
    min_ended_line_share=0.12, short_line_chars=30, max_short_line_share=0.67, max_duplicate_line_char_share=0.01,
    max_line_feeds_per_word=0.3,
)  # fmt: skip
"""As published with the code; the paper's text rounds one of them."""
