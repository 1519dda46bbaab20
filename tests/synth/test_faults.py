"""A server that dies, refuses, comes back or does not: nothing lost, nothing twice, and the right one is blamed."""

import asyncio
import random
import threading
import time
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from hare_ray.engine import run
from hare_ray.synth import asker, client
from hare_ray.synth import generate as asking
from hare_ray.synth.client import FAILURES
from hare_ray.synth.endpoint import Endpoint, Sampling
from hare_ray.synth.generate import Generate
from hare_ray.synth.suspects import DIED
from tests.synth.fake_openai import FakeOpenAI, Say, usual
from tests.synth.stages import answers, prompts
from tests.synth.test_generate import books, generate

pytestmark = pytest.mark.slow  # its servers are dead for a while


@pytest.fixture
def server():
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
def patience(monkeypatch):
    """Shorter waits, so that a test takes seconds: (before the first answer, after it)."""
    made = asking.Endpoint

    def shorter(first: float, later: float) -> None:
        def endpoint(*given, **named):
            waits = {"first_wait_seconds": 0.02, "first_patience_seconds": first, "patience_seconds": later}
            return replace(made(*given, **named), **waits)

        monkeypatch.setattr(asking, "Endpoint", endpoint)

    return shorter


def wrong(root: Path, stage: Generate, asked: Path) -> dict[tuple[int, int], str]:
    """The rows that have no answer, or that of another prompt: part, row and how it ended."""
    lines = [file.read_text().splitlines() for file in sorted(asked.iterdir())]
    found = answers(str(root), stage)
    assert [len(part) for part in found] == [len(part) for part in lines]
    return {
        (part, number): row["finish"]
        for part, rows in enumerate(found)
        for number, row in enumerate(rows)
        if (row["answer"], row["finish"]) != (lines[part][number].upper(), "stop")
    }


def test_an_engine_that_dies_costs_the_rows_in_flight_and_nobody_is_blamed(server, tmp_path, patience):
    patience(5, 20)
    draw = random.Random(3)
    kills = set(draw.sample(range(20, 560), 5))

    def script(asked):
        if asked.number in kills:
            server.die(draw.uniform(0.0, 0.4))
        return replace(usual(asked), after_seconds=0.01)

    server.script = script
    stage = generate(prompts(tmp_path / "in", 300, 300), endpoint=server.url, concurrency=8, clients=1)
    run(stage, root=str(tmp_path / "run"))
    rows = [row for part in answers(str(tmp_path / "run"), stage) for row in part]
    assert server.deaths == 5
    assert wrong(tmp_path / "run", stage, tmp_path / "in") == {}
    assert len({row["request"] for row in rows}) == 600
    assert 1 <= books(tmp_path / "run", stage)["retried"] <= 5 * 8 + 5


def test_the_row_that_kills_is_blamed_and_its_neighbours_are_not(server, tmp_path, patience):
    patience(5, 20)
    asked = prompts(tmp_path / "in", 60, 60)

    def script(asked):
        if asked.prompt.startswith(("0 17 ", "1 40 ")):
            server.die(0.05)
        return replace(usual(asked), after_seconds=0.01)

    server.script = script
    stage = generate(asked, endpoint=server.url, concurrency=12, clients=1)
    run(stage, root=str(tmp_path / "run"))
    assert wrong(tmp_path / "run", stage, tmp_path / "in") == {(0, 17): DIED, (1, 40): DIED}
    assert server.deaths < 40


def test_a_row_at_which_a_living_server_fails_has_the_servers_reason(server, tmp_path, patience):
    patience(5, 20)
    said = {"error": {"message": "list index out of range"}}
    server.script = lambda asked: Say(500, said) if asked.prompt.startswith("0 5 ") else None
    stage = generate(prompts(tmp_path / "in", 60), endpoint=server.url, concurrency=4)
    run(stage, root=str(tmp_path / "run"))
    assert wrong(tmp_path / "run", stage, tmp_path / "in") == {(0, 5): "error: HTTP 500: list index out of range"}


