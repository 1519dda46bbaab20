"""Numbers and names as people read them: the filters of the templates."""

from __future__ import annotations

MILLION = 1_000_000

LINKED = ("https://", "http://")
"""Schemes a page may link to; a crawled URL can be anything, `javascript:` too."""


def spoken(name: str) -> str:
    """A name in snake case with spaces."""
    return name.replace("_", " ")


def count(number: int | None) -> str:
    """A whole number with separators, or a dash."""
    return "\N{EN DASH}" if number is None else f"{number:,}"


def whole(number: float | None) -> str:
    """A measured number without its fraction, or a dash."""
    return "\N{EN DASH}" if number is None else f"{number:,.0f}"


def shown(number: float | None) -> str:
    """A loss or a score: three digits behind the point, fewer where it is large; or a dash."""
    if number is None:
        return "\N{EN DASH}"
    return f"{number:.3f}" if abs(number) < 100 else f"{number:,.1f}"


def compact(number: int | None) -> str:
    """A number in four characters or so: 12.3 M."""
    if number is None or number < MILLION:
        return count(number)
    for size, unit in ((10**12, "T"), (10**9, "B"), (MILLION, "M")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    raise AssertionError(number)


def share(part: float | None, whole: float | None) -> str:
    """A share in percent; a tenth of a percent below ten."""
    if part is None or not whole:
        return "\N{EN DASH}"
    percent = 100 * part / whole
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.2g} %"


def duration(seconds: float | None) -> str:
    """Seconds as a person says them."""
    if seconds is None:
        return "\N{EN DASH}"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def linked(url: str | None) -> bool:
    """Whether a URL is safe to make a link of."""
    return bool(url) and str(url).lower().startswith(LINKED)
