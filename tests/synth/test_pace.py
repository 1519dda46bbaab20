"""The pace against a queueing server: it fills it, keeps its queue short, and follows it when it grows or shrinks."""

import heapq
import random
from collections import deque

import pytest

from hare_ray.synth.endpoint import Load
from hare_ray.synth.greeting import EMPTY
from hare_ray.synth.pace import Climb, Pace

MOST = 4096


class Server:
    """Works on `capacity` requests at a time, a second each on average; the others wait. Events in virtual time."""

    def __init__(self, capacity: int, spread: float = 0.3) -> None:
        self.capacity, self.spread = capacity, spread
        self.draw = random.Random(1)
        self.busy: list[tuple[float, float]] = []
        self.queue: deque[float] = deque()

    def send(self, now: float) -> None:
        self.queue.append(now)
        self.start(now)

    def start(self, now: float) -> None:
        while self.queue and len(self.busy) < self.capacity:
            heapq.heappush(self.busy, (now + self.draw.uniform(1 - self.spread, 1 + self.spread), self.queue.popleft()))

    @property
    def inside(self) -> int:
        return len(self.busy) + len(self.queue)


def header(server: Server) -> Load:
    return Load(server.inside / server.capacity)


def gauges(server: Server) -> Load:
    return Load(server.inside / len(server.busy)) if server.queue else Load(EMPTY)


def drive(pace: Pace, server: Server, seconds: float, told=None, looks=None, at: float = 0.0) -> list[tuple]:
    """(time, answered) of each reply; told: the load that comes with a reply, looks: the one asked for at times."""
    done, now, end, look = [], at, at + seconds, at
    while now < end:
        while server.inside < pace.limit:
            server.send(now)
        if looks and look <= server.busy[0][0]:
            now, look = look, look + 0.2
            pace.seen(looks(server), server.inside, 0.5)
            continue
        now, sent = heapq.heappop(server.busy)
        in_flight = server.inside + 1
        server.start(now)
        if told:
            pace.seen(told(server), in_flight)
        pace.ended(1.0, in_flight, now)
        done.append((now, now - sent))
    return done


def rate(done: list[tuple], since: float, until: float) -> float:
    return sum(since <= now < until for now, _ in done) / (until - since)


@pytest.mark.parametrize("start", [1, 32, 2000])
@pytest.mark.parametrize("capacity", [1, 64, 700])
def test_a_server_that_says_its_load_is_full_after_a_few_round_trips_and_its_queue_short(start, capacity):
    done = drive(Pace(MOST, start), Server(capacity), 20, told=header)
    settled = 7 + start / capacity  # what was sent too much in the beginning must be worked off
    if settled < 13:
        assert rate(done, settled, 19) >= 0.95 * capacity
        assert max(took for now, took in done if now > settled) < 3.5
    assert capacity <= drive_limit(start, capacity) <= 1.4 * capacity + 3


def drive_limit(start: int, capacity: int) -> int:
    pace = Pace(MOST, start)
    drive(pace, Server(capacity), 20 + 2 * start / capacity, told=header)
    return pace.limit


@pytest.mark.parametrize("start", [1, 32, 500])
def test_gauges_of_those_who_wait_fill_a_server_too(start):
    pace, server = Pace(MOST, start), Server(200)
    done = drive(pace, server, 20, looks=gauges)
    assert rate(done, 8, 19) >= 0.95 * 200
    assert max(took for now, took in done if now > 10) < 4


def test_a_capacity_that_grows_and_shrinks_is_followed():
    pace, server = Pace(MOST), Server(64)
    drive(pace, server, 10, told=header)
    server.capacity = 512  # as when the autoscaler adds replicas
    grown = drive(pace, server, 10, told=header, at=10)
    assert rate(grown, 14, 19) >= 0.95 * 512
    server.capacity = 64
    drive(pace, server, 30, told=header, at=20)
    assert 64 <= pace.limit <= 90


def test_a_server_that_others_fill_gets_few_more():
    class Shared(Server):
        def others(self) -> Load:
            return Load((self.inside + 300) / self.capacity)

    pace, server = Pace(MOST, 64), Shared(100)
    drive(pace, server, 30, told=Shared.others)
    assert pace.limit < 10


