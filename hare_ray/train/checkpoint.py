"""Checkpoints that are whole or do not count.

    <lasting>/checkpoints/step-00000100/<files of all ranks>, manifest.json
    manifest.json   step, tokens, workers, fingerprint, files: name, bytes, sha256

Every rank saves into a folder of its own beside, hashes and syncs what it wrote, and moves it into place (sends it,
where the place is a URL). When all have done so rank 0 writes the manifest, whole or not at all: a folder without one
is half a checkpoint. At a start the newest checkpoint of this very stage is taken whose files all have the size and
hash that the manifest says; any other is passed over. The last two are kept.

The workers write to shared storage themselves, and Ray's report is not used: it registers a checkpoint up to two
seconds after it is written, one that was finished in between is lost, and it does not check what it reads.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hare_ray.store import Root, filesystem
from hare_ray.train.settings import Ranks, local

FOLDER, MANIFEST, PREFIX = "checkpoints", "manifest.json", "step-"

SAVING = ".saving"
"""Local folder beside the checkpoints in which ranks write."""

KEPT = 2

Entry = dict[str, Any]


def name_of(step: int) -> str:
    """Folder of the checkpoint after `step` steps."""
    return f"{FOLDER}/{PREFIX}{step:08d}"


def digest(path: Path) -> str:
    """Hex sha256 of a file, read in stretches."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training stage."""

    lasting: str
    """A path or URL that all ranks reach."""
    fingerprint: str
    """Of the stage."""

    @cached_property
    def root(self) -> Root:
        """The lasting folder."""
        return Root(self.lasting.rstrip("/"))

    def write(self, name: str, path: Path) -> None:
        """Bring a local file into the lasting folder; it is moved there where that is local."""
        with path.open("rb") as file:
            os.fsync(file.fileno())
        here = self.root.local
        if here is not None:
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            path.replace(here / name)
            return
        system, base = filesystem(self.root.url)
        system.put_file(str(path), f"{base}/{name}")

    def aside(self) -> Path:
        """A new empty folder to write in: beside the checkpoints, so that moving is renaming, or a local one."""
        if self.root.local is None:
            return Path(tempfile.mkdtemp(prefix="hare_ray-checkpoint-"))
        folder = self.root.local / SAVING / uuid.uuid4().hex
        folder.mkdir(parents=True)
        return folder

    def clear(self) -> None:
        """Remove what a killed group left aside; only while no rank writes."""
        if self.root.local is not None:
            shutil.rmtree(self.root.local / SAVING, ignore_errors=True)

    def save(self, step: int, facts: Entry, write: Callable[[Path], None], ranks: Ranks) -> None:
        """Let every rank `write` into a folder; all ranks call this."""
        aside, name = self.aside(), name_of(step)
        write(aside)
        entries = []
        for path in sorted(path for path in aside.rglob("*") if path.is_file()):
            file = path.relative_to(aside).as_posix()
            entries.append({"name": file, "bytes": path.stat().st_size, "sha256": digest(path)})
            self.write(f"{name}/{file}", path)
        shutil.rmtree(aside)
        written = ranks.together(entries)
        if ranks.rank == 0:
            files = sorted((entry for entries in written for entry in entries), key=lambda entry: entry["name"])
            manifest = {"step": step, "fingerprint": self.fingerprint, **facts, "files": files}
            self.root.write(f"{name}/{MANIFEST}", json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n")
            self.forget(self.steps()[:-KEPT])
        ranks.together(None)

    def steps(self) -> list[int]:
        """Steps of which there is something, complete or not, in order."""
        names = [name for name in self.root.names(FOLDER) if name.startswith(PREFIX)]
        return sorted(int(name.removeprefix(PREFIX)) for name in names)

    def forget(self, steps: Iterable[int]) -> None:
        """Remove checkpoints, the manifest first."""
        for step in steps:
            self.root.delete(f"{name_of(step)}/{MANIFEST}")
            self.root.delete(name_of(step))

    def manifest(self, step: int) -> Entry | None:
        """The manifest of a checkpoint of this stage whose files are all there, unchanged; otherwise None."""
        name = name_of(step)
        try:
            manifest: Entry = json.loads(self.root.read(f"{name}/{MANIFEST}"))
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        if manifest.get("fingerprint") != self.fingerprint or manifest.get("step") != step:
            return None
        return (
            manifest if all(self._unchanged(f"{name}/{entry['name']}", entry) for entry in manifest["files"]) else None
        )

    def _unchanged(self, name: str, entry: Entry) -> bool:
        here = self.root.local
        if here is not None:
            path = here / name
            return path.is_file() and path.stat().st_size == entry["bytes"] and digest(path) == entry["sha256"]
        system, base = filesystem(self.root.url)
        if not system.exists(f"{base}/{name}") or system.size(f"{base}/{name}") != entry["bytes"]:
            return False
        with system.open(f"{base}/{name}", "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == entry["sha256"]

    def newest(self) -> Entry | None:
        """The manifest of the newest complete checkpoint; what is newer and is not complete is removed."""
        for step in reversed(self.steps()):
            manifest = self.manifest(step)
            if manifest is not None:
                return manifest
            self.forget([step])
        return None


def fetched(url: str, name: str) -> Path:
    """A folder of a path or URL as a local one: itself, or a copy of the caller's own."""
    here = local(url)
    if here is not None:
        return here / name
    system, base = filesystem(url.rstrip("/"))
    copy = Path(tempfile.mkdtemp(prefix="hare_ray-checkpoint-"))
    system.get(f"{base}/{name}/", str(copy), recursive=True)
    return copy


def take(url: str, name: str, target: Path) -> None:
    """Bring a file, or a folder with all in it, to a local place; linked where that is possible."""
    here = local(url)
    if here is None:
        system, base = filesystem(url.rstrip("/"))
        target.parent.mkdir(parents=True, exist_ok=True)
        system.get(f"{base}/{name}", str(target), recursive=True)
    elif (here / name).is_dir():
        shutil.copytree(here / name, target, copy_function=linked)
    else:
        linked(str(here / name), str(target))


def linked(source: str, target: str) -> str:
    """A second name of the file, or a copy on another file system. What lies in `lasting` is never written again."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target
