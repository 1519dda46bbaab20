"""Texts with a label, whoever gave it: files of labels by people, sets of good and poor examples.

    .jsonl, .ndjson (also .gz, .zst)   {"text", "label", optional "scale", "title", "url", "source"} a line
    .yaml, .yml                        texts by kind, `good` and `poor`, as priors/quality_examples.yaml
    -> LABELLED                        DOCUMENT, `label` from 0 (poor) to 1 (good), and `group`

`label` of a line is "good", "poor" or a number from 0 to `scale`: 5 for points as in FineWeb-Edu, 1 for shares. `group`
says where the label or the text is from, the line's `source`, else the name of the file without its endings; of a YAML
file it is that name and the kind, as in "quality_examples/narrative". The committee measures its members on groups that
they have not seen, so sources and kinds that differ are worth telling apart.

    reason   malformed_json   the line is no JSON object
             empty            no text
             unknown_label    neither good nor poor nor a finite number on a finite scale above 0; detail: what it is
             too_large        more bytes than allowed, dropped unread
             damaged_file     the compressed stream ends or breaks here; the lines before it are kept

A broken YAML file ends the run with file, line and cure: people edit it by hand. (`file`, `offset`) lead back to the
line, or to the number of the text in a YAML file. LLM ratings become the same table in `hare_ray.quality.rate`.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, cast

import pyarrow as pa
import xxhash

from hare_ray.priors.quality import Examples
from hare_ray.priors.reading import parse
from hare_ray.schema import DETAIL, DOCUMENT, REASON, SPLIT
from hare_ray.stage import Files, Map, PartFunction, Stage

LABELLED = pa.schema(
    [*DOCUMENT, pa.field("label", pa.float32(), nullable=False), pa.field("group", pa.string(), nullable=False)]
)

MALFORMED_JSON = "malformed_json"
EMPTY = "empty"
UNKNOWN_LABEL = "unknown_label"
TOO_LARGE = "too_large"
DAMAGED_FILE = "damaged_file"

WORDS = {"good": 1.0, "poor": 0.0}
CODECS = {".gz": "gzip", ".zst": "zstd"}
LINES = tuple(kind + packed for kind in (".jsonl", ".ndjson") for packed in ("", *CODECS))
LISTS = (".yaml", ".yml")
SKIP_BYTES = 1 << 20
"""Read at once of a line that is too long."""
SHOWN_CHARS = 60
"""Of a wrong label, in the ledger."""


class Labelled(Map):
    """Files of labels into labelled documents."""

    code: ClassVar[int] = 2
    writes: ClassVar[pa.Schema] = LABELLED

    files: Stage
    """A Source or a Make of JSON lines or YAML."""
    scale: float
    """The best label where it is a number and the line does not say: 5 for points from 0 to 5."""
    max_record_bytes: int
    """Larger lines are dropped unread, so that one line cannot fill the memory."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        super().__post_init__()
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"{self!r}: given scale={self.scale}, expected a positive number such as 5")
        if self.max_record_bytes < 1:
            raise ValueError(f"{self!r}: given max_record_bytes={self.max_record_bytes}, expected at least 1")

    def prepare(self, files: Files) -> PartFunction:
        """The function that reads splits."""
        del files
        return self._read

    def _read(self, splits: pa.Table) -> pa.Table:
        out = [row for split in splits.to_pylist() for row in self._rows(split)]
        return pa.Table.from_pylist(out, pa.schema([*LABELLED, REASON, DETAIL]))

    def _rows(self, split: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The rows of a split; a file that is cut goes by its first stretch, for lines are numbered from there."""
        if split["start"] > 0:
            return
        only = split["row"]
        read = self._listed if split["file"].lower().endswith(LISTS) else self._lines
        for number, row in read(split["file"], split["path"]):
            if only < 0 or number == only:
                yield row
            if 0 <= only <= number:
                return

    def _listed(self, file: str, path: str) -> Iterator[tuple[int, dict[str, Any]]]:
        with contextlib.closing(raw(file, path)) as stream:
            examples = parse(stream.read(), Examples, file)
        for number, (text, label, kind) in enumerate(examples):
            said = {"text": text, "label": label, "source": f"{_stem(file)}/{kind}"}
            yield number, self._row(file, number, text.encode(), said)

    def _lines(self, file: str, path: str) -> Iterator[tuple[int, dict[str, Any]]]:
        with contextlib.closing(opened(file, path)) as stream:
            for number, data in enumerate(iter(partial(_line, stream, self.max_record_bytes), b"")):
                if isinstance(data, tuple):
                    yield number, {**_origin(file, number, b"", {}), "reason": data[0], "detail": data[1]}
                    if data[0] == DAMAGED_FILE:
                        return
                elif data.strip():
                    yield number, self._row(file, number, data, _json(data))

    def _row(self, file: str, number: int, data: bytes, said: Any) -> dict[str, Any]:
        if not isinstance(said, dict):
            shown = {"text": data.decode("utf-8", "replace"), "reason": MALFORMED_JSON}
            return {**_origin(file, number, data, {}), **shown}
        row = _origin(file, number, data, said)
        if not row["text"].strip():
            return {**row, "reason": EMPTY}
        label = label_of(said.get("label"), said.get("scale", self.scale))
        if label is None:
            return {**row, "reason": UNKNOWN_LABEL, "detail": f"{said.get('label')!r}"[:SHOWN_CHARS]}
        return {**row, "label": label}

    def explode(self, rows: pa.Table, files: Files) -> pa.Table:
        """One split per row."""
        del files
        finer = [{**split, "row": found["offset"]} for split in rows.to_pylist() for found in self._rows(split)]
        return pa.Table.from_pylist(finer, schema=SPLIT) if finer else rows


def label_of(given: object, scale: object) -> float | None:
    """0 to 1; None for what is no label."""
    if isinstance(given, str):
        return WORDS.get(given.strip().lower())
    points, best = _number(given), _number(scale)
    if points is None or best is None or best <= 0:
        return None
    share = points / best
    return share if 0 <= share <= 1 else None


def _number(given: object) -> float | None:
    """A finite float; None for what is none, as an integer of 400 digits."""
    if not isinstance(given, (int, float)) or isinstance(given, bool):
        return None
    try:
        number = float(given)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _origin(file: str, number: int, data: bytes, said: dict[str, Any]) -> dict[str, Any]:
    """A row without a label."""
    text, url, title, source = (said.get(name) for name in ("text", "url", "title", "source"))
    where = url if isinstance(url, str) and url else f"{file}#{number}"
    return {
        "id": xxhash.xxh3_128_digest(f"{file}#{number}\0{where}\0".encode("utf-8", "replace") + data),
        "url": _valid(where),
        "file": file,
        "offset": number,
        "title": _valid(title) if isinstance(title, str) else None,
        "text": _valid(text) if isinstance(text, str) else "",
        "label": 0.0,
        "group": _valid(source) if isinstance(source, str) and source else _stem(file),
    }


def _stem(file: str) -> str:
    """The name of a file without its endings."""
    return Path(file).name.split(".")[0]


def _valid(text: str) -> str:
    """JSON may hold halves of surrogate pairs, which UTF-8 has no bytes for."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _json(data: bytes) -> Any:
    """The value; None for what is no JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _line(stream: BinaryIO, max_bytes: int) -> bytes | tuple[str, str]:
    """The next line, a reason and its detail where there is none to read, nothing at the end."""
    try:
        data = stream.readline(max_bytes + 1)
        if len(data) <= max_bytes or data.endswith(b"\n"):
            return data
        while (rest := stream.readline(SKIP_BYTES)) and not rest.endswith(b"\n"):
            pass
    except OSError as failed:
        return DAMAGED_FILE, str(failed)
    return TOO_LARGE, f"over {max_bytes} bytes"


def opened(file: str, path: str) -> BinaryIO:
    """JSON lines, decompressed by the end of the name."""
    if not file.lower().endswith(LINES):
        raise ValueError(
            f"{file} holds no labels that can be read; expected a name that ends in {', '.join((*LINES, *LISTS))}: "
            "convert it, or give the source a glob that leaves it out"
        )
    stream = raw(file, path)
    codec = CODECS.get(Path(file.lower()).suffix)
    return stream if codec is None else io.BufferedReader(cast(Any, pa.CompressedInputStream(stream, codec)))


def raw(file: str, path: str) -> BinaryIO:
    """The stored bytes of a local file or a URL that fsspec knows."""
    try:
        if "://" not in path:
            return Path(path).open("rb")
        import fsspec

        return cast(BinaryIO, cast(Any, fsspec.open(path, "rb", compression=None)).open())
    except FileNotFoundError as missing:
        raise ValueError(
            f"{file} is not at {path}, where its listing had it; put it back, or point the source at where it is now"
        ) from missing
