"""How different the prompts are, the seeds in them, and the texts that they led to: measured and written down.

Prompts are rotated over topics, templates, audiences and styles so that texts differ. Whether they do is an empirical
question: a template may dictate a phrase to every text, and an LLM may write one text forty times. In: PROMPT, WRITTEN
(or what was kept of it) and their vectors, where there are. Out: diversity.json,

    sample         rows measured at most, for which the smallest ids are taken: they are hashes
    combinations   over all prompts: prompts, topics, templates, audiences, styles; reached: different combinations of
                   the last three; evenness: of topics, templates, audiences, styles and combinations, entropy over
                   that of equal shares, 1 = each came equally often, null where there is one
    prompts, seeds, texts (null where none are given), each with
        rows, words
        self_bleu_4          mean BLEU-4 of a text against all others     lower is more diverse
        overlap_4            share of a text's 4-grams that another has,   lower; whatever the number of rows
                             drawn at random
        distinct_1 .. _4     share of the n-grams that are different      higher
        compression_ratio    bytes / bytes after zstd                     lower
        repeated_openings    share that begins with the same 5 words as   lower
                             another
        similarity           null without vectors; rows, mean_pairwise, nearest_mean, nearest_p95 (cosines, lower),
                             vendi (effective number of different texts, higher)
        templates            for each template by name the same, among its own rows

`hare_ray.synth.diversity_measures` defines them. Prompts share their instructions on purpose, so that a server computes
these once: what counts is the texts, and the seeds show what diversity was there to begin with. Over all is compared
with within a template: rotation is worth its trouble where the first is clearly more diverse.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.stage import Make, Table

if TYPE_CHECKING:
    from hare_ray.gather import Desk

DIVERSITY_FILE = "diversity.json"

BETWEEN = " / "
"""Between audience and style in a variant."""

AXES = ("template", "audience", "style")


class Diversity(Make):
    """Measures on a sample."""

    prompts: Table
    """PROMPT."""
    texts: Table | None
    """WRITTEN, or what was kept of it; None: only prompts and seeds are measured."""
    embeddings: Table | None
    """Column `embedding`, of the texts or, where these are None, of the prompts."""
    sample: int
    """Rows of each; self-BLEU and compression depend on it, so runs that are compared have the same."""

    imports: ClassVar[tuple[str, ...]] = ("numba",)

    def __post_init__(self) -> None:
        """Refuse a sample that says nothing, tables of another kind, and vectors of other rows."""
        if self.sample < 2:
            raise ValueError(f"{self!r}: given sample={self.sample}, expected at least 2")
        wanted = [(self.prompts, ("id", "topic", "template", "variant", "seed", "prompt"))]
        wanted += [(self.texts, ("id", "template", "text"))] if self.texts else []
        wanted += [(self.embeddings, ("embedding",))] if self.embeddings else []
        for table, names in wanted:
            missing = sorted(set(names) - set(table.schema().names))
            if missing:
                raise ValueError(f"{self!r}: given {table!r} without {missing}, expected the columns {list(names)}")
        if self.embeddings and self.embeddings.base is not self.embedded.base:
            raise ValueError(
                f"{self!r}: given {self.embeddings!r} on base {self.embeddings.base!r}; expected vectors of "
                f"{self.embedded!r}"
            )

    @property
    def embedded(self) -> Table:
        """What the vectors are of."""
        return self.texts or self.prompts

    def make(self, desk: Desk) -> dict[str, int]:
        """Count combinations, draw, measure, write."""
        asked = sampled(desk, self.prompts, self.sample, ("template", "prompt", "seed"), self._vectors(self.prompts))
        found: dict[str, Any] = {
            "sample": self.sample,
            "combinations": combinations(desk, self.prompts),
            "prompts": measured(asked, "prompt"),
            "seeds": measured(
                asked.drop_columns(["embedding"]) if "embedding" in asked.column_names else asked, "seed"
            ),
            "texts": None,
        }
        books = {"prompts": len(asked)}
        if self.texts:
            texts = sampled(desk, self.texts, self.sample, ("template", "text"), self._vectors(self.texts))
            found["texts"] = measured(texts, "text")
            books["texts"] = len(texts)
        (desk.folder / DIVERSITY_FILE).write_text(json.dumps(found, indent=1, sort_keys=True), encoding="utf-8")
        return books

    def _vectors(self, table: Table) -> Table | None:
        return self.embeddings if table is self.embedded else None


def sampled(desk: Desk, table: Table, rows: int, columns: tuple[str, ...], vectors: Table | None) -> pa.Table:
    """The rows with the smallest ids, in their order, however they lie in parts."""
    parts = list(range(desk.parts(table)))
    found = desk.map(partial(_smallest, desk, table, rows), parts)
    keys = np.concatenate([np.empty(0, np.uint64), *(own for own, _ in found)])
    where = np.concatenate([np.empty(0, np.int64), *(own for _, own in found)])
    part = np.repeat(np.array(parts, np.int64), [len(own) for own, _ in found])
    first = np.lexsort((where, part, keys))[:rows]
    chosen = [np.sort(first[part[first] == one]) for one in parts]
    pieces = desk.map(
        partial(_taken, desk, table, columns, vectors),
        [(one, where[own]) for one, own in zip(parts, chosen, strict=True)],
    )
    schema = pa.schema([table.schema().field(name) for name in columns])
    if vectors:
        schema = schema.append(vectors.schema().field("embedding"))
    drawn = pa.concat_tables([schema.empty_table(), *pieces])
    came = np.concatenate([np.empty(0, np.int64), *chosen])
    order = np.argsort(came)
    return drawn.take(pa.array(order[np.searchsorted(came[order], first)], pa.int64()))


def _smallest(desk: Desk, table: Table, rows: int, part: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The first eight bytes of the smallest ids of a part, and their rows."""
    ids = b"".join(desk.read(table, part, ("id",)).column("id").to_pylist())
    keys = np.frombuffer(ids, ">u8")[::2].astype(np.uint64)
    first = np.argsort(keys, kind="stable")[:rows]
    return keys[first], first


