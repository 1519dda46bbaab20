"""Which failures are a row's own, and which are the server's or the recipe's, so that the run must stop.

Errors among the last WINDOW rows that ended: from LEAST_FAILED on, more than FAILED_SHARE of them stop the run. A
prompt above the model's window is the row's own fault, so of these nearly all must be too long before it stops.

An error row is held back until it has left the window, and only then journaled: when the run is stopped, what the
server said to those rows was not about them, and the next run asks them again.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from hare_ray.synth.endpoint import Answer

WINDOW = 256
"""Rows that ended, looked back at."""

LEAST_FAILED, FAILED_SHARE = 8, 0.2
LEAST_TOO_LONG, TOO_LONG_SHARE = 64, 0.95

TOO_LONG = re.compile(r"context.length|maximum.context|max_model_len|too long|longer than|input length", re.IGNORECASE)
"""What servers say of a prompt above the model's window (vLLM, SGLang, OpenAI, llama.cpp)."""

Row = TypeVar("Row")


class Window(Generic[Row]):
    """The last rows that ended."""

    def __init__(self, url: str) -> None:
        """Rows asked at `url`."""
        self._url = url
        self._rows: deque[tuple[str, Row | None, Answer]] = deque()
        self._counts = {"": 0, "failed": 0, "too long": 0}

    def ended(self, row: Row, answer: Answer) -> Iterator[tuple[Row, Answer]]:
        """A row ended: the rows that can be journaled now.

        Raises:
            ValueError: too many fail.
        """
        kind = kind_of(answer)
        self._rows.append((kind, row if kind else None, answer))
        self._counts[kind] += 1
        self._check()
        if not kind:
            yield row, answer
        if len(self._rows) > WINDOW:
            kind, left, said = self._rows.popleft()
            self._counts[kind] -= 1
            if left is not None:
                yield left, said

    def rest(self) -> Iterator[tuple[Row, Answer]]:
        """What was held back, at a good end."""
        for _, row, answer in self._rows:
            if row is not None:
                yield row, answer
        self._rows.clear()

    def _check(self) -> None:
        total, failed, too_long = len(self._rows), self._counts["failed"], self._counts["too long"]
        if failed >= LEAST_FAILED and failed > FAILED_SHARE * (total - too_long):
            raise stopped(self._url, failed, total, next(a.finish for k, _, a in reversed(self._rows) if k == "failed"))
        if too_long >= LEAST_TOO_LONG and too_long > TOO_LONG_SHARE * total:
            said = next(a.finish for k, _, a in reversed(self._rows) if k == "too long")
            raise stopped(self._url, too_long, total, said)


def kind_of(answer: Answer) -> str:
    """'' for an answer, else the kind of its failure."""
    if not answer.failed:
        return ""
    return "too long" if TOO_LONG.search(answer.finish) else "failed"


def stopped(url: str, failed: int, total: int, said: str) -> ValueError:
    """Why the run stops."""
    return ValueError(
        f"{url} gave an error to {failed} of the last {total} prompts, such as {said!r}; expected answers. Check the "
        "model (does it take chats, is its context long enough) and its server, and run the same command again: what "
        "was answered before is kept, and what failed is asked again"
    )
