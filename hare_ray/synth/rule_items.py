"""D3 by rule: items of tasks from documents without an LLM, true by construction.

    documents + which of them are seeds -> WRITTEN, up to `per_document` items for each seed

An LLM's items say what the text means; rules can only ask what stands in it. But they cost a thousandth, cannot be
wrong, and give an offline run, or a first stage, tasks in natural language. Which kinds a document gives is drawn by
hash of (seed, id), the next kind where one finds no fit sentence; options that are wrong come from other documents of
the same part. So items depend on the part, as dropping its other documents would change the options, but on nothing
else. The kinds: `hare_ray.synth.rule_makers`.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hare_ray.priors.tasks import Form
from hare_ray.schema import REASON
from hare_ray.stage import Files, Map, PartFunction, Table
from hare_ray.synth.prompt import STOP, WRITTEN, prompt_id, prompt_url
from hare_ray.synth.rule_makers import MAKERS, Passage, plain
from hare_ray.synth.task_forms import by_task, check_forms, draw, write
from hare_ray.synth.tasks import TOPIC_COLUMNS, same_base

if TYPE_CHECKING:
    from hare_ray.synth.rule_words import PartWords

RULES_FILE = "rules"
"""`file` of what is made here; its `seed` is empty, for the item is the text it comes from."""

LOOKED_AT_CHARS = 20_000
"""Of a document: items are short, and a book would cost as much as a thousand pages."""

VISITS = 16
"""Other documents looked at for each sentence from elsewhere."""

KEPT_PASSAGES = 4096
"""Split documents remembered: those of a topic are asked for sentences again and again."""


class RuleItems(Map):
    """Seeds into items."""

    code: ClassVar[int] = 2
    derives: ClassVar[bool] = True
    imports: ClassVar[tuple[str, ...]] = ("numba",)
    writes: ClassVar[pa.Schema] = WRITTEN

    docs: Table
    """Documents, with a topic in column `cluster` or `topic` if there is one."""
    seeds: Table
    """Opinion on `docs`: `chosen`."""
    forms: tuple[Form, ...]
    per_document: int
    min_words: int
    max_words: int
    """Of a sentence that is used."""
    context_sentences: int
    """Shown before a sentence with a blank, and before one to be chosen."""
    max_excerpt_words: int
    """Of a text that is shown."""
    seed: int

    def __post_init__(self) -> None:
        """Refuse other documents' seeds, kinds without a form, and numbers that mean nothing."""
        super().__post_init__()
        check_forms(self.forms, MAKERS, repr(self))
        same_base(self.docs, self.seeds, repr(self))
        sizes = (self.min_words, self.max_words, self.context_sentences, self.max_excerpt_words)
        if (
            not 1 <= self.per_document <= len(MAKERS)
            or not 2 <= self.min_words <= self.max_words <= self.max_excerpt_words
            or self.context_sentences < 0
        ):
            raise ValueError(
                f"{self!r}: given per_document={self.per_document}, min_words, max_words, context_sentences, "
                f"max_excerpt_words={sizes}; expected 1 to {len(MAKERS)} items, 2 <= min_words <= max_words <= "
                "max_excerpt_words, and context_sentences of at least 0"
            )

    def prepare(self, files: Files) -> PartFunction:
        """The function of documents and seeds."""
        del files
        forms = by_task(self.forms)

        def items(docs: pa.Table, seeds: pa.Table) -> pa.Table:
            part = Part(self, docs)
            rows = np.flatnonzero(seeds["chosen"].to_numpy()).tolist()
            out = [item for row in rows for item in part.items(row, forms)]
            return pa.Table.from_pylist(out, pa.schema([*WRITTEN, REASON]))

        return items


class Part:
    """The documents of a part, and what items need of them."""

    def __init__(self, stage: RuleItems, docs: pa.Table) -> None:
        self.stage = stage
        self.seed = stage.seed
        self._docs = docs
        self._seen = pc.utf8_slice_codeunits(docs["text"], 0, LOOKED_AT_CHARS)
        self.passage = lru_cache(KEPT_PASSAGES)(self._passage)
        name = next((name for name in TOPIC_COLUMNS if name in docs.column_names), None)
        self.topics: list[int | None] = docs[name].to_pylist() if name else [None] * len(docs)

    @cached_property
    def words(self) -> PartWords:
        """Words of all documents."""
        from hare_ray.synth.rule_words import PartWords

        return PartWords(self._docs["text"], self.seed)

    @cached_property
    def neighbours(self) -> dict[int | None, list[int]]:
        """Rows by topic."""
        found: dict[int | None, list[int]] = {}
        for row, topic in enumerate(self.topics):
            found.setdefault(topic, []).append(row)
        return found

    def _passage(self, row: int) -> Passage:
        key, title = self._docs["id"][row].as_py(), self._docs["title"][row].as_py()
        return Passage(row, key, title, self._seen[row].as_py() or "", self.stage.min_words, self.stage.max_words)

    def elsewhere(self, passage: Passage, count: int, key: bytes) -> list[str]:
        """Up to `count` different sentences that the passage has not, of other documents, of its topic first."""
        found: dict[str, str] = {}
        for rows in (self.neighbours[self.topics[passage.row]], range(len(self.topics))):
            start = draw(self.seed, key, "elsewhere")
            for step in range(min(len(rows), VISITS * count)):
                other = self.passage(rows[(start + step) % len(rows)])
                if other.row == passage.row or not other.serving:
                    continue
                sentence = other.sentence(other.serving[draw(self.seed, key, other.key.hex()) % len(other.serving)])
                if f" {plain(sentence)} " not in passage.compared:
                    found.setdefault(plain(sentence), sentence)
                if len(found) == count:
                    return list(found.values())
        return list(found.values())

    def items(self, row: int, forms: dict[str, list[str]]) -> list[dict[str, Any]]:
        """The items of one document."""
        passage, url = self.passage(row), self._docs["url"][row].as_py()
        out: list[dict[str, Any]] = []
        for task in sorted(MAKERS, key=lambda task: draw(self.seed, passage.key, task)):
            key = prompt_id(passage.key, f"{RULES_FILE}/{task}", 0)
            slots = MAKERS[task](self, passage, key) if len(out) < self.stage.per_document else None
            if slots is not None:
                text = write(forms[task], slots, self.seed, key)
                item = {"id": key, "url": prompt_url(url, task), "file": RULES_FILE, "offset": 0, "text": text}
                out.append({**item, "topic": self.topics[row], "template": task, "seed": "", "finish": STOP})
        return out
