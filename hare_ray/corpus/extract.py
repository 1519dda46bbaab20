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

import hashlib
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from hare_ray.schema import DOCUMENT
from hare_ray.stage import Files, Map, PartFunction, Table

MODEL_FILE = Path(__file__).with_name("page_model.npz")
"""Of the engine `model`: `make page-model` writes another one."""


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

    def required_packages(self) -> tuple[str, ...]:
        """Those of every engine, and of the one that is asked for."""
        return (*self.imports, "trafilatura") if self.engine == "trafilatura" else self.imports

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """Own fields, and the digest of the model: another one gives other texts."""
        own = super().recipe
        if self.engine != "model":
            return own
        sha256 = hashlib.sha256(MODEL_FILE.read_bytes()).hexdigest()
        return {**own, "fields": {**own["fields"], MODEL_FILE.name: sha256}}

    def prepare(self, files: Files) -> PartFunction:
        """Load the engine."""
        del files
        from hare_ray.corpus.extraction import Extractor, extract

        return partial(extract, Extractor(self))
