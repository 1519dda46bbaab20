"""D3 from open instruction data, lightly reformatted (paper, section 2 and A.3: OpenHermes, Auto-CoT, Dolly, ...).

    JSON lines (.jsonl, .ndjson, also .gz and .zst) -> WRITTEN, one row per line that is not blank

Every line becomes text by one of several forms, like the items of tasks; a question is written as one, an input
stands apart from the request, turns of a conversation follow each other in one and the same form. Nothing is
reworded. Shapes: `hare_ray.synth.instruction_rows`.

    reason          malformed_json   the line is no JSON
                    unknown_shape    no shape that is known; detail: its keys or turns
                    empty            no request or no response
                    too_large        more bytes than allowed, dropped unread
                    damaged_file     the compressed stream ends or breaks here; the lines before it are kept

(`file`, `offset`) lead back to the line. The id is the xxh3-128 of both and the line: equal rows of two data sets stay
two records, and finding them is what deduplication is for.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple, cast

import pyarrow as pa
import xxhash

from hare_ray.priors.tasks import Form
from hare_ray.schema import DETAIL, REASON, SPLIT
from hare_ray.stage import Files, Map, PartFunction, Stage
from hare_ray.synth.instruction_rows import Instruction, UnusableError, instruction_of
from hare_ray.synth.prompt import STOP, WRITTEN
from hare_ray.synth.task_forms import (
    DIALOGUE,
    INSTRUCTION,
    INSTRUCTION_INPUT,
    QUESTION,
    by_task,
    check_forms,
    draw,
    filled,
)

TOO_LARGE = "too_large"
DAMAGED_FILE = "damaged_file"

TASKS = (INSTRUCTION, QUESTION, INSTRUCTION_INPUT, DIALOGUE)
CODECS = {".gz": "gzip", ".zst": "zstd"}
ENDINGS = tuple(kind + packed for kind in (".jsonl", ".ndjson") for packed in ("", *CODECS))
SKIP_BYTES = 1 << 20
"""Read at once of a line that is too long."""


class Line(NamedTuple):
    """A line that is not blank, or the reason why there is none."""

    number: int
    data: bytes
    reason: str | None = None
    detail: str | None = None


class Instructions(Map):
    """Instruction rows into documents."""

    code: ClassVar[int] = 2
    writes: ClassVar[pa.Schema] = WRITTEN

    files: Stage
    """A Source or a Make of JSON lines."""
    max_record_bytes: int
    """Larger lines are dropped unread, so that one line cannot fill the memory."""
    forms: tuple[Form, ...]
    seed: int

    def __post_init__(self) -> None:
        """Refuse tasks without a form."""
        check_forms(self.forms, TASKS, repr(self))
        if self.max_record_bytes < 1:
            raise ValueError(f"{self!r}: given max_record_bytes={self.max_record_bytes}; expected at least 1")

    def prepare(self, files: Files) -> PartFunction:
        """The function that reads splits."""
        del files
        return partial(self._read, by_task(self.forms))

    def _read(self, forms: dict[str, list[str]], splits: pa.Table) -> pa.Table:
        out = [
            self._row(split["file"], line, forms)
            for split in splits.to_pylist()
            for line in lines(split, self.max_record_bytes)
        ]
        return pa.Table.from_pylist(out, pa.schema([*WRITTEN, REASON, DETAIL]))

    def _row(self, file: str, line: Line, forms: dict[str, list[str]]) -> dict[str, Any]:
        url = f"{file}#{line.number}"
        key = xxhash.xxh3_128_digest(url.encode() + b"\0" + line.data)
        row = {"id": key, "url": url, "file": file, "offset": line.number, "template": "", "seed": "", "finish": STOP}
        if line.reason is not None:
            return {**row, "reason": line.reason, "detail": line.detail}
        try:
            found = instruction_of(line.data)
        except UnusableError as unusable:  # the ledger shows the line
            text = line.data.decode("utf-8", "replace")
            return {**row, "text": text, "reason": unusable.reason, "detail": unusable.detail}
        return {**row, "template": found.task, "text": self._written(found, forms[found.task], key)}

    def _written(self, found: Instruction, texts: list[str], key: bytes) -> str:
        form = texts[draw(self.seed, key, "form") % len(texts)]
        said = [filled(form, exchange) for exchange in found.exchanges]
        return "\n\n".join([found.system, *said] if found.system else said)

    def explode(self, rows: pa.Table, files: Files) -> pa.Table:
        """One split per line."""
        del files
        finer = [
            {**split, "row": line.number} for split in rows.to_pylist() for line in lines(split, self.max_record_bytes)
        ]
        return pa.Table.from_pylist(finer, schema=SPLIT) if finer else rows


def lines(split: dict[str, Any], max_bytes: int) -> Iterator[Line]:
    """The lines of a split; damage ends the file, and is the last.

    A file that is cut goes by its first stretch alone: line numbers are known from the beginning of the file only, and
    instruction data are small. `row` is the number of the one line that is asked for, -1 for all.
    """
    if split["start"] > 0:
        return
    number, only = 0, split["row"]
    with contextlib.closing(opened(split["file"], split["path"])) as stream:
        while only < 0 or number <= only:
            try:
                line = _line(stream, number, max_bytes)
            except OSError as failed:
                yield Line(number, b"", DAMAGED_FILE, str(failed))
                return
            if line is None:
                return
            if number >= only and (line.reason or line.data.strip()):
                yield line
            number += 1


def _line(stream: BinaryIO, number: int, max_bytes: int) -> Line | None:
    """The next line; None at the end."""
    data = stream.readline(max_bytes + 1)
    if len(data) > max_bytes and not data.endswith(b"\n"):
        while (rest := stream.readline(SKIP_BYTES)) and not rest.endswith(b"\n"):
            pass
        return Line(number, b"", TOO_LARGE, f"over {max_bytes} bytes")
    return Line(number, data) if data else None


def opened(file: str, path: str) -> BinaryIO:
    """A local file or a URL that fsspec knows, decompressed by the end of its name."""
    if not file.lower().endswith(ENDINGS):
        raise ValueError(
            f"{file} is not instruction data that can be read; expected JSON lines with a name that ends in "
            f"{', '.join(ENDINGS)}: convert it, or give the source a glob that leaves it out"
        )
    codec = CODECS.get(Path(file.lower()).suffix)
    try:
        raw = _raw(path)
    except FileNotFoundError as missing:
        raise ValueError(
            f"{file} is not at {path}, where its listing had it; put it back, or point the source at where it is now"
        ) from missing
    return raw if codec is None else io.BufferedReader(cast(Any, pa.CompressedInputStream(raw, codec)))


def _raw(path: str) -> BinaryIO:
    if "://" not in path:
        return Path(path).open("rb")
    import fsspec

    return cast(BinaryIO, cast(Any, fsspec.open(path, "rb", compression=None)).open())
