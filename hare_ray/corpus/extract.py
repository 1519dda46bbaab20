"""Main text out of fetched pages: RECORD in, DOCUMENT, `license`, `robots` and `reason` out. How: `extraction`.

reason            meaning
too_large         payload above `max_payload_bytes`
too_deep          more than `max_depth` elements open at once
too_many_blocks   more than 100,000 pieces of text on a page
bad_encoding      no charset fits
bad_html          the engine refuses the page
empty_text        nothing is left
too_short         fewer than `min_chars` characters are left

`license` and `robots` are what the record, its HTTP header or the page itself states, null where none does: a stage
such as `hare_ray.corpus.rights.Rights` decides what follows from them.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import pyarrow as pa

from hare_ray.schema import DOCUMENT
from hare_ray.stage import Files, Map, PartFunction, Table


class Extract(Map):
    """Main text and title of fetched pages."""

    docs: Table
    engine: str
    """`model`, `resiliparse` or `trafilatura`."""
    max_payload_bytes: int
    max_depth: int
    """Open elements; pages have at most about 60, and browsers stop at 512."""
    max_broken_share: float
    """Of the decoded characters."""
    min_chars: int

    code: ClassVar[int] = 2
    imports: ClassVar[tuple[str, ...]] = ("numba", "resiliparse")

    writes: ClassVar[pa.Schema] = pa.schema(
        [*DOCUMENT, pa.field("license", pa.string()), pa.field("robots", pa.string())]
    )

    def __post_init__(self) -> None:
        """Refuse an engine that is not known."""
        super().__post_init__()
        if self.engine not in ("model", "resiliparse", "trafilatura"):
            raise ValueError(f"given the engine {self.engine!r}, expected model, resiliparse or trafilatura")

    def prepare(self, files: Files) -> PartFunction:
        """Load the engine."""
        del files
        from hare_ray.corpus.extraction import Extractor, extract

        return partial(extract, Extractor(self))
