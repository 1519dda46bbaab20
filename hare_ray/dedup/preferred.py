"""What decides which of several copies stays: numeric columns of the documents or of opinions on them."""

from __future__ import annotations

import pyarrow as pa

from hare_ray.stage import Stage, Table


def check_same_documents(stage: Stage, docs: Table, *others: Table) -> None:
    """Refuse tables of other documents."""
    for table in others:
        if table.base is not docs.base:
            raise ValueError(
                f"{stage!r} joins documents on base {docs.base!r} with {table!r} on base {table.base!r}; "
                "make it from these documents"
            )


def preferred(stage: Stage, tables: tuple[Table, ...], name: str) -> tuple[Table, str]:
    """The one of the tables that a preferred column is in, and the column."""
    found = [table for table in tables if name in table.schema().names]
    if len(found) != 1:
        raise ValueError(
            f"{stage!r} prefers {name!r}, a column of {found or 'no table'}; expected one of exactly one of {tables}"
        )
    kind = found[0].schema().field(name).type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise ValueError(f"{stage!r} prefers {name!r} of {found[0]!r}, which is {kind}; expected a numeric column")
    return found[0], name
