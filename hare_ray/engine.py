"""Run a graph of stages into a root: skip what is done, refuse what is stale, do the rest, write manifests.

1  take the root (one driver), take over equal stages from `reuse`, drop what `redo` names and what follows it
2  compare recipes with manifests; another recipe under the same name is an error that names the difference
3  run the units of `hare_ray.passes` in turn; only parts without a commit are done
4  write a stage's manifest when all its parts are there
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from hare_ray import hardware
from hare_ray.books import balance, total
from hare_ray.catalog import Catalog, commits, place
from hare_ray.earlier import clear, recalls, set_aside
from hare_ray.executor import Executor, Plain, WorkerDiedError, operators
from hare_ray.gather import LASTING, Desk, check_aligned, rebalance
from hare_ray.lock import StillHeld, only_driver
from hare_ray.manifest import Manifest, describe, encode, folder, load_all, refuse, stale
from hare_ray.passes import Pass, Unit, plan
from hare_ray.progress import Progress, Silent
from hare_ray.stage import Gather, Keep, Make, Map, Needs, PartWise, Rebalance, Source, Stage, Table, upstream
from hare_ray.standing import told
from hare_ray.store import Root
from hare_ray.work import Limits, PassWork


class FailedError(RuntimeError):
    """Some parts could not be done; the others are committed."""


@dataclass(frozen=True)
class Settings:
    """How to run, as opposed to what."""

    reuse: str | None = None
    """Another root: stages of equal fingerprint are taken over from it."""
    redo: tuple[str, ...] = ()
    """Names of stages to make anew, with all that follows them."""
    needs: Mapping[str, Needs] = field(default_factory=dict)
    """Resources by stage name, instead of the stage's own."""
    limits: Limits = field(default_factory=Limits)


REDOING = ".redoing"
"""What --redo makes anew (name: fingerprint), kept until that run ends: the same command then goes on."""

ExecutorFactory = Callable[[Root], Executor]
"""Called when there is work to do, and only then."""


def run(
    *targets: Stage,
    root: str,
    settings: Settings | None = None,
    executor: ExecutorFactory | None = None,
    progress: Progress | None = None,
) -> dict[str, Manifest]:
    """Bring the targets up to date under `root`; returns the manifests of everything written there.

    Args:
        targets: last stages of the graph.
        root: local path or URL of the run's directory.
        settings: reuse, redo, resources, limits.
        executor: makes the executor; the plain loop in this process if None.
        progress: shows what happens; silent if None.

    Raises:
        StaleError: a stage under this root was made by another recipe.
        LockedError: another driver works on the root.
        FailedError: parts failed; the message names them.
        ValueError: bad input, with what was given, expected, and the cure.
    """
    place_ = Root(checked_root(root))
    with only_driver(place_) as still_held:
        job = Job(
            place_,
            upstream(*targets),
            list(targets),
            settings or Settings(),
            progress or Silent(),
            still_held,
        )
        return job.run(executor or plain)


def plain(root: Root) -> Executor:
    """The plain loop, whatever the root."""
    return Plain()


def checked_root(root: str) -> str:
    """An absolute root; a relative one is refused inside a submitted Ray job."""
    if "://" in root or Path(root).is_absolute():
        if "://" not in root and Path(root).exists() and not Path(root).is_dir():
            raise ValueError(f"the root {root} is a file; give a directory, one that exists or one to make")
        return root
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        raise ValueError(
            f"the root {root!r} is relative and would land in the uploaded copy of the code; "
            "give an absolute path that every node mounts, or an URL such as s3://bucket/run"
        )
    return checked_root(str(Path(root).absolute()))


