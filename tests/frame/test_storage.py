"""Parts as Parquet and as Arrow files: the same tables either way, everything that reads them reads both."""

import io
import json
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.ipc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.catalog import Catalog, place, read_part
from hare_ray.cli import main
from hare_ray.engine import Settings, run
from hare_ray.inspect import examples, finished, why
from hare_ray.report.reading import Run
from hare_ray.schema import DETAIL, DOCUMENT, REASON
from hare_ray.stage import ARROW, PARQUET, Annotate, Files, Gather, Keep, Map, PartFunction, Rebalance, Table
from hare_ray.storage import arrow, decoded, encoded, parquet
from hare_ray.store import Root
from tests.frame.test_derived import Bags, Lines, lines


class Held(Map):
    """The documents themselves in rows of one document each, stored for random access."""

    docs: Table
    derives: ClassVar[bool] = True
    writes = pa.schema([*DOCUMENT, pa.field("documents", pa.list_(pa.binary(16)))])

    @property
    def storage(self) -> str:
        return ARROW

    def prepare(self, files: Files) -> PartFunction:
        def held(docs: pa.Table) -> pa.Table:
            ids = [[id_] for id_ in docs.column("id").to_pylist()]
            rows = docs.append_column("documents", pa.array(ids, pa.list_(pa.binary(16))))
            return rows.append_column(REASON, pa.nulls(len(rows), pa.string()))

        return held


class NotLong(Annotate):
    """Drops texts of more than one character."""

    docs: Table
    writes = pa.schema([REASON, DETAIL])

    def prepare(self, files: Files) -> PartFunction:
        def judge(docs: pa.Table) -> pa.Table:
            reasons = ["long" if len(text) > 1 else None for text in docs.column("text").to_pylist()]
            return pa.table([pa.array(reasons, pa.string()), pa.nulls(len(reasons), pa.string())], schema=self.writes)

        return judge


class NoBag(Annotate):
    """Drops every row."""

    docs: Table
    writes = pa.schema([REASON, DETAIL])

    def prepare(self, files: Files) -> PartFunction:
        return lambda docs: pa.table({"reason": ["not_drawn"] * len(docs), "detail": pa.nulls(len(docs), pa.string())})


class Copied(Gather):
    """Writes its base again, stored as that is."""

    docs: Table
    writes = DOCUMENT

    @property
    def storage(self) -> str:
        return self.docs.storage

    def gather(self, desk) -> None:
        for part in range(desk.parts(self.docs)):
            desk.write(part, desk.read(self.docs, part, DOCUMENT.names))


def chain(tmp_path: Path) -> tuple[Lines, Held, Keep, Rebalance, Copied]:
    docs = lines(tmp_path, "words", "a bb c", "d", "ee")
    held = Held(docs=docs)
    kept = Keep(label="kept", docs=held, verdicts=(NotLong(docs=held),))
    return docs, held, kept, Rebalance(label="joined", docs=kept, part_bytes=1 << 20), Copied(docs=kept)


