"""Whether a training has forgotten what it saw early: PanGu-pi Pro's figure 9 (arXiv 2402.02791, section 4.2).

    losses of all sequences under the finished model, and the order they came in
    ->  forgetting.json    mean loss by the step at which training last saw a sequence, in bins; and of the unseen

The paper cuts its data into eighths, trains through one after the other, and finds the early ones' losses higher (2.22
to 2.27 over 1.6 T tokens): the reason for a second round. Here nothing is cut: the order of a training is arithmetic
(`hare_ray.train.order`), so the last step that read each row is computed again. Rows that were never read, where the
mixture took less than one epoch, tell what is generalisation and what is memory.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hare_ray.stage import Make, Table
from hare_ray.train.order import Order
from hare_ray.train.pretrain import MIXTURE, Pretrain

if TYPE_CHECKING:
    from hare_ray.gather import Desk

FORGETTING = "forgetting.json"


class Forgetting(Make):
    """Mean loss by when a sequence was last seen."""

    trained: Pretrain
    losses: tuple[Table, ...]
    """SequenceLosses of each source of the training under its own weights, in their order."""
    bins: int = 8
    """Of equally many steps; the paper's parts."""

    def __post_init__(self) -> None:
        """Refuse losses of other tables."""
        bases = [table.base for table in self.losses]
        if [id(base) for base in bases] != [id(source.base) for source in self.trained.sources]:
            raise ValueError(
                f"{self!r}: given losses of {bases}, expected those of {list(self.trained.sources)}, in this order"
            )
        if self.bins < 1:
            raise ValueError(f"{self!r}: given bins={self.bins}, expected at least 1")

    def make(self, desk: Desk) -> dict[str, int]:
        """Write forgetting.json; returns the sequences that were looked at."""
        mixture = json.loads((desk.files(self.trained.mixture) / MIXTURE).read_text(encoding="utf-8"))
        order = Order.of_mixture(mixture, self.trained.seed)
        steps = mixture["sequences"] // self.trained.batch_sequences
        last = np.concatenate(last_steps(order, self.trained.batch_sequences))
        loss, targets = (np.concatenate(self._column(desk, name)) for name in ("loss", "targets"))
        (desk.folder / FORGETTING).write_text(
            json.dumps(binned(last, loss, targets, steps, self.bins), indent=1) + "\n"
        )
        return {"sequences": len(last)}

    def _column(self, desk: Desk, name: str) -> list[NDArray[Any]]:
        parts = [(table, part) for table in self.losses for part in range(desk.parts(table))]
        return [desk.read(table, part, (name,)).column(name).to_numpy() for table, part in parts]


def last_steps(order: Order, batch_sequences: int) -> list[NDArray[np.int32]]:
    """By source, the step, from 1, that read each row last; 0: none did."""
    last = [np.zeros(rows, np.int32) for rows in order.rows]
    for samples, source, row in order.walk():
        step = (samples // batch_sequences + 1).astype(np.int32)
        for number, steps in enumerate(last):
            mine = source == number
            np.maximum.at(steps, row[mine], step[mine])
    return last


def binned(
    last: NDArray[np.int32], loss: NDArray[np.float32], targets: NDArray[np.int32], steps: int, bins: int
) -> dict[str, Any]:
    """Sequences and mean loss over targets of every bin of steps, and of what no step read."""
    number = np.where(last > 0, (last.astype(np.int64) - 1) * bins // steps, bins)
    sequences = np.bincount(number, minlength=bins + 1).tolist()
    weights = np.bincount(number, targets, bins + 1)
    summed = np.bincount(number, loss.astype(np.float64) * targets, bins + 1)
    means = [float(one) / weight if weight else None for one, weight in zip(summed, weights, strict=True)]
    edges = [-(-at * steps // bins) for at in range(bins + 1)]
    return {
        "steps": steps,
        "bins": [
            {"first_step": edges[at] + 1, "last_step": edges[at + 1], "sequences": sequences[at], "loss": means[at]}
            for at in range(bins)
        ],
        "unseen": {"sequences": sequences[bins], "loss": means[bins]},
    }
