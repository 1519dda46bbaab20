"""A pipeline is a value: every step is a frozen dataclass, and its fields are its recipe.

Fields that hold stages are its inputs. Building one runs nothing and imports nothing heavy; `hare_ray.engine`
runs them. The kinds, and no others:

    Source     files that exist already          identity: a listing (names, bytes, hashes), never the location
    Map        documents in, documents out       a new base; a row with a `reason` is dropped into the ledger
               or (`derives`) new records            made of documents: sequences, prompts, items
    Annotate   an opinion, row for row           exactly one row per row of its base
    Keep       what all verdicts keep            a new base, order kept, `base_row` points back
    Rebalance  neighbouring small parts joined   a new base, of one table or several, planned from manifests alone
    Gather     sees all parts of its inputs      an opinion on its base
    Make       what is not a table               files: an index, centroids, a classifier

Map, Annotate and Keep are part-wise: `prepare` is called once per worker process and returns a pure function of
one part of each input, in the order of the fields. Everything else is a barrier between passes.

Fingerprint: sha256 over class name, `code` (a number raised by hand when the meaning of the code changes), own
fields, and the fingerprints of the inputs, as canonical JSON that raises on whatever has no stable form.
Labels and resources (`Needs`) are never part of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

import pyarrow as pa

from hare_ray.listing import Entry, digest, resolve
from hare_ray.schema import BASE_ROW

if TYPE_CHECKING:
    from hare_ray.gather import Desk

Files = Callable[["Stage"], Path]
"""Gives the folder, on this machine, with the files of a Source or a Make."""

PARQUET, ARROW = "parquet", "arrow"
"""How a table stores its parts, and what their files end in: compressed, or as they lie in memory."""

PartFunction = Callable[..., pa.Table]
"""A pure function of one part: one table per table-valued field, in field order (a tuple field gives a tuple)."""


@dataclass(frozen=True)
class Needs:
    """Resources of one worker of a stage; they never change a result and are not part of its identity."""

    cpus: float = 1
    gpus: float = 0
    memory_bytes: int | None = None
    actors: int | None = None
    """Number of long-lived workers that keep a model loaded; None: stateless tasks."""


def stable(value: object, where: str) -> Any:
    """The canonical JSON form of a field value; raises TypeError on what has none."""
    if isinstance(value, Stage):
        return {"stage": value.fingerprint}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, (tuple, list)):
        return [stable(item, where) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: stable(value[key], where) for key in sorted(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: stable(getattr(value, f.name), where) for f in dataclasses.fields(value)}
        return {"class": type(value).__name__, **fields}
    raise TypeError(
        f"{where} holds a {type(value).__name__} ({value!r:.60}), which has no stable form to fingerprint; "
        "expected None, bool, int, finite float, str, tuple, dict with str keys, a dataclass of these, or a stage"
    )


@dataclass_transform(frozen_default=True, kw_only_default=True, eq_default=False)
@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Stage:
    """One step of a pipeline. Subclasses become frozen keyword-only dataclasses by being subclasses."""

    label: str = ""
    """Name of the run directory; the class name in snake case where empty. Not part of the identity."""

    code: ClassVar[int] = 1
    needs: ClassVar[Needs] = Needs()
    partwise: ClassVar[bool] = False
    imports: ClassVar[tuple[str, ...]] = ()
    """Packages beyond the base install that it needs; looked for before anything runs."""
    unidentified: ClassVar[frozenset[str]] = frozenset({"label", "may_be_empty"})
    """Names of fields that say where or how, not what: they stay out of the fingerprint."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        dataclass(frozen=True, kw_only=True, eq=False, repr=False)(cls)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"

    @property
    def name(self) -> str:
        """The label, or the class name in snake case."""
        return self.label or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()

    def fields(self) -> Iterator[tuple[str, Any]]:
        """Name and value of every field that bears identity."""
        for field in dataclasses.fields(self):  # pyright: ignore[reportArgumentType]
            if field.name not in self.unidentified:
                yield field.name, getattr(self, field.name)

    def required_packages(self) -> tuple[str, ...]:
        """Packages that it needs: `imports`, unless the fields decide."""
        return self.imports

    @cached_property
    def inputs(self) -> dict[str, tuple[Stage, ...]]:
        """The stages each field holds, in field order."""
        found = {}
        for name, value in self.fields():
            values = value if isinstance(value, tuple) else (value,)
            stages = tuple(item for item in values if isinstance(item, Stage))
            if stages:
                found[name] = stages
        return found

    @property
    def parents(self) -> tuple[Stage, ...]:
        """All input stages, in field order."""
        return tuple(stage for stages in self.inputs.values() for stage in stages)

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """Own fields in stable form; inputs appear as fingerprints."""
        own = {name: stable(value, f"field {name!r} of {self!r}") for name, value in self.fields()}
        return {"class": type(self).__name__, "code": self.code, "fields": own}

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 of the recipe. Memoised per object: graphs are full of diamonds."""
        text = json.dumps(self.recipe, sort_keys=True, ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def base(self) -> Stage:
        """The table of documents whose rows this stage speaks about."""
        return self


class Table(Stage):
    """A stage that yields parts of rows."""

    writes: ClassVar[pa.Schema]

    @property
    def storage(self) -> str:
        """PARQUET; ARROW where single rows are read at random later, as training does."""
        return PARQUET

    def schema(self) -> pa.Schema:
        """Columns of every part: `writes`, unless the fields decide."""
        return self.writes

    def counts(self, rows: pa.Table) -> dict[str, int]:
        """What the books say of rows beside their number; summed over parts."""
        return {}


class PartWise(Table):
    """A stage that is a pure function of one part."""

    partwise: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...] | None] = None
    """Columns of the first table input that are looked at; None: all. Only these leave the disk."""

    def prepare(self, files: Files) -> PartFunction:
        """Load what is needed, once per worker process, and return the function."""
        raise TypeError(f"{self!r} has no prepare")

    @cached_property
    def tables(self) -> tuple[tuple[Stage, ...] | Stage, ...]:
        """Positional arguments of the part function: a stage for a field, a tuple for a tuple field."""
        return tuple(
            stages if isinstance(getattr(self, name), tuple) else stages[0]
            for name, stages in self.inputs.items()
            if isinstance(stages[0], Table)
        )


def _flat(tables: tuple[tuple[Stage, ...] | Stage, ...]) -> list[Stage]:
    return [t for item in tables for t in (item if isinstance(item, tuple) else (item,))]


def _same_base(stage: PartWise) -> Stage:
    found = _flat(stage.tables)
    if not found:
        raise ValueError(f"{stage!r} has no table among its fields; expected documents or an opinion on them")
    for other in found[1:]:
        if other.base is not found[0].base:
            raise ValueError(
                f"{stage!r} joins {found[0]!r} on base {found[0].base!r} with {other!r} on base {other.base!r}; "
                "opinions join by position, so all must speak of one and the same base object"
            )
    return found[0].base


class Map(PartWise):
    """Documents in, documents out: a new base.

    The first stage among the fields is the input: a table, or a Source or Make, whose parts are then splits
    (`hare_ray.schema.SPLIT`). The function may return fewer live rows only by setting `reason`.
    """

    derives: ClassVar[bool] = False
    """Whether rows out are new records made of the rows that came in, any number of them: what leads to none is not
    dropped."""
    may_be_empty: bool = False
    """Whether a run goes on where nothing is left, as with synthetic text that was all refused."""

    def __post_init__(self) -> None:
        """Refuse tables of different bases."""
        if self.tables:
            _same_base(self)

    @property
    def origin(self) -> Stage:
        """The stage whose parts are read."""
        return self.parents[0]

    def explode(self, rows: pa.Table, files: Files) -> pa.Table:
        """Finer input rows than `rows`, to find a record that kills the process; the same table: no finer."""
        return rows


class Annotate(PartWise):
    """An opinion: exactly one row per row of the base, also where it says drop. A verdict is a `reason` column."""

    def __post_init__(self) -> None:
        """Refuse inputs of different bases."""
        _same_base(self)

    @property
    def base(self) -> Stage:
        """The base of the first table among the fields."""
        return _flat(self.tables)[0].base


class Keep(PartWise):
    """A new base: the rows of `docs` that no verdict gives a reason to drop, in order."""

    docs: Table
    verdicts: tuple[Table, ...]
    opinions: tuple[Table, ...] = ()
    """Further tables on the same base, only to carry columns from."""
    carry: tuple[str, ...] = ()
    """Columns of verdicts and opinions to add to the documents."""
    may_be_empty: bool = False
    """Whether a run goes on where nothing is kept."""

    def __post_init__(self) -> None:
        """Refuse inputs of different bases, no verdicts, and verdicts that give no reason."""
        _same_base(self)
        if not self.verdicts:
            raise ValueError(f"{self!r}: given no verdicts, expected at least one; without, it is {self.docs!r} itself")
        for verdict in self.verdicts:
            if "reason" not in verdict.schema().names:
                raise ValueError(
                    f"{verdict!r} has no column `reason`; pass it to {self!r} among `opinions` to carry from it"
                )
        known = {name for table in (*self.verdicts, *self.opinions) for name in table.schema().names}
        if set(self.carry) - known:
            raise ValueError(
                f"{self!r} cannot carry {sorted(set(self.carry) - known)}; its tables have {sorted(known)}"
            )

    @property
    def storage(self) -> str:
        """As the documents are."""
        return self.docs.storage

    def schema(self) -> pa.Schema:
        """The documents' columns, `base_row`, and what is carried."""
        tables = (*self.verdicts, *self.opinions)
        carried = [field for table in tables for field in table.schema() if field.name in self.carry]
        own = [field for field in self.docs.schema() if field.name not in ("base_row", *self.carry)]
        return pa.schema([*own, BASE_ROW, *carried])


