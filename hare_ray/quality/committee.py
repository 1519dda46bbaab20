"""The quality committee: what humans call good and poor, learned by three members with different views.

    example texts -> meaning.npy, words.npy, shape.npy   float32: weights of each member, bias last
                     report.json                         per member: accuracy, AUC (percent), vote weight

HARE asks for data of even quality and gives no measure. Ours is a prior in plain text: examples that a
domain expert can read and change. The members are described in `hare_ray.quality.members`. How much a
member counts follows its record, as in CV-DD (arXiv 2501.07575): prior performance = its cross-validated
accuracy on the examples, in percent; weights = softmax(performance / temperature) (`hare_ray.voting`).
CV-DD measures a model by training on what it alone distilled; judging held-out examples is the same idea
for a classifier.

The voted accuracy in the report uses weights that were found on the same folds, so it flatters a little.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray import voting
from hare_ray.stage import Make, Source

if TYPE_CHECKING:
    from hare_ray.gather import Desk
    from hare_ray.quality.members import Bags

REPORT = "report.json"

MEMBERS = ("meaning", "words", "shape")
"""In this order they vote."""

INVERSE_REGULARISATION = {"meaning": 10.0, "words": 10.0, "shape": 1.0}
"""C of the logistic regressions. The first two have more features than examples, but small ones."""

MAX_ITERATIONS = 1000

SEED_LIMIT = 2**32


class Committee(Make):
    """Three trained members and their weights in the vote."""

    good: tuple[str, ...]
    """Texts as the corpus should be."""
    poor: tuple[str, ...]
    """Texts it should not hold."""
    model: Source
    """The sentence-transformers model directory that the documents are embedded with."""
    dimensions: int
    max_tokens: int
    temperature: float
    """In percent of accuracy: a member that is this much better counts e times as much. CV-DD: 5."""
    seed: int
    folds: int

    imports: ClassVar[tuple[str, ...]] = ("numba", "sentence_transformers", "sklearn")

    def __post_init__(self) -> None:
        """Refuse what nothing can be learned from."""
        fewest = min(len(self.good), len(self.poor))
        if not 2 <= self.folds <= fewest:
            raise ValueError(
                f"{self!r}: given folds={self.folds} for {len(self.good)} good and {len(self.poor)} poor "
                f"examples, expected 2 to {fewest}; every fold needs one of each"
            )
        if not 0 <= self.seed < SEED_LIMIT:
            raise ValueError(f"{self!r}: given seed={self.seed}, expected 0 to {SEED_LIMIT - 1}")
        if not self.temperature > 0:
            raise ValueError(f"{self!r}: given temperature={self.temperature}, expected a positive number")

    def make(self, desk: Desk) -> dict[str, int]:
        """Look at the examples, cross-validate, weigh, train on all of them."""
        from threadpoolctl import threadpool_limits

        from hare_ray.quality.members import probability, views

        texts = [*self.good, *self.poor]
        label = np.repeat([1, 0], [len(self.good), len(self.poor)])
        seen = views(pa.array(texts, pa.large_string()))
        vectors = encode(desk.files(self.model), texts, self.dimensions, self.max_tokens)
        features = {"meaning": vectors, "words": sparse(seen.bags), "shape": seen.shape}
        with threadpool_limits(1):  # sums in another order would be other weights
            held_out = np.stack([self._held_out(name, features[name], label) for name in MEMBERS])
            for name in MEMBERS:
                np.save(desk.folder / f"{name}.npy", fit(name, features[name], label))
        chances = probability(held_out)
        judged = {name: judge(chances[at], label) for at, name in enumerate(MEMBERS)}
        shares = voting.weights([judged[name]["accuracy"] for name in MEMBERS], self.temperature)
        for name, share in zip(MEMBERS, shares, strict=True):
            judged[name]["weight"] = float(share)
        report = {
            "members": judged,
            "committee": judge(voting.vote(chances, shares)[0], label),
            "examples": {"good": len(self.good), "poor": len(self.poor)},
            "folds": self.folds,
        }
        (desk.folder / REPORT).write_text(json.dumps(report, indent=1) + "\n")
        return {"good": len(self.good), "poor": len(self.poor)}

    def _held_out(self, name: str, features: Any, label: NDArray[np.int64]) -> NDArray[np.float64]:
        """Scores of every example by a member that was trained without it."""
        from sklearn.model_selection import StratifiedKFold

        scores = np.empty(len(label))
        folds = StratifiedKFold(self.folds, shuffle=True, random_state=self.seed)
        for train, test in folds.split(label, label):
            weights = fit(name, features[train], label[train])
            scores[test] = features[test] @ weights[:-1] + weights[-1]
        return scores


def fit(member: str, features: Any, label: NDArray[np.int64]) -> NDArray[np.float32]:
    """Weights and bias of a logistic regression.

    The features of `shape` differ in kind and are brought to one scale first; that is undone in the weights,
    so all members are applied alike.
    """
    from sklearn.linear_model import LogisticRegression

    middle, spread = np.zeros(features.shape[1]), np.ones(features.shape[1])
    if member == "shape":
        middle = np.mean(features, axis=0)
        spread = np.std(features, axis=0)
        spread[spread == 0] = 1
        features = (features - middle) / spread
    model = LogisticRegression(C=INVERSE_REGULARISATION[member], max_iter=MAX_ITERATIONS, class_weight="balanced")
    model.fit(features, label)
    weights = np.ravel(model.coef_) / spread
    return np.append(weights, np.ravel(model.intercept_)[0] - np.sum(weights * middle)).astype(np.float32)


def encode(folder: Path, texts: list[str], dimensions: int, max_tokens: int) -> NDArray[np.float32]:
    """Sentence vectors of length 1, of a few texts."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    model.max_seq_length = max_tokens
    vectors = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    if vectors.shape[1] != dimensions:
        raise ValueError(
            f"the model in {folder.name!r} gives {vectors.shape[1]} dimensions, "
            f"the recipe says {dimensions}; set dimensions={vectors.shape[1]}"
        )
    return np.asarray(vectors, np.float32)


def sparse(bags: Bags) -> Any:
    """Bags as the sparse matrix that scikit-learn learns from."""
    from scipy.sparse import csr_array

    values, columns, starts = bags.entries()
    return csr_array((values, columns, starts), shape=(len(starts) - 1, bags.width))


def judge(chances: NDArray[np.float64], label: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy at one half and area under the ROC curve, in percent."""
    from sklearn.metrics import roc_auc_score

    return {
        "accuracy": 100 * float(np.mean((chances >= 0.5) == label)),
        "auc": 100 * float(roc_auc_score(label, chances)),
    }
