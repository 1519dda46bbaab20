"""Files of tensors, written and read one tensor at a time.

    8 bytes: length of the header; header: JSON, name -> dtype, shape, data_offsets; the data, one after the other

That is the format of safetensors, which reads what is written here. Its own writer makes a second copy of all tensors
before the first byte is out, and its reader wants the whole file on this machine: with states of three float32 values
a weight the one doubles the memory of a checkpoint, the other its way over the network. Here the hash is taken while
writing, and a reader fetches the bytes of the tensor that it wants, from a path or a URL. Little-endian machines only.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hare_ray.store import filesystem
from hare_ray.train.settings import local

if TYPE_CHECKING:
    from torch import Tensor

WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}
"""Bytes of a number, by its type's name in a header."""

TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "U8": "uint8",
    "BOOL": "bool",
}
"""The same, as torch calls them."""

ALIGNMENT = 8

HEADER_BYTES = 100 << 20
"""The most that safetensors takes for a header; anything longer is no such file."""


class Spec(NamedTuple):
    """What a header says of a tensor."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its data."""
        return math.prod(self.shape) * WIDTHS[self.dtype]


Content = Callable[[], Any]
"""Gives the bytes of a tensor, when it is its turn."""


def write(path: Path, tensors: Iterable[tuple[str, Spec, Content]]) -> str:
    """Write a file, and see that it is on the disk; its hex sha256."""
    named = list(tensors)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        head = _header((name, spec) for name, spec, _ in named)
        digest.update(head)
        file.write(head)
        for name, spec, content in named:
            data = memoryview(content())
            if data.nbytes != spec.nbytes:
                raise ValueError(f"{path}: given {data.nbytes} bytes of {name}, expected {spec}")
            digest.update(data)
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _header(specs: Iterable[tuple[str, Spec]]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, spec in specs:
        entries[name] = {
            "dtype": spec.dtype,
            "shape": list(spec.shape),
            "data_offsets": [at, at + spec.nbytes],
        }
        at += spec.nbytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def of_torch(tensors: dict[str, Tensor]) -> list[tuple[str, Spec, Content]]:
    """Tensors of the CPU as `write` takes them, by name."""
    import torch

    names = {getattr(torch, known): code for code, known in TYPES.items()}

    def content(tensor: Tensor) -> Content:
        return lambda: tensor.contiguous().reshape(-1).view(torch.uint8).numpy()

    return [
        (name, Spec(names[tensor.dtype], tuple(tensor.shape)), content(tensor))
        for name, tensor in sorted(tensors.items())
    ]


@dataclass(frozen=True)
class TensorFile:
    """A file to read from."""

    url: str
    """A path or URL."""
    specs: dict[str, Spec]
    offsets: dict[str, int]
    """Where the data of each tensor begins."""

    @classmethod
    def opened(cls, url: str) -> TensorFile:
        """Read the header."""
        size = int.from_bytes(_bytes(url, 0, 8), "little")
        if size > HEADER_BYTES:
            raise ValueError(f"{url}: given a header of {size} bytes, expected a file of safetensors")
        entries = json.loads(_bytes(url, 8, 8 + size))
        entries.pop("__metadata__", None)
        return cls(
            url,
            {name: Spec(entry["dtype"], tuple(entry["shape"])) for name, entry in entries.items()},
            {name: 8 + size + entry["data_offsets"][0] for name, entry in entries.items()},
        )

    def raw(self, name: str) -> bytearray:
        """The bytes of a tensor."""
        start, size = self.offsets[name], self.specs[name].nbytes
        data = _bytes(self.url, start, start + size)
        if len(data) != size:
            raise EOFError(f"{self.url}: given {len(data)} bytes of {name}, expected {size}; the file is cut off")
        return data

    def read(self, name: str) -> Tensor:
        """A tensor on the CPU, the caller's own."""
        import torch

        spec = self.specs[name]
        dtype = getattr(torch, TYPES[spec.dtype])
        return (
            torch.frombuffer(self.raw(name), dtype=dtype).reshape(spec.shape)
            if spec.nbytes
            else torch.empty(spec.shape, dtype=dtype)
        )


def _bytes(url: str, start: int, end: int) -> bytearray:
    """Bytes [start, end) of a file, fewer where it ends."""
    here = local(url)
    if here is None:
        system, path = filesystem(url)
        return bytearray(system.cat_file(path, start=start, end=end))
    data = bytearray(end - start)
    with here.open("rb") as file:
        file.seek(start)
        return data[: file.readinto(data)]
