"""Our own evaluation from the documents held out: texts for bits per byte, and cloze questions with choices.

    docs id, url, text; split held_out
    ->  bits_per_byte.jsonl   {"id", "url", "text"}
        cloze.jsonl           {"id", "url", "question", "choices", "answer"}   answer: index into choices

Public benchmarks leak and date; a model's loss and word choice on its own distribution, on documents (and
all their copies) it cannot have seen, do neither. Documents: those with the smallest ids, which are hashes,
so a sample that no layout of parts can change. A cloze question is one sentence with the ones before it as
context and one word blanked:

    sentence   min_words to max_words words, ends in punctuation, has a word to blank; by hash of (seed, id)
    word       the rarest, by held-out documents it occurs in (at least 2), the first of equals; lower case,
               letters only, at least MIN_LETTERS, and once in the question: neither a name, nor to be copied
    others     words of nearly the same frequency from other held-out documents, none of this one; by hash
    order      by hash of (seed, id, word), so the answer's place says nothing
"""

from __future__ import annotations

import heapq
import json
import re
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import xxhash

from hare_ray.stage import Make, Table

if TYPE_CHECKING:
    from hare_ray.gather import Desk

BLANK = "____"

MIN_LETTERS = 4
"""Shorter words are mostly grammar, which several choices would satisfy."""

MIN_DOCUMENTS = 2
"""Held-out documents with the word: fewer is a name, a misprint or a word nobody can know."""

TASKS = 64
"""Stretches of parts that are searched for held-out rows in parallel; each hands back `max_documents` rows at most."""

NEIGHBOURS = 50
"""Words looked at on either side of the answer in order of frequency."""

BOUNDARY = re.compile(rb"[.!?][\"')\]]*\s+(?=[\"'(]*[A-Z])|\s*\n\s*")
ENDING = re.compile(rb"[.!?][\"')\]]*$")


@dataclass(frozen=True)
class Document:
    """A held-out document and the byte spans of its words."""

    id: str
    url: str
    data: bytes
    starts: list[int]
    ends: list[int]

    @cached_property
    def sentences(self) -> list[tuple[int, int]]:
        """Byte spans, without the space between them."""
        cuts = [0]
        for found in BOUNDARY.finditer(self.data):
            cuts += [found.start() + len(found.group().rstrip()), found.end()]
        cuts.append(len(self.data))
        return [(a, b) for a, b in zip(cuts[::2], cuts[1::2], strict=True) if a < b]

    def within(self, begin: int, end: int) -> range:
        """Numbers of the words in a byte span."""
        return range(bisect_left(self.starts, begin), bisect_left(self.starts, end))

    def word(self, number: int) -> str:
        """A word as it is written."""
        return self.data[self.starts[number] : self.ends[number]].decode()

    @cached_property
    def plain(self) -> list[str | None]:
        """Every word that could be blanked, None in the place of others."""
        words = map(self.word, range(len(self.starts)))
        return [w if len(w) >= MIN_LETTERS and w.isalpha() and w.islower() else None for w in words]

    @cached_property
    def folded(self) -> Counter[str]:
        """How often every word occurs, in lower case."""
        return Counter(self.word(number).lower() for number in range(len(self.starts)))


class Vocabulary:
    """Words that occur in several documents, in order of that number, shuffled among equals."""

    def __init__(self, documents: list[Document], seed: int) -> None:
        counts = Counter(word for document in documents for word in {w for w in document.plain if w})
        self.counts = {word: count for word, count in counts.items() if count >= MIN_DOCUMENTS}
        self.ranked = sorted(self.counts, key=lambda word: (self.counts[word], _hash(seed, word), word))
        self.rank = {word: place for place, word in enumerate(self.ranked)}

    def near(self, word: str) -> list[str]:
        """Words of about the same frequency."""
        place = self.rank[word]
        return self.ranked[max(0, place - NEIGHBOURS) : place] + self.ranked[place + 1 : place + 1 + NEIGHBOURS]


def _hash(seed: int, *parts: str) -> int:
    return xxhash.xxh3_64_intdigest("\0".join(parts).encode(), seed=seed)


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, sort_keys=True, ensure_ascii=False) + "\n"


Row = tuple[bytes, int, int]
"""Id, part, row."""


def _held_out(desk: Desk, stage: EvaluationItems, parts: range) -> tuple[int, list[Row]]:
    """How many rows of these parts are held out, and the first `max_documents` of them, sorted."""
    count, first = 0, []
    for part in parts:
        rows = np.flatnonzero(desk.read(stage.split, part, ["held_out"]).column("held_out").to_numpy())
        ids = desk.read(stage.docs, part, ["id"]).column("id").take(pa.array(rows))
        found = zip(ids.to_pylist(), [part] * len(rows), rows.tolist(), strict=True)
        first = heapq.nsmallest(stage.max_documents, chain(first, found))
        count += len(rows)
    return count, first


