"""A record that kills or hangs its process costs that record, and nothing else."""

import multiprocessing
import os
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hare_ray.catalog import Catalog
from hare_ray.engine import Settings, run
from hare_ray.executor import Executor
from hare_ray.isolated import ChildError, survive
from hare_ray.manifest import Manifest
from hare_ray.on_ray import OnRay
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Needs, Source
from hare_ray.store import Root
from hare_ray.work import Limits
from tests.frame import drive
from tests.frame.graph import in_a_process, lines, reader, write_source
from tests.frame.stages import Lines, Longer

SHORT = Limits(attempts=1, part_seconds=3, record_seconds=1, start_seconds=3)

pytestmark = pytest.mark.slow


def two_workers(root: Root) -> Executor:
    return OnRay(root, 2)


def documents(*texts: str) -> pa.Table:
    rows = [
        {"id": f"{n:016d}".encode(), "url": f"u{n}", "file": "f", "offset": n, "title": None, "text": text}
        for n, text in enumerate(texts)
    ]
    return pa.Table.from_pylist(rows, schema=DOCUMENT)


def lines_of(folder: Path) -> Lines:
    return Lines(files=Source(label="crawl", location=str(folder), part_bytes=1000))


@pytest.fixture
def longer(tmp_path: Path) -> Longer:
    return Longer(docs=lines_of(write_source(tmp_path / "in", files=1)), min_chars=5)


def test_the_row_that_kills_is_found_among_many_and_keeps_its_place(longer):
    texts = ["tiny", *(f"document {n}" for n in range(9))]
    texts[7] = "kill judge"
    got = survive(longer, Catalog(), [documents(*texts)], SHORT)
    assert got.column("reason").to_pylist() == ["short", *[None] * 6, "crashed", None, None]
    assert got.column("chars").to_pylist() == [*map(len, texts[:7]), None, len(texts[8]), len(texts[9])]


def test_two_rows_that_kill_are_both_found_even_side_by_side(longer):
    got = survive(longer, Catalog(), [documents("kill judge", "kill judge", "a document")], SHORT)
    assert got.column("reason").to_pylist() == ["crashed", "crashed", None]


def test_a_row_that_hangs_is_found_in_bounded_time(longer):
    limits = Limits(part_seconds=1, record_seconds=0.5, start_seconds=4)
    began = time.perf_counter()
    got = survive(longer, Catalog(), [documents("a document", "hang judge")], limits)
    assert got.column("reason").to_pylist() == [None, "timeout"]
    # Three children: both rows have the part's second, each alone has half of it; on top, what ends a child and writes
    # its rows. However slow the machine, a child is not waited for longer than that.
    assert time.perf_counter() - began < (4 + 1) + 2 * (4 + 0.5) + 3


def test_an_ordinary_exception_in_a_child_is_a_fault_and_not_poison(longer):
    with pytest.raises(ChildError, match="ValueError: a fault of the stage"):
        survive(longer, Catalog(), [documents("raise judge", "a document")], SHORT)


@pytest.mark.parametrize("text", ["kill reader", "\nkill reader"])
def test_a_file_that_kills_its_reader_is_cut_into_records(tmp_path, text):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "bad.txt").write_text(text)
    (folder / "good.txt").write_text("a document")
    stage = lines_of(folder)
    splits = Catalog().splits(stage.parents[0])[0]
    got = survive(stage, Catalog(), [splits], SHORT)
    found = {row["url"]: row["reason"] for row in got.to_pylist()}
    at = text.splitlines().index("kill reader")
    assert found.pop(f"bad.txt#{at}" if "\n" in text else "bad.txt#0") == "crashed"
    assert found == {
        f"https://example.org/{name}/{number}": None if line else "empty"
        for name, whole in (("bad.txt", text), ("good.txt", "a document"))
        for number, line in enumerate(whole.splitlines())
        if line != "kill reader"
    }


