"""A checkpoint as its readers see it: tensors by name, wherever they lie; and the files of a run at other places."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hare_ray.store import Root, filesystem
from hare_ray.train import tensor_files
from hare_ray.train.checkpoint import MANIFEST, WEIGHTS, Entry, parsed
from hare_ray.train.settings import local
from hare_ray.train.tensor_files import TensorFile

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Stored:
    """The tensors of a checkpoint, by name, wherever they lie."""

    folder: str
    """A path or URL."""
    manifest: Entry

    @classmethod
    def opened(cls, folder: str) -> Stored:
        """Read the manifest."""
        root = Root(folder.rstrip("/"))
        manifest = parsed(root.read(MANIFEST)) if root.exists(MANIFEST) else None
        if manifest is None:
            raise ValueError(
                f"{folder}: given no checkpoint of tensors by name, expected one with {MANIFEST}; "
                "make the earlier stage anew"
            )
        return cls(root.url, manifest)

    @cached_property
    def _files(self) -> dict[str, str]:
        return {name: entry["name"] for entry in self.manifest["files"] for name in entry["tensors"]}

    @cached_property
    def _opened(self) -> dict[str, TensorFile]:
        return {}

    def names(self) -> list[str]:
        """All tensors."""
        return sorted(self._files)

    def file(self, name: str) -> TensorFile:
        """The file in which a tensor lies."""
        if name not in self._files:
            raise ValueError(
                f"{self.folder}: given a checkpoint without {name}, expected one of the same model and optimizer"
            )
        file = self._files[name]
        if file not in self._opened:
            self._opened[file] = TensorFile.opened(f"{self.folder}/{file}")
        return self._opened[file]

    def read(self, name: str) -> Tensor:
        """A tensor."""
        return self.file(name).read(name)

    def weights(self, target: Path) -> None:
        """Write all weights to one file, under the names of the parameters; one is in memory at a time."""
        names = [name for name in self.names() if name.startswith(WEIGHTS)]
        tensor_files.write(
            target,
            (
                (name.removeprefix(WEIGHTS), self.file(name).specs[name], lambda name=name: self.file(name).raw(name))
                for name in names
            ),
        )


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
