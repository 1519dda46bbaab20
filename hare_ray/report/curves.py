"""The chart of a training run over tokens, as inline SVG: loss, learning rate, gradient norm, speed and MFU.

A panel without a number in any stage is left out. Raw values are thin, their moving mean is bold. A run has more steps
than a page has pixels, so raw values are drawn as the lowest and the highest of every column of pixels. The axis of
losses ends at the highest first loss or a high quantile: a spike does not flatten the rest. Rings mark steps that were
skipped as spikes. Hovering shows the numbers of the step below the pointer.
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
    """One of the stacked charts."""

    key: str
    label: str
    tall: int
    """Pixels."""
    smooth: bool
    from_zero: bool
    second: str | None = None
    """Key of a dashed line in the same chart."""


PANELS = (
    Panel("loss", "loss, nats per token", 240, True, False),
    Panel("learning_rate", "learning rate", 76, False, True),
    Panel("grad_norm", "gradient norm before clipping", 76, True, True),
    Panel("tokens_per_second", "tokens per second; dashed: without padding", 76, True, True, "real_tokens_per_second"),
    Panel(
        "mfu",
        "MFU in PaLM's convention (full attention, padding counts); dashed: true (causal, within documents)",
        *(76, True, True, "mfu_true"),
    ),
)
WIDTH, LEFT, RIGHT, TOP, GAP = 1120, 66, 14, 62, 42

Placed = tuple[Panel, int]
"""A panel and the pixel of its upper edge."""


def curves(stages: list[Trained]) -> Markup | None:
    """All stages of one lineage; None where none has a step."""
    stages = [stage for stage in stages if len(stage.metrics["tokens"])]
    if not stages:
        return None
    end = max(max(stage.end, stage.begin + int(np.nanmax(stage.metrics["tokens"]))) for stage in stages)
    unit = (WIDTH - LEFT - RIGHT) / max(end, 1)
    panels = _placed(stages)
    base = panels[-1][1] + panels[-1][0].tall
    body = _token_axis(end, unit, base)
    for panel, top in panels:
        body += _panel(panel, top, stages, unit)
    body += _stage_rules(stages, unit, base) + _crew_rules(stages, unit, base) + _hovers(stages, unit, base)
    names = " and ".join(spoken(stage.name) for stage in stages)
    return figure(WIDTH, base + 38, f"Loss, learning rate and speed of {names} over tokens", body, "curves")


def _placed(stages: list[Trained]) -> list[Placed]:
    """Panels with a number in some stage, one below the other; the loss always."""
    placed, top = [], TOP
    for panel in PANELS:
        if panel is PANELS[0] or any(np.isfinite(stage.metrics[panel.key]).any() for stage in stages):
            placed.append((panel, top))
            top += panel.tall + GAP
    return placed


def _token_axis(end: int, unit: float, base: int) -> list[Markup]:
    body = []
    for mark in ticks(0, end, 8):
        x = LEFT + mark * unit
        body.append(tag("text", short(mark), x=x, y=base + 20, text_anchor="middle", class_="tick"))
    body.append(tag("text", "tokens", x=WIDTH - RIGHT, y=base + 35, text_anchor="end", class_="tick"))
    return body


def _panel(panel: Panel, top: int, stages: list[Trained], unit: float) -> list[Markup]:
    low, high = _range(panel, stages)
    scale = panel.tall / ((high - low) or 1.0)
    base = top + panel.tall
    body = [tag("text", panel.label, x=LEFT, y=top - 10, class_="panel")]
    for mark in ticks(low, high, 5 if panel.tall > 100 else 3):
        y = base - (mark - low) * scale
        body.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        body.append(tag("text", short(mark), x=LEFT - 8, y=y + 4, text_anchor="end", class_="tick"))

    def height(values: Column) -> Column:
        return base - (np.clip(values, low, high) - low) * scale

    for stage in stages:
        x = LEFT + (stage.begin + stage.metrics["tokens"]) * unit
        values, hue = stage.metrics[panel.key], f"c{min(stage.rank, HUES - 1)}"
        if not np.isfinite(values).any():
            continue
        body.append(_line(x, height(values), f"raw {hue}" if panel.smooth else f"mean {hue}"))
        if panel.smooth:
            body.append(_line(x, height(moving_mean(values)), f"mean {hue}"))
        if panel.second and np.isfinite(stage.metrics[panel.second]).any():
            body.append(_line(x, height(moving_mean(stage.metrics[panel.second])), f"second {hue}"))
        if panel.key == "loss":
            spikes = [at for at in stage.spikes.tolist() if np.isfinite(values[at])]
            heights = height(values)
            body += [tag("circle", cx=float(x[at]), cy=float(heights[at]), r=4, class_="spike") for at in spikes]
    return body


def _range(panel: Panel, stages: list[Trained]) -> tuple[float, float]:
    keys = [panel.key, *([panel.second] if panel.second else [])]
    values = np.concatenate([stage.metrics[key] for stage in stages for key in keys])
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


def _stage_rules(stages: list[Trained], unit: float, base: int) -> list[Markup]:
    """A vertical rule where a stage begins, with its name."""
    body = []
    for stage in stages:
        x = LEFT + stage.begin * unit
        if stage.begin:
            body.append(tag("line", x1=x, x2=x, y1=8, y2=base, class_="rule"))
        room = {"x": x + 6, "text_anchor": "start"} if x < WIDTH * 0.85 else {"x": x - 6, "text_anchor": "end"}
        body.append(tag("text", spoken(stage.name), y=16 + 14 * stage.rank, class_="stage-name", **room))
    return body


def _crew_rules(stages: list[Trained], unit: float, base: int) -> list[Markup]:
    """A thin rule where the number of workers changes."""
    body = []
    for stage in stages:
        for at in stage.changes.tolist():
            x = LEFT + (stage.begin + float(stage.metrics["tokens"][at])) * unit
            count = int(stage.metrics["workers"][at])
            label = f"{count} worker" if count == 1 else f"{count} workers"
            body.append(tag("line", x1=x, x2=x, y1=TOP, y2=base, class_="crew"))
            body.append(tag("text", label, x=x - 5, y=TOP + 12, text_anchor="end", class_="tick"))
    return body


def _hovers(stages: list[Trained], unit: float, base: int) -> list[Markup]:
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
            size = {"x": left, "y": TOP, "width": max(0.5, right - left), "height": base - TOP}
            body.append(tag("rect", label, class_="hover", **size))
    return body


def _told(stage: Trained, step: int) -> str:
    at = {key: values[step] for key, values in stage.metrics.items()}
    told = [f"{spoken(stage.name)}, step {at['step']:.0f}, {short(stage.begin + at['tokens'])} tokens"]
    words = {
        "loss": f"loss {at['loss']:.4f}",
        "learning_rate": f"learning rate {at['learning_rate']:.3g}",
        "grad_norm": f"gradient norm {at['grad_norm']:.3g}",
        "tokens_per_second": f"{short(at['tokens_per_second'])} tokens/s",
        "mfu": f"MFU {100 * at['mfu']:.1f} % (PaLM)",
        "mfu_true": f"MFU {100 * at['mfu_true']:.1f} % (true)",
    }
    told += [said for key, said in words.items() if np.isfinite(at[key])]
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