def test_a_row_alone_in_its_part_may_die(tmp_path):
    """Nothing is left of the part; it still has all its columns."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "bad.txt").write_text("kill reader")
    got = survive(lines_of(folder), Catalog(), [Catalog().splits(lines_of(folder).parents[0])[0]], SHORT)
    assert set(DOCUMENT.names) <= set(got.column_names)
    assert got.column("reason").to_pylist() == ["crashed"]


def hang(longer: Longer) -> None:
    survive(longer, Catalog(), [documents("hang judge")], Limits(part_seconds=300, record_seconds=300))


def test_a_child_that_hangs_ends_with_its_worker(longer):
    worker = multiprocessing.get_context("spawn").Process(target=hang, args=(longer,))
    worker.start()
    try:
        deadline = time.monotonic() + 20
        children: list[psutil.Process] = []
        while not [c for c in children if "hare_ray.isolated" in c.cmdline()] and time.monotonic() < deadline:
            time.sleep(0.1)
            children = psutil.Process(worker.pid).children()
        assert children
        time.sleep(1)  # past its imports, into the hang
    finally:
        worker.kill()
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]


def ledger(root: Path) -> list[tuple[str, str, str]]:
    """Stage, reason and URL of all that was dropped by accident, in order of parts."""
    tables = [pq.read_table(path) for path in sorted(root.rglob("ledger-*.parquet"))]
    rows = [row for table in tables for row in table.to_pylist()]
    return [(r["stage"], r["reason"], r["url"]) for r in rows if r["reason"] in ("crashed", "timeout")]


def check_books(manifest: Manifest, ledgered: int, kept: int) -> None:
    """Of all that was made, what is kept and what the ledger lists."""
    assert sum(part["rows"] for part in manifest["parts"]) == kept
    assert sum(part["ledger_rows"] for part in manifest["parts"]) == ledgered
    made = next(m["books"]["made"] for m in manifest["members"] if m["name"] == "lines")
    assert made == kept + ledgered


def test_a_plain_run_that_dies_again_and_again_gets_past_the_record(tmp_path):
    source = write_source(tmp_path / "in", files=3, rows=4)
    (source / "0001.txt").write_text("\n".join([*lines(1, 4), "kill judge"]))
    codes: list[int | None] = []
    while not codes or codes[-1]:
        codes.append(in_a_process(drive.main, [str(tmp_path / "run"), str(source)]))
    assert codes == [9] * Limits().attempts + [0]
    assert ledger(tmp_path / "run") == [("longer", "crashed", "https://example.org/0001.txt/7")]


class Fatal(Longer):
    """Kills the worker itself, also when its rows are judged in a child."""

    def schema(self) -> pa.Schema:
        os._exit(9)


def run_fatal(root: str, source: Path) -> None:
    run(Fatal(docs=lines_of(source), min_chars=5), root=root)


def test_a_part_that_kills_its_worker_in_isolation_as_well_fails_the_run(tmp_path):
    source = write_source(tmp_path / "in", files=1, rows=2)
    codes: list[int | None] = []
    while len(codes) < 20 and (not codes or codes[-1] == 9):
        codes.append(in_a_process(run_fatal, str(tmp_path / "run"), source))
    assert codes == [9] * 2 * Limits().attempts + [1]


def poisoned(folder: Path) -> Path:
    """Five files of 4 lines, of which 2 are kept; in three, a line that kills the reader, kills or hangs the judge."""
    source = write_source(folder, files=5, rows=1)
    for file, poison in ((1, "kill reader"), (2, "kill judge"), (3, "hang judge")):
        (source / f"000{file}.txt").write_text("\n".join([*lines(file, 1), poison, "and one more document"]))
    return source


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_each_poison_costs_its_record_only(tmp_path):
    """In tasks (the reader), and in a pool of actors behind them (the judge), which Ray retries by itself."""
    # Half a core: Ray Data joins operators of equal needs, and these are to stay two.
    settings = Settings(needs={"longer": Needs(cpus=0.5, actors=1)}, limits=SHORT)
    source, root = poisoned(tmp_path / "in"), tmp_path / "run"
    manifest = run(reader(source), root=str(root), settings=settings, executor=two_workers)["clean"]
    assert ledger(root) == [
        ("lines", "crashed", "0001.txt#4"),
        ("longer", "crashed", "https://example.org/0002.txt/4"),
        ("longer", "timeout", "https://example.org/0003.txt/4"),
    ]
    check_books(manifest, ledgered=5 * 2 + 3, kept=5 * 2 + 3)
    kept = [t for path in sorted(root.rglob("part-*.parquet")) for t in pq.read_table(path)["text"].to_pylist()]
    assert kept.count("and one more document") == 3
    assert not list(root.rglob("attempts/*"))


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_one_bad_row_among_a_thousand_is_found_within_a_minute(tmp_path, record_property):
    source = write_source(tmp_path / "in", files=1, rows=1000)
    (source / "0000.txt").write_text("\n".join([*lines(0, 1000), "kill judge"]))
    OnRay(Root(str(tmp_path)), 2)
    began = time.perf_counter()
    run(reader(source), root=str(tmp_path / "run"), executor=two_workers)
    seconds = time.perf_counter() - began
    record_property("seconds", seconds)
    assert ledger(tmp_path / "run") == [("longer", "crashed", "https://example.org/0000.txt/1003")]
    assert seconds < 60
