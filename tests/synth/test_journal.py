"""The journal: killed at any moment, written by anybody, each row is there once."""

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.catalog import Catalog, Place
from hare_ray.executor import plain_map
from hare_ray.gather import Desk
from hare_ray.manifest import folder
from hare_ray.store import Root
from hare_ray.synth.endpoint import Answer
from hare_ray.synth.generate import Generate
from hare_ray.synth.journal import ANSWERED, Journal, answered, finish_part, missing, put_rows, table_of
from tests.synth.stages import LinesAsPrompts, prompts


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the code catches it."""


class Mortal(Root):
    """A root that dies before the n-th time it is changed."""

    left: int

    def _count(self) -> None:
        if self.left == 0:
            raise Killed
        object.__setattr__(self, "left", self.left - 1)

    def write(self, name: str, data: bytes) -> None:
        self._count()
        super().write(name, data)

    def delete(self, name: str) -> None:
        self._count()
        super().delete(name)


def desk_at(where: Path, rows: tuple[int, ...] = (7,), left: int = 1 << 30) -> Desk:
    asked = prompts(where / "in", 1) if not (where / "in").exists() else _again(where)
    stage = Generate(
        prompts=asked, model=None, llm="m", chat=False, max_tokens=8, temperature=0.0, top_p=1.0, seed=1
    )  # fmt: skip
    root = Mortal(str(where / "root"))
    object.__setattr__(root, "left", left)
    return Desk(stage, root, Catalog({asked.fingerprint: Place(root, "prompts", rows=rows)}), plain_map, where)


def _again(where: Path) -> LinesAsPrompts:
    from hare_ray.stage import Source

    return LinesAsPrompts(files=Source(location=str(where / "in"), part_bytes=1))


def rows_of(*rows: int, text: str = "a") -> pa.Table:
    return table_of((row, Answer(f"{text}{row}", "stop", 1, 2), bytes([row]) * 16) for row in rows)


def written(desk: Desk, part: int = 0) -> list[str]:
    import pyarrow.parquet as pq

    assert desk.root.local is not None
    return pq.read_table(desk.root.local / folder(desk.stage) / f"part-{part:05d}.parquet")["answer"].to_pylist()


def segments(desk: Desk, part: int = 0) -> list[str]:
    return desk.root.names(f"{folder(desk.stage)}/scratch/{part:05d}")


def test_rows_come_back_once_in_order_and_the_first_kept_counts(tmp_path):
    desk = desk_at(tmp_path)
    put_rows(desk, 0, rows_of(5, 1))
    put_rows(desk, 0, rows_of(1, 0, text="late"))
    put_rows(desk, 1, rows_of(3))
    found = answered(desk, 0)
    assert found.schema == ANSWERED
    assert found["answer"].to_pylist() == ["late0", "a1", "a5"]
    assert missing(desk, 0, 7).tolist() == [2, 3, 4, 6]
    assert missing(desk, 2, 3).tolist() == [0, 1, 2]


def test_a_part_is_written_when_nothing_is_missing_and_its_segments_go(tmp_path):
    desk = desk_at(tmp_path, (3, 2))
    put_rows(desk, 0, rows_of(2, 0))
    put_rows(desk, 1, rows_of(1))
    assert not finish_part(desk, 0, 3)
    put_rows(desk, 0, rows_of(1))
    assert finish_part(desk, 0, 3)
    assert written(desk) == ["a0", "a1", "a2"]
    assert (segments(desk, 0), len(segments(desk, 1))) == ([], 1)
    put_rows(desk, 0, rows_of(0, text="straggler"))
    assert finish_part(desk, 0, 3)
    assert written(desk) == ["a0", "a1", "a2"]
    assert segments(desk, 0) == []


@given(
    st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=4), max_size=8), st.lists(st.integers(0, 8), max_size=4)
)
@settings(max_examples=12, deadline=None)
def test_killed_at_any_moment_the_result_is_the_same(batches, kills):
    """Processes that answer rows in any order and die after so many writes; the last one lives."""
    with tempfile.TemporaryDirectory() as folder_name:
        where = Path(folder_name)
        for lives in [*kills, 1 << 30]:
            desk = desk_at(where, left=lives)
            try:
                for batch in batches:  # also rows that others have answered: a second driver doesn't look
                    put_rows(desk, 0, rows_of(*batch))
                put_rows(desk, 0, rows_of(*missing(desk, 0, 7).tolist()))
                assert finish_part(desk, 0, 7)
            except Killed:
                continue
        assert written(desk) == [f"a{row}" for row in range(7)]
        assert segments(desk) == []


def test_torn_foreign_and_misplaced_segments_are_refused(tmp_path):
    desk = desk_at(tmp_path)
    put_rows(desk, 0, rows_of(1, 2))
    (name,) = segments(desk)
    path = f"{folder(desk.stage)}/scratch/00000/{name}"
    whole = desk.root.read(path)
    for data in (whole[:-1], b"", whole[:100] + b"\0" + whole[101:]):
        desk.root.write(path, data)
        with pytest.raises(ValueError, match=r"no segment of the journal, or not all of one.*delete it"):
            answered(desk, 0)
    desk.root.write(path, whole)
    desk.put("00000/notes.txt", b"hello")
    with pytest.raises(ValueError, match=r"notes\.txt is no segment"):
        answered(desk, 0)
    desk.root.delete(f"{folder(desk.stage)}/scratch/00000/notes.txt")
    with pytest.raises(ValueError, match=r"answers to rows 1 to 2, expected rows of a part of 2"):
        missing(desk, 0, 2)


def test_adding_returns_at_once_and_what_is_added_meanwhile_goes_together(tmp_path):
    desk = desk_at(tmp_path, (100,))

    async def go() -> None:
        journal = Journal(desk, seconds=0.1)
        journal.expect(0, 100, 100)
        for row in range(100):
            journal.add(0, row, Answer(f"a{row}", "stop"), bytes(16))
            if row == 40:
                await asyncio.sleep(0.25)
                assert 1 <= len(segments(desk)) <= 3
                assert len(answered(desk, 0)) == 41
        await journal.close()

    asyncio.run(go())
    assert written(desk) == [f"a{row}" for row in range(100)]
    assert segments(desk) == []


class Overtaken(Root):
    """Another process finishes the part (and clears up) just before, or just after, its segments are listed."""

    before: bool

    def names(self, folder: str) -> list[str]:
        there = super().names(folder)
        if folder.endswith("/00000") and there:
            finish_part(desk_at(Path(self.url).parent), 0, 3)
            return super().names(folder) if self.before else there
        return there


@pytest.mark.parametrize("before", [False, True])
def test_nothing_is_missing_of_a_part_that_another_process_finishes_meanwhile(tmp_path, before):
    desk = desk_at(tmp_path)
    put_rows(desk, 0, rows_of(0, 1))
    put_rows(desk, 0, rows_of(2))
    root = Overtaken(desk.root.url)
    object.__setattr__(root, "before", before)
    assert missing(replace(desk, root=root), 0, 3).tolist() == []
    assert written(desk) == ["a0", "a1", "a2"]
    assert missing(desk, 0, 3).tolist() == []


def test_a_segment_that_is_lost_from_an_unfinished_part_is_told(tmp_path):
    class Lossy(Root):
        def read(self, name: str, *given) -> bytes:
            raise FileNotFoundError(name)

    desk = desk_at(tmp_path)
    put_rows(desk, 0, rows_of(0))
    with pytest.raises(FileNotFoundError):
        missing(replace(desk, root=Lossy(desk.root.url)), 0, 3)


def test_what_a_put_raises_reaches_who_adds(tmp_path):
    desk = desk_at(tmp_path, left=0)

    async def go() -> None:
        journal = Journal(desk, seconds=0.01)
        journal.add(0, 0, Answer("a", "stop"), bytes(16))
        await asyncio.sleep(0.05)
        journal.add(0, 1, Answer("a", "stop"), bytes(16))

    with pytest.raises(Killed):
        asyncio.run(go())


def test_a_part_that_was_complete_is_finished_without_a_row(tmp_path):
    desk = desk_at(tmp_path, (2,))
    put_rows(desk, 0, rows_of(0, 1))

    async def go() -> None:
        journal = Journal(desk)
        journal.expect(0, 0, 2)
        await journal.close()

    asyncio.run(go())
    assert written(desk) == ["a0", "a1"]