@dataclass
class Job:
    """One run over one root."""

    root: Root
    order: list[Stage]
    targets: list[Stage]
    settings: Settings
    progress: Progress
    still_held: StillHeld
    manifests: dict[str, Manifest] = field(default_factory=dict)
    catalog: Catalog = field(default_factory=Catalog)
    token: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    """Of this driver."""

    def run(self, executor: ExecutorFactory) -> dict[str, Manifest]:
        """Steps 1 to 4 of the module's method."""
        unknown = set(self.settings.redo) - {stage.name for stage in self.order}
        if unknown:
            raise ValueError(f"--redo {sorted(unknown)}: no such stage; there are {[s.name for s in self.order]}")
        found = load_all(self.root)
        following = self._following()
        doomed = set() if self._redoing(following) else following
        self.manifests = {name: manifest for name, manifest in found.items() if name not in doomed}
        taken = self._offered(following)
        refuse(stale(self.order, {**self.manifests, **taken}), self.root)
        _check_imports(plan(self.order, self.targets, {*self.manifests, *taken}))
        self._forget(doomed)
        for name, manifest in taken.items():
            self.root.write(f"{name}/manifest.json", encode(manifest))
            self.manifests[name] = manifest
        for stage in self.order:
            if isinstance(stage, Source) and stage.name not in self.manifests:
                self._finish(stage, time.time(), {}, {"pass": None, "peak_mib": 0})
            elif stage.name in self.manifests:
                self.catalog.places[stage.fingerprint] = place(self.root, self.manifests[stage.name])
        units = plan(self.order, self.targets, set(self.manifests))
        self.progress.planned(self.order, self.manifests, units)
        for stage in self.order:
            self._not_empty(stage)
        if units:
            engine = executor(self.root)
            for unit in units:
                self._unit(unit, engine)
        self._redone()
        return self.manifests

    def _following(self) -> set[str]:
        """Names given to redo, and of all that follows."""
        found = set(self.settings.redo)
        for stage in self.order:
            if any(parent.name in found for parent in stage.parents):
                found.add(stage.name)
        return found

    def _redoing(self, following: set[str]) -> bool:
        """Whether a run that was stopped began with just this: the same names, of the same recipe."""
        return self.root.exists(REDOING) and json.loads(self.root.read(REDOING)) == self._identities(following)

    def _identities(self, names: set[str]) -> dict[str, str]:
        return {stage.name: stage.fingerprint for stage in self.order if stage.name in names}

    def _redone(self) -> None:
        """All is made anew: what was kept of before goes."""
        if self.root.exists(REDOING):
            redone = json.loads(self.root.read(REDOING))
            clear(self.root, [stage for stage in self.order if stage.name in redone])
            self.root.delete(REDOING)

    def _forget(self, doomed: set[str]) -> None:
        """Drop what is to be made anew: manifest first, so that none speaks of parts that are gone."""
        if not doomed:
            return
        self.still_held()
        kept = {stage.name for stage in self.order if self._recalls(stage)}
        for name in doomed:
            self.root.delete(f"{name}/manifest.json")
            set_aside(self.root, name) if name in kept else self.root.delete(name)
        self.root.write(REDOING, encode(self._identities(doomed)))

    def _recalls(self, stage: Stage) -> bool:
        return recalls(stage) and stage.name not in self.settings.redo  # named itself, all is asked anew

    def _earlier(self, stage: Stage) -> tuple[Root, ...]:
        reuse = () if self.settings.reuse is None else (Root(checked_root(self.settings.reuse)),)
        return (self.root, *reuse) if self._recalls(stage) else ()

    def _offered(self, following: set[str]) -> dict[str, Manifest]:
        """Manifests of equal stages in the root to reuse, pointing there; nothing is copied, nor what is redone."""
        if self.settings.reuse is None:
            return {}
        other = Root(checked_root(self.settings.reuse))
        offered = load_all(other)
        if not offered:
            raise ValueError(f"--reuse {other.url} holds no finished stage; give the root of an earlier run")
        return {
            stage.name: {"location": other.url, **offered[stage.name]}
            for stage in self.order
            if stage.name not in self.manifests.keys() | following
            and offered.get(stage.name, {}).get("fingerprint") == stage.fingerprint
        }

    def _unit(self, unit: Unit, engine: Executor) -> None:
        began = time.time()
        with hardware.PeakMemory() as memory:
            made = self._pass(unit, engine) if isinstance(unit, Pass) else self._barrier(unit, engine)
        ran = {"pass": unit.name if isinstance(unit, Pass) else None, "peak_mib": round(memory.mib)}
        members = unit.members if isinstance(unit, Pass) else []
        outputs = unit.outputs if isinstance(unit, Pass) else [unit]
        for stage in outputs:
            self._finish(stage, began, self._parts(stage, members, made) if isinstance(stage, Table) else made, ran)
        self.progress.finished(unit, [self.manifests[stage.name] for stage in outputs])
        for stage in outputs:
            self._not_empty(stage)

    def _not_empty(self, stage: Stage) -> None:
        """Nothing can follow from a corpus without documents; say so where it became empty."""
        manifest = self.manifests.get(stage.name, {})
        parts = manifest.get("parts")
        if parts is None or any(part["rows"] for part in parts):
            return
        if not isinstance(stage, (Map, Keep, Rebalance)) or stage.may_be_empty:
            return  # an opinion on nothing says nothing
        books = {m["name"]: m["books"] for m in (*manifest["members"], manifest)}
        lost = {name: book["dropped"] for name, book in books.items() if book.get("dropped")}
        raise ValueError(
            f"{stage.name} kept no document, so nothing can follow; "
            f"{f'dropped: {lost}' if lost else 'there was no record to read'}. "
            f"Check --source, or look: hare show {self.root.url} STAGE --reason REASON; "
            f"after a change of the source or a number: --redo {stage.name}, or another --root"
        )

    def _pass(self, unit: Pass, engine: Executor) -> Manifest:
        splits = [] if isinstance(unit.rail, Table) else self.catalog.splits(unit.rail)
        count = len(splits) or len(self.catalog.rows(self._rows_of(unit)))
        committed = [commits(self.root, folder(output)).keys() for output in unit.outputs]
        todo = [part for part in range(count) if not all(part in done for done in committed)]
        work = PassWork(
            self.root,
            unit.members,
            unit.outputs,
            self.catalog,
            splits,
            self.settings.limits,
            not isinstance(engine, Plain),
            "" if isinstance(engine, Plain) else self.token,
        )
        needs = {stage.name: self.settings.needs.get(stage.name, stage.needs) for stage in unit.members}
        failed = []
        with self.progress.parts(unit, count, count - len(todo)) as advance:
            for outcome in engine.parts(work, todo, operators(unit.members, needs)) if todo else ():
                advance(outcome)
                if outcome.error:
                    failed.append(outcome)
        if failed:
            first = min(failed, key=lambda outcome: outcome.part)
            raise FailedError(
                f"{unit.name}: {len(failed)} of {count} parts failed (the others are kept); "
                f"part {first.part}: {first.error}"
            )
        self.root.delete(f"{folder(unit.outputs[-1])}/attempts")
        return {}

    def _rows_of(self, unit: Pass) -> Stage:
        """A finished table that gives the number of parts of a pass."""
        inside = {stage.name for stage in unit.members}
        tables = (p for s in unit.members for p in s.parents if isinstance(p, Table) and p.name not in inside)
        return next(tables)

    def _barrier(self, stage: Stage, engine: Executor) -> Manifest:
        needs = self.settings.needs.get(stage.name, stage.needs)
        place_ = folder(stage)
        here = self.root.local
        own = here / place_ if here is not None else Path(tempfile.gettempdir()) / f"hare_ray-{self.token}-{stage.name}"
        desk = Desk(stage, self.root, self.catalog, engine.mapper, own, self._earlier(stage))
        result: Manifest = {}
        with self.progress.whole(stage, partial(told, self.root, f"{place_}{LASTING}")):
            try:
                if isinstance(stage, Make):
                    self.root.delete(place_)
                    result = engine.call(partial(made, desk), needs)
                elif isinstance(stage, Gather):
                    result = {"books": engine.call(partial(stage.gather, desk), needs) or {}}
                    check_aligned(desk)
                    self.root.delete(f"{place_}/scratch")
                elif isinstance(stage, Rebalance):
                    rebalance(desk)
            except WorkerDiedError as error:
                raise FailedError(f"{stage.name}: {error}") from error
        return result

    def _parts(self, stage: Table, members: list[PartWise], made: Manifest) -> Manifest:
        """Parts and books of a finished table, from its commits and from what a Gather says of the whole."""
        done = commits(self.root, folder(stage))
        parts = [{k: v for k, v in done[p].items() if k not in ("books", "run")} for p in sorted(done)]
        books: dict[str, Any] = {}
        for part in sorted(done):
            books = total(books, done[part]["books"])
        for name, book in books.items():
            balance(name, book)
        seconds: dict[str, float] = {}
        for part in done.values():
            seconds = total(seconds, part.get("run", {}).get("seconds", {}))
        inside = [describe(m) | {"books": books.get(m.name, {})} for m in members if m.name in books]
        return {
            "parts": parts,
            "schema": {f.name: str(f.type) for f in stage.schema()},
            "books": books.get(stage.name, {}) | made.get("books", {}),
            "members": [m for m in inside if m["name"] != stage.name],
            "worker_seconds": {name: round(value, 2) for name, value in seconds.items()},
        }

    def _finish(self, stage: Stage, began: float, extra: Manifest, ran: Manifest) -> None:
        seconds = extra.pop("worker_seconds", {})
        manifest = {
            **describe(stage),
            **extra,
            "run": {
                "started": datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds"),
                "seconds": round(time.time() - began, 2),
                "worker_seconds": seconds,
                **ran,
                "machine": hardware.machine(),
                "versions": hardware.versions(),
                "git": hardware.commit(),
            },
        }
        self.still_held()
        self.root.write(f"{stage.name}/manifest.json", encode(manifest))
        self.root.delete(f"{folder(stage)}{LASTING}")
        self.manifests[stage.name] = manifest
        self.catalog.places[stage.fingerprint] = place(self.root, manifest)


