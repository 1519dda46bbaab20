"""What a page says of its own use: a verdict by its directives to crawlers and its licence.

    reason                meaning                                                            detail
    robots_DIRECTIVE      that one of `refuse_robots` is among its directives                what it says
    license_unknown       no licence is stated, and one is required                          -
    license_not_allowed   a licence is stated, and none of `allow_licenses` matches it       the licence

Directives are compared as whole words without case (noai is not noimageai), whichever crawler they name: who asks
one of them to stay away rarely means to invite the rest. A licence must match an expression as a whole, so that
"CC BY" does not let "CC BY-NC" in. Most pages state none.
"""

from __future__ import annotations

import re
from functools import partial
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from hare_ray.schema import DETAIL, REASON
from hare_ray.stage import Annotate, Files, PartFunction, Table

ROBOTS = "robots_"
UNKNOWN = "license_unknown"
NOT_ALLOWED = "license_not_allowed"

NOTHING = r"[^\s\S]"
"""An expression that no text matches, for a recipe that allows no licence."""


class Rights(Annotate):
    """A verdict by the columns `robots` and `license`."""

    docs: Table
    refuse_robots: tuple[str, ...]
    """Such as noai, noindex."""
    allow_licenses: tuple[str, ...] | None
    """RE2 expressions, without case; None: any licence."""
    require_license: bool

    writes: ClassVar[pa.Schema] = pa.schema([REASON, DETAIL])
    reads: ClassVar[tuple[str, ...] | None] = ("robots", "license")

    def __post_init__(self) -> None:
        """Refuse documents without the columns, and directives that are no words."""
        super().__post_init__()
        missing = {"robots", "license"} - set(self.docs.schema().names)
        if missing:
            raise ValueError(
                f"{self!r} reads {self.docs!r}, which has no {sorted(missing)}; give it documents with them"
            )
        wrong = [word for word in self.refuse_robots if not re.fullmatch("[a-z-]+", word)]
        if wrong:
            raise ValueError(f"{self!r} is to refuse {wrong}; expected directives in lower case, such as noai")

    def prepare(self, files: Files) -> PartFunction:
        """The function that judges."""
        del files
        return partial(_judge, self)


def _judge(stage: Rights, docs: pa.Table) -> pa.Table:
    robots, licence = (docs[name].combine_chunks().cast(pa.string()) for name in ("robots", "license"))
    nothing = pa.nulls(len(docs), pa.string())
    reason, detail = nothing, nothing
    for directive in stage.refuse_robots:
        found = pc.match_substring_regex(robots, rf"(?i)(?:^|[^a-z-]){directive}(?:[^a-z-]|$)")
        fresh = pc.and_(pc.fill_null(found, False), pc.is_null(reason))
        reason = pc.if_else(fresh, f"{ROBOTS}{directive}", reason)
        detail = pc.if_else(fresh, robots, detail)
    if stage.require_license:
        reason = pc.if_else(pc.and_(pc.is_null(reason), pc.is_null(licence)), UNKNOWN, reason)
    if stage.allow_licenses is not None:
        expression = "|".join(stage.allow_licenses) or NOTHING
        allowed = pc.match_substring_regex(licence, rf"(?i)^\s*(?:{expression})\s*$")
        wrong = pc.and_(pc.invert(pc.fill_null(allowed, True)), pc.is_null(reason))
        reason = pc.if_else(wrong, NOT_ALLOWED, reason)
        detail = pc.if_else(wrong, licence, detail)
    return pa.table({"reason": reason, "detail": detail}, schema=stage.writes)
