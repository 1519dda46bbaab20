"""The arithmetic of books: what a stage counted, part by part."""

from __future__ import annotations

from typing import Any


def total(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    """Sum of two nested books."""
    both = dict(left)
    for key, value in right.items():
        both[key] = total(both.get(key, {}), value) if isinstance(value, dict) else both.get(key, 0) + value
    return dict(sorted(both.items()))


def balance(name: str, book: dict[str, Any]) -> None:
    """In + made = out + dropped, in rows."""
    if "made" in book:
        dropped = sum(book["dropped"].values())
        if book.get("in", 0) + book["made"] != book["out"] + dropped:
            raise RuntimeError(f"the books of {name} do not balance: {book}")
