"""The client against a server that answers, refuses, fails and hangs."""

import asyncio
import time
from datetime import UTC, datetime
from email.utils import format_datetime

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.synth.endpoint import (
    LONGEST_WAIT_SECONDS,
    Answer,
    Endpoint,
    Sampling,
    ask,
    greet,
    headers,
    read_answer,
    retry_after_seconds,
    wait_seconds,
)
from tests.synth.fake_openai import FakeOpenAI, Say

COMPLETE = Sampling(chat=False, max_tokens=8, temperature=0.5, top_p=0.9)
CHAT = Sampling(chat=True, max_tokens=8, temperature=0.5, top_p=0.9)


@pytest.fixture
def server():
    with FakeOpenAI() as fake:
        yield fake


def asked(
    url: str, prompt: str = "one two", sampling: Sampling = COMPLETE, seconds: float = 10, first_wait: float = 0.01
) -> Answer:
    async def go() -> Answer:
        async with aiohttp.ClientSession(headers=headers()) as session:
            return await ask(session, Endpoint(url, "fake", seconds, first_wait), sampling, prompt, 7)

    return asyncio.run(go())


def greeted(url: str, llm: str) -> str:
    async def go() -> str:
        async with aiohttp.ClientSession(headers=headers()) as session:
            return await greet(session, Endpoint(url, llm, 10, 0.01))

    return asyncio.run(go())


@pytest.mark.parametrize(("sampling", "path"), [(COMPLETE, "/v1/completions"), (CHAT, "/v1/chat/completions")])
def test_a_prompt_is_sent_as_the_api_wants_it_and_its_answer_read(server, sampling, path):
    assert asked(server.url, sampling=sampling) == Answer("ONE TWO", "stop", 2, 3)
    sent = server.asked[0]
    prompt = {"messages": [{"role": "user", "content": "one two"}]} if sampling.chat else {"prompt": "one two"}
    drawn = {"max_tokens": 8, "temperature": 0.5, "top_p": 0.9, "seed": 7}
    assert (sent.path, sent.body) == (path, {"model": "fake", **prompt, **drawn})


def test_a_busy_server_is_asked_again_no_sooner_than_it_wants(server):
    server.script = lambda asked: Say(429, headers={"Retry-After": "1"}) if asked.number == 0 else None
    began = time.monotonic()
    assert asked(server.url).finish == "stop"
    assert time.monotonic() - began >= 1
    assert len(server.asked) == 2


def test_a_failing_server_is_asked_again(server):
    server.script = lambda asked: Say(500) if asked.number < 3 else None
    assert asked(server.url).text == "ONE TWO"
    assert len(server.asked) == 4


def test_a_server_that_fails_every_time_makes_an_error_row(server):
    server.script = lambda asked: Say(503, {"error": {"message": "no engine"}})
    assert asked(server.url, first_wait=1e-4).finish == "error: HTTP 503: no engine"


def test_a_refused_prompt_is_an_error_row_and_not_asked_again(server):
    said = {"error": {"message": "maximum context length is 8 tokens"}}
    server.script = lambda asked: Say(400, said)
    assert asked(server.url) == Answer(None, "error: HTTP 400: maximum context length is 8 tokens")
    assert len(server.asked) == 1


def test_a_server_that_hangs_makes_an_error_row(server):
    server.script = lambda asked: Say(after_seconds=5)
    began = time.monotonic()
    assert asked(server.url, seconds=0.3).finish == "error: no answer within 0.3 s"
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_stops_the_run_and_is_not_told(server, status, monkeypatch):
    server.script = lambda asked: Say(status, {"error": {"message": "bad key"}})
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")
    with pytest.raises(PermissionError, match=rf"{server.url}.*HTTP {status}.*bad key.*OPENAI_API_KEY") as raised:
        asked(server.url)
    assert "sesame" not in str(raised.value)
    assert server.asked[0].headers["Authorization"] == "Bearer sesame"


def test_a_wrong_address_stops_the_run(server):
    with pytest.raises(ValueError, match=r"given endpoint=.*expected the base address"):
        asyncio.run(_greet_at(server.url.removesuffix("/v1")))


async def _greet_at(url: str) -> str:
    async with aiohttp.ClientSession() as session:
        return await greet(session, Endpoint(url, "", 10, 0.01))


def test_nobody_there_says_where_and_what_to_do(server):
    with FakeOpenAI() as gone:
        url = gone.url
    with pytest.raises(ConnectionError, match=rf"nobody answers at {url}.*expected an OpenAI-compatible server"):
        greeted(url, "fake")


def test_the_only_model_needs_no_name():
    with FakeOpenAI(models=("only",)) as server:
        assert greeted(server.url, "") == "only"


@pytest.mark.parametrize("llm", ["", "other"])
def test_a_model_that_is_not_served_or_must_be_chosen_is_refused_with_the_choice(llm):
    with FakeOpenAI(models=("one", "two")) as server, pytest.raises(ValueError, match=r"serves \['one', 'two'\]"):
        greeted(server.url, llm)


def test_a_server_without_a_list_of_models_is_taken_at_its_word(server):
    server.models = Say(404)
    assert greeted(server.url, "fake") == "fake"


@pytest.mark.parametrize("reply", ["", "[]", "{}", '{"choices": []}', '{"choices": [{"text": "a"}], "usage": 3}'])
def test_a_reply_without_an_answer_is_an_error_row(reply):
    assert read_answer(reply, chat=False).finish.startswith("error: no answer in the reply")


def test_another_end_than_stop_or_length_is_an_error_that_keeps_the_text():
    filtered = '{"choices": [{"text": "a", "finish_reason": "content_filter"}]}'
    assert read_answer(filtered, chat=False) == Answer("a", "error: ended by content_filter")


@given(st.integers(0, 40), st.floats(0.01, 5), st.floats(0, 200))
@settings(max_examples=50, deadline=None)
def test_waits_grow_are_bounded_and_never_shorter_than_asked_for(attempt, first, asked_for):
    step = min(LONGEST_WAIT_SECONDS, first * 2**attempt)
    waited = wait_seconds(attempt, first, asked_for)
    assert max(asked_for, step / 2) <= waited <= max(asked_for, step)


def test_a_retry_after_may_be_seconds_a_date_or_nonsense():
    now = 1_700_000_000
    date = format_datetime(datetime.fromtimestamp(now + 30, UTC), usegmt=True)
    assert [retry_after_seconds(value, now) for value in ("2.5", date, "soon", "-4", None)] == [2.5, 30.0, 0, 0, 0]
