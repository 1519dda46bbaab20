"""What a person sees of a training while it goes on: a line of the log, and what stands beside the bar of the run.

  step 120/6000  loss 3.214  lr 3.0e-03  norm 0.91  8,259 tok/s  MFU 31.2 % (PaLM) 27.9 % (true)  spikes 0  ETA 1:23:00

MFU in PaLM's convention counts attention as full and padding as work; the true one counts what is computed for tokens
of documents (`hare_ray.model.shape`). Either is left out where it is not known.
"""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]

CONVENTIONS = {"mfu": "PaLM", "mfu_true": "true"}
"""Key of a row -> how its MFU is counted."""


def line(row: Row, steps: int) -> str:
    """All of it, for a log."""
    told = [
        f"step {row['step']}/{steps}",
        loss(row),
        f"lr {row['learning_rate']:.1e}",
        *([] if row["grad_norm"] is None else [f"norm {row['grad_norm']:.2f}"]),
        f"{row['tokens_per_second']:,.0f} tok/s",
        *shares(row),
        f"spikes {row['skipped']}",
        f"ETA {clock(row['eta_seconds'])}",
    ]
    return "  ".join(told)


def words(row: Row) -> str:
    """What fits beside a bar, which has the steps."""
    spikes = [f"spikes {row['skipped']}"] if row["skipped"] else []
    speed = f"{row['tokens_per_second']:,.0f} tok/s"
    return "  ".join([loss(row), speed, *shares(row), *spikes, f"ETA {clock(row['eta_seconds'])}"])


def loss(row: Row) -> str:
    """None where it was no number."""
    return "no loss" if row["loss"] is None else f"loss {row['loss']:.3f}"


def shares(row: Row) -> list[str]:
    """MFU by convention, as one word; none where the peak of the device is not known."""
    known = [f"{100 * row[key]:.1f} % ({name})" for key, name in CONVENTIONS.items() if row[key] is not None]
    return [f"MFU {' '.join(known)}"] if known else []


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
