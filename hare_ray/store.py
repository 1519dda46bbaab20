"""A root: the directory of a run, local or on an object store (anything fsspec opens).

Every object is whole or absent. Locally it is written aside, synced and moved into place; on an object store it is
serialised in memory first and sent as one PUT (a multipart upload, which appears when it is complete, from 100 MiB
on), because a stream that is interrupted can leave half an object under its final name. Nothing is ever renamed on an
object store.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec

EXTRAS = {"s3": "s3", "gs": "gs", "gcs": "gs"}
"""URL scheme -> extra of this package that brings its driver."""

ASIDE = ".aside"
"""Folder of a local root for files being written; what a killed process leaves there, the next driver removes."""


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec file system of `url` and the path on it."""
    scheme = url.split("://", 1)[0] if "://" in url else "file"
    try:
        # Listings go stale while workers write, so none are cached.
        return fsspec.core.url_to_fs(url, use_listings_cache=False) if scheme != "file" else fsspec.core.url_to_fs(url)
    except ImportError as error:
        extra = EXTRAS.get(scheme, scheme)
        raise ValueError(f"{url} needs a driver for {scheme}://: pip install 'hare_ray[{extra}]'") from error


def _cache() -> Path:
    """A folder for copies that only this user can write; models are loaded from it."""
    folder = Path(tempfile.gettempdir()) / f"hare_ray-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user; set TMPDIR to a folder of your own")
    return folder


@dataclass(frozen=True)
class Root:
    """Objects under one URL, addressed by relative names with forward slashes."""

    url: str

    @cached_property
    def local(self) -> Path | None:
        """The root as a local path, or None on an object store."""
        if "://" not in self.url:
            return Path(self.url)
        return Path(self.url.removeprefix("file://")) if self.url.startswith("file://") else None

    @cached_property
    def _remote(self) -> tuple[Any, str]:
        return filesystem(self.url.rstrip("/"))

    def __getstate__(self) -> dict[str, str]:
        """Only the URL travels; connections are opened anew."""
        return {"url": self.url}

    def _key(self, name: str) -> str:
        return f"{self._remote[1]}/{name}"

    def write(self, name: str, data: bytes) -> None:
        """Put `data` under `name`, whole or not at all."""
        if self.local is None:
            self._remote[0].pipe_file(self._key(name), data)
            return
        path = self.local / name
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.local / ASIDE / uuid.uuid4().hex
        aside.parent.mkdir(exist_ok=True)
        try:
            with aside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise

    def upload(self, name: str, path: Path) -> None:
        """Put a local file under `name` on an object store, without holding it in memory."""
        self._remote[0].put_file(str(path), self._key(name))

    def create(self, name: str, data: bytes) -> bool:
        """Put `data` under `name` unless something is there; says whether it did."""
        if self.local is None:
            try:
                self._remote[0].pipe_file(self._key(name), data, mode="create")
            except FileExistsError:
                return False
            return True
        path = self.local / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("xb") as file:
                file.write(data)
        except FileExistsError:
            return False
        return True

    def read(self, name: str) -> bytes:
        """The object's bytes; FileNotFoundError where there is none."""
        if self.local is not None:
            return (self.local / name).read_bytes()
        return self._remote[0].cat_file(self._key(name))

    def exists(self, name: str) -> bool:
        """Whether there is an object called `name`."""
        if self.local is not None:
            return (self.local / name).is_file()
        return bool(self._remote[0].isfile(self._key(name)))

    def names(self, folder: str) -> list[str]:
        """Names directly in `folder`, sorted; none where it does not exist. Files being written are left out."""
        if self.local is not None:
            path = self.local / folder
            found = [entry.name for entry in path.iterdir()] if path.is_dir() else []
        else:
            try:
                found = [
                    entry.rstrip("/").rsplit("/", 1)[-1]
                    for entry in self._remote[0].ls(self._key(folder), detail=False)
                ]
            except FileNotFoundError:
                found = []
        return sorted(name for name in found if name and not name.startswith("."))

    def reachable_names(self) -> list[str]:
        """Names directly under the root; ValueError with the cure where an object store cannot be asked."""
        try:
            return self.names("")
        except Exception as error:  # every driver has exceptions of its own for credentials and addresses
            if self.local is not None:
                raise
            raise ValueError(
                f"{self.url} cannot be read ({type(error).__name__}: {error}); check the address and the credentials"
            ) from error

    def delete(self, name: str) -> None:
        """Remove an object or a folder with all in it; nothing happens where there is none."""
        if self.local is not None:
            path = self.local / name
            with contextlib.suppress(FileNotFoundError):  # two workers may clear up after the same part
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            return
        with contextlib.suppress(FileNotFoundError):
            self._remote[0].rm(self._key(name), recursive=True)

    def folder(self, name: str, files: Iterable[str], key: str) -> Path:
        """A local folder with `files` of the folder `name`: itself, or a copy made once per machine.

        `key` is the identity of the content: another key is another copy.
        """
        if self.local is not None:
            return self.local / name
        place = _cache() / hashlib.sha256(key.encode()).hexdigest()[:24]
        if not place.is_dir():
            aside = place.with_name(f"{place.name}.{uuid.uuid4().hex[:8]}")
            for file in files:
                (aside / file).parent.mkdir(parents=True, exist_ok=True)
                self._remote[0].get_file(self._key(f"{name}/{file}" if name else file), str(aside / file))
            try:
                aside.rename(place)
            except OSError:  # another process of this machine was first
                shutil.rmtree(aside)
        return place