TABLES = st.builds(
    lambda rows: pa.Table.from_pylist(rows, schema=pa.schema([
        pa.field("tokens", pa.binary(4), nullable=False), pa.field("lengths", pa.list_(pa.uint32())),
        pa.field("text", pa.large_string()),
    ])),
    st.lists(st.fixed_dictionaries({
        "tokens": st.binary(min_size=4, max_size=4),
        "lengths": st.lists(st.integers(0, 2**32 - 1), max_size=4) | st.none(),
        "text": st.text(max_size=4) | st.none(),
    }), max_size=12),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(TABLES, st.lists(st.integers(0, 12), max_size=4), st.sampled_from([arrow, parquet]))
def test_chunks_make_no_difference_to_the_bytes(table, cuts, encode):
    edges = [0, *sorted(min(cut, len(table)) for cut in cuts), len(table)]
    chunks = [table.slice(first, stop - first) for first, stop in pairwise(edges)]
    around = pa.concat_tables([table, table, table]).combine_chunks().slice(len(table), len(table))
    data = encode(table)
    assert encode(pa.concat_tables(chunks)) == data
    assert encode(around) == data
    storage = ARROW if encode is arrow else PARQUET
    assert decoded(io.BytesIO(data), storage, None).equals(table)
    some = decoded(io.BytesIO(data), storage, ("text", "tokens", "unknown"))
    assert some.equals(table.select(["text", "tokens"]))


def test_an_arrow_part_is_one_record_batch_of_uncompressed_columns():
    table = pa.concat_tables([pa.table({"tokens": pa.array([bytes([n]) * 64] * 50, pa.binary(64))}) for n in range(9)])
    data = arrow(table)
    reader = pa.ipc.open_file(io.BytesIO(data))
    assert reader.num_record_batches == 1
    assert b"".join(table.column("tokens").to_pylist()) in data


def test_what_keeps_or_joins_rows_stores_them_as_they_were(tmp_path):
    docs, held, kept, joined, copied = chain(tmp_path)
    manifests = run(docs, held, kept, joined, copied, root=str(tmp_path / "run"))
    endings = {name: {p.suffix for p in (tmp_path / "run" / name).glob("*/part-*") if p.suffix != ".json"}
               for name in ("words", "held", "kept", "joined", "copied")}  # fmt: skip
    assert endings == {name: {".parquet" if name == "words" else ".arrow"} for name in endings}
    assert {part["storage"] for part in manifests["held"]["parts"]} == {"arrow"}
    root = Root(str(tmp_path / "run"))
    texts = {
        name: [read_part(place(root, manifests[name]), part, ["text"])["text"].to_pylist() for part in range(parts)]
        for name, parts in (("held", 3), ("kept", 3), ("joined", 1), ("copied", 3))
    }
    assert texts["held"] == [["a", "bb", "c"], ["d"], ["ee"]]
    assert texts["kept"] == texts["copied"] == [["a", "c"], ["d"], []]
    assert texts["joined"] == [["a", "c", "d"]]


def test_questions_to_a_run_are_answered_from_both(tmp_path, capsys):
    docs, held, kept, joined, _ = chain(tmp_path)
    run(docs, held, kept, joined, root=str(tmp_path / "run"))
    root = Root(str(tmp_path / "run"))
    found = {(one.stage, one.what) for one in why(root, "http://bb")}
    assert {("words", "kept"), ("held", "in 1 sequence")} <= found
    (dropped,) = examples(root, "not_long", "long", 1)
    assert dropped["url"] == "http://bb"
    assert [row["text"] for row in examples(root, "kept", None, 3)] == ["a", "d"]
    told = Run.of(str(tmp_path / "run"))
    assert told.read("joined", 0, ["text"])["text"].to_pylist() == ["a", "c", "d"]
    assert main(["show", str(tmp_path / "run"), "held"]) == 0
    told_too = capsys.readouterr()
    assert "http://a" in told_too.out + told_too.err


def test_packed_sequences_can_be_dropped(tmp_path):
    docs = lines(tmp_path, "words", "a bb c")
    bags = Bags(docs=docs)
    kept = Keep(label="kept", docs=bags, verdicts=(NoBag(docs=bags),), may_be_empty=True)
    manifests = run(docs, bags, kept, root=str(tmp_path / "run"))
    assert manifests["kept"]["books"]["dropped"] == {"not_drawn": 1}
    (row,) = examples(Root(str(tmp_path / "run")), "no_bag", "not_drawn", 5)
    assert (row["id"], row["url"]) == (b"a".rjust(16), "")


def test_another_root_takes_the_parts_over_and_misses_them(tmp_path):
    docs, held, kept, joined, _ = chain(tmp_path)
    run(docs, held, kept, root=str(tmp_path / "old"))
    run(docs, held, kept, joined, root=str(tmp_path / "new"), settings=Settings(reuse=str(tmp_path / "old")))
    new = Root(str(tmp_path / "new"))
    assert read_part(place(new, finished(new)["joined"]), 0)["text"].to_pylist() == ["a", "c", "d"]
    for path in (tmp_path / "old" / "held").glob("*/part-00000.arrow"):
        path.unlink()
    with pytest.raises(ValueError, match="reuses held"):
        finished(new)


def test_a_part_that_is_gone_is_named(tmp_path):
    docs, held, *_ = chain(tmp_path)
    manifests = run(docs, held, root=str(tmp_path / "run"))
    next((tmp_path / "run" / "held").glob("*/part-00001.arrow")).unlink()
    catalog = Catalog({held.fingerprint: place(Root(str(tmp_path / "run")), manifests["held"])})
    assert len(catalog.read(held, 0)) == 3
    with pytest.raises(ValueError, match=r"part-00001\.arrow is gone.*--redo held"):
        catalog.read(held, 1)


def test_a_manifest_that_says_nothing_of_storage_means_parquet(tmp_path):
    docs, *_ = chain(tmp_path)
    run(docs, root=str(tmp_path / "run"))
    path = tmp_path / "run" / "words" / "manifest.json"
    old = json.loads(path.read_text())
    for part in old["parts"]:
        del part["storage"]
    path.write_text(json.dumps(old))
    root = Root(str(tmp_path / "run"))
    assert read_part(place(root, finished(root)["words"]), 0)["text"].to_pylist() == ["a", "bb", "c"]
    run(docs, root=str(tmp_path / "run"))  # and it is finished


def test_an_object_store_gives_columns_of_both(tmp_path):
    import fsspec

    docs, held, *_ = chain(tmp_path)
    manifests = run(docs, held, root=str(tmp_path / "run"))
    fsspec.filesystem("memory").put(str(tmp_path / "run") + "/", "/storage/run/", recursive=True)
    root = Root("memory://storage/run")
    for name in ("words", "held"):
        got = read_part(place(root, manifests[name]), 0, ["url", "text"])
        assert got.to_pylist() == [{"url": f"http://{word}", "text": word} for word in ("a", "bb", "c")]
    fsspec.filesystem("memory").rm("/storage", recursive=True)


def test_stages_say_how_they_store():
    from hare_ray.tokens import Pack, Tokenizer

    class Docs(Table):
        writes = DOCUMENT

    docs = Docs()
    tokenizer = Tokenizer(docs=docs, vocabulary=300, max_bytes=1)
    pack = Pack(docs=docs, tokenizer=tokenizer, sequence_tokens=8, token_bytes=2, seed=1)
    assert (docs.storage, pack.storage) == (PARQUET, ARROW)
    assert Rebalance(docs=(pack,), part_bytes=1).storage == ARROW
    assert encoded(docs, pa.table({"a": [1]}))[0] == "parquet"
