"""Word vectors whose weighted sum comes as near as can be to a teacher's vectors: sparse ridge regression with a prior.

A document is the bag of its first words. An occurrence as word p counts 1 / (1 + p / half_words), since a sentence
model hears the beginning louder; c is the sum of the occurrences of word w. Its weight is c, above 1 damped to
1 + log c, times log(N / documents that hold w), and the weights of a document are brought to length 1: x. With Y the
teacher's vectors less their mean, the word vectors W are the minimum of

    |Y - X W|^2 + ridge |W - W0|^2        W0 = V M,  M the minimum of |Y - X V M|^2 + MAP_RIDGE |M|^2

where V are the teacher's vectors of the single words. M turns what a word means alone into what it adds to a document;
the regression moves the words there is evidence about, and rare ones keep what the teacher knows of them. Conjugate
gradients solve it without a matrix of words x words, every dimension for itself.

Measured: recall of MiniLM's ten nearest of 10,000 Wikipedia articles; potion-base-4m finds 0.23 of them. Learned from
10,000 others, 0.311; with half_words 25, 50, 70 and 100, 0.325, 0.332, 0.331 and 0.329. On 9,000 articles in all and
9,000 to learn from: V alone 0.22, with M 0.27, without the prior 0.26, all of it 0.30. Lost, or not worth their cost:
weights a / (a + frequency) for log (0.22 against 0.26, without the prior); square root of c for its log (-0.004), c as
it is (-0.013); frequent pairs of words as further rows (+0.003 for a third more rows); 140 words for 100 (-0.003); for
the teacher, twice as many articles of half the length (+0.004).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hare_ray.cluster.sample import normalised
from hare_ray.cluster.static_kernel import bags, find_all, sums, table_of, weigh
from hare_ray.text import Words

MAP_RIDGE = 3.0
"""Of the map from single words to documents; in a sample of thousands it only keeps the system solvable."""

LEVELS = 127
"""Of int8, to either side."""

SLOTS_PER_WORD = 2
"""At least; a table that is half full has the next word in the same cache line."""

FILES = ("hashes", "vectors", "factors", "weights", "mean")
"""Arrays of a `WordVectors`, in their order."""


@dataclass(frozen=True)
class Vocabulary:
    """Words by ascending hash."""

    hashes: NDArray[np.uint64]
    weights: NDArray[np.float32]
    """log(documents / documents that hold the word)."""
    slots: NDArray[np.int32]

    @classmethod
    def of(cls, hashes: NDArray[np.uint64], weights: NDArray[np.float32]) -> Vocabulary:
        """With a table to find them."""
        bits = max(1, (SLOTS_PER_WORD * len(hashes) - 1).bit_length())
        return cls(hashes, weights, table_of(hashes, bits))


@dataclass(frozen=True)
class Reading:
    """How documents are read."""

    max_words: int
    half_words: float


@dataclass(frozen=True)
class Bags:
    """Known words of documents, each once, and their weights; a document's squares add up to 1."""

    edges: NDArray[np.int64]
    rows: NDArray[np.int32]
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, words: Words, vocabulary: Vocabulary, reading: Reading) -> Bags:
        """Of the first words of every document."""
        edges, rows, amounts = bags(
            words.offsets, words.hashes, vocabulary.hashes, vocabulary.slots, reading.max_words, reading.half_words
        )
        return cls(edges, rows, weigh(edges, rows, amounts, vocabulary.weights))

    @property
    def filled(self) -> NDArray[np.bool_]:
        """Which documents have a known word."""
        return np.diff(self.edges) > 0

    def matrix(self, vocabulary: int) -> Any:
        """Documents x words, sparse."""
        from scipy.sparse import csr_matrix

        return csr_matrix((self.weights, self.rows, self.edges), shape=(len(self.edges) - 1, vocabulary))


@dataclass(frozen=True)
class WordVectors:
    """A static model."""

    vocabulary: Vocabulary
    vectors: NDArray[np.int8]
    factors: NDArray[np.float32]
    """What a row of `vectors` is to be multiplied with."""
    mean: NDArray[np.float32]
    """Of the teacher's vectors; added before a vector is brought to length 1."""

    @classmethod
    def of(cls, vocabulary: Vocabulary, vectors: NDArray[np.float32], mean: NDArray[np.float32]) -> WordVectors:
        """With every row in int8, its largest number as LEVELS."""
        factors = np.abs(vectors).max(axis=1, initial=0) / np.float32(LEVELS)
        scaled = vectors / np.where(factors > 0, factors, 1)[:, None]
        return cls(vocabulary, np.rint(scaled).astype(np.int8), factors.astype(np.float32), mean)

    @property
    def arrays(self) -> tuple[NDArray, ...]:
        """What `FILES` names."""
        return self.vocabulary.hashes, self.vectors, self.factors, self.vocabulary.weights, self.mean

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray]) -> WordVectors:
        """By the names of `FILES`."""
        vocabulary = Vocabulary.of(arrays["hashes"], arrays["weights"])
        return cls(vocabulary, arrays["vectors"], arrays["factors"], arrays["mean"])

    def embed(self, words: Words, reading: Reading) -> NDArray[np.float32]:
        """Vectors of documents, each of length 1; zero where no word is known."""
        bag = Bags.of(words, self.vocabulary, reading)
        found = sums(bag.edges, bag.rows, bag.weights, self.vectors, self.factors)
        found[bag.filled] += self.mean
        return normalised(found)


def known_share(words: Words, vocabulary: Vocabulary) -> float:
    """Share of the running words that have a vector."""
    return float(np.mean(find_all(words.hashes, vocabulary.hashes, vocabulary.slots) >= 0)) if len(words.hashes) else 0


def fitted(
    bag: Bags,
    vocabulary: Vocabulary,
    teacher: NDArray[np.float32],
    alone: NDArray[np.float32],
    ridge: float,
    steps: int,
) -> WordVectors:
    """Word vectors learned from the teacher's vectors of the documents and of the words alone."""
    matrix = bag.matrix(len(vocabulary.hashes))
    mean = teacher.mean(axis=0)
    wanted = teacher - mean
    prior = alone - alone.mean(axis=0)
    seen = matrix @ prior
    square = seen.T @ seen + np.float32(MAP_RIDGE) * np.eye(seen.shape[1], dtype=np.float32)
    prior = prior @ np.linalg.solve(square, seen.T @ wanted)
    change = ridge_change(matrix, wanted - matrix @ prior, ridge, steps)
    return WordVectors.of(vocabulary, prior + change, mean)


def ridge_change(matrix: Any, left: NDArray[np.float32], ridge: float, steps: int) -> NDArray[np.float32]:
    """The minimum of |left - X D|^2 + ridge |D|^2 by `steps` steps of conjugate gradients per column."""
    turned = matrix.T.tocsr()
    found = np.zeros((matrix.shape[1], left.shape[1]), np.float32)
    residual = turned @ left
    direction = residual.copy()
    size = np.einsum("wd,wd->d", residual, residual)
    for _ in range(steps):
        image = turned @ (matrix @ direction) + np.float32(ridge) * direction
        step = _ratio(size, np.einsum("wd,wd->d", direction, image))
        found += step * direction
        residual -= step * image
        before, size = size, np.einsum("wd,wd->d", residual, residual)
        direction = residual + _ratio(size, before) * direction
    return found


def _ratio(upper: NDArray[np.float32], lower: NDArray[np.float32]) -> NDArray[np.float32]:
    """0 where a column is solved."""
    return np.divide(upper, lower, out=np.zeros_like(upper), where=lower > 0)
