"""Notes of what is being asked: who dies with the engine is found, and who stood beside is not blamed."""

import asyncio

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.catalog import Catalog
from hare_ray.executor import plain_map
from hare_ray.gather import Desk
from hare_ray.stage import Source
from hare_ray.store import Root
from hare_ray.synth.batch_notes import ALONE_DEATHS, GROUP_ROWS, SUSPECT_DEATHS, Gate, Notes, suspect_groups


def notes_at(folder, run: str = "run") -> Notes:
    source = folder / "files"
    source.mkdir(exist_ok=True)
    (source / "a.txt").write_text("")
    desk = Desk(Source(label="stage", location=str(source)), Root(str(folder)), Catalog(), plain_map, folder)
    return Notes(desk, run)


def rows(*numbers: int):
    return np.array(numbers, np.int32)


def test_a_note_that_was_not_taken_back_is_a_death_of_its_rows_alone(tmp_path):
    notes = notes_at(tmp_path)
    notes.begin(0, rows(1, 2, 5), alone=False)
    notes.begin(1, rows(2), alone=True)
    notes.end(notes.begin(0, rows(2, 3), alone=False))
    later = notes_at(tmp_path)
    assert [found.tolist() for found in later.deaths(0, rows(1, 2, 3, 4, 5))] == [[1, 1, 0, 0, 1], [0] * 5]
    assert [found.tolist() for found in later.deaths(1, rows(1, 2))] == [[0, 1], [0, 1]]
    assert [found.tolist() for found in later.deaths(0, rows(3, 4))] == [[0, 0], [0, 0]]


def test_starts_that_were_not_survived_are_counted_and_word_is_left(tmp_path):
    notes = notes_at(tmp_path)
    assert not notes.begun() and notes.refused() == ""
    assert notes.starting("a") == 0 and notes.starting("a") == 1 and notes.starting("b") == 0
    assert notes.begun()
    notes.started("a")
    assert notes.starting("a") == 0 and notes.starting("b") == 1
    notes.refuse("no memory")
    assert notes.refused() == "no memory"


def test_runs_that_were_interrupted_blame_nobody(tmp_path):
    for number in range(1 + max(SUSPECT_DEATHS, ALONE_DEATHS)):
        killed = notes_at(tmp_path, f"run{number}")
        assert killed.refused() == "" and killed.starting("a") == 0
        assert [found.tolist() for found in killed.deaths(0, rows(7, 8))] == [[0, 0], [0, 0]]
        killed.begin(0, rows(7, 8), alone=False)
        killed.begin(0, rows(7), alone=True)
        killed.refuse("no memory")


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 120), st.sets(st.integers(0, 119), max_size=4))
def test_killers_are_blamed_and_nobody_else(tmp_path_factory, count, killers):
    """An engine that dies of certain rows, started again until all rows have a fate."""
    folder, answered, blamed, starts = tmp_path_factory.mktemp("notes"), set(), set(), 0
    killers = {row for row in killers if row < count}
    while len(answered) + len(blamed) < count:
        starts += 1
        notes = notes_at(folder)
        left = np.array(sorted(set(range(count)) - answered - blamed), np.int32)
        deaths, alone = notes.deaths(0, left)
        blamed |= {int(row) for row in left[alone >= ALONE_DEATHS]}
        calm = left[deaths < SUSPECT_DEATHS]
        asked = np.flatnonzero((deaths >= SUSPECT_DEATHS) & (alone < ALONE_DEATHS))
        for group in [calm] * bool(len(calm)) + [left[places] for places in suspect_groups(asked, deaths)]:
            note = notes.begin(0, group, alone=len(group) == 1 and group is not calm)
            if killers & set(group.tolist()):
                break  # dies, and its note stays
            answered |= set(group.tolist())
            notes.end(note)
    assert blamed == killers
    assert starts <= 1 + SUSPECT_DEATHS + len(killers) * (1 + ALONE_DEATHS)


def test_groups_are_small_and_cover_every_suspect_once():
    deaths = np.array([SUSPECT_DEATHS] * 20 + [SUSPECT_DEATHS + 1] * 2 + [0])
    groups = list(suspect_groups(np.flatnonzero(deaths), deaths))
    assert sorted(np.concatenate(groups).tolist()) == list(range(22))
    assert max(map(len, groups)) == GROUP_ROWS
    assert [group.tolist() for group in groups[-2:]] == [[20], [21]]


def test_alone_means_that_nobody_else_is_inside():
    inside, seen = set(), []

    async def ask(gate: Gate, number: int, alone: bool) -> None:
        async with gate.alone() if alone else gate.together():
            inside.add(number)
            await asyncio.sleep(0.001)
            if alone:
                seen.append(set(inside))
            await asyncio.sleep(0.001)
            inside.remove(number)

    async def run() -> None:
        gate = Gate()
        async with asyncio.timeout(10):
            await asyncio.gather(*[ask(gate, number, number % 3 == 0) for number in range(30)])

    asyncio.run(run())
    assert sorted(seen, key=min) == [{number} for number in range(0, 30, 3)]