class Rebalance(Table):
    """Order-preserving concatenation of neighbouring parts up to `part_bytes`, as they are stored: a new base.

    Several tables follow one another; all need the columns of the first.
    """

    docs: Table | tuple[Table, ...]
    part_bytes: int
    may_be_empty: bool = False
    """Whether a run goes on where nothing came."""

    @property
    def members(self) -> tuple[Table, ...]:
        """The tables to join, in order."""
        return self.docs if isinstance(self.docs, tuple) else (self.docs,)

    @property
    def storage(self) -> str:
        """As the first documents are."""
        return self.members[0].storage

    def schema(self) -> pa.Schema:
        """The first documents' own columns."""
        return self.members[0].schema()


class Barrier(Stage):
    """A stage that needs its inputs whole."""


class Source(Barrier):
    """Files that exist already. Identity is the listing; `location` only says where."""

    location: str
    """A file, a folder or a glob; a local path or a URL."""
    part_bytes: int = 64 << 20
    """Neighbouring files up to this size make one part; a larger file of many records is cut into several."""
    unidentified: ClassVar[frozenset[str]] = frozenset({"label", "location"})

    @cached_property
    def resolved(self) -> tuple[str, tuple[Entry, ...]]:
        """The folder and the listing, read from the location when first asked for."""
        return resolve(self.location)

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """Own fields and the digest of the listing."""
        own = {name: stable(value, f"field {name!r} of {self!r}") for name, value in self.fields()}
        return {
            "class": type(self).__name__,
            "code": self.code,
            "fields": {**own, "listing": digest(self.resolved[1])},
        }


