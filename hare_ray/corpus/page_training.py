"""Make page_model.npz: teach the model of `page_model` from pages whose main text people have written down.

    python -m hare_ray.corpus.page_training --gold gold.jsonl.gz --out page_model.npz crawl-*.warc.gz

`gold`: one object a line with `url`, `text` and, for the report, `page_type`. The model that comes with the package
was made from the 1,497 development pages of the Web Content Extraction Benchmark (WCXB, CC-BY-4.0).

Weights of words are logistic regressions; the forests are LightGBM's. Each later step is taught by what the earlier
ones give for pages they have not seen (`FOLDS` ways of leaving some out), or it would trust them too much. With
--judge the whole is done on four fifths of the pages five times, and F1 on the other fifth printed by page type.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hare_ray.corpus import page_model as pm
from hare_ray.corpus import page_text as pt
from hare_ray.corpus.charset import utf8
from hare_ray.corpus.fetched import Wanted
from hare_ray.corpus.page_blocks import WORD_BUCKETS, Evidence, word_buckets
from hare_ray.corpus.page_features import FEATURES, followed
from hare_ray.corpus.page_labels import bag, f1, shares
from hare_ray.corpus.page_notes import BUCKETS
from hare_ray.corpus.page_scan import FINE
from hare_ray.corpus.pages import Pages
from hare_ray.corpus.read_warc import pages as records

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MAX_DEPTH = 1000
MAX_PAYLOAD_BYTES = 1 << 26
FOLDS = 4
JUDGED_FOLDS = 5
MAX_BLOCKS = 200
"""Of a page, for teaching the forests: long pages would rule."""
REGRESSION = {"classes": 0.1, "words": 0.3}
"""Inverse strength of regularisation."""
TREES = {"first": 150, "second": 150}
TREE = {
    "objective": "binary", "num_leaves": 31, "max_depth": pm.MAX_TREE_DEPTH, "learning_rate": 0.1,
    "feature_fraction": 0.4, "bagging_fraction": 0.6,
    "bagging_freq": 1, "min_data_in_leaf": 30, "lambda_l2": 2.0, "max_bin": 63, "num_threads": 1, "seed": 1,
    "deterministic": True, "verbose": -1,
}  # fmt: skip

log = logging.getLogger(__name__)


class Lists(NamedTuple):
    """Buckets of every block, one block after the other: those of block b from starts[b] on."""

    buckets: NDArray[np.int32]
    starts: NDArray[np.int64]


class Example(NamedTuple):
    """A page with what is known of its blocks."""

    html: bytes
    kind: str
    gold: Counter[str]
    share: NDArray[np.float64]
    weight: NDArray[np.float64]
    """Of blocks; 1 in all for every page, as F1 is averaged over pages."""
    classes: Lists
    words: Lists


def examples(gold: Path, crawl: list[Path], pages: Pages) -> list[Example]:
    """The pages of the crawl that have a gold text."""
    with gzip.open(gold) as file:
        wanted = {row["url"]: row for row in map(json.loads, file)}
    found = []
    for path in crawl:
        with path.open("rb") as file:
            for record in records(file, (path.name, 0, -1), MAX_PAYLOAD_BYTES, Wanted(None)):
                row = wanted.get(record.url)
                if row is None or record.payload is None:
                    continue
                text = utf8(record.payload, record.charset, html=True, max_broken_share=1.0)
                if text is not None and pages.scan(text) == FINE:
                    found.append(_example(pages, text, row))
    return found


def _example(pages: Pages, html: bytes, row: dict[str, Any]) -> Example:
    room = pages.room
    blocks = room.blocks[: room.state[pt.BLOCKS]]
    texts = [room.text[block[pt.START] : block[pt.END]].tobytes().decode() for block in blocks]
    gold = row["text"] or ""
    classes, words = [], []
    out = np.empty(2 * len(room.text), np.int32)
    for block in blocks:
        classes.append(_path_buckets(room, int(block[pt.INNER])))
        words.append(np.unique(out[: word_buckets(room.text, block[pt.START], block[pt.END], out)]))
    size = np.sqrt([max(bag(text).total(), 1) for text in texts])
    return Example(
        html, row.get("page_type", "page"), bag(gold), shares(texts, gold), size / max(size.sum(), 1.0),
        _lists(classes), _lists(words),
    )  # fmt: skip


def _path_buckets(room: pt.Room, node: int) -> NDArray[np.int32]:
    """Buckets of the words in the classes of an element and all around it."""
    found = []
    while node > 0:
        first, last = room.nodes[node, pt.FIRST_TOKEN], room.nodes[node + 1, pt.FIRST_TOKEN]
        found.append(room.tokens[first:last])
        node = int(room.nodes[node, pt.PARENT])
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.int32)


def _lists(rows: list[NDArray[np.int32]]) -> Lists:
    starts = np.cumsum([0, *map(len, rows)])
    return Lists(np.concatenate(rows) if rows else np.empty(0, np.int32), starts)


def _matrix(lists: list[Lists], columns: int, scaled: bool) -> csr_matrix:
    from scipy.sparse import csr_matrix

    sizes = np.concatenate([np.diff(rows.starts) for rows in lists])
    values = np.repeat(1 / np.sqrt(2 * sizes + 1) if scaled else np.ones(len(sizes)), sizes)
    buckets = np.concatenate([rows.buckets for rows in lists])
    return csr_matrix((values, buckets, np.concatenate([[0], np.cumsum(sizes)])), (len(sizes), columns))


def weighed(taught: list[Example]) -> Evidence:
    """What words speak for, in classes and in text."""
    from sklearn.linear_model import LogisticRegression

    belongs = np.concatenate([example.share for example in taught]) > 0.5
    weight = np.concatenate([example.weight for example in taught]) * len(belongs) / len(taught)
    found = {}
    for name, columns in (("classes", BUCKETS), ("words", WORD_BUCKETS)):
        matrix = _matrix([getattr(example, name) for example in taught], columns, scaled=name == "words")
        fitted = LogisticRegression(C=REGRESSION[name], max_iter=40).fit(matrix, belongs, sample_weight=weight)
        found[name] = fitted.coef_[0].astype(np.float16).astype(np.float32)
    return Evidence(**found)


def _grow(features: list[NDArray[np.float32]], taught: list[Example], trees: int) -> pm.Forest:
    import lightgbm

    chance = np.random.default_rng(1)
    chosen = [np.sort(chance.permutation(len(rows))[:MAX_BLOCKS]) for rows in features]
    pairs = list(zip(chosen, taught, strict=True))
    label = np.concatenate([example.share[rows] for rows, example in pairs]) > 0.5
    weight = np.concatenate([example.weight[rows] * len(example.share) / max(len(rows), 1) for rows, example in pairs])
    data = np.concatenate([block[rows] for block, rows in zip(features, chosen, strict=True)])
    booster = lightgbm.train(TREE, lightgbm.Dataset(data, label, weight=weight / weight.mean()), trees)
    forest = _forest(booster.dump_model())
    mine = np.empty(len(data), np.float32)
    pm.predict(forest, data, mine)
    log.info(
        "forest of %d nodes, at most %.1e off LightGBM",
        len(forest.value),
        np.abs(mine - np.asarray(booster.predict(data))).max(),
    )
    return forest


def _rounded_down(threshold: float) -> np.float32:
    """The largest 32-bit number up to a threshold: features are 32-bit, and equal ones go left."""
    near = np.float32(threshold)
    return near if near <= threshold else np.nextafter(near, np.float32(-np.inf))


def _forest(dumped: dict[str, Any]) -> pm.Forest:
    """LightGBM's trees, node after node, each level of a tree after the one above."""
    rows = []
    roots = []
    for tree in dumped["tree_info"]:
        roots.append(len(rows))
        free = len(rows) + 1
        waiting = [tree["tree_structure"]]
        for node in waiting:
            if "leaf_value" in node:
                rows.append((0, np.inf, len(rows), node["leaf_value"]))
            else:
                rows.append((node["split_feature"], _rounded_down(node["threshold"]), free, 0.0))
                waiting += [node["left_child"], node["right_child"]]
                free += 2
    feature, threshold, left, value = zip(*rows, strict=True)
    return pm.Forest(
        np.array(roots, np.int32), np.array(feature, np.int16), np.array(threshold, np.float32),
        np.array(left, np.int32), np.array(value, np.float32),
    )  # fmt: skip


