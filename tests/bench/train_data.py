"""What both sides of the training benchmarks read: articles as pieces of one tokenizer, alone and packed.

pieces.npy, edges.npy    token ids of all pieces, one after the other, and where each begins: for Hugging Face
packed/part-00000.*      the very same pieces in rows of `tokens`, as the Pack stage writes them: for ours
tokenizer/               trained on the same articles
held_out.json            ids of articles that nobody trains on, and their bytes of text
"""

import gzip
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from hare_ray.schema import DOCUMENT
from hare_ray.stage import Source, Table
from hare_ray.tokens.pack import Pack
from hare_ray.tokens.tokenizer import trained

MIN_CHARACTERS = 200
HELD_OUT = 200
"""Articles."""

LEARNED_BYTES = 20 << 20
"""Of text that the tokenizer sees."""


class Docs(Table):
    """Articles."""

    writes = DOCUMENT


@dataclass(frozen=True)
class Size:
    """What is taken of the articles."""

    vocabulary: int
    tokens: int
    """Of a row."""
    text_bytes: int


def articles(folder: Path) -> list[str]:
    """Texts, in the order of the hashes of their addresses."""
    with gzip.open(folder / "text/enwiki_2014_dev.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if len(row["text"] or "") >= MIN_CHARACTERS]
    rows.sort(key=lambda row: xxhash.xxh3_64_intdigest(row["url"].encode()))
    return [row["text"] for row in rows]


def some(texts: list[str], most: int) -> list[str]:
    """The first texts, up to so many bytes."""
    filled = np.cumsum([len(text.encode()) for text in texts])
    return texts[: int(np.searchsorted(filled, most, side="right"))]


def tokenizer_in(folder: Path, texts: list[str], vocabulary: int) -> None:
    """Train one and leave it in `folder`."""
    folder.mkdir(parents=True)
    learned = trained(iter([some(texts, LEARNED_BYTES)]), vocabulary)
    learned.save(str(folder / "tokenizer.json"))


def table(texts: list[str]) -> pa.Table:
    """Documents with an id and a text."""
    ids = [xxhash.xxh3_128_digest(text.encode()) for text in texts]
    return pa.table({"id": pa.array(ids, pa.binary(16)), "text": pa.array(texts, pa.large_string())})


def prepare(data: Path, folder: Path, size: Size) -> None:
    """Leave everything in `folder`."""
    texts = articles(data)
    held, texts = texts[:HELD_OUT], some(texts[HELD_OUT:], size.text_bytes)
    tokenizer_in(folder / "tokenizer", texts, size.vocabulary)
    stage = Pack(
        docs=Docs(), tokenizer=Source(location=str(folder / "tokenizer")), sequence_tokens=size.tokens, token_bytes=2,
        seed=1,
    )  # fmt: skip
    pack = stage.prepare(lambda _: folder / "tokenizer")
    rows = pack(table(texts)).drop_columns(["reason"]).combine_chunks()
    write_packed(stage, rows, folder / "packed")
    lengths, pieces = pieces_of(rows, size.tokens)
    np.save(folder / "pieces.npy", pieces)
    np.save(folder / "edges.npy", np.concatenate([[0], np.cumsum(lengths)]))
    from hare_ray.tokens.pack import Encoder

    encoder = Encoder.of(folder / "tokenizer", np.dtype("<u2"))
    stream, tokens = encoder.encoded(held)
    ids = [each.tolist() for each in np.split(stream, np.cumsum(tokens)[:-1])]
    told = {**asdict(size), "rows": len(rows), "bytes": sum(len(text.encode()) for text in held), "ids": ids}
    (folder / "held_out.json").write_text(json.dumps(told))


def write_packed(stage: Pack, rows: pa.Table, folder: Path) -> None:
    """As the frame stores a part."""
    from hare_ray.storage import encoded

    folder.mkdir(parents=True)
    ending, data = encoded(stage, rows)
    (folder / f"part-00000.{ending}").write_bytes(data)


def pieces_of(rows: pa.Table, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Length of every piece, and their tokens one after the other."""
    lists = rows.column("lengths").combine_chunks()
    lengths = lists.values.to_numpy().astype(np.int64)
    tokens = np.frombuffer(rows.column("tokens").combine_chunks().buffers()[1], "<u2").reshape(len(rows), width)
    filled = pc.list_value_length(lists).to_numpy()
    ends = np.cumsum(lengths)
    stops = np.cumsum(filled)
    used = np.diff(np.concatenate([[0], ends[stops - 1]]))
    return lengths, tokens[np.arange(width) < used[:, None]]
