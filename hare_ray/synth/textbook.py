"""D2: prompts from seeds, and texts from what the LLM answered (HARE, arXiv 2406.11410, section 2 and A.2).

    TextbookPrompts   documents, Seeds         ->  PROMPT     prompts_per_seed rows for a chosen document
    Textbook          PROMPT, GENERATED        ->  WRITTEN    one row a prompt

The seed text is the beginning of the document as `hare_ray.synth.seed_text` cleans it: up to the last sentence that
ends within the template's number of words, or that number of words where the second half of them holds no end of a
sentence. The kind of the document, by its URL and file, decides between which templates, audiences and styles it
rotates; `hare_ray.synth.rotation` says in which order. `variant` is "audience / style".

An answer loses what an LLM wraps around a text (`hare_ray.synth.wrapping`) and, where it was cut off at its token
limit, its last, incomplete sentence; nothing is added.

    reason           no_answer        the LLM gave none, or an empty one; detail: the error
                     cut_to_nothing   not one sentence was complete when it was cut off
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hare_ray.priors.prompts import Prompts
from hare_ray.schema import DETAIL, REASON
from hare_ray.stage import Files, Map, PartFunction, Table
from hare_ray.synth.prompt import ERROR, LENGTH, PROMPT, SYNTHETIC_FILE, WRITTEN, prompt_id, prompt_url
from hare_ray.synth.rotation import kinds_of, rotation_of
from hare_ray.synth.seed_text import cleaned
from hare_ray.synth.sentences import cut_to_sentence
from hare_ray.synth.wrapping import unwrapped

NO_ANSWER = "no_answer"
CUT_TO_NOTHING = "cut_to_nothing"

MIN_CUT_SHARE = 0.5
"""Of the words that a seed may have: a sentence that ends earlier would leave too little (headings, initials)."""

CHARACTERS_PER_WORD = 10
"""Characters that a seed may have for each of its words, white space too. English has 6; what has more is not divided
into words, and would fill the model's window as one of them."""

EMPTY = "the answer is empty"

GAP = r"\n(?:[ \t]*\n){2,}"
"""More than one empty line, which small models write by the dozen."""


class TextbookPrompts(Map):
    """What the LLM is asked to write."""

    docs: Table
    seeds: Table
    """A Seeds on `docs`."""
    templates: Prompts
    """With their kinds, audiences and styles."""
    prompts_per_seed: int
    max_seed_words: int
    """Of a seed, whatever its template allows: what fits the model's context."""

    code: ClassVar[int] = 3
    derives: ClassVar[bool] = True
    imports: ClassVar[tuple[str, ...]] = ("numba",)
    writes: ClassVar[pa.Schema] = PROMPT
    reads: ClassVar[tuple[str, ...] | None] = ("id", "url", "file", "cluster", "text")

    def __post_init__(self) -> None:
        """Refuse seeds of other documents, and numbers that lead to no prompt."""
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

    def prepare(self, files: Files) -> PartFunction:
        """Nothing to load."""
        del files
        return self._ask

    def _ask(self, docs: pa.Table, seeds: pa.Table) -> pa.Table:
        """The prompts of the chosen documents; none of an empty one."""
        chosen = docs.select(list(self.reads or ())).filter(seeds.column("chosen"))
        turns = seeds.column("turn").filter(seeds.column("chosen")).to_pylist()
        texts = cleaned(chosen.column("text")).to_pylist()
        kinds = kinds_of(chosen, self.templates.kinds)
        ways = {kind.name: rotation_of(self.templates, kind.name) for kind in self.templates.kinds}
        ids, urls, topics = (chosen.column(name).to_pylist() for name in ("id", "url", "cluster"))
        rows = []
        for row in [row for row, text in enumerate(texts) if text]:
            way = ways[self.templates.kinds[kinds[row]].name]
            for number in range(self.prompts_per_seed):
                template, audience, style = way.at(topics[row], turns[row] * self.prompts_per_seed + number)
                variant = f"{audience.name} / {style.name}" if audience and style else None
                shown = opening(texts[row], min(template.max_seed_words, self.max_seed_words))
                own = template.name if variant is None else f"{template.name} / {variant}"
                rows.append(
                    {
                        "id": prompt_id(ids[row], own, number // way.length),
                        "url": prompt_url(urls[row], template.name),
                        "topic": topics[row],
                        "template": template.name,
                        "seed": shown,
                        "prompt": template.fill(shown, audience, style),
                        "variant": variant,
                    }
                )
        return pa.Table.from_pylist(rows, pa.schema([*self.writes, REASON]))


def opening(text: str, max_words: int) -> str:
    """The beginning of a stripped text, at most `max_words` words, as white space parts them, of a usual length."""
    from hare_ray.text.sentences import cut_at_sentence

    most = CHARACTERS_PER_WORD * max_words
    if len(text) > most:
        whole = text[:most].rsplit(maxsplit=1)  # the last word may have been cut
        text = whole[0].rstrip() if len(whole) > 1 and not text[most].isspace() else text[:most].rstrip()
    cut = cut_at_sentence(text, max_words)
    if cut == text or len(cut.split()) >= MIN_CUT_SHARE * max_words:
        return cut
    rest = text.split(maxsplit=max_words)[max_words:]
    return text.removesuffix(rest[0]).rstrip() if rest else text


class Textbook(Map):
    """What the LLM wrote, as documents."""

    prompts: Table
    """A TextbookPrompts, or any PROMPT."""
    answers: Table
    """GENERATED, an opinion on the prompts."""

    code: ClassVar[int] = 2
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
    text = pc.replace_substring_regex(unwrapped(text), GAP, "\n\n")
    failed = pc.or_(pc.starts_with(finish, ERROR), pc.fill_null(pc.equal(text, ""), True))
    cut, nothing = _without_last(text, np.asarray(pc.and_not(pc.equal(finish, LENGTH), failed), bool))
    none = pa.scalar(None, pa.string())
    error = pc.if_else(pc.starts_with(finish, ERROR), finish, EMPTY)
    table = prompts.select(["id", "url", "topic", "template", "seed", "variant"])
    added = {
        "file": pa.repeat(SYNTHETIC_FILE, len(table)),
        "offset": pa.repeat(pa.scalar(0, pa.int64()), len(table)),
        "title": pa.nulls(len(table), pa.string()),
        "text": cut,
        "finish": finish,
        "tokens": answers.column("completion_tokens"),
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
