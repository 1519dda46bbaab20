"""Documents of files that hold tokens, by stretches of stored bytes: each document once, whatever the cuts.

    .bin .npy .ds      little-endian ids one after the other, each document closed by an end token (nanoGPT, Dolma,
                       datatrove). Where the file opens as numpy's do, its head says the type; else the stage
    .bin beside .idx   Megatron's: the index says the type and where documents begin; no end token is looked for
    .parquet .arrow    one document per row, in a column `input_ids` or `tokens` of lists of integers

A document lies where its first token is stored; in files of rows, where its row group or record batch begins. `first`
is the number in the file of its first token, of Megatron's too; in files of rows, of its row.

Nothing here is refused quietly: a damaged file, an id outside the vocabulary or a missing end token is a ValueError.
Tokens that read as the wrong width or the wrong vocabulary look like any others, and would cost a training run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.stretch import DAMAGE, ArrowRows, ParquetRows, words_of

FLAT = (".bin", ".npy", ".ds")
ROWS = {".parquet": ParquetRows, ".arrow": ArrowRows}
BESIDE = (".idx", ".ds.index", ".ds.metadata", ".csv.gz", "state.json", "dataset_info.json")
"""Ends of the names of what tools write beside token files."""
COLUMNS = ("input_ids", "tokens")
NUMPY = b"\x93NUMPY"
MEGATRON = b"MMIDIDX\x00\x00"
MEGATRON_TYPES = {1: "<u1", 2: "<i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
TAIL_TOKENS = 1 << 18
"""Read at a time behind a stretch, to the end of its last document."""
MOST_DOCUMENT_TOKENS = 1 << 28
"""A document without an end this far was written with another end token."""


@dataclass(frozen=True)
class Meaning:
    """What flat files do not say of themselves."""

    token_bytes: int
    end_token: int
    vocabulary: int


class Documents(NamedTuple):
    """Documents one after the other."""

    first: NDArray[np.int64]
    lengths: NDArray[np.int64]
    stream: NDArray[Any]


class Split(NamedTuple):
    """A stretch of an open file; `beside`: the bytes of the .idx beside it."""

    file: BinaryIO
    name: str
    start: int
    end: int
    beside: bytes | None = None


def is_beside(name: str) -> bool:
    """Whether a file holds no tokens of its own."""
    return name.lower().endswith(BESIDE)


def documents(split: Split, meaning: Meaning) -> Iterator[Documents]:
    """The documents that begin in the stretch."""
    ending = next((ending for ending in (*FLAT, *ROWS) if split.name.lower().endswith(ending)), None)
    if ending is None:
        raise ValueError(
            f"given {split.name}, expected files of tokens: {' '.join((*FLAT, *ROWS))}; give the source a glob that "
            "leaves other files out, or read text with Read and Pack"
        )
    if ending in ROWS:
        found = _of_rows(split, ROWS[ending])
    elif split.beside is not None:
        found = _of_megatron(split, split.beside)
    else:
        found = _of_flat(split, meaning)
    for part in found:
        _check(part, split.name, meaning)
        yield part


def _check(part: Documents, name: str, meaning: Meaning) -> None:
    if not len(part.stream):
        return
    low, high = int(part.stream.min()), int(part.stream.max())
    if low < 0 or high >= meaning.vocabulary:
        wrong = low if low < 0 else high
        at = int(np.flatnonzero(part.stream == wrong)[0])
        document = int(np.searchsorted(np.cumsum(part.lengths), at, side="right"))
        raise ValueError(
            f"given {name} with token {wrong} in the document at {part.first[document]}, expected ids of a vocabulary "
            f"of {meaning.vocabulary}; check the tokenizer it was written with, and the bytes of a token"
        )


def _of_flat(split: Split, meaning: Meaning) -> Iterator[Documents]:
    tokens = _Tokens.of(split, meaning)
    begin, stop = tokens.number(split.start), tokens.number(split.end)
    if begin >= stop:
        return
    before = min(begin, 1)  # The token before tells whether a document begins with the first.
    held = tokens.read(begin - before, stop)
    if before:
        closed = np.flatnonzero(held[:-1] == meaning.end_token)
        if not len(closed):
            return
        skipped = int(closed[0]) + 1
        held, begin = held[skipped:], begin - before + skipped
    held = np.concatenate([held, *_tail(tokens, held, stop, split.name, meaning.end_token)])
    stops = np.flatnonzero(held == meaning.end_token) + 1
    if not len(stops) or stops[-1] < len(held):
        stops = np.append(stops, len(held))
    lengths = np.diff(stops, prepend=0).astype(np.int64)
    yield Documents(begin + stops - lengths, lengths, held)


def _tail(tokens: _Tokens, held: NDArray[Any], at: int, name: str, end_token: int) -> Iterator[NDArray[Any]]:
    """What follows a stretch, to the end of the document that `held` leaves open."""
    last = held
    far = at + MOST_DOCUMENT_TOKENS
    while last[-1] != end_token and at < tokens.total:
        if at >= far:
            raise ValueError(
                f"given {name} with {MOST_DOCUMENT_TOKENS} tokens and no end token {end_token} among them, expected "
                "one behind each document; check end_token, and the bytes of a token"
            )
        last = tokens.read(at, min(at + TAIL_TOKENS, tokens.total))
        found = np.flatnonzero(last == end_token)
        last = last[: found[0] + 1] if len(found) else last
        at += len(last)
        yield last


class _Tokens(NamedTuple):
    """The tokens of a flat file."""

    file: BinaryIO
    dtype: np.dtype[Any]
    offset: int
    """Byte of the first."""
    total: int

    @classmethod
    def of(cls, split: Split, meaning: Meaning) -> _Tokens:
        file, offset, dtype = split.file, 0, np.dtype(f"<u{meaning.token_bytes}")
        size = file.seek(0, 2)
        file.seek(0)
        if file.read(len(NUMPY)) == NUMPY:
            file.seek(0)
            try:
                version = np.lib.format.read_magic(file)
                head = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = head(file)
            except ValueError as failed:
                raise ValueError(f"given {split.name}, which opens as numpy's files do: {failed}") from failed
            if len(shape) != 1 or dtype.kind not in "iu":
                raise ValueError(f"given {split.name} of {dtype} in shape {shape}, expected integers in one dimension")
            offset = file.tell()
        if (size - offset) % dtype.itemsize:
            raise ValueError(
                f"given {split.name} of {size} bytes, expected tokens of {dtype.itemsize}; it is cut, or they are of "
                "another width"
            )
        return cls(file, dtype, offset, (size - offset) // dtype.itemsize)

    def number(self, position: int) -> int:
        """Number of the first token stored at or behind a position; -1: behind the last."""
        if position < 0:
            return self.total
        return min(max(-(-(position - self.offset) // self.dtype.itemsize), 0), self.total)

    def read(self, begin: int, stop: int) -> NDArray[Any]:
        """Tokens [begin, stop)."""
        return _read(self.file, self.dtype, self.offset + begin * self.dtype.itemsize, stop - begin)


def _read(file: BinaryIO, dtype: np.dtype[Any], position: int, count: int) -> NDArray[Any]:
    file.seek(position)
    return np.frombuffer(file.read(count * dtype.itemsize), dtype, count)


def _of_megatron(split: Split, index: bytes) -> Iterator[Documents]:
    dtype, sizes, edges = _megatron(index, split.name)
    ends = np.concatenate([[0], np.cumsum(sizes)])  # In tokens: sequences lie one after the other.
    starts = ends[edges]
    if split.file.seek(0, 2) != ends[-1] * dtype.itemsize:
        raise ValueError(f"given {split.name} of another size than its .idx tells; write the two again, together")
    lengths = np.diff(starts)
    positions = starts[:-1] * dtype.itemsize
    mine = np.flatnonzero((lengths > 0) & (positions >= split.start) & ((split.end < 0) | (positions < split.end)))
    if len(mine):
        first, lengths = starts[mine], lengths[mine]
        yield Documents(first, lengths, _read(split.file, dtype, int(positions[mine[0]]), int(lengths.sum())))


def _megatron(index: bytes, name: str) -> tuple[np.dtype[Any], NDArray[np.int64], NDArray[np.int64]]:
    """Type of a token, tokens of each sequence, and the sequence that each document begins with, and the last's end."""
    head = len(MEGATRON) + 8 + 1 + 8 + 8
    if not index.startswith(MEGATRON) or len(index) < head or index[len(MEGATRON) + 8] not in MEGATRON_TYPES:
        raise ValueError(f"given {name} beside an .idx that is not Megatron's; take the .idx out of the folder")
    dtype = np.dtype(MEGATRON_TYPES[index[len(MEGATRON) + 8]])
    sequences, listed = (int(n) for n in np.frombuffer(index, "<u8", 2, len(MEGATRON) + 9))
    if len(index) != head + 12 * sequences + 8 * listed:
        raise ValueError(f"given {name} beside an .idx that is cut; write the two again, together")
    sizes = np.frombuffer(index, "<i4", sequences, head).astype(np.int64)
    places = np.frombuffer(index, "<i8", sequences, head + 4 * sequences)
    edges = np.frombuffer(index, "<i8", listed, head + 12 * sequences)
    whole = listed and edges[0] == 0 and edges[-1] == sequences and (np.diff(edges) >= 0).all()
    if not whole or (sizes < 0).any() or (places != (np.cumsum(sizes) - sizes) * dtype.itemsize).any():
        raise ValueError(f"given {name} whose .idx does not tell of all of it in order; write the two again, together")
    return dtype, sizes, edges


