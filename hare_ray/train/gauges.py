"""A training as metrics of Ray, which every node offers to Prometheus.

    ray_hare_train_loss, _learning_rate, _grad_norm, _tokens_per_second, _real_tokens_per_second, _mfu, _mfu_true, _step
    ray_hare_train_tokens_total, _real_tokens_total, _spikes_total         counted from where this process began

All carry the tag `stage`. What a row does not know is not set.
"""

from __future__ import annotations

import sys
from typing import Any

GAUGES = {
    "step": "Optimizer steps done",
    "loss": "Nats per token, of one step",
    "learning_rate": "Of one step",
    "grad_norm": "Before clipping",
    "tokens_per_second": "Of all workers, padding included",
    "real_tokens_per_second": "Of all workers, without padding",
    "mfu": "Share of the peak in PaLM's convention, 0 to 1",
    "mfu_true": "Share of the peak, causal and within documents, 0 to 1",
}

COUNTERS = {
    "tokens": ("tokens", "Tokens trained on, padding included"),
    "real_tokens": ("real_tokens", "Tokens trained on, without padding"),
    "skipped": ("spikes", "Steps that were skipped"),
}
"""Key of a row -> name and description."""


class Gauges:
    """The metrics of one stage in this process."""

    def __init__(self, stage: str, first: dict[str, Any]) -> None:
        """Count from the row `first` on."""
        from ray.util.metrics import Counter, Gauge

        tags = {"tag_keys": ("stage",)}
        self._tags = {"stage": stage}
        self._gauges = {key: Gauge(f"hare_train_{key}", says, **tags) for key, says in GAUGES.items()}
        self._counters = {key: Counter(f"hare_train_{name}", says, **tags) for key, (name, says) in COUNTERS.items()}
        self._counted = {key: first.get(key, 0) for key in COUNTERS}

    def set(self, row: dict[str, Any]) -> None:
        """Tell of a row."""
        for key, gauge in self._gauges.items():
            if row[key] is not None:
                gauge.set(row[key], self._tags)
        for key, counter in self._counters.items():
            if row[key] > self._counted[key]:
                counter.inc(row[key] - self._counted[key], self._tags)
                self._counted[key] = row[key]


def gauges(stage: str, first: dict[str, Any]) -> Gauges | None:
    """The metrics, where this process belongs to a Ray; a training alone has none to start."""
    ray = sys.modules.get("ray")
    return Gauges(stage, first) if ray is not None and ray.is_initialized() else None