def test_clients_that_share_a_server_come_to_the_same_pace():
    """In steps of one round trip: each client's share of the load, and of the capacity in the end."""
    paces = [Pace(MOST, 1), Pace(MOST, 100)]
    for _ in range(600):
        limits = [pace.limit for pace in paces]
        for pace, limit in zip(paces, limits, strict=True):
            pace.seen(Load(sum(limits) / 128), limit, 1.0)
    assert abs(paces[0].limit - paces[1].limit) < 0.3 * paces[1].limit
    assert 128 <= paces[0].limit + paces[1].limit <= 1.5 * 128


@pytest.mark.parametrize("start", [1, 32, 300])
@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_a_silent_server_is_filled_by_its_throughput(start, spread):
    pace, server = Pace(MOST, start), Server(64, spread)
    done = drive(pace, server, 160)
    assert rate(done, 60, 159) >= 0.95 * 64
    late = [took for now, took in done if now > 60]
    assert sum(late) / len(late) < 3


def test_a_silent_server_that_grows_and_shrinks_is_followed():
    pace, server = Pace(MOST), Server(64)
    drive(pace, server, 60)
    server.capacity = 256
    grown = drive(pace, server, 120, at=60)
    assert rate(grown, 130, 179) >= 0.95 * 256
    server.capacity = 64
    shrunk = drive(pace, server, 250, at=180)
    assert sum(took for now, took in shrunk if now > 400) / sum(now > 400 for now, _ in shrunk) < 3


def test_refusals_lower_the_pace_once_per_round_trip_and_never_below_one():
    pace = Pace(MOST, 100)
    for _ in range(50):
        pace.refused(sent=0.0, in_flight=100, now=1.0)
    assert pace.limit == 70
    pace.refused(sent=1.5, in_flight=70, now=2.0)
    assert pace.limit == 49
    for second in range(3, 40):
        pace.refused(sent=second, in_flight=pace.limit, now=second)
    assert pace.limit == 1


def refused_for_a_while(took: float, until: float, room: int, seconds: float) -> list[tuple[float, int]]:
    """(time, limit) after each reply of a server that answers in `took`, always, and has `room` till then."""
    pace, now, inside, limits = Pace(200), 0.0, 0, []
    replies: list[tuple[float, float, bool]] = []
    while now < seconds:
        while len(replies) < pace.limit:
            refused = now < until and inside >= room
            heapq.heappush(replies, (now + (0.05 if refused else took), now, refused))
            inside += not refused
        now, sent, refused = heapq.heappop(replies)
        if refused:
            pace.refused(sent, len(replies) + 1, now)
        else:
            inside -= 1
            pace.ended(1.0, len(replies) + 1, now)
        limits.append((now, pace.limit))
    return limits


@pytest.mark.parametrize("took", [0.05, 4.0])
def test_a_limit_that_refusals_cut_to_one_comes_back_though_answers_take_the_same_time_always(took):
    limits = refused_for_a_while(took, until=5, room=0, seconds=5 + 50 * took)
    assert min(limit for now, limit in limits if now < 5.1) == 1
    assert next(limit for now, limit in limits if now > 5.1 + 8 * took) >= 20  # doubled with each round trip
    assert limits[-1][1] > 64


@pytest.mark.parametrize("room", [1, 2, 5])
def test_a_server_that_had_little_room_and_has_more_is_filled_though_answers_take_the_same_time_always(room):
    limits = refused_for_a_while(1.0, until=60, room=room, seconds=300)
    crowded = [limit for now, limit in limits if 20 < now < 60]
    assert sum(crowded) / len(crowded) <= 2 * room + 1
    assert limits[-1][1] > 64


def test_the_stated_cap_is_never_exceeded():
    pace, server = Pace(40, 1000), Server(500)
    drive(pace, server, 10, told=header)
    assert pace.limit == 40
    climbing = Pace(40)
    drive(climbing, Server(500), 30)
    assert climbing.limit <= 40


def test_a_pause_in_which_little_is_asked_is_not_taken_for_a_small_server():
    climb = Climb(32)
    for second in range(200):
        climb.ended(1.0, 3, float(second))
    assert climb.limit == 32
    pace = Pace(MOST, 100)
    for _ in range(100):
        pace.seen(Load(3 / 64), 3)
    assert pace.limit >= 80