def _of_rows(split: Split, kind: type[ParquetRows] | type[ArrowRows]) -> Iterator[Documents]:
    try:
        opened = kind(split.file)
        column = _column(opened.schema)
    except DAMAGE as failed:
        raise ValueError(f"given {split.name}, which cannot be read: {words_of(failed)}") from failed
    for batch in opened.batches(split.start, split.end, [column]):
        if batch.rows is None:
            raise ValueError(
                f"given {split.name}, which is damaged at row {batch.row}: {batch.error}; bring it back, or leave it "
                "out of the source"
            )
        lists = batch.rows.column(column)
        lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
        tokens = pc.list_flatten(lists)
        if tokens.null_count:
            raise ValueError(f"given {split.name} with nulls among the {column} of rows from {batch.row} on")
        filled = np.flatnonzero(lengths)
        yield Documents(batch.row + filled, lengths[filled], tokens.to_numpy(zero_copy_only=False))


def _column(schema: pa.Schema) -> str:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    for column in COLUMNS:
        index = schema.get_field_index(column)
        kind = schema.field(index).type if index >= 0 else pa.null()
        if any(test(kind) for test in lists) and pa.types.is_integer(kind.value_type):
            return column
    raise ValueError(
        f"its columns are {', '.join(f'{field.name} ({field.type})' for field in schema)}; expected "
        f"{' or '.join(COLUMNS)} with lists of integers"
    )
