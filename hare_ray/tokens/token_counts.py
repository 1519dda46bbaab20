"""How often each entry of a tokenizer occurs in the corpus: what a compact tokenizer is chosen by.

    docs, tokenizer -> counts.npy    int64 [N]: occurrences of each id
                       summary.json  documents, text bytes, tokens, entries

Counting encodes as packing does: nothing is added, and specials that a text spells out are the text they are. Parts
are counted on the workers, each by itself, and what is counted outlives a killed run.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.stage import Make, Stage, Table
from hare_ray.tokens.tokenizer import batches, loaded

if TYPE_CHECKING:
    from hare_ray.gather import Desk

COUNTS, SUMMARY = "counts.npy", "summary.json"


class TokenCounts(Make):
    """How often every entry of a tokenizer occurs in the corpus."""

    docs: Table
    tokenizer: Stage
    """A stage or a Source folder with a tokenizer.json, or with a SentencePiece .model alone."""

    imports: ClassVar[tuple[str, ...]] = ("tokenizers",)
    code: ClassVar[int] = 2

    def make(self, desk: Desk) -> dict[str, int]:
        """Count part by part, add up; returns documents, bytes and tokens."""
        counting = _Counting(desk, self.docs, self.tokenizer)
        kept = set(desk.kept())
        desk.map(counting, [part for part in range(desk.parts(self.docs)) if counting.name(part) not in kept])
        total = sum((counting.counted(part) for part in range(desk.parts(self.docs))), np.zeros(1, np.int64))
        if not total[2:].any():
            raise ValueError(f"{self!r}: given no text in {self.docs!r}, expected some to count")
        books = {"documents": int(total[0]), "text_bytes": int(total[1]), "tokens": int(total[2:].sum())}
        np.save(desk.folder / COUNTS, total[2:])
        (desk.folder / SUMMARY).write_text(json.dumps({**books, "entries": len(total) - 2}, indent=1) + "\n")
        return books


@dataclass(frozen=True)
class _Counting:
    """Counts a part, on a worker."""

    desk: Desk
    docs: Table
    tokenizer: Stage

    def name(self, part: int) -> str:
        return f"part-{part:05d}"

    def __call__(self, part: int) -> None:
        tokenizer = loaded(self.desk.files(self.tokenizer))
        text = self.desk.read(self.docs, part, ("text",)).column("text")
        counted = np.concatenate(
            [[len(text) - text.null_count, pc.sum(pc.binary_length(text)).as_py() or 0], occurrences(tokenizer, text)]
        )
        self.desk.put(self.name(part), zlib.compress(counted.astype("<i8").tobytes(), 1))

    def counted(self, part: int) -> NDArray[np.int64]:
        """Documents, bytes of text, and how often each id occurs."""
        return np.frombuffer(zlib.decompress(self.desk.get(self.name(part))), "<i8")


def occurrences(tokenizer: Any, text: pa.ChunkedArray) -> NDArray[np.int64]:
    """[N] how often each id of a `tokenizers.Tokenizer` occurs in a column."""
    found = np.zeros(1 + max(tokenizer.get_vocab().values()), np.int64)
    for texts in batches(text):
        ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        found += np.bincount(np.concatenate([np.array(some, np.int64) for some in ids]), minlength=len(found))
    return found
