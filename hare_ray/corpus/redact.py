"""Personal information out of texts that stay: every hit of `pii` gives way to a placeholder of its kind.

    in      DOCUMENT with any further columns
    out     the same, the text changed where there was a hit; redacted_KIND int32 for every kind asked for

A text without hits keeps its bytes, and so does one that was redacted before: what is left is looked at again
until nothing is found, because a number can be one only when its neighbour is gone. The counts are columns so
that a document's own can be seen, and the books hold their sums. Whether a document should be dropped for what
it holds is the rules' question; this comes after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.corpus.pii import KINDS
from hare_ray.schema import DOCUMENT, REASON
from hare_ray.stage import Files, Map, PartFunction, Table

if TYPE_CHECKING:
    from hare_ray.corpus.pii_scan import Hits

MAX_ROUNDS = 8
"""Placeholders hold no hit, so a second round finds next to nothing; the bound is for texts made to defeat it."""


@dataclass(frozen=True)
class Placeholder:
    """What stands in the place of every hit of a kind."""

    kind: str
    text: str


class Redact(Map):
    """Texts with placeholders where personal information was."""

    docs: Table
    placeholders: tuple[Placeholder, ...]
    """One per kind that is to be replaced; hits of other kinds stay."""

    imports: ClassVar[tuple[str, ...]] = ("numba",)

    writes: ClassVar[pa.Schema] = DOCUMENT

    def __post_init__(self) -> None:
        """Refuse kinds that do not exist or come twice."""
        super().__post_init__()
        given = [placeholder.kind for placeholder in self.placeholders]
        if not given or len(set(given)) < len(given) or not set(given) <= set(KINDS):
            raise ValueError(f"{self!r} is given placeholders for {given}; expected each at most once of {list(KINDS)}")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the counts."""
        return tuple(f"redacted_{placeholder.kind}" for placeholder in self.placeholders)

    def schema(self) -> pa.Schema:
        """The documents' columns and the counts."""
        own = [field for field in self.docs.schema() if field.name not in self.columns]
        return pa.schema([*own, *(pa.field(name, pa.int32()) for name in self.columns)])

    def counts(self, rows: pa.Table) -> dict[str, int]:
        """Replacements by kind."""
        return {name: pc.sum(rows[name], min_count=0).as_py() for name in self.columns}

    def prepare(self, files: Files) -> PartFunction:
        """Load the scan; refuse placeholders that are hits themselves."""
        del files
        from hare_ray.corpus.pii_scan import find

        hits = find(pa.array([placeholder.text for placeholder in self.placeholders], pa.large_string()))
        if len(hits.kinds):
            wrong = self.placeholders[hits.documents[0]]
            raise ValueError(
                f"the placeholder {wrong.text!r} holds what is taken for a hit of kind {KINDS[hits.kinds[0]]}; "
                f"expected a tag such as <{wrong.kind}>, or an address at example.com"
            )
        return partial(_redact, self, find)


def _redact(stage: Redact, find: Callable[[pa.Array], Hits], docs: pa.Table) -> pa.Table:
    instead: list[bytes | None] = [None] * len(KINDS)
    for placeholder in stage.placeholders:
        instead[KINDS.index(placeholder.kind)] = placeholder.text.encode()
    text = docs["text"].combine_chunks()
    counted = np.zeros((len(docs), len(KINDS)), np.int32)
    rows = np.arange(len(docs))
    looked = text
    for _ in range(MAX_ROUNDS):
        hits = _asked(find(looked), instead)
        changed, first = np.unique(hits.documents, return_index=True)
        if not len(changed):
            break
        np.add.at(counted, (rows[hits.documents], hits.kinds), 1)
        old = looked.take(pa.array(changed)).cast(pa.large_binary()).to_pylist()
        bounds = [*first.tolist(), len(hits.documents)]
        new = [_replaced(old[n], hits, slice(bounds[n], bounds[n + 1]), instead) for n in range(len(old))]
        looked = pa.array(new, pa.large_binary()).cast(pa.large_string())
        rows = rows[changed]
        mask = np.zeros(len(docs), bool)
        mask[rows] = True
        text = pc.replace_with_mask(text, pa.array(mask), looked)
    docs = docs.set_column(docs.schema.get_field_index("text"), "text", text)
    docs = docs.drop_columns([name for name in stage.columns if name in docs.column_names])
    for placeholder, name in zip(stage.placeholders, stage.columns, strict=True):
        docs = docs.append_column(name, pa.array(counted[:, KINDS.index(placeholder.kind)]))
    return docs.append_column(REASON, pa.nulls(len(docs), REASON.type))


def _asked(hits: Hits, instead: list[bytes | None]) -> Hits:
    """The hits of kinds that have a placeholder."""
    wanted: NDArray[np.bool_] = np.array([text is not None for text in instead])[hits.kinds]
    return type(hits)(*(column[wanted] for column in hits))


def _replaced(text: bytes, hits: Hits, own: slice, instead: list[bytes | None]) -> bytes:
    """`text` with the placeholders of its own hits."""
    pieces, at = [], 0
    for start, end, kind in zip(hits.starts[own], hits.ends[own], hits.kinds[own], strict=True):
        pieces += [text[at:start], instead[kind] or b""]
        at = end
    return b"".join([*pieces, text[at:]])
