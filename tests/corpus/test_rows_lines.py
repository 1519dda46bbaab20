"""Lines of plain and compressed files: each once whatever the cuts, never more of one than the limit."""

import bz2
import gzip
import io
import itertools
import lzma
import os
import tracemalloc
import zlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.corpus.rows_lines import STORED_BLOCK_BYTES, DamagedError, Stretch, lines

PACK = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
MOST = 1000


def cut(stored, name, start=0, end=-1, most=MOST):
    return list(lines(io.BytesIO(stored), name, Stretch(start, end, most)))


def stretches(size, cuts):
    edges = [0, *sorted(cut % (size + 1) for cut in cuts), -1]
    return [(a, b) for a, b in itertools.pairwise(edges) if a != b]


def reference(text, most=MOST):
    """Offset and bytes of each line, without streaming."""
    found, offset = [], 0
    for line in text.split(b"\n"):
        found.append((offset, line if len(line) <= most else None))
        offset += len(line) + 1
    return found[:-1] if text.endswith(b"\n") or not text else found


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.binary(max_size=30) | st.sampled_from([b"", b"\r", b"x" * (MOST + 1)]), max_size=20),
    st.lists(st.integers(0, 1 << 20), max_size=5),
    st.booleans(),
)
def test_plain_lines_are_each_in_one_stretch(parts, cuts, ends):
    text = b"\n".join(parts) + (b"\n" if ends else b"")
    got = [line for start, end in stretches(len(text), cuts) for line in cut(text, "a.jsonl", start, end)]
    assert got == reference(text)


@pytest.fixture(scope="module")
def packed():
    """Text that stays large when packed, with lines from empty to over the limit, some over several blocks."""
    noise = os.urandom(400_000).replace(b"\n", b"")
    sizes = [0, 1, 70, 999, 1000, 1001, 3000, 0, 150_000]
    pieces, at = [], 0
    while at < len(noise):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(noise[at : at + size])
        at += max(size, 1)
    text = b"\n".join(pieces)
    return text, {ending: pack(text) for ending, pack in PACK.items()}


@pytest.mark.parametrize("ending", list(PACK))
def test_packed_lines_are_each_in_one_stretch(packed, ending):
    text, stored = packed[0], packed[1][ending]
    size = len(stored)
    for cuts in ([], [size // 2], [1, STORED_BLOCK_BYTES, STORED_BLOCK_BYTES + 1, size - 1], range(0, size, 50_000)):
        got = [line for start, end in stretches(size, cuts) for line in cut(stored, "a.jsonl" + ending, start, end)]
        assert got == reference(text), list(cuts)


@pytest.mark.parametrize("ending", [".gz", ".zst", ".bz2", ".xz"])
def test_members_follow_one_another_and_zeros_may_follow_them(ending):
    stored = PACK[ending](b"one\ntw") + PACK[ending](b"o\n\nthree") + bytes(5000)
    assert cut(stored, "a" + ending) == [(0, b"one"), (4, b"two"), (8, b""), (9, b"three")]
    assert cut(b"", "a" + ending) == []


@pytest.mark.parametrize("ending", [".gz", ".zst", ".bz2", ".xz"])
@pytest.mark.parametrize("damage", ["cut", "corrupt", "garbage after"])
def test_damage_lies_in_one_stretch_and_what_precedes_it_is_kept(packed, ending, damage):
    text, stored = packed[0], packed[1][ending]
    at = len(stored) * 2 // 3
    stored = {
        "cut": stored[:at],
        "corrupt": stored[:at] + os.urandom(1000) + stored[at + 1000 :],
        "garbage after": stored + b"garbage",
    }[damage]
    raised, got = 0, []
    for start, end in stretches(len(stored), range(0, len(stored), 100_000)):
        reading = lines(io.BytesIO(stored), "a" + ending, Stretch(start, end, MOST))
        try:
            got.extend(reading)
        except DamagedError:
            raised += 1
    assert raised == 1 or (ending == ".zst" and damage == "corrupt")  # zstd stores noise as it is, without a checksum.
    if damage != "corrupt":
        assert got == reference(text)[: len(got)]
        assert len(got) > 10 or ending == ".bz2"  # Its blocks are of 900 kB, so nothing precedes.


@pytest.mark.parametrize(("ending", "long", "most"), [("", 24, 6), (".gz", 48, 8), (".zst", 200, 140)])
def test_a_line_over_the_limit_is_never_held(ending, long, most):
    stored = PACK[ending](b"a\n" + b"x" * (long << 20) + b"\nb\n")
    tracemalloc.start()
    got = cut(stored, "a.jsonl" + ending)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert got == [(0, b"a"), (2, None), ((long << 20) + 3, b"b")]
    assert peak < most << 20


def test_a_stretch_inside_a_long_line_stops_at_its_end():
    class Counted(io.BytesIO):
        bytes_read = 0

        def read(self, size=-1):
            data = super().read(size)
            self.bytes_read += len(data)
            return data

    file = Counted(b"x" * (20 << 20))
    assert list(lines(file, "a.jsonl", Stretch(1 << 20, 2 << 20, MOST))) == []
    assert file.bytes_read < 4 << 20


def test_an_error_of_the_disk_is_no_damage():
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        list(lines(Broken(), "a.gz", Stretch(0, -1, MOST)))


def test_raw_deflate_is_no_gzip():
    with pytest.raises(DamagedError, match="incorrect header"):
        cut(zlib.compress(b"words"), "a.gz")