class Gather(Barrier, Table):
    """Sees all parts of its inputs; writes an opinion on the base of its first table input, part by part."""

    def gather(self, desk: Desk) -> dict[str, int] | None:
        """Read through `desk`, write every part with `desk.write`; return what is to be told of the whole, if any."""
        raise TypeError(f"{self!r} has no gather")

    @property
    def base(self) -> Stage:
        """The base of the first table among the inputs."""
        return next(stage for stage in self.parents if isinstance(stage, Table)).base


class Make(Barrier):
    """Makes files: a tokenizer, centroids, an index, a checkpoint."""

    apart: ClassVar[tuple[str, ...]] = ()
    """How names of files begin that stay on an object store when readers fetch the folder; some want them by name."""

    def make(self, desk: Desk) -> dict[str, int]:
        """Write files into `desk.folder`; return what was consumed, for the books."""
        raise TypeError(f"{self!r} has no make")


def upstream(*targets: Stage) -> list[Stage]:
    """The targets and everything they need, inputs before users, each object once.

    Raises ValueError where two different stages share a name.
    """
    order: list[Stage] = []
    seen: set[int] = set()
    stack = [(target, False) for target in reversed(targets)]
    while stack:
        stage, expanded = stack.pop()
        if expanded:
            order.append(stage)
        elif id(stage) not in seen:
            seen.add(id(stage))
            stack.append((stage, True))
            stack.extend((parent, False) for parent in reversed(stage.parents))
    names: dict[str, Stage] = {}
    for stage in order:
        if names.setdefault(stage.name, stage) is not stage:
            raise ValueError(
                f"two stages are called {stage.name!r} ({names[stage.name]!r} and {stage!r}); "
                "give one of them another label, or build it once and pass the same object"
            )
    return order