def test_many_rows_at_which_a_living_server_fails_are_settled_among_the_others(server, tmp_path, patience):
    patience(5, 20)
    last = []

    def script(asked):
        if int(asked.prompt.split()[1]) % 8 == 5:
            return Say(500, {"error": {"message": "no such token"}})
        last.append(asked.number)
        return replace(usual(asked), after_seconds=0.005)

    server.script = script
    stage = generate(prompts(tmp_path / "in", 400, 400), endpoint=server.url, concurrency=16, clients=1)
    run(stage, root=str(tmp_path / "run"))
    expected = {(part, row): "error: HTTP 500: no such token" for part in range(2) for row in range(5, 400, 8)}
    assert wrong(tmp_path / "run", stage, tmp_path / "in") == expected
    assert len(server.asked) == 700 + 100 * FAILURES
    assert sum(asked.number > last[-1] for asked in server.asked) <= 16 * FAILURES
    assert books(tmp_path / "run", stage)["errors"] == 100


def test_too_many_rows_at_which_a_living_server_fails_stop_the_run_soon(server, tmp_path, patience):
    patience(5, 20)
    server.script = lambda asked: Say(500) if int(asked.prompt.split()[1]) % 3 == 0 else None
    stage = generate(prompts(tmp_path / "in", 2000), endpoint=server.url, concurrency=16)
    with pytest.raises(ValueError, match=r"gave an error to \d+ of the last .*HTTP 500"):
        run(stage, root=str(tmp_path / "run"))
    assert len(server.asked) < 1000


def test_rows_that_are_due_wait_for_the_server_without_a_sound(server, tmp_path, patience, monkeypatch):
    patience(5, 20)
    looks = []
    due = client._Client._due
    monkeypatch.setattr(client._Client, "_due", lambda self: looks.append(1) or due(self))
    changed = client._Client._changed
    monkeypatch.setattr(client._Client, "_changed", lambda self, asker: looks.append(1) or changed(self, asker))

    def script(asked):
        if asked.number == 20:
            server.die(1.5)
        if asked.number in (4, 5):  # sent together, so that the pace is cut once
            return Say(429, headers={"Retry-After": "0.5"})
        return replace(usual(asked), after_seconds=0.01)

    server.script = script
    stage = generate(prompts(tmp_path / "in", 60), endpoint=server.url, concurrency=8, clients=1)
    run(stage, root=str(tmp_path / "run"))
    assert wrong(tmp_path / "run", stage, tmp_path / "in") == {}
    assert len(looks) < 400  # five a row; one a millisecond while it was down would be 1,000 more


def test_refusals_slow_it_down_and_every_row_is_answered(server, tmp_path, patience):
    patience(5, 20)
    inside = threading.Semaphore(3)  # as a server with room for three

    def script(asked):
        if not inside.acquire(blocking=False):
            return Say(429, headers={"Retry-After": "0.01"})
        try:
            time.sleep(0.01)
        finally:
            inside.release()
        return None

    server.script = script
    stage = generate(prompts(tmp_path / "in", 200), endpoint=server.url, concurrency=32)
    run(stage, root=str(tmp_path / "run"))
    assert wrong(tmp_path / "run", stage, tmp_path / "in") == {}
    assert books(tmp_path / "run", stage)["retried"] > 0


@pytest.mark.parametrize(("say", "word"), [(Say(500), "HTTP 500"), (Say(503), "HTTP 503"), (Say(0), "Disconnected")])
def test_an_address_that_fails_every_prompt_for_ever_ends_the_run_soon(server, tmp_path, patience, say, word):
    patience(0.5, 20)
    server.script = lambda asked: say
    began = time.monotonic()
    with pytest.raises((ConnectionError, ValueError), match=rf"{server.url}.*{word}"):
        run(generate(prompts(tmp_path / "in", 50), endpoint=server.url), root=str(tmp_path / "run"))
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("page", ["<html><body>Sign in</body></html>", '{"choices": [{"te', ""])
def test_pages_and_torn_json_instead_of_answers_end_the_run_soon(server, tmp_path, page):
    server.script = lambda asked: Say(200, page)
    with pytest.raises(ValueError, match=r"gave an error to 8 of the last 8 prompts.*no answer in the reply"):
        run(generate(prompts(tmp_path / "in", 50), endpoint=server.url), root=str(tmp_path / "run"))


