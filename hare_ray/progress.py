"""What a person sees while a run goes on: bars with an ETA on a terminal, one line per finished unit anywhere."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from hare_ray.executor import Outcome
from hare_ray.manifest import Manifest
from hare_ray.passes import Pass, Unit
from hare_ray.stage import Stage
from hare_ray.standing import Standing

Advance = Callable[[Outcome], None]

Look = Callable[[], Standing | None]
"""Gives how far a barrier is, where it tells."""

LOOK_SECONDS = 5.0
"""Between two looks: an object store is asked each time."""

SAY_SECONDS = 30.0
"""Between two lines where there is no terminal."""


class Progress(Protocol):
    """Told what happens."""

    def planned(self, order: list[Stage], manifests: dict[str, Manifest], units: list[Unit]) -> None:
        """The plan, before anything runs."""
        ...

    def parts(self, unit: Pass, count: int, done: int) -> contextlib.AbstractContextManager[Advance]:
        """A pass over `count` parts begins, `done` of them are there already."""
        ...

    def whole(self, stage: Stage, look: Look) -> contextlib.AbstractContextManager[None]:
        """A barrier begins; `look` says how far it is."""
        ...

    def finished(self, unit: Unit, manifests: list[Manifest]) -> None:
        """A unit is done."""
        ...


class Silent:
    """Says nothing."""

    def planned(self, order: list[Stage], manifests: dict[str, Manifest], units: list[Unit]) -> None:
        """Nothing."""

    @contextlib.contextmanager
    def parts(self, unit: Pass, count: int, done: int) -> Iterator[Advance]:
        """Nothing."""
        yield lambda outcome: None

    @contextlib.contextmanager
    def whole(self, stage: Stage, look: Look) -> Iterator[None]:
        """Nothing."""
        yield

    def finished(self, unit: Unit, manifests: list[Manifest]) -> None:
        """Nothing."""


class Live:
    """Bars and lines on a console."""

    def __init__(self, console: Console) -> None:
        """Write to `console`."""
        self.console = console
        self.began = time.time()

    def planned(self, order: list[Stage], manifests: dict[str, Manifest], units: list[Unit]) -> None:
        """How much there is to do."""
        if not units:
            self.console.print(f"all {len(manifests)} stages are done; nothing to run")

    def _bars(self, *more: ProgressColumn) -> Bars:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            *more,
        )
        return Bars(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)

    @contextlib.contextmanager
    def parts(self, unit: Pass, count: int, done: int) -> Iterator[Advance]:
        """A bar of parts, with rows per second."""
        began, rows = time.time(), 0
        with self._bars(TextColumn("ETA"), TimeRemainingColumn()) as bars:
            task = bars.add_task(unit.name, total=count, completed=done, rate="")

            def advance(outcome: Outcome) -> None:
                nonlocal rows
                rows += max(outcome.rows.values(), default=0)
                bars.update(task, advance=1, rate=f"{rows / (time.time() - began):,.0f} rows/s")

            yield advance

    @contextlib.contextmanager
    def whole(self, stage: Stage, look: Look) -> Iterator[None]:
        """A pulse; a bar where the stage tells how far it is, and a line now and then without a terminal."""
        with self._bars() as bars:
            task = bars.add_task(stage.name, total=None, rate="")
            said = time.time()

            def show(now: Standing) -> None:
                nonlocal said
                bars.update(task, total=now.total, completed=now.done, rate=now.words)
                if not self.console.is_terminal and time.time() - said >= SAY_SECONDS:
                    said = time.time()
                    self.console.print(f"{stage.name} {now.done}/{now.total}  {now.words}", highlight=False)

            with following(look, show):
                yield

    def finished(self, unit: Unit, manifests: list[Manifest]) -> None:
        """Name, rows in and out, seconds."""
        for manifest in manifests:
            seconds = manifest["run"]["seconds"]
            name = unit.name if manifest is manifests[0] else manifest["name"]
            self.console.print(f"[green]done[/] {name:<40} {tally(manifest):<34} {seconds:7.1f} s", highlight=False)


@contextlib.contextmanager
def following(look: Look, show: Callable[[Standing], None]) -> Iterator[None]:
    """Show what a stage tells from now on; what a killed run told last is not its news."""
    over, last = threading.Event(), look()

    def watch() -> None:
        nonlocal last
        while not over.wait(LOOK_SECONDS):
            now = look()
            if now is not None and now != last:
                last = now
                show(now)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def tally(manifest: Manifest) -> str:
    """Rows of a stage in words."""
    if "parts" in manifest:
        rows = sum(part["rows"] for part in manifest["parts"])
        lost = sum(part["ledger_rows"] for part in manifest["parts"])
        return f"{rows:,} rows" + (f", {lost:,} dropped" if lost else "")
    return f"{len(manifest.get('files', ()))} files"
