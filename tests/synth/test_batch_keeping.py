"""What engines tell: errors are judged as a server's are, parts are written when complete, and the books add up."""

import json

import pytest

from hare_ray.catalog import Catalog
from hare_ray.executor import plain_map
from hare_ray.gather import Desk
from hare_ray.stage import Source
from hare_ray.store import Root
from hare_ray.synth.batch_keeping import Keeping
from hare_ray.synth.batch_notes import Told
from hare_ray.synth.endpoint import Answer
from hare_ray.synth.failures import LEAST_FAILED, WINDOW
from hare_ray.synth.generate import Generate
from hare_ray.synth.journal import answered, put_rows, table_of
from hare_ray.synth.meter import totals
from tests.synth.stages import prompts

ERRONEOUS = "error: no such schema"
BATCH = 50


def desk_at(folder) -> Desk:
    stage = Generate(
        prompts=prompts(folder / "in", 1), model=Source(location=str(folder / "in")), llm="", chat=False, max_tokens=4,
        temperature=0.0, top_p=1.0, seed=1, through="batch",
    )  # fmt: skip
    return Desk(stage, Root(str(folder)), Catalog(), plain_map, folder)


def keeping_of(desk: Desk, *rows: int) -> Keeping:
    return Keeping(desk, "run", list(rows), [(part, 0, count) for part, count in enumerate(rows)])


def key(part: int, row: int) -> bytes:
    return part.to_bytes(8) + row.to_bytes(8)


def batch(desk: Desk, part: int, rows: range, *failed: int, engine: str = "a", in_flight: int = 7) -> Told:
    """What an engine does with these rows: answers go to the journal, errors are told."""
    fine = [(row, Answer(f"{part} {row}", "stop", 2, 3), key(part, row)) for row in rows if row not in failed]
    put_rows(desk, part, table_of(fine))
    errors = json.dumps([(row, ERRONEOUS, key(part, row).hex()) for row in failed])
    return Told(part, len(rows), engine, len(rows), 3 * len(fine), 1, in_flight, errors)


def parts_of(folder) -> list[list[dict]]:
    import pyarrow.parquet as pq

    return [pq.read_table(path).to_pylist() for path in sorted(folder.glob("*/*/part-*.parquet"))]


def journaled(desk: Desk, part: int) -> set[int]:
    return set(answered(desk, part)["row"].to_pylist())


def test_an_error_is_held_back_until_the_rows_after_it_show_that_it_is_the_rows_own(tmp_path):
    desk = desk_at(tmp_path)
    keeping = keeping_of(desk, BATCH, 8 * BATCH)
    keeping.take(batch(desk, 0, range(BATCH), 3), 64)
    assert journaled(desk, 0) == set(range(BATCH)) - {3} and parts_of(tmp_path) == []
    for first in range(0, WINDOW + BATCH, BATCH):
        keeping.take(batch(desk, 1, range(first, first + BATCH)), 64)
    (part,) = parts_of(tmp_path)
    assert [row["finish"] for row in part] == ["stop"] * 3 + [ERRONEOUS] + ["stop"] * (BATCH - 4)
    assert [row["request"] for row in part] == [key(0, row) for row in range(BATCH)]
    assert keeping.open == 8 * BATCH - len(range(0, WINDOW + BATCH, BATCH)) * BATCH


def test_a_good_end_writes_the_errors_that_were_held_back_and_the_books(tmp_path):
    desk = desk_at(tmp_path)
    keeping = keeping_of(desk, BATCH, BATCH)
    keeping.take(batch(desk, 1, range(BATCH), 0, 1, engine="b", in_flight=5), 64)
    keeping.take(batch(desk, 0, range(BATCH), in_flight=3), 64)
    assert len(parts_of(tmp_path)) == 1
    keeping.rest()
    keeping.close()
    parts = parts_of(tmp_path)
    assert [len(part) for part in parts] == [BATCH, BATCH] and keeping.open == 0
    assert [row["answer"] for row in parts[1][:3]] == [None, None, "1 2"]
    assert {name: totals(desk)[name] for name in ("retried", "in_flight")} == {"retried": 2, "in_flight": 8}


def test_too_many_errors_stop_the_run_and_stay_unasked(tmp_path):
    desk = desk_at(tmp_path)
    keeping = keeping_of(desk, 10 * BATCH)
    for number in range(4):
        keeping.take(batch(desk, 0, range(number * BATCH, number * BATCH + BATCH), number * BATCH), 64)
    failed = range(4 * BATCH, 5 * BATCH)
    with pytest.raises(ValueError, match=r"the model of .* gave an error to .*no such schema.* is asked again"):
        keeping.take(batch(desk, 0, failed, *failed), 64)
    assert journaled(desk, 0) == set(range(4 * BATCH)) - {0, 50, 100, 150}


def test_a_fifth_of_errors_is_a_serve_runs_limit_and_this_ones(tmp_path):
    desk = desk_at(tmp_path)
    keeping = keeping_of(desk, 4 * BATCH)
    keeping.take(batch(desk, 0, range(BATCH), *range(10)), 64)
    with pytest.raises(ValueError, match="gave an error to 11 of the last"):
        keeping.take(batch(desk, 0, range(BATCH, BATCH + 1), BATCH), 64)


def test_few_errors_of_few_rows_are_the_rows_own(tmp_path):
    desk = desk_at(tmp_path)
    keeping = keeping_of(desk, LEAST_FAILED - 1)
    keeping.take(batch(desk, 0, range(LEAST_FAILED - 1), *range(LEAST_FAILED - 1)), 64)
    keeping.rest()
    assert [row["finish"] for row in parts_of(tmp_path)[0]] == [ERRONEOUS] * (LEAST_FAILED - 1)


def test_a_batch_that_ray_hands_on_twice_changes_nothing(tmp_path):
    desk = desk_at(tmp_path)
    keeping = keeping_of(desk, BATCH)
    told = batch(desk, 0, range(BATCH))
    keeping.take(told, 64)
    keeping.take(told, 64)
    assert [len(part) for part in parts_of(tmp_path)] == [BATCH]
