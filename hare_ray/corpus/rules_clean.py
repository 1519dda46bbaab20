"""Documents without the lines that C4 removes (arXiv 1910.10683, section 2.2) and without its citation marks.

A line goes for the first of these reasons; how they are decided: `rules_lines`.

    long_word_lines    a token has more than `max_word_chars` characters
    open_lines         it does not end in . ! ? or a quote, or ends in an ellipsis
    few_word_lines     it has fewer than `min_words_per_line` tokens
    javascript_lines   it names javascript
    policy_lines       it has a phrase of a policy notice

These are columns too, with `citations` ([12], [edit], [citation needed]; gone from the lines that stay), and their sums
stand in the books. Blank lines and white space around lines go uncounted. A document of which nothing is left gets the
reason `no_lines_left`. Whether what is left is enough, `rules` with the same `C4` says of the documents before or
after: an opinion cannot change text, and this changes nothing but text.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hare_ray.corpus.rules_counts import Wanted
from hare_ray.corpus.rules_families import C4
from hare_ray.stage import Files, Map, PartFunction, Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from hare_ray.text.words import Text

NO_LINES_LEFT = "no_lines_left"

REMOVED = ("long_word_lines", "open_lines", "few_word_lines", "javascript_lines", "policy_lines")
CITATIONS = "citations"


class CleanLines(Map):
    """Text of the lines that C4 keeps, and how many went for which reason."""

    docs: Table
    c4: C4

    imports: ClassVar[tuple[str, ...]] = ("numba",)

    def schema(self) -> pa.Schema:
        """The documents' columns, and a count for every kind of thing removed."""
        own = [field for field in self.docs.schema() if field.name not in ("base_row", *REMOVED, CITATIONS)]
        return pa.schema([*own, *(pa.field(name, pa.int32(), nullable=False) for name in (*REMOVED, CITATIONS))])

    def prepare(self, files: Files) -> PartFunction:
        """Load the kernel."""
        del files
        from hare_ray.corpus.rules_clean_kernel import cleaned

        return partial(_clean, self, cleaned)

    def counts(self, rows: pa.Table) -> dict[str, int]:
        """Lines and citations removed from the documents that stay."""
        return {name: pc.sum(rows[name]).as_py() or 0 for name in (*REMOVED, CITATIONS)}


def wanted(c4: C4) -> Wanted:
    """What decides about lines."""
    return Wanted(
        families=C4.family,
        max_word_chars=c4.max_word_chars,
        min_words_per_line=c4.min_words_per_line,
        policy_phrases=c4.policy_phrases,
    )


def _clean(
    stage: CleanLines,
    cleaned: Callable[[Text, Wanted], tuple[pa.Array, dict[str, NDArray[np.int64]]]],
    docs: pa.Table,
) -> pa.Table:
    text, removed = cleaned(docs["text"], wanted(stage.c4))
    gone = pc.fill_null(pc.equal(pc.binary_length(text), 0), False)
    columns = {name: docs[name] for name in stage.schema().names if name in docs.column_names}
    return pa.table(
        {
            **columns,
            "text": text,
            **{name: pa.array(removed[name].astype(np.int32)) for name in (*REMOVED, CITATIONS)},
            "reason": pc.if_else(gone, NO_LINES_LEFT, pa.scalar(None, pa.string())),
        }
    )
