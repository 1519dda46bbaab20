"""Titles for topics, from an LLM: a prompt for every topic, and its answer put into the labels.

    TitlePrompts   docs, clusters, labels.json  ->  id, url, topic, prompt     one row per topic
    Titles         labels.json, prompts, answers  ->  labels.json with `title` where the answer is one

Words set a topic apart, and a title says what it is: "species, genus, family" is "Plants and fungi". The prompt holds
the topic's words and its nearest documents as labels.json has them, by title or, where they have none, by how they
begin. It is emitted by the row of the document nearest to the centroid, so that prompts lie in parts as documents do
and any stage that answers prompts can answer these.

An answer gives a title by its first line that is not empty, freed of quotes, markup, numbers and what leads to it
("Title:", "Sure! Here is the title:"). What a reasoning model thinks aloud is no part of its answer, whether it opens
with <think> or, where the chat template opens it, only ends with </think>. A title counts only with `MAX_WORDS` words
or less, which also tells titles from refusals and explanations. A topic without a title keeps its words; the books say
how many.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from hare_ray.cluster.label import LABELS
from hare_ray.schema import ID, REASON
from hare_ray.stage import Files, Make, Map, PartFunction, Table

if TYPE_CHECKING:
    from hare_ray.gather import Desk

WORDS_SLOT, TITLES_SLOT = "{words}", "{titles}"

MAX_WORDS = 8
"""Of a title; more are a sentence."""

MAX_CHARACTERS = 100
"""Of a title: eight words of any language."""

STOP = "stop"
"""`finish` of an answer that the LLM ended by itself; one that was cut off counts if its first line is whole."""

LEADS = re.compile(
    r"""^(?: \(?[0-9]{1,2}[.):]\s+ | [-+\u2022]\s+                                   # a list's number or sign
    | (?:sure|certainly|of\ course|absolutely|okay|ok)(?:\s*[,!.:]+(?:\s+|$)|$)      # politeness
    | here(?:\s+is|\s+are|['\u2019]s)\b[^:]*:\s*
    | (?:the\s+)?(?:(?:final|suggested|short|possible)\s+)?(?:topic(?:['\u2019]s)?\s+)?
      (?:title|topic|answer)(?:\s+is)?(?:[\s*_]*:[*_]*(?:\s+|$)|\s+-\s+))""",
    re.IGNORECASE | re.VERBOSE,
)
"""What may stand before a title, on its line or on one of its own."""

THOUGHT = re.compile(r"</(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
"""Where a reasoning model ends to think aloud."""

TAG = re.compile(r"<[/|]?[a-z][^<>]*>?", re.IGNORECASE)
"""Markup, or what a chat template leaves; no title holds it."""

MARKS = " \t*_#`\"'\u201c\u201d\u2018\u2019\u00ab\u00bb"
"""Quotes and markup around a title."""

REFUSALS = re.compile(
    r"^(?:i(?:'m| am|\u2019m)?\b.*\b(?:sorry|cannot|can't|unable|not able)|sorry|as an ai\b)", re.IGNORECASE
)

NO_TITLES = frozenset({"n/a", "none", "null", "unknown", "untitled", "no title", "title", "topic"})
"""Answers that say there is none."""


class TitlePrompts(Map):
    """One prompt for every topic, at the document nearest to its centroid."""

    docs: Table
    clusters: Table
    """An Assign."""
    labels: Make
    """A LabelClusters."""
    template: str
    """With {words} and {titles}."""

    derives: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...] | None] = ("id", "url")
    writes: ClassVar[pa.Schema] = pa.schema(
        [
            ID,
            pa.field("url", pa.string(), nullable=False),
            pa.field("topic", pa.int32(), nullable=False),
            pa.field("prompt", pa.large_string(), nullable=False),
        ]
    )

    def __post_init__(self) -> None:
        """Refuse a template that does not show the topic."""
        super().__post_init__()
        missing = [slot for slot in (WORDS_SLOT, TITLES_SLOT) if slot not in self.template]
        if missing:
            raise ValueError(f"{self!r}: given a template without {' and '.join(missing)}; put it where it belongs")

    def prepare(self, files: Files) -> PartFunction:
        """Load the labels."""
        labels = json.loads((files(self.labels) / LABELS).read_text())
        shown = [label for label in labels if label["ids"]]
        firsts = pa.array([bytes.fromhex(label["ids"][0]) for label in shown], pa.binary())
        topics = np.asarray([label["cluster"] for label in shown], np.int32)
        texts = [self.prompt(label) for label in shown]

        def ask(docs: pa.Table, clusters: pa.Table) -> pa.Table:
            at = pc.index_in(docs.column("id").cast(pa.binary()), firsts)
            rows = np.flatnonzero(np.asarray(at.is_valid()))
            label = at.take(pa.array(rows)).to_numpy()
            mine = clusters.column("cluster").to_numpy()[rows] == topics[label]  # a copy may lie in another topic
            rows, label = rows[mine], label[mine]
            label, first = np.unique(label, return_index=True)  # nor is a topic asked about twice
            ids, urls = (docs.column(name).take(pa.array(rows[first])).to_pylist() for name in ("id", "url"))
            columns = {
                "id": [xxhash.xxh3_128_digest(b"topic title" + one) for one in ids],
                "url": urls,
                "topic": topics[label].tolist(),
                "prompt": [texts[one] for one in label.tolist()],
                "reason": [None] * len(label),
            }
            return pa.Table.from_pydict(columns, schema=self.writes.append(REASON))

        return ask

    def prompt(self, label: dict[str, Any]) -> str:
        """The template with what is known of a topic; braces in documents mean nothing."""
        shown = [title or opening for title, opening in zip(label["titles"], label["openings"], strict=True)]
        titles = "\n".join(f"- {' '.join(one.split())}" for one in shown if one.strip())
        slots = {WORDS_SLOT: label["label"], TITLES_SLOT: titles}
        pattern = "|".join(re.escape(slot) for slot in slots)
        return re.sub(pattern, lambda found: slots[found.group()], self.template)


class Titles(Make):
    """Labels with titles."""

    labels: Make
    """A LabelClusters."""
    prompts: Table
    """A TitlePrompts."""
    answers: Table
    """What an LLM answered: `answer` and `finish`, row for row."""

    code: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Refuse answers to other prompts."""
        if self.answers.base is not self.prompts.base:
            raise ValueError(
                f"{self!r}: given {self.answers!r} on base {self.answers.base!r} for the prompts {self.prompts!r}; "
                "give the answers to these prompts"
            )

    def make(self, desk: Desk) -> dict[str, int]:
        """Read the answers, clean them, write the labels anew."""
        titles: dict[int, str] = {}
        asked = 0
        for part in range(desk.parts(self.prompts)):
            topics = desk.read(self.prompts, part, ("topic",)).column("topic").to_pylist()
            answers = desk.read(self.answers, part, ("answer", "finish")).to_pylist()
            asked += len(topics)
            for topic, answer in zip(topics, answers, strict=True):
                title = cleaned(answer["answer"] or "", whole=answer["finish"] == STOP)
                if title:
                    titles.setdefault(topic, title)
        labels = json.loads(desk.read_file(self.labels, LABELS))
        for label in labels:
            if label["cluster"] in titles:
                label["title"] = titles[label["cluster"]]
        (desk.folder / LABELS).write_text(json.dumps(labels, indent=1) + "\n")
        return {
            "topics": len(labels),
            "asked": asked,
            "titled": len(titles),
            "without_title": len(labels) - len(titles),
        }


def cleaned(answer: str, whole: bool) -> str:
    """The title that an answer gives, '' where it gives none; `whole`: the LLM ended by itself."""
    lines = THOUGHT.split(answer)[-1].strip().splitlines()
    if not whole:
        lines = lines[:-1]
    title = next(filter(None, map(freed, lines)), "")
    title = " ".join(title.rstrip(".").split()).strip(MARKS)
    if not 1 <= len(title.split()) <= MAX_WORDS or len(title) > MAX_CHARACTERS or title.endswith(":"):
        return ""
    if REFUSALS.match(title) or TAG.search(title) or title.lower() in NO_TITLES:
        return ""
    return title if any(letter.isalpha() for letter in title) else ""


def freed(line: str) -> str:
    """A line without quotes, markup and all that leads to a title; '' if nothing else is in it."""
    line, before = line.strip(MARKS), None
    while line != before:
        line, before = LEADS.sub("", line).strip(MARKS), line
    return line
