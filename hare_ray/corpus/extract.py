"""Main text out of fetched pages: RECORD in, DOCUMENT and `reason` out. How: `extraction`.

reason         meaning
too_large      payload above `max_payload_bytes`
too_deep       more than `max_depth` elements open at once, which makes the parser slow: see `depth`
bad_encoding   no charset fits
bad_html       the parser refuses the page
empty_text     nothing is left
too_short      fewer than `min_chars` characters are left
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
    max_payload_bytes: int
    max_depth: int
    """Open elements; pages have at most about 60, and browsers stop at 512."""
    max_broken_share: float
    """Of the decoded characters."""
    min_main_chars: int
    min_chars: int

    imports: ClassVar[tuple[str, ...]] = ("numba", "resiliparse")

    writes: ClassVar[pa.Schema] = DOCUMENT

    def prepare(self, files: Files) -> PartFunction:
        """Load the parser and the scan for depth."""
        del files
        from hare_ray.corpus.extraction import extract

        return partial(extract, self)
