"""Checkpoints that are whole or do not count.

    <lasting>/checkpoints/step-00000100-<attempt>/
        weights-00000-of-00002.safetensors, moments-00000-of-00002.safetensors     one of each a rank
        rank-00000.json     what this rank wrote: name, bytes, sha256, tensors of each file
        manifest.json       step, fingerprint, what the loop counted, files of all ranks; written last

Every tensor is whole, in float32, and lies in one file: the one of the rank that owned it. Which rank that was does not
matter to a reader, so as many workers as one likes go on from it, with any division of the states among them.

A rank gives a copy of its tensors to a thread and trains on. The thread writes them aside, hashes and syncs them, moves
them into place (sends them, where the place is a URL) and says so in an object of its own; that of rank 0 waits for the
objects of all, and writes the manifest: a folder without one is half a checkpoint. Ranks agree through these objects
alone, for a collective in a thread beside the training's own would get in their way. `attempt` is of one start of the
workers: what the threads of a killed group still write never gets among the files of the next.

At a start the newest checkpoint is taken whose files all have the size and hash that the manifest says. One that is
torn, and what never got its manifest, is removed with a warning. A folder with checkpoints of another stage is refused:
they may be all that is left of it.

The workers write to shared storage themselves, and Ray's report is not used: it registers a checkpoint up to two
seconds after it is written, one that was finished in between is lost, and it does not check what it reads.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hare_ray.store import Root, filesystem
from hare_ray.train import tensor_files

if TYPE_CHECKING:
    from torch import Tensor

FOLDER, MANIFEST, PREFIX = "checkpoints", "manifest.json", "step-"

WEIGHTS = "weights/"
"""Beginning of the names of weights among the tensors of a checkpoint; what follows is the parameter's."""

SAVING = ".saving"
"""Local folder beside the checkpoints in which ranks write."""

Entry = dict[str, Any]

FACTS, OF_A_FILE = {"step", "fingerprint", "files"}, {"name", "bytes", "sha256", "tensors"}
"""What every manifest has, and what it says of each file."""

logger = logging.getLogger(__name__)


def name_of(step: int, attempt: str) -> str:
    """Folder of the checkpoint after `step` steps."""
    return f"{FOLDER}/{PREFIX}{step:08d}-{attempt}"


def rank_file(rank: int) -> str:
    """What a rank says of its files."""
    return f"rank-{rank:05d}.json"


def step_of(name: str) -> int:
    """The steps after which a checkpoint of this name was made."""
    return int(name.rpartition("/")[2].removeprefix(PREFIX).partition("-")[0])


