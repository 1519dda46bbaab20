"""A fast model of word vectors that is distilled from a sentence model, on the corpus itself.

    title, text, model -> hashes.npy uint64[words], vectors.npy int8[words, dimensions], factors.npy, weights.npy
                          float32[words], mean.npy float32[dimensions], report.json

A transformer reads 30 documents a second on two cores; a sum of word vectors tens of thousands, and keeps the topic.
model2vec (Minish Lab, 2024) takes the teacher's vectors of single tokens, with weights by rank. Here they are only
the prior: the teacher also reads `sample_rows` documents of the corpus, and ridge regression fits the word vectors to
what it says of them (`hare_ray.cluster.static_fit`). Words are those of `hare_ray.text`: folded, hashed, in any
script, without a tokenizer.

Two stratified samples by `seed`: `vocabulary_rows` documents are counted (words in fewer than `min_documents` are left
out, of the others the `vocabulary` most frequent stay), and of these `sample_rows` are read by the teacher. A share of
them is held out of the regression, and on it the report says how far the fast model is from its teacher: mean cosine,
and recall@10, the share of a document's ten nearest neighbours by the teacher that are among its ten by the fast model.

The teacher works in tasks whose vectors are put aside, so a run that was killed goes on. Memory follows from
`vocabulary_rows` and `vocabulary` x `dimensions`, not from the corpus.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray.cluster.embed import CHARACTERS_PER_TOKEN, beginnings, encoded
from hare_ray.cluster.encoder import Encode, Plan, encoder
from hare_ray.cluster.sample import edges_of, located, stratified
from hare_ray.stage import Make, Source, Table
from hare_ray.store import Root

if TYPE_CHECKING:
    from hare_ray.cluster.static_fit import Reading, WordVectors
    from hare_ray.gather import Desk
    from hare_ray.text import Words

REPORT = "report.json"
MODEL = "model.json"
"""How the words of a document are read."""

CHARACTERS_PER_WORD = 10
"""Text kept per word that is read; English has 6 with the space."""

NEIGHBOURS = 10
QUERIES = 1000
"""Held-out documents whose neighbours are compared, at most; the others are what they are looked for in."""

TASK_TEXTS = 512
"""Texts that a task reads, or this many times as many single words: less than a minute on one core."""
WORDS_PER_TEXT = 8


class StaticModel(Make):
    """Word vectors, and how far they are from their teacher."""

    docs: Table
    model: Source
    """The teacher, a sentence-transformers model directory."""
    dimensions: int
    """Of the teacher."""
    max_tokens: int
    """That the teacher reads of a document; the shorter, the more documents a second."""
    max_words: int
    """That the fast model reads; 3 for every 4 of `max_tokens` are what the teacher read."""
    half_words: float
    """A word at this place counts half of the first."""
    vocabulary: int
    """Words at most."""
    min_documents: int
    """That a word must be in."""
    vocabulary_rows: int
    sample_rows: int
    held_out: float
    """Share of the sample."""
    ridge: float
    """How firmly words stay with what the teacher says of them alone; a document counts 1."""
    steps: int
    """Of conjugate gradients."""
    batch_rows: int
    """Of the teacher, as in Embed."""
    dtype: str
    seed: int

    imports: ClassVar[tuple[str, ...]] = ("numba", "scipy", "sentence_transformers", "threadpoolctl", "torch")

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        least = {"dimensions": 1, "max_tokens": 3, "max_words": 1, "vocabulary": 1, "min_documents": 1}
        least |= {"vocabulary_rows": 1, "sample_rows": 2, "steps": 1, "batch_rows": 1, "seed": 0}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise ValueError(f"{self!r}: given {name}={getattr(self, name)}, expected at least {smallest}")
        if not 0 < self.held_out < 1 or not self.ridge > 0 or not self.half_words > 0:
            raise ValueError(
                f"{self!r}: given held_out={self.held_out}, ridge={self.ridge}, half_words={self.half_words}; expected "
                "a share between 0 and 1, and numbers above 0"
            )
        if self.sample_rows > self.vocabulary_rows:
            raise ValueError(
                f"{self!r}: given sample_rows={self.sample_rows} of vocabulary_rows={self.vocabulary_rows}; expected "
                "no more, the one sample is taken of the other"
            )
        if self.dtype not in ("bfloat16", "float32"):
            raise ValueError(f"{self!r}: given dtype={self.dtype!r}, expected 'bfloat16' or 'float32'")

    def make(self, desk: Desk) -> dict[str, int]:
        """Sample, ask the teacher, fit, compare."""
        from threadpoolctl import threadpool_limits

        texts = self._texts(desk)
        if len(texts) < 2:
            raise ValueError(
                f"{self!r}: given {len(texts)} documents with text in a sample of {self.vocabulary_rows}, expected at "
                "least 2, and thousands to learn from; sample more, or look at what comes in"
            )
        read = stratified(len(texts), self.sample_rows, self.seed + 1)
        with threadpool_limits(1):  # sums in another order would be other vectors
            return self._learn(desk, texts, read)

    def _learn(self, desk: Desk, texts: pa.Array, read: NDArray[np.int64]) -> dict[str, int]:
        from hare_ray.cluster.static_fit import FILES, Bags, Reading, Vocabulary, fitted, known_share
        from hare_ray.text import words_of

        chosen = chosen_words(texts, self.max_words, self.min_documents, self.vocabulary)
        vocabulary = Vocabulary.of(chosen.hashes, chosen.weights)
        sample = texts.take(pa.array(read))
        teacher = self._teacher(desk, "documents", sample, TASK_TEXTS)
        alone = self._teacher(desk, "words", chosen.words, TASK_TEXTS * WORDS_PER_TEXT)
        held = np.zeros(len(read), bool)
        aside = min(max(1, round(self.held_out * len(read))), len(read) - 1)
        held[stratified(len(read), aside, self.seed + 2)] = True
        learned = words_of(sample.filter(pa.array(~held)), places=False)
        reading = Reading(self.max_words, self.half_words)
        bag = Bags.of(learned, vocabulary, reading)
        model = fitted(bag, vocabulary, teacher[~held], alone, self.ridge, self.steps)
        for name, values in zip(FILES, model.arrays, strict=True):
            np.save(desk.folder / f"{name}.npy", values)
        (desk.folder / MODEL).write_text(json.dumps(asdict(reading)) + "\n")
        unseen = words_of(sample.filter(pa.array(held)), places=False)
        report = {
            "sample": len(read),
            "held_out": int(held.sum()),
            "words": len(vocabulary.hashes),
            "words_without_vector": 1 - known_share(unseen, vocabulary),
            **distance(teacher[held], model.embed(unseen, reading)),
        }
        (desk.folder / REPORT).write_text(json.dumps(report, indent=1) + "\n")
        return {"documents": len(texts), "read_by_teacher": len(read), "words": len(vocabulary.hashes)}

    def _texts(self, desk: Desk) -> pa.Array:
        """Beginnings of the documents that are counted; those without text are left out."""
        import pyarrow.compute as pc

        rows = stratified(sum(desk.rows(self.docs)), self.vocabulary_rows, self.seed)
        characters = max(CHARACTERS_PER_WORD * self.max_words, CHARACTERS_PER_TOKEN * self.max_tokens)
        found = desk.map(partial(_beginnings, desk, self.docs, characters), located(rows, edges_of(desk, self.docs)))
        texts = pa.chunked_array(found, pa.large_string()).combine_chunks()
        return texts.filter(pc.greater(pc.binary_length(texts), 0))

    def _teacher(self, desk: Desk, kind: str, texts: pa.Array, size: int) -> NDArray[np.float32]:
        """What the teacher says of texts, task by task; what a killed run has put aside is not asked again."""
        kept = Root(desk.lasting)
        # copies: a slice that travels to a worker takes the whole column along
        parts = [pa.concat_arrays([texts.slice(start, size)]) for start in range(0, len(texts), size)]
        items = [(f"{kind}-{number * size:09d}.npy", part) for number, part in enumerate(parts)]
        done = set(kept.names(""))
        plan = Plan(
            dimensions=self.dimensions,
            max_tokens=self.max_tokens,
            max_chunks=1,
            batch_rows=self.batch_rows,
            dtype=self.dtype,
            gpu=False,
        )
        desk.map(partial(_ask, desk, self.model, plan), [item for item in items if item[0] not in done])
        nothing = np.empty((0, self.dimensions), np.float16)
        found = [np.load(io.BytesIO(kept.read(name))) for name, _ in items]
        return np.concatenate([nothing, *found]).astype(np.float32)


def _beginnings(desk: Desk, docs: Table, characters: int, item: tuple[int, NDArray[np.int64]]) -> pa.Array:
    part, rows = item
    return beginnings(desk.read(docs, part, ("title", "text")).take(pa.array(rows)), characters).combine_chunks()


@cache
def _loaded(folder: Path, plan: Plan) -> Encode:
    """A worker loads the teacher once."""
    return encoder(folder, plan)


def _ask(desk: Desk, model: Source, plan: Plan, item: tuple[str, pa.Array]) -> None:
    """Put the teacher's vectors of some texts aside."""
    name, texts = item
    buffer = io.BytesIO()
    encode = _loaded(desk.files(model), plan)
    np.save(buffer, encoded(pa.chunked_array([texts]), encode, plan.dimensions).astype(np.float16))
    Root(desk.lasting).write(name, buffer.getvalue())


