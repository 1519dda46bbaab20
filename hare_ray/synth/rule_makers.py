"""The rules by which an item is made from a document: slots of a form, or None where the document gives none.

    cloze_choice    the rarest plain word of a sentence left out; other options of the same frequency, none of which
                    the document has
    next_sentence   the sentence that follows, among sentences of other documents, of the same topic if there are any
    ordering        three or four sentences that follow each other, mixed
    title, opening  the document's title and how it begins
    completion      the document's first sentence, cut in two
    occurrence      whether a sentence stands in a text; by hash one of it or one of another document

All are true by construction. A sentence serves if it has min_words to max_words words, begins with a capital and ends
with a stop; a title if half of its words stand in the text, so that it is not the site's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from hare_ray.synth import task_forms as forms
from hare_ray.synth.task_forms import BLANK, Slots, draw

if TYPE_CHECKING:
    from hare_ray.synth.rule_items import Part

OPTIONS = 4
TRIES = 8
"""Sentences tried for a cloze."""
TITLE_SHARE = 0.5
TITLE_WORDS = range(2, 21)
ORDERED = (3, 4)
"""Sentences to put in order."""
CUT = (0.4, 0.7)
"""Share of the words of a sentence between which its completion begins."""

_BEGINNING = re.compile(r"[\"'\u2018\u201c(]*[^\W\d_]")
_ENDING = re.compile(r"[.!?][\"'\u2019\u201d)]*\Z")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Passage:
    """What is looked at of one document."""

    row: int
    key: bytes
    title: str | None
    text: str
    min_words: int
    max_words: int

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """All sentences."""
        from hare_ray.text.sentences import sentence_spans

        return sentence_spans(self.text)

    @cached_property
    def compared(self) -> str:
        """The text for comparing with sentences."""
        return f" {plain(self.text)} "

    @cached_property
    def serving(self) -> list[int]:
        """Numbers of the sentences that serve."""
        return [number for number in range(len(self.spans)) if self._serves(self.sentence(number))]

    def _serves(self, sentence: str) -> bool:
        beginning = _BEGINNING.match(sentence)
        if beginning is None or not beginning[0][-1].isupper() or not _ENDING.search(sentence):
            return False
        return self.min_words <= len(sentence.split()) <= self.max_words and "__" not in sentence

    def sentence(self, number: int) -> str:
        """A sentence on one line."""
        start, end = self.spans[number]
        return " ".join(self.text[start:end].split())

    def runs(self, length: int) -> list[int]:
        """Numbers of sentences with which `length` serving ones in a row begin."""
        serving = set(self.serving)
        return [number for number in self.serving if serving.issuperset(range(number, number + length))]

    def before(self, number: int, most: int) -> int:
        """Number of the first of up to `most` serving sentences that directly precede one: headings are no context."""
        first = number
        while first > max(0, number - most) and first - 1 in self.serving:
            first -= 1
        return first

    def opening(self, max_words: int) -> str:
        """The text from its first serving sentence on."""
        from hare_ray.text.sentences import cut_at_sentence

        return cut_at_sentence(self.text[self.spans[self.serving[0]][0] :], max_words) if self.serving else ""

    @cached_property
    def fitting_title(self) -> str | None:
        """The title, if it has to do with the text."""
        title = " ".join((self.title or "").split())
        words = set(_WORD.findall(title.lower()))
        if len(title.split()) not in TITLE_WORDS or not words:
            return None
        sentences = (self.text[start:end] for start, end in self.spans)
        body = " ".join(sentence for sentence in sentences if plain(sentence) != plain(title))
        share = len(words & set(_WORD.findall(body.lower()))) / len(words)
        return title if share >= TITLE_SHARE else None


def plain(text: str) -> str:
    """A text for comparing: case, punctuation and white space do not count."""
    return " ".join(_WORD.findall(text.casefold()))


def cloze_choice(part: Part, passage: Passage, key: bytes) -> Slots | None:
    """A sentence with a word left out, after the ones before it."""
    order = sorted(passage.serving, key=lambda number: draw(part.seed, key, "sentence", str(number)))
    for number in order[:TRIES]:
        begin = passage.spans[passage.before(number, part.stage.context_sentences)][0]
        first, end = passage.spans[number]
        to_bytes = [len(passage.text[:at].encode()) for at in (begin, first, end)]
        span = part.words.within(passage.row, to_bytes[1], to_bytes[2])
        word = part.words.rarest(span, part.words.within(passage.row, to_bytes[0], to_bytes[2]))
        others = [] if word is None else part.words.near(word, passage.row, OPTIONS - 1, key)
        if word is not None and len(others) == OPTIONS - 1:
            data = passage.text.encode()
            start, stop = int(part.words.words.starts[word]), int(part.words.words.ends[word])
            shown = data[to_bytes[0] : start].decode() + BLANK + data[stop : to_bytes[2]].decode()
            slots = forms.choice_slots(part.words.spelled(word), others, part.seed, key)
            return {"question": " ".join(shown.split()), **slots}
    return None


def next_sentence(part: Part, passage: Passage, key: bytes) -> Slots | None:
    """Two or more sentences and the one after them."""
    shown = max(1, part.stage.context_sentences)
    runs = passage.runs(shown + 1)
    if not runs:
        return None
    first = runs[draw(part.seed, key, "run") % len(runs)]
    answer = passage.sentence(first + shown)
    others = part.elsewhere(passage, OPTIONS - 1, key)
    if len(others) < OPTIONS - 1 or passage.text.count(passage.text[slice(*passage.spans[first + shown])]) > 1:
        return None
    text = " ".join(passage.sentence(number) for number in range(first, first + shown))
    return {"text": text, **forms.choice_slots(answer, others, part.seed, key)}


def ordering(part: Part, passage: Passage, key: bytes) -> Slots | None:
    """Sentences to put in order."""
    length = ORDERED[draw(part.seed, key, "length") % len(ORDERED)]
    runs = passage.runs(length)
    if not runs:
        return None
    first = runs[draw(part.seed, key, "run") % len(runs)]
    sentences = [passage.sentence(number) for number in range(first, first + length)]
    return forms.order_slots(sentences, part.seed, key) if len(set(map(plain, sentences))) == length else None


def title(part: Part, passage: Passage, key: bytes) -> Slots | None:
    """How the text begins, and its title."""
    del key
    text = passage.opening(part.stage.max_excerpt_words)
    return {"text": text, "title": passage.fitting_title} if passage.fitting_title and text else None


def completion(part: Part, passage: Passage, key: bytes) -> Slots | None:
    """The first sentence in two."""
    if not passage.serving:
        return None
    words = passage.sentence(passage.serving[0]).split(" ")
    low, high = (max(1, int(len(words) * share)) for share in CUT)
    cut = low + draw(part.seed, key, "cut") % (high - low + 1)
    rest = " ".join(words[cut:])
    return {"beginning": " ".join(words[:cut]), "rest": rest} if rest else None


def occurrence(part: Part, passage: Passage, key: bytes) -> Slots | None:
    """A sentence that stands in the text, or one that does not."""
    text = passage.opening(part.stage.max_excerpt_words)
    shown = f" {plain(text)} "
    inside = [s for s in map(passage.sentence, passage.serving) if f" {plain(s)} " in shown]
    if len(inside) < 2:
        return None
    if draw(part.seed, key, "yes") % 2:
        return {"text": text, "sentence": inside[draw(part.seed, key, "which") % len(inside)], "verdict": "Yes"}
    others = part.elsewhere(passage, 1, key)
    return {"text": text, "sentence": others[0], "verdict": "No"} if others else None


Maker = Callable[["Part", Passage, bytes], "Slots | None"]

MAKERS: dict[str, Maker] = {
    forms.CLOZE_CHOICE: cloze_choice,
    forms.NEXT_SENTENCE: next_sentence,
    forms.ORDERING: ordering,
    forms.TITLE: title,
    forms.OPENING: title,
    forms.COMPLETION: completion,
    forms.OCCURRENCE: occurrence,
}
"""Tasks, and what makes an item of each."""
