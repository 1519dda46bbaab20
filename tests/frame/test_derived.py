"""Records made of documents, tables joined, branches that end empty, and what outlives a killed stage."""

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hare_ray.engine import run
from hare_ray.inspect import why
from hare_ray.schema import DETAIL, DOCUMENT, REASON, SPLIT
from hare_ray.stage import Annotate, Files, Gather, Keep, Make, Map, PartFunction, Rebalance, Source, Table
from hare_ray.store import Root


class Lines(Map):
    """One document a line of the files."""

    files: Source
    writes = DOCUMENT

    def prepare(self, files: Files) -> PartFunction:
        def read(splits: pa.Table) -> pa.Table:
            assert splits.schema == SPLIT
            rows = [
                {"id": line.encode().rjust(16)[:16], "url": f"http://{line}", "file": split["file"], "offset": n,
                 "title": None, "text": line}
                for split in splits.to_pylist()
                for n, line in enumerate(Path(split["path"]).read_text().split())
            ]  # fmt: skip
            return pa.Table.from_pylist(rows, schema=DOCUMENT).append_column(REASON, pa.nulls(len(rows), pa.string()))

        return read


class Letters(Map):
    """One record a letter of each document; documents called `empty` lead to none, the letter x is refused."""

    docs: Table
    derives: ClassVar[bool] = True
    writes = DOCUMENT

    def counts(self, rows: pa.Table) -> dict[str, int]:
        return {"vowels": sum(text in "aeiou" for text in rows.column("text").to_pylist())}

    def prepare(self, files: Files) -> PartFunction:
        def spell(docs: pa.Table) -> pa.Table:
            rows = [
                {**row, "url": f"{row['url']}#{letter}", "text": letter, "reason": "x" if letter == "x" else None}
                for row in docs.to_pylist()
                for letter in row["text"]
                if row["text"] != "empty"
            ]
            return pa.Table.from_pylist(rows, schema=pa.schema([*DOCUMENT, REASON]))

        return spell


class Bags(Map):
    """All documents of a part in one row, which has no id and no URL."""

    docs: Table
    derives: ClassVar[bool] = True
    writes = pa.schema([pa.field("documents", pa.list_(pa.binary(16)))])

    def prepare(self, files: Files) -> PartFunction:
        def bag(docs: pa.Table) -> pa.Table:
            rows = [{"documents": docs.column("id").to_pylist(), "reason": None}]
            return pa.Table.from_pylist(rows, schema=pa.schema([*self.writes, REASON]))

        return bag


class Nothing(Annotate):
    """Keeps no document."""

    docs: Table
    writes = pa.schema([REASON, DETAIL])

    def prepare(self, files: Files) -> PartFunction:
        return lambda docs: pa.table({"reason": ["no"] * len(docs), "detail": pa.nulls(len(docs), pa.string())})


def lines(tmp_path: Path, label: str, *texts: str) -> Lines:
    for number, text in enumerate(texts):
        (tmp_path / label).mkdir(exist_ok=True)
        (tmp_path / label / f"{number}.txt").write_text(text)
    files = Source(label=f"{label}_files", location=str(tmp_path / label), part_bytes=1)
    return Lines(label=label, files=files)


def texts(root: Path, stage: Table) -> list[list[str]]:
    folder = root / stage.name / stage.fingerprint[:12]
    return [pq.read_table(file).column("text").to_pylist() for file in sorted(folder.glob("part-*.parquet"))]


def test_records_made_of_documents_are_no_loss_and_the_books_balance(tmp_path):
    docs = lines(tmp_path, "words", "ab empty", "xyz")
    letters = Letters(docs=docs)
    manifests = run(docs, letters, root=str(tmp_path / "run"))
    assert texts(tmp_path / "run", letters) == [["a", "b"], ["y", "z"]]
    books = manifests["letters"]["books"]
    counted = {key: books[key] for key in ("read", "made", "out", "dropped", "vowels")}
    assert counted == {"read": 3, "made": 5, "out": 4, "dropped": {"x": 1}, "vowels": 1}
    ledger = pq.read_table(next((tmp_path / "run" / "letters").glob("*/ledger-*.parquet")))
    assert ledger.column("url").to_pylist() == ["http://xyz#x"]