@dataclass(frozen=True)
class Chosen:
    """Words by ascending hash, as they stand in the text, and how rare they are."""

    hashes: NDArray[np.uint64]
    weights: NDArray[np.float32]
    words: pa.Array


def chosen_words(texts: pa.Array, max_words: int, min_documents: int, most: int) -> Chosen:
    """The words that are in the most documents; of equal ones those with the smaller hash."""
    from hare_ray.text import words_of

    found = words_of(texts)
    rows, places = _first_words(found, max_words)
    hashes, first, number = np.unique(found.hashes[places], return_index=True, return_inverse=True)
    once = np.unique(number.astype(np.int64) * len(texts) + rows)
    documents = np.bincount(once // len(texts), minlength=len(hashes))
    order = np.lexsort((hashes, -documents))
    chosen = np.sort(order[documents[order] >= min_documents][:most])
    if not len(chosen):
        raise ValueError(
            f"given no word that is in min_documents={min_documents} of {len(texts)} documents, expected some; lower "
            "min_documents, or sample more documents"
        )
    at = first[chosen]
    spelt = _spelt(texts, rows[at], found.starts[places[at]], found.ends[places[at]])
    weights = np.log(len(texts) / documents[chosen]).astype(np.float32)
    return Chosen(hashes[chosen], weights, spelt)


def _first_words(words: Words, max_words: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Documents and numbers of the first words of every document."""
    rows = np.repeat(np.arange(len(words)), words.lengths)
    places = np.flatnonzero(np.arange(len(rows)) - words.offsets[rows] < max_words)
    return rows[places], places


def _spelt(texts: pa.Array, rows: NDArray[np.int64], starts: NDArray[np.int32], ends: NDArray[np.int32]) -> pa.Array:
    """Words as they stand in the texts."""
    whole = texts.take(pa.array(rows)).cast(pa.large_binary()).to_pylist()
    cut = [text[start:end].decode() for text, start, end in zip(whole, starts.tolist(), ends.tolist(), strict=True)]
    return pa.array(cut, pa.large_string())


def distance(teacher: NDArray[np.float32], fast: NDArray[np.float32]) -> dict[str, float | None]:
    """Mean cosine of two vectors of a document, and what is left of the nearest neighbours; None: too few documents."""
    queries = min(QUERIES, len(teacher) // 2)
    near = min(NEIGHBOURS, len(teacher) - queries - 1)
    recall = None
    if near > 0:
        same = [
            len(np.intersect1d(*pair))
            for pair in zip(*(nearest(v, queries, near) for v in (teacher, fast)), strict=True)
        ]
        recall = float(np.mean(same)) / near
    return {"cosine": float(np.einsum("dv,dv->d", teacher, fast).mean()), "neighbours": near, "recall": recall}


def nearest(vectors: NDArray[np.float32], queries: int, near: int) -> NDArray[np.int64]:
    """The `near` most similar of the other documents for each of the first `queries`."""
    alike = vectors[:queries] @ vectors[queries:].T
    return np.argpartition(-alike, near - 1, axis=1)[:, :near]


def load_words(folder: Path) -> tuple[WordVectors, Reading]:
    """A model that StaticModel wrote, and how it reads documents."""
    from hare_ray.cluster.static_fit import FILES, Reading, WordVectors

    arrays = {name: np.load(folder / f"{name}.npy") for name in FILES}
    return WordVectors.from_arrays(arrays), Reading(**json.loads((folder / MODEL).read_text()))