def _described(pages: Pages, example: Example, evidence: Evidence, first: pm.Forest | None) -> NDArray[np.float32]:
    """Features of the first forest, or of both where the first is given."""
    pages.scan(example.html)
    features = pages.describe(evidence)
    if first is None:
        return features[:, :FEATURES].copy()
    p = np.empty(len(features), np.float32)
    pm.predict(first, features[:, :FEATURES], p)
    followed(pages.room, pages.desk, p, features[:, FEATURES:])
    return features.copy()


def taught(given: list[Example], pages: Pages) -> pm.Model:
    """The model, each step taught by what the ones before give for unseen pages."""
    given = [example for example in given if len(example.share)]
    fold = np.random.default_rng(0).permutation(len(given)) % FOLDS
    features: list[Any] = [None] * len(given)
    evidence = []
    for left_out in range(FOLDS):
        evidence.append(weighed([given[place] for place in np.flatnonzero(fold != left_out)]))
        for place in np.flatnonzero(fold == left_out):
            features[place] = _described(pages, given[place], evidence[left_out], None)
    both: list[Any] = [None] * len(given)
    for left_out in range(FOLDS):
        rest = np.flatnonzero(fold != left_out)
        forest = _grow([features[place] for place in rest], [given[place] for place in rest], TREES["first"])
        for place in np.flatnonzero(fold == left_out):
            both[place] = _described(pages, given[place], evidence[left_out], forest)
    first, second = _grow(features, given, TREES["first"]), _grow(both, given, TREES["second"])
    return pm.Model(weighed(given), first, second, np.unique([np.uint64(pm.page_key(page.html)) for page in given]))