def parsed(data: bytes) -> Entry | None:
    """A manifest; None where it is damaged: cut off, or overwritten."""
    try:
        found = json.loads(data)
    except ValueError:  # no JSON, or not even text
        return None
    if not isinstance(found, dict) or not found.keys() >= FACTS or not isinstance(found["files"], list):
        return None
    whole = all(isinstance(file, dict) and file.keys() >= OF_A_FILE for file in found["files"])
    return found if whole else None


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

    def aside(self, rank: int) -> Path:
        """A new empty folder to write in: beside the checkpoints, so that moving is renaming, or a local one.

        The local one has the same name each time, so that what a killed worker left goes with the next save there.
        """
        if self.root.local is None:
            of = hashlib.sha256(self.root.url.encode()).hexdigest()[:12]
            folder = Path(tempfile.gettempdir()) / f"hare_ray-checkpoint-{of}-{rank:05d}"
            shutil.rmtree(folder, ignore_errors=True)
        else:
            folder = self.root.local / SAVING / uuid.uuid4().hex
        folder.mkdir(parents=True)
        return folder

    def clear(self) -> None:
        """Remove what a killed group left aside; only while no rank writes."""
        if self.root.local is not None:
            shutil.rmtree(self.root.local / SAVING, ignore_errors=True)

    def write(self, name: str, rank: int, count: int, tensors: dict[str, Tensor]) -> None:
        """Bring the tensors of a rank into the folder `name`, and then its word that they are there."""
        aside = self.aside(rank)
        weights = {each: tensor for each, tensor in tensors.items() if each.startswith(WEIGHTS)}
        others = {each: tensor for each, tensor in tensors.items() if each not in weights}
        entries = []
        for kind, some in (("weights", weights), ("moments", others)):
            path = aside / f"{kind}-{rank:05d}-of-{count:05d}.safetensors"
            sha256 = tensor_files.write(path, tensor_files.of_torch(some))
            entries.append({"name": path.name, "bytes": path.stat().st_size, "sha256": sha256, "tensors": sorted(some)})
            self._move(path, f"{name}/{path.name}")
        shutil.rmtree(aside)
        self.root.write(f"{name}/{rank_file(rank)}", _encoded(entries))

    def _move(self, path: Path, name: str) -> None:
        here = self.root.local
        if here is None:
            self.root.upload(name, path)
            return
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        path.replace(here / name)
        _keep_entries((here / name).parent)

    def written(self, name: str, count: int) -> list[int]:
        """The ranks that have said that their files are there."""
        there = set(self.root.names(name))
        return [rank for rank in range(count) if rank_file(rank) in there]

    def commit(self, name: str, count: int, facts: Entry) -> None:
        """Write the manifest, when all `count` ranks have said that their files are there."""
        files = [entry for rank in range(count) for entry in json.loads(self.root.read(f"{name}/{rank_file(rank)}"))]
        manifest = {**facts, "fingerprint": self.fingerprint, "files": sorted(files, key=lambda file: file["name"])}
        self.root.write(f"{name}/{MANIFEST}", _encoded(manifest))

    def names(self) -> list[str]:
        """Folders in which there is something, complete or not, by step."""
        return sorted(f"{FOLDER}/{name}" for name in self.root.names(FOLDER) if name.startswith(PREFIX))

    def committed(self) -> list[str]:
        """Folders with a manifest, by step."""
        return [name for name in self.names() if self.root.exists(f"{name}/{MANIFEST}")]

    def forget(self, name: str) -> None:
        """Remove a checkpoint, the manifest first."""
        self.root.delete(f"{name}/{MANIFEST}")
        self.root.delete(name)

    def newest(self) -> tuple[str, Entry] | None:
        """Folder and manifest of the newest good one; torn ones before it, and what has no manifest, are removed.

        Only while no rank writes. Raises ValueError, and removes nothing, where one is of another stage.
        """
        self._refuse_others()
        found = None
        for name in reversed(self.names()):
            fault = self._fault(name) if found is None else self._unfinished(name)
            if fault is not None:
                logger.warning("checkpoint %s/%s is left out and removed: %s", self.lasting, name, fault)
                self.forget(name)
            elif found is None:
                found = name, self.manifest(name)
        return found

    def manifest(self, name: str) -> Entry:
        """The manifest of a checkpoint."""
        return json.loads(self.root.read(f"{name}/{MANIFEST}"))

    def _refuse_others(self) -> None:
        for name in self.committed():
            manifest = parsed(self.root.read(f"{name}/{MANIFEST}"))
            if manifest is not None and manifest["fingerprint"] != self.fingerprint:
                raise ValueError(
                    f"{self.lasting}: given a folder with {name} of stage {manifest['fingerprint'][:12]}, expected "
                    f"checkpoints of {self.fingerprint[:12]} alone; take another `lasting`, or remove that one if "
                    "nobody needs it"
                )

    def _unfinished(self, name: str) -> str | None:
        return None if self.root.exists(f"{name}/{MANIFEST}") else f"it has no {MANIFEST}, its save was cut short"

    def _fault(self, name: str) -> str | None:
        """What is wrong with a checkpoint; None: nothing."""
        if (unfinished := self._unfinished(name)) is not None:
            return unfinished
        manifest = parsed(self.root.read(f"{name}/{MANIFEST}"))
        if manifest is None:
            return f"{MANIFEST} is damaged"
        faults = (self._changed(f"{name}/{entry['name']}", entry) for entry in manifest["files"])
        return next((fault for fault in faults if fault is not None), None)

    def _changed(self, name: str, entry: Entry) -> str | None:
        """What of a file is not as its entry says."""
        system, base = filesystem(self.root.url)
        path = f"{base}/{name}"
        if not system.exists(path):
            return f"{entry['name']} is missing"
        size = system.size(path)
        if size != entry["bytes"]:
            return f"{entry['name']} has {size} bytes, expected {entry['bytes']}"
        with system.open(path, "rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == entry["sha256"]
        return None if same else f"{entry['name']} has not the sha256 that {MANIFEST} says"


def _keep_entries(folder: Path) -> None:
    """See that a loss of power does not take the names in a folder, nor its own."""
    for one in (folder, folder.parent):
        opened = os.open(one, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _encoded(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"
