"""Any cut of an archive holds every record once, in order, whatever is broken in it."""

import gzip
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.corpus import archive
from hare_ray.corpus import read as read_stage
from hare_ray.listing import Entry, splits
from tests.corpus.archives import PACKINGS, arc_opening, arc_record, over_cuts, records_of, request, warc
from tests.corpus.reading import PAGE, no_files, read, same, split_of, stage

BYTES = random.Random(4)


def noise(count):
    return BYTES.randbytes(count)


def sample_records():
    pages = [warc(PAGE * (1 + i % 3) + noise(40 * i).hex().encode(), url=f"http://a.example/{i}") for i in range(7)]
    return [request(), *pages[:3], request(), *pages[3:]]


@pytest.mark.parametrize("name", PACKINGS)
@pytest.mark.parametrize("look_back", [0, 1 << 20])
def test_every_cut_of_an_archive_holds_its_records_once(tmp_path, monkeypatch, name, look_back):
    monkeypatch.setattr(archive, "LOOK_BACK_BYTES", look_back)
    path = tmp_path / name
    path.write_bytes(PACKINGS[name](sample_records()))
    whole = records_of(path)
    assert len(whole) == 9 and not any(record.error for record in whole)
    size = path.stat().st_size
    for cut in range(1, size, max(size // 60, 1)):
        assert over_cuts(path, [cut]) == whole
    assert over_cuts(path, range(0, size, 97)) == whole


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(sorted(PACKINGS)),
    st.lists(st.tuples(st.integers(0, 3000), st.sampled_from(["flip", "cut", "insert", "drop"])), max_size=3),
    st.lists(st.integers(0, 4000), max_size=8),
    st.binary(max_size=40),
    st.sampled_from([0, 300, 1 << 20]),
)
def test_cut_and_whole_agree_on_broken_archives(tmp_path_factory, name, damages, cuts, junk, look_back):
    data = PACKINGS[name](sample_records())
    for at, damage in damages:
        at %= len(data) + 1
        if damage == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :]
        elif damage == "cut":
            data = data[: max(at, 1)]
        elif damage == "insert":
            data = data[:at] + junk + data[at:]
        else:
            data = data[:at] + data[at + 17 :]
    path = tmp_path_factory.mktemp("cuts") / name
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "LOOK_BACK_BYTES", look_back)
        whole = records_of(path)
        assert over_cuts(path, cuts) == whole
    assert [record.offset for record in whole] == sorted(record.offset for record in whole)


def test_an_archive_quoted_in_a_page_makes_no_records(tmp_path):
    inner = b"".join(warc(url=f"http://quoted.example/{i}") for i in range(4))
    path = tmp_path / "a.warc"
    path.write_bytes(b"".join(warc(b"<pre>" + inner, url=f"http://a.example/{i}") for i in range(5)))
    whole = records_of(path)
    assert len(whole) == 5
    for cut in range(1, path.stat().st_size, 41):
        assert over_cuts(path, [cut]) == whole


def test_a_record_whose_length_swallows_others_does_not_take_them_with_it(tmp_path):
    records = [warc(url=f"http://a.example/{i}") for i in range(5)]
    length = records[1].split(b"Content-Length: ")[1].split(b"\r")[0]
    records[1] = records[1].replace(b"Content-Length: " + length, b"Content-Length: %d" % (int(length) + 690))
    path = tmp_path / "a.warc"
    path.write_bytes(b"".join(records))
    whole = records_of(path)
    assert [bool(record.error) for record in whole] == [False, True, False, False, False]
    for cut in range(1, path.stat().st_size, 53):
        assert over_cuts(path, [cut]) == whole