class EvaluationItems(Make):
    """Texts and cloze questions from the held-out rows."""

    docs: Table
    split: Table
    """A HoldOut of these documents."""
    max_documents: int
    choices: int
    """Of a cloze question, the answer included."""
    seed: int
    min_words: int
    max_words: int
    """Of the sentence with the blank."""
    context_sentences: int
    """Sentences before it that are shown, at most."""

    def __post_init__(self) -> None:
        """Refuse a split of other documents and numbers that mean nothing."""
        if self.split.base is not self.docs.base:
            raise ValueError(
                f"{self!r} joins documents on base {self.docs.base!r} with a split on base "
                f"{self.split.base!r}; make the split from these documents"
            )
        if self.choices < 2 or self.max_documents < 1 or not 1 <= self.min_words <= self.max_words:
            raise ValueError(
                f"{self!r}: given choices={self.choices}, max_documents={self.max_documents}, "
                f"min_words={self.min_words}, max_words={self.max_words}; expected choices of at least 2, "
                "max_documents of at least 1 and 1 <= min_words <= max_words"
            )

    def make(self, desk: Desk) -> dict[str, int]:
        """Write both files; returns rows read, rows held out, and items made."""
        rows = desk.rows(self.docs)
        tasks = min(len(rows), TASKS)
        stretches = [range(i * len(rows) // tasks, (i + 1) * len(rows) // tasks) for i in range(tasks)]
        counts, found = zip((0, []), *desk.map(partial(_held_out, desk, self), stretches), strict=True)
        documents = self._documents(desk, heapq.nsmallest(self.max_documents, chain(*found)))
        texts = [_line({"id": d.id, "url": d.url, "text": d.data.decode()}) for d in documents]
        vocabulary = Vocabulary(documents, self.seed)
        found = (self.question(document, vocabulary) for document in documents)
        questions = [_line(item) for item in found if item is not None]
        (desk.folder / "bits_per_byte.jsonl").write_text("".join(texts), encoding="utf-8", newline="\n")
        (desk.folder / "cloze.jsonl").write_text("".join(questions), encoding="utf-8", newline="\n")
        return {"rows": sum(rows), "held_out": sum(counts), "texts": len(texts), "questions": len(questions)}

    def _documents(self, desk: Desk, held: list[Row]) -> list[Document]:
        """The documents with text among these rows, in their order; reads only parts that have some."""
        from hare_ray.text import words_of

        by_part: dict[int, list[int]] = {}
        for _, part, row in held:
            by_part.setdefault(part, []).append(row)
        found: dict[tuple[int, int], Document] = {}
        for part, rows in by_part.items():
            table = desk.read(self.docs, part, ["id", "url", "text"]).take(pa.array(rows))
            words = words_of(table.column("text"))
            columns = (table.column(name).to_pylist() for name in ("id", "url", "text"))
            for i, (row, key, url, text) in enumerate(zip(rows, *columns, strict=True)):
                span = slice(words.offsets[i], words.offsets[i + 1])
                starts, ends = words.starts[span].tolist(), words.ends[span].tolist()
                if starts:
                    found[part, row] = Document(key.hex(), url, text.encode(), starts, ends)
        return [found[part, row] for _, part, row in held if (part, row) in found]

    def question(self, document: Document, vocabulary: Vocabulary) -> dict[str, Any] | None:
        """The cloze question of a document, or None where no sentence serves."""
        found = (self._blank(document, place, vocabulary) for place in range(len(document.sentences)))
        blanks = [blank for blank in found if blank is not None]
        if not blanks:
            return None
        begin, number, end = blanks[_hash(self.seed, document.id) % len(blanks)]
        answer = document.plain[number] or ""
        others = [word for word in vocabulary.near(answer) if word not in document.folded]
        others = sorted(others, key=lambda word: _hash(self.seed, document.id, "other", word))
        if len(others) < self.choices - 1:
            return None
        choices = [answer, *others[: self.choices - 1]]
        choices.sort(key=lambda word: _hash(self.seed, document.id, "order", word))
        before, after = (
            document.data[begin : document.starts[number]],
            document.data[document.ends[number] : end],
        )
        question = " ".join((before.decode() + BLANK + after.decode()).split())
        return {
            "id": document.id,
            "url": document.url,
            "question": question,
            "choices": choices,
            "answer": choices.index(answer),
        }

    def _blank(self, document: Document, place: int, vocabulary: Vocabulary) -> tuple[int, int, int] | None:
        """Start of the question to a sentence, number of the word to blank, end; None: it does not serve."""
        first, end = document.sentences[place]
        begin = document.sentences[max(0, place - self.context_sentences)][0]
        words = document.within(first, end)
        if not self.min_words <= len(words) <= self.max_words or not ENDING.search(document.data[first:end]):
            return None
        shown = Counter(document.word(number).lower() for number in document.within(begin, end))
        known = [
            (vocabulary.counts[word], number)
            for number in words
            if (word := document.plain[number]) in vocabulary.counts and shown[word] == 1
        ]
        return (begin, min(known)[1], end) if known else None
