"""Stages of one pass over the same documents read them once; a Gather tells of the whole; single files of a Make."""

from typing import ClassVar

import pyarrow as pa

from hare_ray.catalog import Catalog, place
from hare_ray.engine import run
from hare_ray.gather import Desk
from hare_ray.schema import REASON
from hare_ray.stage import Annotate, Files, Gather, Make, PartFunction, Rebalance, Source, Table
from hare_ray.store import Root
from tests.frame.stages import Count, Lines


class Saw(Annotate):
    """Says which object and columns it was given."""

    docs: Table
    reads: ClassVar[tuple[str, ...] | None] = ("text",)
    writes: ClassVar[pa.Schema] = pa.schema([("given", pa.int64()), ("columns", pa.string())])

    def prepare(self, files: Files) -> PartFunction:
        def saw(docs: pa.Table) -> pa.Table:
            told = [id(docs)] * len(docs), [" ".join(sorted(docs.column_names))] * len(docs)
            return pa.table([pa.array(told[0], pa.int64()), pa.array(told[1], pa.string())], schema=self.writes)

        return saw


class SawUrl(Saw):
    """Looks at another column."""

    reads: ClassVar[tuple[str, ...] | None] = ("url",)


class SawAll(Saw):
    """Looks at everything."""

    reads: ClassVar[tuple[str, ...] | None] = None


class Told(Gather):
    """Says of the whole how many rows there are, and what is in a file."""

    docs: Table
    count: Make
    writes: ClassVar[pa.Schema] = pa.schema([REASON])

    def gather(self, desk: Desk) -> dict[str, int]:
        for part, rows in enumerate(desk.rows(self.docs)):
            desk.write(part, pa.table({"reason": pa.nulls(rows, pa.string())}))
        return {"all_rows": sum(desk.rows(self.docs)), "bytes": len(desk.read_file(self.count, "count.json"))}


def documents(tmp_path):
    folder = tmp_path / "crawl"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.txt").write_text("one\ntwo\nthree\n")
    return Rebalance(docs=Lines(files=Source(location=str(folder), part_bytes=1)), part_bytes=1)


def rows_of(root, *stages):
    manifests = run(*stages, root=root)
    catalog = Catalog()
    for stage in stages:
        catalog.places[stage.fingerprint] = place(Root(root), manifests[stage.name])
    return [catalog.read(stage, 0).to_pylist()[0] for stage in stages]


def test_stages_of_a_pass_share_one_table_with_the_columns_of_all(tmp_path):
    docs = documents(tmp_path)
    one, two, three = rows_of(str(tmp_path / "run"), Saw(docs=docs), Saw(label="again", docs=docs), SawUrl(docs=docs))
    assert one["given"] == two["given"] == three["given"]
    assert one["columns"] == "text url"


def test_all_columns_are_read_where_one_stage_wants_them(tmp_path):
    docs = documents(tmp_path)
    one, two = rows_of(str(tmp_path / "run"), Saw(docs=docs), SawAll(docs=docs))
    assert one["given"] == two["given"]
    assert one["columns"] == "file id offset text title url"


def test_a_gather_tells_of_the_whole_in_its_books(tmp_path):
    docs = documents(tmp_path)
    stage = Told(docs=docs, count=Count(docs=docs, unit="characters"))
    books = run(stage, root=str(tmp_path / "run"))["told"]["books"]
    assert books["rows"] == books["all_rows"] == 6
    assert books["bytes"] == len((next((tmp_path / "run" / "count").glob("*/count.json"))).read_bytes())
