"""The model that keeps or drops the blocks of a page: weights of words, and two forests of small trees.

    choose(page, ...)    blocks that stay
    render(page, ...)    their text

The first forest judges every block by `page_features.describe`, the second once more with what the first thought
of its surroundings (`followed`). Both were trained on pages whose main text people had marked
(`hare_ray.corpus.page_training`); what they give is read as the share of a block's words that belong.

Which blocks stay is not a fixed threshold: those of the highest p are taken as long as the expected F1 of words
grows, 2 sum(p w, kept) / (sum(w, kept) + sum(p w, all)), so that a page where little is certain loses less.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from hare_ray.corpus.page_blocks import WORDS, Desk, Evidence
from hare_ray.corpus.page_bytes import bare
from hare_ray.corpus.page_features import FEATURES, FOLLOWED, followed
from hare_ray.corpus.page_tags import CELL, LINE, PARAGRAPH
from hare_ray.corpus.page_text import BEFORE, BLOCKS, END, IS_ITEM, START, Room
from hare_ray.kernel import njit
from hare_ray.text.hashing import Int

FILE = Path(__file__).with_name("page_model.npz")
FORESTS = ("first", "second")

FEW_WORDS = 20
"""A page with fewer words holds its text elsewhere, in scripts: its description is taken for it."""
COPY_WORDS = 5
"""A block of so many words that stood before on the page is shown twice, not said twice."""

_BLANK = np.frombuffer(b"\n\n", np.uint8)
_BULLET = np.frombuffer(b"- ", np.uint8)
_BAR = np.frombuffer(b" | ", np.uint8)

MAX_TREE_DEPTH = 6
"""Steps from a root to a leaf, at most: all blocks take as many, without a branch that could be mispredicted."""


class Forest(NamedTuple):
    """Binary trees, node after node; a leaf is its own left child, and nothing is above its threshold."""

    roots: NDArray[np.int32]
    feature: NDArray[np.int16]
    threshold: NDArray[np.float32]
    """A feature up to this goes to the left."""
    left: NDArray[np.int32]
    """The left child; the right one comes after it."""
    value: NDArray[np.float32]
    """What a leaf adds to the logit."""


class Model(NamedTuple):
    """All that was learned."""

    evidence: Evidence
    first: Forest
    second: Forest
    taught: NDArray[np.uint64]
    """Pages it has learned from, by `page_key`, sorted: on these it must not be judged."""


@cache
def load() -> Model:
    """The model that comes with the package."""
    with np.load(FILE) as file:
        first, second = (Forest(*(file[f"{name}_{field}"] for field in Forest._fields)) for name in FORESTS)
        classes, words = (file[field].astype(np.float32) for field in Evidence._fields)
        return Model(Evidence(classes, words), first, second, file["taught"])


def page_key(html: bytes) -> int:
    """What a page is known by among those that taught the model."""
    return xxhash.xxh3_64_intdigest(html)


def save(model: Model, path: Path) -> None:
    """Write the file that `load` reads."""
    forests = zip(FORESTS, (model.first, model.second), strict=True)
    arrays = {f"{name}_{field}": getattr(forest, field) for name, forest in forests for field in Forest._fields}
    weights = {field: getattr(model.evidence, field).astype(np.float16) for field in Evidence._fields}
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, taught=model.taught, **weights, **arrays)


@njit
def predict(forest: Forest, features: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """out[blocks] = probability that a block belongs, from features[blocks, :]."""
    out[:] = 0
    _add(forest, features, np.empty(len(features), np.int32), out)
    for row in range(len(features)):
        out[row] = 1 / (1 + np.exp(-out[row]))


@bare
def _add(forest: Forest, features: NDArray[np.float32], nodes: NDArray[np.int32], out: NDArray[np.float32]) -> None:
    """Add up the leaves; `nodes`: where every block stands in the tree at hand."""
    for root in forest.roots:
        nodes[:] = root
        for _ in range(MAX_TREE_DEPTH):
            for row in range(len(nodes)):
                node = nodes[row]
                right = features[row, forest.feature[node]] > forest.threshold[node]
                nodes[row] = forest.left[node] + np.int32(right)
        for row in range(len(nodes)):
            out[row] += forest.value[nodes[row]]


@njit
def choose(desk: Desk, p: NDArray[np.float32], keep: NDArray[np.bool_]) -> None:
    """keep[blocks]: those that give the highest expected F1, less copies of what is kept."""
    order = np.argsort(-p, kind="mergesort")
    believed = np.float64(0)
    for row in range(len(p)):
        believed += p[row] * max(desk.stats[row, WORDS], 1)
    right = taken = best = np.float64(0)
    last = -1
    for place in range(len(order)):
        words = max(desk.stats[order[place], WORDS], 1)
        right += p[order[place]] * words
        taken += words
        if 2 * right / (taken + believed) > best:
            best, last = 2 * right / (taken + believed), place
    keep[:] = False
    keep[order[: last + 1]] = True
    for row in range(len(p)):
        first = desk.copies[row, 2]
        if keep[row] and row != first and desk.stats[row, WORDS] >= COPY_WORDS:
            keep[row], keep[first] = False, True


@njit
def judge(room: Room, desk: Desk, model: Model, features: NDArray[np.float32], keep: NDArray[np.bool_]) -> None:
    """keep[blocks] from features[blocks, FEATURES + len(FOLLOWED)], the last of which are filled here."""
    p = np.empty(len(features), np.float32)
    predict(model.first, features[:, :FEATURES], p)
    followed(room, desk, p, features[:, FEATURES:])
    predict(model.second, features, p)
    choose(desk, p, keep)


COLUMNS = FEATURES + len(FOLLOWED)


@bare
def _put(out: NDArray[np.uint8], at: Int, data: NDArray[np.uint8]) -> Int:
    for place in range(len(data)):
        out[at + place] = data[place]
    return at + len(data)


MOST_ADDED_BYTES = 5
"""What `render` writes around a block at most: what stands between two, and a bullet."""


@bare
def render(room: Room, keep: NDArray[np.bool_], out: NDArray[np.uint8]) -> Int:
    """Write the kept blocks: blank lines between paragraphs, "- " before items, " | " between cells; the bytes."""
    at = gap = np.int64(0)
    for number in range(room.state[BLOCKS]):
        block = room.blocks[number]
        gap = max(gap, block[BEFORE])
        if not keep[number]:
            gap = max(gap, np.int64(LINE))
            continue
        if at and gap == CELL:
            at = _put(out, at, _BAR)
        elif at:
            at = _put(out, at, _BLANK[: 2 if gap == PARAGRAPH else 1])
        if block[IS_ITEM]:
            at = _put(out, at, _BULLET)
        at = _put(out, at, room.text[block[START] : block[END]])
        gap = np.int64(0)
    return at