def test_several_tables_are_joined_in_order_also_where_one_is_empty(tmp_path):
    one, two = lines(tmp_path, "one", "a", "b"), lines(tmp_path, "two", "c d")
    gone = Keep(label="gone", docs=one, verdicts=(Nothing(docs=one),), may_be_empty=True)
    plain = Rebalance(label="joined", docs=(one, two), part_bytes=1 << 20)
    run(plain, root=str(tmp_path / "run"))
    assert texts(tmp_path / "run", plain) == [["a", "b", "c", "d"]]
    emptied = Rebalance(label="emptied", docs=(gone, gone), part_bytes=1 << 20, may_be_empty=True)
    run(emptied, root=str(tmp_path / "run"))
    assert texts(tmp_path / "run", emptied) == [[]]


def test_a_base_that_may_be_empty_lets_the_run_go_on_and_another_stops_it(tmp_path):
    docs = lines(tmp_path, "words", "a b")
    kept = Keep(label="kept", docs=docs, verdicts=(Nothing(docs=docs),))
    with pytest.raises(ValueError, match="kept kept no document"):
        run(kept, Letters(docs=kept, may_be_empty=True), root=str(tmp_path / "stops"))
    kept = Keep(label="kept", docs=docs, verdicts=(Nothing(docs=docs),), may_be_empty=True)
    letters = Letters(docs=kept, may_be_empty=True)
    run(letters, root=str(tmp_path / "goes"))
    assert texts(tmp_path / "goes", letters) == [[]]


def test_whether_a_table_may_be_empty_is_no_part_of_its_identity(tmp_path):
    docs = lines(tmp_path, "words", "a b")
    assert Letters(docs=docs).fingerprint == Letters(docs=docs, may_be_empty=True).fingerprint


class Stubborn(Make):
    """Fails the first time it is made, after it has kept something."""

    def make(self, desk) -> dict[str, int]:
        lasting = Root(desk.lasting)
        if not lasting.exists("seen"):
            lasting.write("seen", b"1")
            raise RuntimeError("killed")
        (desk.folder / "made.bin").write_bytes(np.arange(3, dtype=np.uint8).tobytes())
        return {}


def test_what_a_make_puts_into_its_lasting_folder_outlives_a_failure_and_no_more(tmp_path):
    with pytest.raises(RuntimeError):
        run(Stubborn(), root=str(tmp_path / "run"))
    run(Stubborn(), root=str(tmp_path / "run"))
    names = sorted(path.name for path in (tmp_path / "run" / "stubborn").iterdir())
    assert names == sorted([Stubborn().fingerprint[:12], "manifest.json"])


class Halting(Gather):
    """Writes one part a run."""

    docs: Table
    writes = pa.schema([pa.field("again", pa.int64())])

    def gather(self, desk) -> None:
        desk.put(f"try-{len(desk.kept())}", b"")
        part = len(desk.done())
        desk.write(part, pa.table({"again": [len(desk.kept())] * desk.rows(self.docs)[part]}))
        if len(desk.done()) < desk.parts(self.docs):
            raise RuntimeError("killed")


def test_a_gather_knows_which_parts_and_notes_an_earlier_run_has_left(tmp_path):
    docs = lines(tmp_path, "words", "a", "b")
    with pytest.raises(RuntimeError):
        run(Halting(docs=docs), root=str(tmp_path / "run"))
    run(Halting(docs=docs), root=str(tmp_path / "run"))
    folder = tmp_path / "run" / "halting" / Halting(docs=docs).fingerprint[:12]
    assert [pq.read_table(folder / f"part-0000{n}.parquet")["again"].to_pylist() for n in (0, 1)] == [[1], [2]]
    assert not (folder / "scratch").exists()


def test_why_tells_what_was_made_of_a_page_and_which_sequences_hold_it(tmp_path):
    docs = lines(tmp_path, "words", "ax c", "d")
    letters, bags = Letters(docs=docs), Bags(docs=docs)
    run(docs, letters, bags, root=str(tmp_path / "run"))
    found = {(finding.stage, finding.what): finding.detail for finding in why(Root(str(tmp_path / "run")), "http://ax")}
    assert found["bags", "in 1 sequence"] == {"part": 0, "rows": "0"}
    assert found["letters", "kept"]["made"] == "http://ax#a"
    assert found["letters", "dropped: x"]["made"] == "http://ax#x"
    assert json.dumps(found["words", "kept"])