def judged(given: list[Example], pages: Pages) -> NDArray[np.float64]:
    """F1 of every page by a model that was taught without it and a fifth of the others."""
    fold = np.random.default_rng(2).permutation(len(given)) % JUDGED_FOLDS
    scores = np.zeros(len(given))
    for left_out in range(JUDGED_FOLDS):
        pages.model = taught([given[place] for place in np.flatnonzero(fold != left_out)], pages)
        for place in np.flatnonzero(fold == left_out):
            scores[place] = f1(bag(pages.read(given[place].html).text.decode()), given[place].gold)
        log.info("F1 of part %d of %d: %.4f", left_out + 1, JUDGED_FOLDS, scores[fold == left_out].mean())
    return scores


def by_kind(scores: NDArray[np.float64], given: list[Example]) -> dict[str, float]:
    """Mean F1 by type of page, and of all; pages whose gold text is empty are left out."""
    kept = np.array([bool(example.gold) for example in given])
    kinds = np.array([example.kind for example in given])
    means = {str(kind): float(scores[kept & (kinds == kind)].mean()) for kind in np.unique(kinds[kept])}
    return {"all": float(scores[kept].mean()), **means}


def main() -> None:
    """Teach, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("crawl", nargs="+", type=Path, help="WARC files of the pages")
    parser.add_argument("--gold", required=True, type=Path, help="JSON lines, gzip: url, text, page_type")
    parser.add_argument("--out", type=Path, default=pm.FILE, help="where the model goes")
    parser.add_argument("--judge", action="store_true", help="measure instead, on pages left out")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    pages = Pages(MAX_DEPTH)
    given = examples(options.gold, sorted(options.crawl), pages)
    log.info("%d pages, %d blocks", len(given), sum(len(example.share) for example in given))
    if options.judge:
        for kind, score in by_kind(judged(given, pages), given).items():
            log.info("%-15s %.4f", kind, score)
    else:
        pm.save(taught(given, pages), options.out)


if __name__ == "__main__":
    main()
