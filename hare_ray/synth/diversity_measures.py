"""How alike the texts of a sample are to each other: by their n-grams, their bytes and their vectors.

    self_bleu(words)      mean BLEU-4 of each text against all others as references (Zhu et al., Texygen, 2018):
                          clipped matches, closest reference length, 0.1 in place of 0 matches (NLTK's method 1);
                          1: every text is put together from the others, 0: none shares anything
    overlap(words)        share of a text's different 4-grams that another one, drawn at random, has as well
    distinct(words, n)    different n-grams / n-grams of all texts together (Li et al., 2016)
    openings(words)       share of the texts whose first 5 words another text begins with as well
    compression(texts)    bytes / bytes after zstd: what is said again costs next to nothing (Shaib et al., 2024)
    similarity(vectors)   cosines between all pairs and to the nearest other, and the Vendi score: exp of the entropy of
                          the eigenvalues of K/n (Friedman and Dieng, 2022), the effective number of different texts

n-grams are hashes of folded words (`hare_ray.text`). For clipping one needs of each n-gram the highest count in any
other text: the highest of all, or the second highest for the text that has the highest. So self-BLEU is one sort, and
not n texts against n - 1 references. Eigenvalues are those of the d x d matrix of the vectors, which has the same ones
as the n x n matrix of similarities. Overlap and the mean cosine of all pairs do not depend on the size of the sample;
the rest does, so compare samples of one size. None stands for what cannot be said of too few texts.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray.text import Words, ngram_hashes

ORDERS = (1, 2, 3, 4)
OPENING_WORDS = 5
SMOOTHED = 0.1
"""Matches of an order that has none: the epsilon of NLTK's method 1, which Texygen uses."""

ZSTD_LEVEL = 12
"""Looks back some megabytes, where zlib's 32 kB hold a few texts."""

BLOCK_ROWS = 1024
"""Rows of the matrix of similarities that are in memory at a time."""

DIGITS = 6
"""Of what is told: fewer than what the number of threads may change."""


def counted(words: Words, n: int) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.int64]]:
    """Texts, n-grams in them and how often, each pair once, in the order of the n-grams."""
    offsets, hashes = ngram_hashes(words, n)
    texts = np.repeat(np.arange(len(words)), np.diff(offsets))
    order = np.lexsort((texts, hashes))
    texts, hashes = texts[order], hashes[order]
    first = np.ones(len(order), bool)
    first[1:] = (np.diff(texts) != 0) | (hashes[1:] != hashes[:-1])
    starts = np.flatnonzero(first)
    return texts[starts], hashes[starts], np.diff(np.append(starts, len(order)))


