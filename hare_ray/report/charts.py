"""Charts as inline SVG: small functions from numbers to Markup. Colours are classes, so style.css decides them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from hare_ray.report.funnel import Drop, Funnel
from hare_ray.report.words import spoken

HUES = 8
"""Colours for reasons (classes d0 to d7); the eighth is shared by the rest of them."""

FALL = 72
"""Pixels below a bar that the bent bands and their labels take."""

MIN_PIXELS = 1.5
"""Height below which a band would vanish."""


def tag(name: str, inside: str | Markup = "", **attributes: object) -> Markup:
    """One SVG element; text and attribute values are escaped, underscores become hyphens, class_ is class."""
    given = {key.rstrip("_").replace("_", "-"): _number(value) for key, value in attributes.items()}
    pairs = Markup("").join(Markup(' {}="{}"').format(key, value) for key, value in given.items())
    return Markup("<{}{}>{}</{}>").format(Markup(name), pairs, escape(inside), Markup(name))


def _number(value: object) -> object:
    return f"{value:.1f}" if isinstance(value, float) else value


def figure(width: int, height: int, title: str, body: list[Markup], class_: str = "") -> Markup:
    """A drawing of `width` x `height` that scales, with a title for who cannot see it."""
    inside = Markup("").join([tag("title", title), *body])
    return tag("svg", inside, viewBox=f"0 0 {width} {height}", role="img", class_=f"chart {class_}".strip())


@dataclass(frozen=True)
class Frame:
    """Where the flow is drawn, in pixels of a 1,120 wide page."""

    width: int = 1120
    top: int = 58
    tall: int = 170
    """Height of the first bar."""
    bar: int = 14
    left: int = 4
    right: int = 96
    """Room for the last label."""


def flow(funnel: Funnel) -> Markup:
    """Bars as high as each base has rows; what goes on is a band to the right, what is dropped falls out below."""
    at = Frame()
    counts = [funnel.crawled or 0, *(step.rows_out for step in funnel.steps)]
    names = [funnel.source, *(step.name for step in funnel.steps)]
    unit = at.tall / max(*counts, 1)
    gap = (at.width - at.left - at.right) / max(1, len(funnel.steps))
    body: list[Markup] = []
    for number, step in enumerate(funnel.steps):
        x = at.left + number * gap
        body += _step_bands(at, x, gap, (counts[number] * unit, counts[number + 1] * unit))
        body += _falling(at, x, gap, counts[number + 1] * unit, (unit, step.drops))
    for number, (name, count) in enumerate(zip(names, counts, strict=True)):
        x = at.left + number * gap
        height = max(MIN_PIXELS, count * unit)
        body.append(tag("rect", x=x, y=at.top, width=at.bar, height=height, rx=3, class_="base"))
        body.append(tag("text", f"{count:,}", x=x, y=at.top - 28, class_="count"))
        body.append(tag("text", spoken(name), x=x, y=at.top - 11, class_="name"))
    deepest = max((step.rows_in * unit + FALL for step in funnel.steps if step.drops), default=0.0)
    height = at.top + round(max(max(counts) * unit, deepest)) + 12
    return figure(at.width, height, f"From {spoken(funnel.source)} to {spoken(names[-1])}", body, "flow")


def fades() -> Markup:
    """One gradient per colour of reason: what is dropped fades away below. Once on a page, for all its flows."""
    found = []
    for rank in range(HUES):
        stops = [tag("stop", offset=0, class_=hue(rank)), tag("stop", offset=1, class_=hue(rank), stop_opacity=0.15)]
        found.append(tag("linearGradient", Markup("").join(stops), id=f"fade-{hue(rank)}", x2=0, y2=1))
    return tag("svg", tag("defs", Markup("").join(found)), width=0, height=0, aria_hidden="true", class_="shared")


def _step_bands(at: Frame, x: float, gap: float, heights: tuple[float, float]) -> list[Markup]:
    kept = max(MIN_PIXELS, min(heights))
    return [tag("rect", x=x + at.bar, y=at.top, width=gap - at.bar, height=kept, class_="kept")]


def _falling(at: Frame, x: float, gap: float, kept: float, drops: tuple[float, list[Drop]]) -> list[Markup]:
    """The dropped rows of a step: a stack of bands that leave the flow and bend down, largest on top."""
    unit, found = drops
    body, y = [], at.top + kept
    start, bend = x + at.bar, min(gap * 0.55, 70.0)
    for rank, drop in enumerate(found):
        high = max(MIN_PIXELS, drop.rows * unit)
        end = f"L{start + bend:.1f} {y + high + 16:.1f} "
        path = (
            f"M{start:.1f} {y:.1f} C{start + bend * 0.6:.1f} {y:.1f} {start + bend:.1f} {y:.1f} "
            f"{start + bend:.1f} {y + 16:.1f} {end}"
            f"C{start + bend:.1f} {y + high:.1f} {start + bend * 0.6:.1f} {y + high:.1f} {start:.1f} {y + high:.1f}Z"
        )
        label = tag("title", f"{spoken(drop.reason)}: {drop.rows:,}")
        body.append(tag("path", label, d=path, class_=f"drop {hue(rank)}"))
        y += high
    if found:
        total = sum(drop.rows for drop in found)
        body.append(tag("text", f"\N{MINUS SIGN}{total:,}", x=start, y=y + 36, class_="lost"))
        for line, drop in enumerate(found[:2]):
            body.append(tag("text", spoken(drop.reason), x=start, y=y + 52 + 14 * line, class_="why"))
    return body


def hue(rank: int) -> str:
    """The class of the colour of the reason of this rank."""
    return f"d{min(rank, HUES - 1)}"


def histogram(edges: NDArray[np.float64], before: NDArray[np.int64], after: NDArray[np.int64] | None) -> Markup:
    """Two distributions over the same bins, each as shares of its own rows, so that their shapes compare."""
    width, height, base, left = 640, 260, 226, 8
    sides = [(before, "before")] + ([(after, "after")] if after is not None else [])
    shares = [(counts / max(1, counts.sum()), class_) for counts, class_ in sides]
    tallest = max(float(share.max()) for share, _ in shares) or 1.0
    step = (width - 2 * left) / len(before)
    body = []
    for share, class_ in shares:
        heights = share / tallest * (base - 12)
        points = [f"{left:.1f},{base}"]
        for number, high in enumerate(heights.tolist()):
            x = left + number * step
            points += [f"{x:.1f},{base - high:.1f}", f"{x + step:.1f},{base - high:.1f}"]
        points.append(f"{width - left:.1f},{base}")
        body.append(tag("polygon", points=" ".join(points), class_=f"area {class_}"))
    body.append(tag("line", x1=left, x2=width - left, y1=base, y2=base, class_="axis"))
    for mark in np.linspace(edges[0], edges[-1], 6).tolist():
        x = left + (mark - edges[0]) / (edges[-1] - edges[0]) * (width - 2 * left)
        anchor = "start" if mark == edges[0] else "end" if mark == edges[-1] else "middle"
        body.append(tag("text", f"{mark:.1f}", x=x, y=base + 20, text_anchor=anchor, class_="tick"))
    return figure(width, height, "Distribution of quality before and after selection", body)


def dumbbells(names: list[str], before: NDArray[np.float64], after: NDArray[np.float64] | None) -> Markup:
    """Mean quality per topic, from before to after; topics in order of the mean before."""
    width, height, top, base = 640, 260, 14, 226
    both = np.concatenate([before, after if after is not None else before])
    low, high = float(np.nanmin(both)), float(np.nanmax(both))
    unit = (base - top) / ((high - low) or 1.0)
    order = np.argsort(before, kind="stable")
    step = (width - 70) / max(1, len(order))
    body = []
    for mark in np.unique(np.linspace(low, high, 4)).tolist():
        y = base - (mark - low) * unit
        body.append(tag("line", x1=48, x2=width - 8, y1=y, y2=y, class_="grid"))
        body.append(tag("text", f"{mark:.2f}", x=40, y=y + 4, text_anchor="end", class_="tick"))
    for place, topic in enumerate(order.tolist()):
        x = 60 + (place + 0.5) * step
        was = float(before[topic])
        now = float(after[topic]) if after is not None else np.nan
        text = f"{names[topic]}: {was:.3f}" + (f" \N{RIGHTWARDS ARROW} {now:.3f}" if np.isfinite(now) else "")
        marks = [tag("title", text), tag("circle", cx=x, cy=base - (was - low) * unit, r=4, class_="before")]
        if np.isfinite(now):
            start, end = base - (was - low) * unit, base - (now - low) * unit
            marks[1:1] = [tag("line", x1=x, x2=x, y1=start, y2=end, class_="link")]
            marks.append(tag("circle", cx=x, cy=end, r=4, class_="after"))
        body.append(tag("g", Markup("").join(marks)))
    body.append(tag("text", "topics, by quality before", x=width - 8, y=base + 22, text_anchor="end", class_="tick"))
    return figure(width, height, "Mean quality per topic before and after selection", body)