def test_a_server_that_stays_dead_ends_the_run_and_what_was_answered_stays(server, tmp_path, patience):
    patience(5, 0.5)
    asked, root = prompts(tmp_path / "in", 30), str(tmp_path / "run")

    def script(asked):
        if asked.number == 15:
            server.die(3600)

    server.script = script
    with pytest.raises(ConnectionError, match=r"nobody answers.*what was answered is kept"):
        run(generate(asked, endpoint=server.url), root=root)
    server.die(0)
    server.asked.clear()
    server.script = lambda asked: None
    stage = generate(asked, endpoint=server.url)
    run(stage, root=root)
    assert 15 <= len(server.asked) <= 18
    assert wrong(tmp_path / "run", stage, tmp_path / "in") == {}


def test_a_server_that_takes_requests_and_says_nothing_ends_the_run(server, tmp_path, patience, monkeypatch):
    patience(0.5, 0.5)
    monkeypatch.setattr(asker, "STALLED_SECONDS", 0.3)
    monkeypatch.setattr(asker, "LOOK_SECONDS", 0.1)

    def script(asked):
        server.models = Say(503)
        server._down_until = time.monotonic() + 3600
        return Say(after_seconds=30)

    server.script = script
    began = time.monotonic()
    with pytest.raises(ConnectionError, match=r"nobody answers at .*no answer for"):
        run(generate(prompts(tmp_path / "in", 1), endpoint=server.url), root=str(tmp_path / "run"))
    assert time.monotonic() - began < 10
    server.die(0)


def test_a_living_server_that_never_answers_leaves_counted_reasons(server, tmp_path, monkeypatch):
    made = asking.Endpoint
    monkeypatch.setattr(asking, "Endpoint", lambda *given: replace(made(*given), request_seconds=0.3))
    server.script = lambda asked: Say(after_seconds=5)
    with pytest.raises(ValueError, match=r"gave an error to 8 of the last 8 prompts.*no answer within 0\.3 s"):
        run(generate(prompts(tmp_path / "in", 20), endpoint=server.url), root=str(tmp_path / "run"))
    server.die(0)


def test_answers_without_text_stop_the_run(server, tmp_path):
    nothing = {"choices": [{"text": None, "finish_reason": "length"}], "usage": {"completion_tokens": 8}}
    server.script = lambda asked: Say(200, nothing)
    with pytest.raises(ValueError, match=r"gave an error to 8 of the last 8 prompts.*no text in the answer"):
        run(generate(prompts(tmp_path / "in", 50), endpoint=server.url), root=str(tmp_path / "run"))


def test_a_server_that_never_says_its_load_is_rarely_asked_for_it_and_heard_when_it_does(server, monkeypatch):
    monkeypatch.setattr(asker, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(asker, "RARE_LOOK_SECONDS", 0.4)
    asked: list[str] = []

    async def watch() -> tuple[int, int]:
        trace = aiohttp.TraceConfig()

        async def note(session, context, request) -> None:
            asked.append(request.url.path)

        trace.on_request_start.append(note)
        async with aiohttp.ClientSession(trace_configs=[trace]) as session:
            one = asker.Asker(session, Endpoint(server.url, "fake"), Sampling(False, 8, 0.0, 1.0), 64)
            watching = asyncio.create_task(one.watch())
            await asyncio.sleep(0.35)
            silent = len(asked)
            server.metrics = Say(200, "vllm:num_requests_running 32\nvllm:num_requests_waiting 0")
            await asyncio.sleep(0.5)
            watching.cancel()
            return silent, len(asked)

    silent, heard = asyncio.run(watch())
    assert silent == asker.SILENT_LOOKS
    assert heard > silent + 5
    assert set(asked) == {"/metrics"}