def most_elsewhere(texts: NDArray[np.int64], grams: NDArray[np.uint64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each pair of `counted` the highest count of its n-gram in another text; 0 where no other has it."""
    order = np.lexsort((texts, -counts, grams))
    grams, counts = grams[order], counts[order]
    first = np.ones(len(order), bool)
    first[1:] = grams[1:] != grams[:-1]
    starts = np.flatnonzero(first)
    lengths = np.diff(np.append(starts, len(order)))
    second = np.zeros(len(starts), np.int64)
    several = lengths > 1
    second[several] = counts[starts[several] + 1]
    best = np.repeat(counts[starts], lengths)
    best[starts] = second
    found = np.empty(len(order), np.int64)
    found[order] = best
    return found


def self_bleu(words: Words) -> float | None:
    """Mean BLEU-4 of each text against all others."""
    if len(words) < 2:
        return None
    logs = np.zeros(len(words))
    shares = np.zeros(len(words), bool)
    for n in ORDERS:
        texts, grams, counts = counted(words, n)
        clipped = np.minimum(counts, most_elsewhere(texts, grams, counts))
        matches = np.bincount(texts, clipped, len(words))
        if n == 1:
            shares = matches > 0
        total = np.maximum(words.lengths - (n - 1), 1)
        logs += np.log(np.where(matches > 0, matches, SMOOTHED) / total) / len(ORDERS)
    scores = np.where(shares, np.exp(logs) * _brevity(words.lengths), 0.0)
    return float(scores.mean())


def _brevity(lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """exp(1 - r / c) where the other text of the closest length r is longer than c, else 1; the shorter of two."""
    order = np.argsort(lengths, kind="stable")
    ranked = lengths[order].astype(np.float64)
    below = np.concatenate([[-np.inf], ranked[:-1]])
    above = np.concatenate([ranked[1:], [np.inf]])
    closest = np.where(ranked - below <= above - ranked, below, above)
    penalty = np.empty(len(lengths))
    penalty[order] = np.exp(np.minimum(0.0, 1 - closest / np.maximum(ranked, 1)))
    return penalty


def overlap(words: Words) -> float | None:
    """Mean share of the different 4-grams of a text that another text has, over all pairs; texts too short apart."""
    texts, grams, _ = counted(words, ORDERS[-1])
    _, place, holders = np.unique(grams, return_inverse=True, return_counts=True)
    own = np.bincount(texts, minlength=len(words))
    long = int(np.count_nonzero(own))
    if long < 2:
        return None
    others = np.bincount(texts, holders[place] - 1, len(words))[own > 0]
    return float((others / own[own > 0]).mean() / (long - 1))


def distinct(words: Words, n: int) -> float | None:
    """Share of the n-grams that are different."""
    _, hashes = ngram_hashes(words, n)
    return len(np.unique(hashes)) / len(hashes) if len(hashes) else None


def openings(words: Words) -> float | None:
    """Share of the texts, of those with an opening, that begin like another."""
    offsets, hashes = ngram_hashes(words, OPENING_WORDS)
    first = hashes[offsets[:-1][np.diff(offsets) > 0]]
    _, place, counts = np.unique(first, return_inverse=True, return_counts=True)
    return float((counts[place] > 1).mean()) if len(first) else None


def compression(texts: pa.Array) -> float | None:
    """Bytes of all texts, one after the other, over the bytes they are packed into."""
    data = "\n".join(text for text in texts.to_pylist() if text).encode()
    packed = pa.Codec("zstd", compression_level=ZSTD_LEVEL).compress(data, asbytes=True) if data else b""
    return len(data) / len(packed) if packed else None


def similarity(vectors: NDArray[np.float32]) -> dict[str, float | int | None]:
    """Of vectors of any length; those of length 0 belong to empty texts and are left out."""
    lengths = np.linalg.norm(vectors, axis=1)
    unit = (vectors[lengths > 0] / lengths[lengths > 0, None]).astype(np.float64)
    rows = len(unit)
    if rows < 2:
        return {"rows": rows, "mean_pairwise": None, "nearest_mean": None, "nearest_p95": None, "vendi": None}
    pairwise = (np.square(unit.sum(axis=0)).sum() - rows) / (rows * (rows - 1))
    nearest = np.empty(rows)
    for start in range(0, rows, BLOCK_ROWS):
        block = unit[start : start + BLOCK_ROWS] @ unit.T
        block[np.arange(len(block)), start + np.arange(len(block))] = -np.inf
        nearest[start : start + BLOCK_ROWS] = block.max(axis=1)
    values = np.linalg.eigvalsh(unit.T @ unit / rows)
    values = values[values > 0]
    vendi = np.exp(-(values * np.log(values)).sum())
    return {
        "rows": rows,
        "mean_pairwise": rounded(pairwise),
        "nearest_mean": rounded(float(nearest.mean())),
        "nearest_p95": rounded(float(np.quantile(nearest, 0.95))),
        "vendi": rounded(float(vendi)),
    }


def evenness(counts: NDArray[np.int64]) -> float | None:
    """Entropy of shares over that of equal shares (Pielou): 1 where all came equally often; None for one value."""
    shares = counts[counts > 0] / counts.sum()
    if len(shares) < 2:
        return None
    return rounded(float(-(shares * np.log(shares)).sum()) / float(np.log(len(shares))))


def rounded(value: float | None) -> float | None:
    """What goes into a report."""
    return None if value is None else round(float(value), DIGITS)