def _taken(
    desk: Desk, table: Table, columns: tuple[str, ...], vectors: Table | None, item: tuple[int, NDArray[np.int64]]
) -> pa.Table:
    part, rows = item
    found = desk.read(table, part, columns).select(list(columns)).take(pa.array(rows, pa.int64()))
    if vectors:
        own = desk.read(vectors, part, ("embedding",)).column("embedding")
        found = found.append_column("embedding", own.take(pa.array(rows, pa.int64())))
    return found


def measured(rows: pa.Table, column: str) -> dict[str, Any]:
    """All measures of a sample, and of each template's rows in it."""
    found = _measures(rows, column)
    templates = rows.column("template")
    found["templates"] = {
        name: _measures(rows.filter(pc.equal(templates, name)), column)
        for name in sorted(pc.unique(templates).to_pylist())
    }
    return found


def _measures(rows: pa.Table, column: str) -> dict[str, Any]:
    from hare_ray.synth.diversity_measures import (
        ORDERS,
        compression,
        distinct,
        openings,
        overlap,
        rounded,
        self_bleu,
        similarity,
    )
    from hare_ray.text import words_of

    text = rows.column(column).combine_chunks()
    words = words_of(text, places=False)
    return {
        "rows": len(rows),
        "words": int(words.lengths.sum()),
        "self_bleu_4": rounded(self_bleu(words)),
        "overlap_4": rounded(overlap(words)),
        **{f"distinct_{n}": rounded(distinct(words, n)) for n in ORDERS},
        "compression_ratio": rounded(compression(text)),
        "repeated_openings": rounded(openings(words)),
        "similarity": similarity(_matrix(rows.column("embedding"))) if "embedding" in rows.column_names else None,
    }


def _matrix(vectors: pa.ChunkedArray) -> NDArray[np.float32]:
    """Vectors as rows; a null is one of length 0."""
    column = vectors.combine_chunks()
    dimensions = column.type.list_size
    if not column.null_count:
        return np.asarray(column.flatten(), np.float32).reshape(len(column), dimensions)
    matrix = np.zeros((len(column), dimensions), np.float32)
    filled = column.drop_null()
    matrix[np.asarray(column.is_valid())] = np.asarray(filled.flatten(), np.float32).reshape(-1, dimensions)
    return matrix


def combinations(desk: Desk, prompts: Table) -> dict[str, Any]:
    """What all prompts reached of topics, templates, audiences and styles.

    Topics are counted apart: their combinations with all others would grow with the corpus.
    """
    from hare_ray.synth.diversity_measures import evenness

    counts: Counter[tuple[str | None, ...]] = Counter()
    topics: Counter[int] = Counter()
    for own, found in desk.map(partial(_counted, desk, prompts), list(range(desk.parts(prompts)))):
        counts.update(own)
        topics.update(found)
    axes = {"topic": _numbers(topics)} | {name: _along(counts, place) for place, name in enumerate(AXES)}
    return {
        "prompts": counts.total(),
        **{f"{name}s": len(values) for name, values in axes.items()},
        "reached": len(counts),
        "evenness": {
            **{name: evenness(values) for name, values in axes.items()},
            "combination": evenness(_numbers(counts)),
        },
    }


def _numbers(counts: Counter[Any]) -> NDArray[np.int64]:
    return np.fromiter(counts.values(), np.int64, len(counts))


def _along(counts: Counter[tuple[str | None, ...]], place: int) -> NDArray[np.int64]:
    """How often each value of one axis came; what has none there is not counted."""
    found: Counter[str] = Counter()
    for combination, count in counts.items():
        if (value := combination[place]) is not None:
            found[value] += count
    return _numbers(found)


def _counted(desk: Desk, prompts: Table, part: int) -> tuple[dict[tuple[str | None, ...], int], dict[int, int]]:
    """How often each (template, audience, style) and each topic came in a part."""
    columns = desk.read(prompts, part, ("topic", "template", "variant"))
    asked = columns.group_by(["template", "variant"]).aggregate([([], "count_all")]).to_pylist()
    topics = columns.group_by(["topic"]).aggregate([([], "count_all")]).to_pylist()
    return (
        {(row["template"], *_parted(row["variant"])): row["count_all"] for row in asked},
        {row["topic"]: row["count_all"] for row in topics if row["topic"] is not None},
    )


def _parted(variant: str | None) -> tuple[str | None, str | None]:
    """Audience and style of a variant, where it tells them."""
    audience, _, style = (variant or "").partition(BETWEEN)
    return audience or None, style or None
