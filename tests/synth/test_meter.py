"""What the books and a person are told of the asking."""

import time

from hare_ray.synth.meter import Meter, Tally, clocked, totals
from tests.synth.test_journal import desk_at


def test_numbers_of_killed_runs_are_counted_and_in_flight_is_that_of_one_run(tmp_path):
    desk = desk_at(tmp_path)
    for run, values in (("a", (3, 10)), ("a", (1, 20)), ("b", (2, 25))):
        tally = Tally(desk, run)
        tally.values = dict(zip(("retried", "in_flight"), values, strict=True))
        tally.save()
        tally.save()
    with clocked(desk, "b", lambda: 200.0):
        time.sleep(0.05)
    found = totals(desk)
    assert (found["retried"], found["in_flight"]) == (6, 30)
    assert 50 <= found["milliseconds"] < 5000
    assert abs(found["accelerator_seconds"] - 0.2 * found["milliseconds"]) < 2


def test_a_line_tells_rows_speed_and_the_time_left():
    meter = Meter("d2_answers", 1000)
    began = meter._began
    assert meter.line(0, began + 1) == "d2_answers: 0 of 1,000 rows, 0 tokens/s, 0 in flight, ETA unknown"
    for _ in range(250):
        meter.ended(40)
    told = meter.line(7, began + 100)
    assert told == "d2_answers: 250 of 1,000 rows, 100 tokens/s, 7 in flight, ETA 5 min"
