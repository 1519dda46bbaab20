"""The files of an index of earlier crawls, and how a run of deduplication reads them.

    settings.json       how signatures were made; texts, keys of bands and ids of every file
    texts-00000.bin     exact (16 bytes), sketch: distinct texts, sorted by hash; their rank is the number of a text
    records-00000.parquet   id and url of the same texts, row for row
    bands-00000.bin     key (8), rank (4): keys of bands, sorted
    ids-00000.bin       id (16), rank (4), sorted by hash

Files are cut by the leading bits of hash or key, so that a reader with any other cut opens those it overlaps, and no
others: one whole folder is never needed on one machine.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hare_ray.dedup.runs import WIDE, Layout, hashed, leading, unpack
from hare_ray.dedup.signature import Signature
from hare_ray.stage import Source, Stage

if TYPE_CHECKING:
    from hare_ray.gather import Desk

SETTINGS = "settings.json"


def signature_settings(signatures: Signature) -> dict[str, Any]:
    """What two signatures must agree in to be compared."""
    names = ("ngram", "unit", "bands", "rows", "seed")
    return {"code": signatures.code, **{name: getattr(signatures, name) for name in names}}


@dataclass(frozen=True)
class IndexFiles:
    """An index as a reader sees it."""

    stage: Stage
    texts: tuple[int, ...]
    """Texts of every file."""
    bands_in: tuple[int, ...]
    """Keys of every file."""
    ids_in: tuple[int, ...]
    """Ids of every file."""
    sketch_bytes: int

    def _read(self, desk: Desk, file: str, layout: Layout, count: int) -> list[NDArray]:
        """The columns of one file, which has `count` records."""
        data = desk.read_file(self.stage, file)
        record_bytes = sum(np.dtype(kind).itemsize * width for kind, width in layout)
        if len(data) != count * record_bytes:
            raise ValueError(
                f"{self.stage!r}: given {file} of {len(data)} bytes, expected {count} records of {record_bytes}; it "
                "was cut short or is of another index: copy the folder again, or make the index anew"
            )
        return unpack(data, layout)

    def text_file(self, desk: Desk, file: int) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
        """Exact hashes and sketches of one file."""
        layout = (WIDE, ("u1", self.sketch_bytes))
        exact, sketch = self._read(desk, name("texts", file), layout, self.texts[file])
        return exact, sketch

    def records(self, desk: Desk, file: int) -> pa.Table:
        """Id and url of the texts of one file."""
        return pq.read_table(io.BytesIO(desk.read_file(self.stage, name("records", file))))

    def exact(self, desk: Desk, partition: int, bits: int) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
        """Exact hashes that begin with the bits of a partition, and the ranks of their texts."""
        found = []
        for file in overlapping(len(self.texts), partition, bits):
            exact, _ = self.text_file(desk, file)
            mine = leading(hashed(exact), bits) == partition
            ranks = np.arange(len(exact), dtype=np.uint32) + np.uint32(sum(self.texts[:file]))
            found.append((exact[mine], ranks[mine]))
        exact, ranks = zip(*found, strict=True)
        return np.concatenate(exact), np.concatenate(ranks)

    def bands(self, desk: Desk, partition: int, bits: int) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
        """Keys that begin with the bits of a partition, and the ranks of their texts."""
        found = []
        for file in overlapping(len(self.bands_in), partition, bits):
            keys, ranks = self._read(desk, name("bands", file), (("u8", 1), ("u4", 1)), self.bands_in[file])
            mine = leading(keys, bits) == partition
            found.append((keys[mine], ranks[mine]))
        keys, ranks = zip(*found, strict=True)
        return np.concatenate(keys), np.concatenate(ranks)

    def ids(self, desk: Desk, partition: int, bits: int) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
        """Ids whose hash begins with the bits of a partition, and the ranks of their texts."""
        found = []
        for file in overlapping(len(self.ids_in), partition, bits):
            ids, ranks = self._read(desk, name("ids", file), (WIDE, ("u4", 1)), self.ids_in[file])
            mine = leading(hashed(ids), bits) == partition
            found.append((ids[mine], ranks[mine]))
        ids, ranks = zip(*found, strict=True)
        return np.concatenate(ids), np.concatenate(ranks)


def name(kind: str, file: int) -> str:
    """Name of a file of an index."""
    return f"{kind}-{file:05d}.{'parquet' if kind == 'records' else 'bin'}"


def overlapping(files: int, partition: int, bits: int) -> range:
    """The files, a power of two by leading bits, that hold keys of a partition of `bits` leading bits."""
    more = files.bit_length() - 1 - bits
    if more >= 0:
        return range(partition << more, (partition + 1) << more)
    return range(partition >> -more, (partition >> -more) + 1)


def _settings(desk: Desk, stage: Stage) -> dict[str, Any]:
    """What an index says of itself."""
    where = f"the folder {stage.location}" if isinstance(stage, Source) else "its files"
    cure = "give the folder of a DuplicateIndex, runs/<crawl>/duplicate_index/<id>, or make the index anew"
    try:
        settings = json.loads(desk.read_file(stage, SETTINGS))
    except FileNotFoundError as error:
        raise ValueError(f"{stage!r}: given {where} without {SETTINGS}, expected an index; {cure}") from error
    except ValueError as error:
        raise ValueError(f"{stage!r}: given {where}, whose {SETTINGS} is no JSON ({error}); {cure}") from error
    missing = {"signature", "texts", "bands", "ids"} - set(settings)
    if missing:
        raise ValueError(f"{stage!r}: given {where}, whose {SETTINGS} lacks {', '.join(sorted(missing))}; {cure}")
    return settings


def opened(desk: Desk, stage: Stage, signatures: Signature) -> IndexFiles:
    """The index that a stage made or a folder holds, if its signatures compare with ours."""
    settings = _settings(desk, stage)
    ours = signature_settings(signatures)
    if settings["signature"] != ours:
        raise ValueError(
            f"{stage!r} was made of signatures with {settings['signature']}, given {signatures!r} with {ours}; sign "
            "these documents with the same settings, or make the index anew from its texts"
        )
    texts, bands, ids = (tuple(settings[kind]) for kind in ("texts", "bands", "ids"))
    return IndexFiles(stage, texts, bands, ids, signatures.sketch_bytes)