def _check_imports(units: list[Unit]) -> None:
    """Raise ModuleNotFoundError for the first package that is not installed here, before anything runs."""
    for unit in units:
        for stage in unit.members if isinstance(unit, Pass) else [unit]:
            for name in stage.required_packages():
                if importlib.util.find_spec(name) is None:
                    raise ModuleNotFoundError(f"{stage!r} needs {name}, which is not installed", name=name)


def made(desk: Desk) -> Manifest:
    """Run a Make in an empty folder; its files and books."""
    stage = desk.stage
    assert isinstance(stage, Make)
    shutil.rmtree(desk.folder, ignore_errors=True)  # a worker that died may have left files
    desk.folder.mkdir(parents=True)
    consumed = stage.make(desk)
    desk.root.delete(f"{folder(stage)}/scratch")
    files = []
    for path in sorted(p for p in desk.folder.rglob("*") if p.is_file()):
        name = path.relative_to(desk.folder).as_posix()
        with path.open("rb") as file:
            files.append(
                {
                    "name": name,
                    "bytes": path.stat().st_size,
                    "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
                }
            )
        if desk.root.local is None:
            desk.root.upload(f"{folder(stage)}/{name}", path)
    if desk.root.local is None:
        shutil.rmtree(desk.folder)
    return {"files": files, "books": consumed}
