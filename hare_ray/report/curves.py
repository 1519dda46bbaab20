"""The chart of a training run: loss, learning rate and speed over tokens, as inline SVG.

Raw values are thin, their moving mean is bold. A run has more steps than a page has pixels, so raw values are drawn
as the lowest and the highest of every column of pixels. The axis of losses ends at the highest first loss or a high
quantile: a spike does not flatten the rest. Hovering shows the numbers of the step below the pointer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from hare_ray.report.charts import figure, tag
from hare_ray.report.training import Column, Trained
from hare_ray.report.words import spoken

COLUMNS = 500
"""Of pixels, for raw values; about two pixels each."""

HOVERS = 120
"""Columns that tell their numbers, over the whole axis."""

WINDOW_SHARE = 0.03
"""Steps in the moving mean, of those of a stage."""

SPIKE_QUANTILE = 0.995
"""Of the raw losses; what lies above is drawn at the edge."""

HUES = 4
"""Classes c0 to c3, for stages that start at the same point."""


@dataclass(frozen=True)
class Panel:
    """One of the stacked charts, in pixels."""

    key: str
    label: str
    top: int
    tall: int
    smooth: bool
    from_zero: bool


PANELS = (
    Panel("loss", "loss, nats per token", 62, 240, True, False),
    Panel("learning_rate", "learning rate", 344, 76, False, True),
    Panel("tokens_per_second", "tokens per second", 462, 76, True, True),
)
WIDTH, LEFT, RIGHT, BASE = 1120, 66, 14, 538


def curves(stages: list[Trained]) -> Markup | None:
    """All stages of one lineage; None where none has a step."""
    stages = [stage for stage in stages if len(stage.metrics["tokens"])]
    if not stages:
        return None
    end = max(max(stage.end, stage.begin + int(np.nanmax(stage.metrics["tokens"]))) for stage in stages)
    unit = (WIDTH - LEFT - RIGHT) / max(end, 1)
    body = _token_axis(end, unit)
    for panel in PANELS:
        body += _panel(panel, stages, unit)
    body += _stage_rules(stages, unit) + _hovers(stages, unit)
    names = " and ".join(spoken(stage.name) for stage in stages)
    return figure(WIDTH, BASE + 38, f"Loss, learning rate and speed of {names} over tokens", body, "curves")


def _token_axis(end: int, unit: float) -> list[Markup]:
    body = []
    for mark in ticks(0, end, 8):
        x = LEFT + mark * unit
        body.append(tag("text", short(mark), x=x, y=BASE + 20, text_anchor="middle", class_="tick"))
    body.append(tag("text", "tokens", x=WIDTH - RIGHT, y=BASE + 35, text_anchor="end", class_="tick"))
    return body


def _panel(panel: Panel, stages: list[Trained], unit: float) -> list[Markup]:
    low, high = _range(panel, stages)
    scale = panel.tall / ((high - low) or 1.0)
    base = panel.top + panel.tall
    body = [tag("text", panel.label, x=LEFT, y=panel.top - 10, class_="panel")]
    for mark in ticks(low, high, 5 if panel.tall > 100 else 3):
        y = base - (mark - low) * scale
        body.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        body.append(tag("text", short(mark), x=LEFT - 8, y=y + 4, text_anchor="end", class_="tick"))
    for stage in stages:
        values = stage.metrics[panel.key]
        x = LEFT + (stage.begin + stage.metrics["tokens"]) * unit
        y = base - (np.clip(values, low, high) - low) * scale
        hue = f"c{min(stage.rank, HUES - 1)}"
        body.append(_line(x, y, f"raw {hue}" if panel.smooth else f"mean {hue}"))
        if panel.smooth:
            smooth = base - (np.clip(moving_mean(values), low, high) - low) * scale
            body.append(_line(x, smooth, f"mean {hue}"))
    return body


def _range(panel: Panel, stages: list[Trained]) -> tuple[float, float]:
    values = np.concatenate([stage.metrics[panel.key] for stage in stages])
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if panel.smooth:
        firsts = (stage.metrics[panel.key][0] for stage in stages)
        high = max(
            float(np.quantile(values, SPIKE_QUANTILE)), *(float(first) for first in firsts if np.isfinite(first))
        )
    if panel.from_zero:
        return 0.0, high or 1.0
    room = 0.04 * ((high - low) or abs(high) or 1.0)
    return low - room, high + room


def moving_mean(values: Column) -> Column:
    """Mean of the finite values in a window around each step, narrower at the ends."""
    reach = max(1, round(len(values) * WINDOW_SHARE / 2))
    there = np.isfinite(values)
    total = np.concatenate([[0.0], np.cumsum(np.where(there, values, 0.0))])
    count = np.concatenate([[0], np.cumsum(there)])
    place = np.arange(len(values))
    # As far to the left as to the right, or the mean of a falling curve bends at its ends.
    wide = np.minimum(reach, np.minimum(place, len(values) - 1 - place))
    first, last = place - wide, place + wide + 1
    rows = count[last] - count[first]
    return np.divide(total[last] - total[first], rows, out=np.full(len(values), np.nan), where=rows > 0)


def _line(x: Column, y: Column, class_: str) -> Markup:
    """A line through all points, or through the extremes of every column where they are many."""
    there = np.isfinite(x) & np.isfinite(y)
    x, y = x[there], y[there]
    if len(x) == 1:
        return tag("circle", cx=float(x[0]), cy=float(y[0]), r=3, class_=class_)
    if len(x) > 2 * COLUMNS:
        chunks = np.array_split(np.arange(len(x)), COLUMNS)
        picked = [sorted((c[np.argmin(y[c])], c[np.argmax(y[c])])) for c in chunks]
        order = np.unique(np.concatenate(picked))
        x, y = x[order], y[order]
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
    return tag("polyline", points=points, class_=class_)


def _stage_rules(stages: list[Trained], unit: float) -> list[Markup]:
    """A vertical rule where a stage begins, with its name."""
    body = []
    for stage in stages:
        x = LEFT + stage.begin * unit
        if stage.begin:
            body.append(tag("line", x1=x, x2=x, y1=8, y2=BASE, class_="rule"))
        room = {"x": x + 6, "text_anchor": "start"} if x < WIDTH * 0.85 else {"x": x - 6, "text_anchor": "end"}
        body.append(tag("text", spoken(stage.name), y=16 + 14 * stage.rank, class_="stage-name", **room))
    return body


def _hovers(stages: list[Trained], unit: float) -> list[Markup]:
    """Invisible columns whose titles tell the numbers of a step."""
    body = []
    whole = max(stage.end for stage in stages) or 1
    for stage in stages:
        tokens = stage.metrics["tokens"]
        room = max(1, round(HOVERS * stage.tokens / whole))
        steps = np.unique(np.linspace(0, len(tokens) - 1, min(len(tokens), room)).astype(int))
        edges = LEFT + (stage.begin + np.nan_to_num(tokens[steps])) * unit
        lefts = np.concatenate([[LEFT + stage.begin * unit], edges[:-1]])
        for step, left, right in zip(steps.tolist(), lefts.tolist(), edges.tolist(), strict=True):
            label = tag("title", _told(stage, step))
            size = {"x": left, "y": PANELS[0].top, "width": max(0.5, right - left), "height": BASE - PANELS[0].top}
            body.append(tag("rect", label, class_="hover", **size))
    return body


def _told(stage: Trained, step: int) -> str:
    at = {key: values[step] for key, values in stage.metrics.items()}
    told = [f"{spoken(stage.name)}, step {at['step']:.0f}, {short(stage.begin + at['tokens'])} tokens"]
    if np.isfinite(at["loss"]):
        told.append(f"loss {at['loss']:.4f}")
    if np.isfinite(at["learning_rate"]):
        told.append(f"learning rate {at['learning_rate']:.3g}")
    if np.isfinite(at["tokens_per_second"]):
        told.append(f"{short(at['tokens_per_second'])} tokens/s")
    return "\n".join(told)


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers from low to high, some `about` of them."""
    spread = high - low
    if spread <= 0:
        return [low]
    rough = spread / about
    size = 10.0 ** np.floor(np.log10(rough))
    step = float(next(size * k for k in (1, 2, 2.5, 5, 10) if size * k >= rough * 0.999))
    first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
    return [round(number * step, 12) for number in range(first, last + 1)]


def short(number: float) -> str:
    """A number in few characters: 1.2 M, 0.0003."""
    for size, unit in ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e3, " k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"
