"""How much of what an LLM wrote stands in a text, and what of it does not.

    Source(text)   .share(of)      share of the different content words of `of` that the text has
                   .strangers(of)  numbers and names of `of` that the text has not
                   .holds(of)      whether the text has `of` word for word
    overlap(of, grams)             share of the word n-grams of `of` that are among `grams`

Content words are those that are not STOP_WORDS, without their most common English endings: "the mill grinds" and "a
mill ground" share the mill, and would share two of three words if "the" and "a" counted alike. A text of stop words
alone is compared by these. Numbers and names have to be there one by one, as one wrong year in a right sentence hardly
moves a share: a number by its digits, up to twenty also in words; a name is a capitalised word inside a sentence (the
first one proves nothing) and may be a form of a word that is there (German, Germany). A text that capitalises all its
content words, as titles do, has no names to tell apart. All of it costs one pass of a regular expression and sets.
"""

from __future__ import annotations

import re
from functools import cached_property, lru_cache

COPY_N = 5
"""Words of the n-grams that tell a copy, as in `hare_ray.synth.verify_kernel`."""

STEM_LETTERS = 4
"""Left of a word at least when its ending is taken off, and in common at the start of two forms of a name."""

_GRAMMAR = (
    "a about after all also although an and any are as at be because been before being both but by can could did do "
    "does during each for from had has have he her him his how however i if in into is it its just may me might more "
    "most much must my no nor not of on one only or other our out over own s shall she should since so some such t "
    "than that the their them then there these they this those through to too under until up upon us very was we were "
    "what when where whether which while who whom whose why will with within without would you your"
)
STOP_WORDS = frozenset(_GRAMMAR.split())
"""Words of English grammar."""

_UP_TO_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
IN_WORDS = {word: str(number) for number, word in enumerate(_UP_TO_TWENTY.split())}

_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_ITEM = re.compile(r"^[ \t]*\d{1,3}[.)](?=\s)", re.MULTILINE)
_NAME = re.compile(r"(?<!\w)[^\W\d_]\w*")
_BEFORE = re.compile(r"(?:\A\W*|[.!?:;\"\u201c\u201d\u2018(\[\n\u2022]|\s['*-])\s*\Z")
_ENDING = re.compile(rf"(?<=\w{{{STEM_LETTERS}}})(?:ing|ed|es|ly|s)\Z")


def words(text: str) -> list[str]:
    """The words of a text, for comparing."""
    return _WORD.findall(text.casefold())


def plain(text: str) -> str:
    """What is left of a text when case, punctuation and white space do not count."""
    return " ".join(words(text)) or text


def grams_of(found: list[str]) -> set[tuple[str, ...]]:
    """The n-grams of words."""
    return set(zip(*(found[at:] for at in range(COPY_N)), strict=False))


def grams(text: str) -> set[tuple[str, ...]]:
    """Its word n-grams."""
    return grams_of(words(text))


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """A word without its most common endings."""
    return _ENDING.sub("", word)


def overlap(text: str, among: set[tuple[str, ...]]) -> float:
    """Share of the different word 5-grams of a text that are among others; 0 for one that has none."""
    own = grams(text)
    return len(own & among) / len(own) if own else 0.0


def stems(text: str) -> set[str]:
    """Content words without their endings, or all words where there are none; numbers are compared on their own."""
    found = {word for word in words(text) if not word.isdigit()}
    return {stem(word) for word in found - STOP_WORDS or found}


def numbers(text: str) -> set[str]:
    """Numbers without the commas between thousands; those of list items are none."""
    return {number.replace(",", "") for number in _NUMBER.findall(_ITEM.sub("", text))}


def names(text: str) -> set[str]:
    """Capitalised words that do not begin a sentence, case-folded."""
    content = [match for match in _NAME.finditer(text) if match[0].casefold() not in STOP_WORDS]
    capital = [match for match in content if match[0][0].isupper()]
    if len(capital) == len(content):
        return set()
    return {
        match[0].casefold() for match in capital if not _BEFORE.search(text[max(0, match.start() - 4) : match.start()])
    }


class Source:
    """A text that others are held against."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def _spoken(self) -> list[str]:
        return words(self.text)

    @cached_property
    def _words(self) -> set[str]:
        return set(self._spoken)

    @cached_property
    def _stems(self) -> set[str]:
        return set(map(stem, self._words))

    @cached_property
    def _numbers(self) -> set[str]:
        return numbers(self.text) | {IN_WORDS[word] for word in self._words & IN_WORDS.keys()}

    @cached_property
    def _starts(self) -> set[str]:
        return {word[:STEM_LETTERS] for word in self._words}

    @cached_property
    def _plain(self) -> str:
        return f" {' '.join(self._spoken)} "

    @cached_property
    def grams(self) -> set[tuple[str, ...]]:
        """Its word 5-grams."""
        return grams_of(self._spoken)

    def share(self, of: str) -> float:
        """Share of the different content words that the text has; 1 for a bare number, 0 for no word at all."""
        wanted = stems(of)
        if not wanted:
            return 1.0 if numbers(of) else 0.0
        return len(wanted & self._stems) / len(wanted)

    def strangers(self, of: str) -> list[str]:
        """Numbers and names that the text has not, in alphabetical order."""
        unknown = {name for name in names(of) - self._words if not self._form_of_one(name)}
        return sorted((numbers(of) - self._numbers) | unknown)

    def _form_of_one(self, name: str) -> bool:
        return len(name) > STEM_LETTERS and name[:STEM_LETTERS] in self._starts

    def holds(self, of: str) -> bool:
        """Whether the text has these words one after the other."""
        spoken = words(of)
        return bool(spoken) and f" {' '.join(spoken)} " in self._plain