@pytest.mark.parametrize("packed", [False, True])
def test_arc_records_over_cuts(tmp_path, packed):
    records = [arc_opening(), *(arc_record(PAGE * (i + 1), f"http://a.example/{i} x") for i in range(6))]
    path = tmp_path / ("a.arc.gz" if packed else "a.arc")
    path.write_bytes(b"".join(map(gzip.compress, records)) if packed else b"".join(records))
    rows = read(path).to_pylist()
    assert [row["payload"] for row in rows] == [PAGE * (i + 1) for i in range(6)]
    assert rows[2]["url"] == "http://a.example/2 x" and rows[2]["charset"] == "utf-8"
    sizes = [len(gzip.compress(record) if packed else record) for record in records]
    assert [row["offset"] for row in rows] == [sum(sizes[: i + 1]) for i in range(6)]
    whole = records_of(path)
    for cut in range(1, path.stat().st_size, 37):
        assert over_cuts(path, [cut]) == whole


def test_the_parts_of_a_listing_are_even_and_hold_the_file(tmp_path):
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(gzip.compress(warc(noise(400).hex().encode(), url=f"http://{i}/")) for i in range(40)))
    size = path.stat().st_size
    parts = splits(str(tmp_path), (Entry("a.warc.gz", size, ""),), size * 10 // 33)
    assert len(parts) == 4
    tables = [stage().prepare(lambda _: tmp_path)(part) for part in parts]
    counts = [len(table) for table in tables]
    assert sum(counts) == 40 and max(counts) - min(counts) <= 2
    joined = [row for table in tables for row in table.to_pylist()]
    assert joined == read(path).to_pylist()


def cut_sizes(entries, part_bytes):
    tables = splits("/in", tuple(Entry(name, size, "") for name, size in entries), part_bytes)
    return [[(row["file"], row["start"], row["end"]) for row in table.to_pylist()] for table in tables]


def test_large_files_are_cut_evenly_and_documents_never():
    assert cut_sizes([("a.warc.gz", 110)], 100) == [[("a.warc.gz", 0, 55)], [("a.warc.gz", 55, 110)]]
    assert cut_sizes([("a.txt", 500), ("b.html.gz", 500)], 100) == [[("a.txt", 0, -1)], [("b.html.gz", 0, -1)]]
    got = cut_sizes([("a.jsonl", 100), ("b.parquet", 301), ("c.jsonl", 10)], 100)
    assert got[0] == [("a.jsonl", 0, -1)]
    assert [part[0][1:] for part in got[1:]] == [(0, 75), (75, 150), (150, 225), (225, 301)]
    assert got[-1][1:] == [("c.jsonl", 0, -1)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8), st.integers(1, 300))
def test_parts_hold_every_byte_once_and_none_is_too_large(sizes, part_bytes):
    entries = [(f"{number}.warc", size) for number, size in enumerate(sizes)]
    parts = cut_sizes(entries, part_bytes)
    held = {name: [] for name, _ in entries}
    for part in parts:
        assert sum(dict(entries)[name] if end < 0 else end - start for name, start, end in part) <= part_bytes
        for name, start, end in part:
            held[name].append((start, end))
    for name, size in entries:
        bounds = held[name]
        assert bounds[0][0] == 0 and all(left[1] == right[0] for left, right in pairwise(bounds))
        assert bounds[-1][1] in (-1, size)
        lengths = [end - start for start, end in bounds if end >= 0]
        assert max(lengths, default=0) - min(lengths, default=0) <= 1


def test_isolation_reads_a_stretch_once_for_neighbouring_rows(tmp_path, monkeypatch):
    path = tmp_path / "a.warc.gz"
    path.write_bytes(PACKINGS["a.warc.gz"](sample_records()))
    size = path.stat().st_size
    table = split_of(path, size // 3, size)
    finer = stage().explode(table, no_files)
    whole = stage().prepare(no_files)(table)
    assert finer["row"].to_pylist() == list(range(len(whole)))
    opened, opener = [], read_stage.opened
    monkeypatch.setattr(read_stage, "opened", lambda file, path: opened.append(file) or opener(file, path))
    half = finer.slice(1, 3)
    assert same(stage().prepare(no_files)(half), whole.slice(1, 3)) and len(opened) == 1
