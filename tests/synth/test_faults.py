"""A server that dies, refuses, comes back or does not: nothing lost, nothing twice, and the right one is blamed."""

import random
import threading
import time
from dataclasses import replace

import pytest

from hare_ray.engine import run
from hare_ray.synth import asker
from hare_ray.synth import generate as asking
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
    assert [row["finish"] for row in rows] == ["stop"] * 600
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
    parts = answers(str(tmp_path / "run"), stage)
    bad = {(part, row): found["finish"] for part, rows in enumerate(parts) for row, found in enumerate(rows) if found["finish"] != "stop"}  # fmt: skip # noqa: E501
    assert bad == {(0, 17): DIED, (1, 40): DIED}
    assert server.deaths < 40


def test_a_row_at_which_a_living_server_fails_has_the_servers_reason(server, tmp_path, patience):
    patience(5, 20)
    said = {"error": {"message": "list index out of range"}}
    server.script = lambda asked: Say(500, said) if asked.prompt.startswith("0 5 ") else None
    stage = generate(prompts(tmp_path / "in", 60), endpoint=server.url, concurrency=4)
    run(stage, root=str(tmp_path / "run"))
    (rows,) = answers(str(tmp_path / "run"), stage)
    assert [row["finish"] for row in rows if row["answer"] is None] == ["error: HTTP 500: list index out of range"]


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
    (rows,) = answers(str(tmp_path / "run"), stage)
    assert {row["finish"] for row in rows} == {"stop"}
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
    assert {row["finish"] for row in answers(root, stage)[0]} == {"stop"}


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
