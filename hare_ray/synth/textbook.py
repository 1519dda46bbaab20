"""D2: prompts from seeds, and texts from what the LLM answered (HARE, arXiv 2406.11410, section 2 and A.2).

    TextbookPrompts   documents, Seeds         ->  PROMPT     prompts_per_seed rows for a chosen document
    Textbook          PROMPT, GENERATED        ->  WRITTEN    one row a prompt

The seed text is the beginning of the document: up to the last sentence that ends within the template's number of
words, or that number of words where the second half of them holds no end of a sentence. Templates rotate,

    template of prompt n of a seed = (hash(topic) + turn * prompts_per_seed + n) modulo templates,

so every topic uses all styles evenly, as random choice would only on average, and small topics do not all start with
the first. An answer that was cut off at its token limit loses its last, incomplete sentence; nothing is added.

    reason           no_answer        the LLM gave none, or an empty one; detail: the error
                     cut_to_nothing   not one sentence was complete when it was cut off
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from hare_ray.priors.prompts import Template
from hare_ray.schema import DETAIL, REASON
from hare_ray.stage import Files, Map, PartFunction, Table
from hare_ray.synth.prompt import ERROR, LENGTH, PROMPT, SYNTHETIC_FILE, WRITTEN, prompt_id, prompt_url
from hare_ray.synth.sentences import cut_to_sentence

NO_ANSWER = "no_answer"
CUT_TO_NOTHING = "cut_to_nothing"

MIN_CUT_SHARE = 0.5
"""Of the words that a seed may have: a sentence that ends earlier would leave too little (headings, initials)."""

EMPTY = "the answer is empty"

GAP = r"\n(?:[ \t]*\n){2,}"
"""More than one empty line, which small models write by the dozen."""


class TextbookPrompts(Map):
    """What the LLM is asked to write."""

    docs: Table
    seeds: Table
    """A Seeds on `docs`."""
    templates: tuple[Template, ...]
    prompts_per_seed: int
    max_seed_words: int
    """Of a seed, whatever its template allows: what fits the model's context."""

    derives: ClassVar[bool] = True
    imports: ClassVar[tuple[str, ...]] = ("numba",)
    writes: ClassVar[pa.Schema] = PROMPT

    def __post_init__(self) -> None:
        """Refuse seeds of other documents, and numbers and templates that lead to no prompt or to equal ones."""
        if self.seeds.base is not self.docs.base:
            raise ValueError(
                f"{self!r} joins documents on base {self.docs.base!r} with seeds on base {self.seeds.base!r}; "
                "choose the seeds from these documents"
            )
        if self.prompts_per_seed < 1 or self.max_seed_words < 1:
            raise ValueError(
                f"{self!r}: given prompts_per_seed={self.prompts_per_seed}, max_seed_words={self.max_seed_words}; "
                "expected at least 1 each"
            )
        names = {template.name for template in self.templates}
        if not names or len(names) < len(self.templates):
            raise ValueError(
                f"{self!r}: given {len(self.templates)} templates with {len(names)} names; "
                "expected at least one, each with a name of its own"
            )

    def prepare(self, files: Files) -> PartFunction:
        """Nothing to load."""
        del files

        def ask(docs: pa.Table, seeds: pa.Table) -> pa.Table:
            columns = docs.select(["id", "url", "cluster", "text"]).append_column("turn", seeds.column("turn"))
            chosen = columns.filter(seeds.column("chosen")).to_pylist()
            prompts = pa.Table.from_pylist([prompt for seed in chosen for prompt in self._prompts(seed)], self.writes)
            return prompts.append_column(REASON, pa.nulls(len(prompts), pa.string()))

        return ask

    def _prompts(self, seed: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The prompts of one document; none where it is empty."""
        text = (seed["text"] or "").strip()
        first = xxhash.xxh3_64_intdigest(str(seed["cluster"]).encode()) + seed["turn"] * self.prompts_per_seed
        for number in range(self.prompts_per_seed if text else 0):
            template = self.templates[(first + number) % len(self.templates)]
            shown = opening(text, min(template.max_seed_words, self.max_seed_words))
            yield {
                "id": prompt_id(seed["id"], template.name, number),
                "url": prompt_url(seed["url"], template.name),
                "topic": seed["cluster"],
                "template": template.name,
                "seed": shown,
                "prompt": template.fill(shown),
            }


def opening(text: str, max_words: int) -> str:
    """The beginning of a stripped text, at most `max_words` words, as white space parts them."""
    from hare_ray.text.sentences import cut_at_sentence

    cut = cut_at_sentence(text, max_words)
    if cut == text or len(cut.split()) >= MIN_CUT_SHARE * max_words:
        return cut
    rest = text.split(maxsplit=max_words)[max_words]
    return text.removesuffix(rest).rstrip()


class Textbook(Map):
    """What the LLM wrote, as documents."""

    prompts: Table
    """A TextbookPrompts, or any PROMPT."""
    answers: Table
    """GENERATED, an opinion on the prompts."""

    imports: ClassVar[tuple[str, ...]] = ("numba",)
    writes: ClassVar[pa.Schema] = WRITTEN

    def __post_init__(self) -> None:
        """Refuse answers to other prompts."""
        if self.answers.base is not self.prompts.base:
            raise ValueError(
                f"{self!r} joins prompts on base {self.prompts.base!r} with answers on base {self.answers.base!r}; "
                "generate the answers from these prompts"
            )

    def prepare(self, files: Files) -> PartFunction:
        """Nothing to load."""
        del files
        return written


def written(prompts: pa.Table, answers: pa.Table) -> pa.Table:
    """One WRITTEN row a prompt, with reason and detail; a refused row keeps its text, for a person to see."""
    finish = answers.column("finish").combine_chunks()
    text = pc.utf8_trim_whitespace(answers.column("answer")).combine_chunks()
    text = pc.replace_substring_regex(text, GAP, "\n\n")
    failed = pc.or_(pc.starts_with(finish, ERROR), pc.fill_null(pc.equal(text, ""), True))
    cut, nothing = _without_last(text, np.asarray(pc.and_not(pc.equal(finish, LENGTH), failed), bool))
    none = pa.scalar(None, pa.string())
    error = pc.if_else(pc.starts_with(finish, ERROR), finish, EMPTY)
    table = prompts.select(["id", "url", "topic", "template", "seed"])
    added = {
        "file": pa.repeat(SYNTHETIC_FILE, len(table)),
        "offset": pa.repeat(pa.scalar(0, pa.int64()), len(table)),
        "title": pa.nulls(len(table), pa.string()),
        "text": cut,
        "finish": finish,
    }
    for name, column in added.items():
        table = table.append_column(name, column)
    reason = pc.if_else(failed, NO_ANSWER, pc.if_else(nothing, CUT_TO_NOTHING, none))
    table = table.select(WRITTEN.names).append_column(REASON, reason)
    return table.append_column(DETAIL, pc.if_else(failed, error, none))


def _without_last(text: pa.Array, unfinished: np.ndarray) -> tuple[pa.Array, pa.Array]:
    """Texts, where `unfinished` up to their last complete sentence, and where nothing is left of them.

    Those of which nothing is left stay as they were.
    """
    rows = np.flatnonzero(unfinished)
    whole = text.take(pa.array(rows, pa.int64())).to_pylist()
    cut = [cut_to_sentence(answer) for answer in whole]
    nothing = np.zeros(len(text), bool)
    nothing[rows] = [not piece for piece in cut]
    kept = pa.array([piece or answer for piece, answer in zip(cut, whole, strict=True)], pa.large_string())
    return pc.replace_with_mask(text, pa.array(unfinished, pa.bool_()), kept), pa.array(nothing)
