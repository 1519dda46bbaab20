"""The client against a server that answers, refuses, fails and hangs."""

import asyncio
import json
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.synth.endpoint import (
    ABSENT,
    BUSY,
    DOWN,
    FAILED,
    LONGEST_WAIT_SECONDS,
    LOST,
    Answer,
    Endpoint,
    Load,
    Question,
    Sampling,
    Trouble,
    ask_once,
    read_answer,
    retry_after_seconds,
    session_for,
    valid,
    wait_seconds,
)
from hare_ray.synth.greeting import EMPTY, greet, is_up, load_of, read_metrics
from tests.synth.fake_openai import FakeOpenAI, Say

COMPLETE = Sampling(chat=False, max_tokens=8, temperature=0.5, top_p=0.9)
CHAT = Sampling(chat=True, max_tokens=8, temperature=0.5, top_p=0.9)


@pytest.fixture
def server():
    with FakeOpenAI() as fake:
        yield fake


def at(url: str, asking, **changed):
    endpoint = Endpoint(url, **{"llm": "fake", "request_seconds": 10, "first_wait_seconds": 0.01, **changed})

    async def go():
        async with session_for(endpoint) as session:
            return await asking(session, endpoint)

    return asyncio.run(go())


QUESTION = Question("one two", 7)


def asked(url: str, question: Question = QUESTION, sampling: Sampling = COMPLETE, **changed):
    async def asking(session, endpoint):
        return await ask_once(session, endpoint, sampling, question)

    return at(url, asking, **changed)[0]


def greeted(url: str, llm: str, **changed) -> str:
    return at(url, greet, llm=llm, **changed)


@pytest.mark.parametrize(("sampling", "path"), [(COMPLETE, "/v1/completions"), (CHAT, "/v1/chat/completions")])
def test_a_prompt_is_sent_as_the_api_wants_it_and_its_answer_read(server, sampling, path):
    assert asked(server.url, sampling=sampling) == Answer("ONE TWO", "stop", 2, 3)
    sent = server.asked[0]
    prompt = {"messages": [{"role": "user", "content": "one two"}]} if sampling.chat else {"prompt": "one two"}
    drawn = {"max_tokens": 8, "temperature": 0.5, "top_p": 0.9, "seed": 7}
    assert (sent.path, sent.body) == (path, {"model": "fake", **prompt, **drawn})


@pytest.mark.parametrize("sampling", [COMPLETE, CHAT])
def test_a_schema_goes_along(server, sampling):
    asked(server.url, Question("one", 1, '{"type": "object"}'), sampling)
    form = {"name": "answer", "schema": {"type": "object"}, "strict": True}
    assert server.asked[0].body["response_format"] == {"type": "json_schema", "json_schema": form}


@pytest.mark.parametrize(
    ("status", "ours", "kind"),
    [(429, False, BUSY), (408, False, BUSY), (503, False, DOWN), (404, True, DOWN), (500, False, FAILED),
     (502, True, LOST), (504, False, LOST)],
)  # fmt: skip
def test_passing_trouble_is_told_by_its_kind(server, status, ours, kind):
    server.script = lambda asked: Say(status, {"error": {"message": "no engine"}}, headers={"Retry-After": "3"})
    assert asked(server.url, ours=ours) == Trouble(kind, f"HTTP {status}: no engine", 3.0)


def test_a_connection_that_is_dropped_and_one_that_never_was_are_told_apart(server):
    server.script = lambda asked: Say(0)
    with FakeOpenAI() as gone:
        url = gone.url
    assert [asked(server.url).kind, asked(url).kind] == [LOST, ABSENT]


def test_a_refused_prompt_is_an_error_row(server):
    server.script = lambda asked: Say(400, {"error": {"message": "maximum context length is 8 tokens"}})
    assert asked(server.url) == Answer(None, "error: HTTP 400: maximum context length is 8 tokens")


def test_a_server_that_hangs_makes_an_error_row(server):
    server.script = lambda asked: Say(after_seconds=5)
    began = time.monotonic()
    assert asked(server.url, request_seconds=0.3).finish == "error: no answer within 0.3 s"
    assert time.monotonic() - began < 3


def test_a_redirection_is_not_followed(server):
    server.script = lambda asked: Say(302, headers={"Location": "https://login.example.org/"})
    with pytest.raises(ValueError, match=r"HTTP 302 \(https://login.example.org/\), a redirection"):
        asked(server.url)
    assert len(server.asked) == 1


def test_a_certificate_that_is_not_trusted_stops_the_run(server, tmp_path):
    with trusted_by_nobody(tmp_path) as port, pytest.raises(ValueError, match="certificate that is not trusted"):
        asked(f"https://127.0.0.1:{port}/v1")


@contextmanager
def trusted_by_nobody(folder):
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "1",
         "-subj", "/CN=127.0.0.1"], check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def test_the_endpoints_own_key_goes_before_the_environments(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")
    asked(server.url, key="own")
    assert server.asked[0].headers["Authorization"] == "Bearer own"


def test_the_environments_key_does_not_go_to_a_server_of_ours(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")
    asked(server.url, ours=True)
    assert "Authorization" not in server.asked[0].headers


@pytest.mark.parametrize(("key", "ours"), [("own", True), ("own", False), ("", True)])
def test_where_the_key_is_the_endpoints_own_nobody_is_sent_to_the_environment(server, key, ours, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")
    server.script = lambda asked: Say(401)
    with pytest.raises(PermissionError, match=r"endpoint.*expected one that may ask there") as raised:
        asked(server.url, key=key, ours=ours)
    assert "OPENAI" not in str(raised.value)


def test_a_key_from_a_file_loses_its_line_break(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sesame\n")
    asked(server.url)
    assert server.asked[0].headers["Authorization"] == "Bearer sesame"


@pytest.mark.parametrize("key", ["ses\name", "ses\x07ame", "s\u00e9same"])
def test_a_key_that_no_header_holds_is_refused_by_its_name_and_not_told(server, key, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ValueError, match=r"given OPENAI_API_KEY with .*expected one line") as raised:
        asked(server.url)
    assert "ame" not in str(raised.value)
    with pytest.raises(ValueError, match="given the endpoint's own key with"):
        asked(server.url, key=key)


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
        greeted(server.url.removesuffix("/v1"), "")


@pytest.mark.parametrize("url", ["127.0.0.1:8000/v1", "localhost:8000/v1", "ftp://host/v1", "host", "", "http://",
    "http:///v1", "http://[::1/v1", "http://host:99999/v1", "http://host:port/v1"])  # fmt: skip
def test_what_is_no_address_is_refused_at_once(url):
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"given endpoint=.*expected an URL such as http://host:8000/v1"):
        greeted(url, "fake")
    assert time.monotonic() - began < 1


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


@pytest.mark.parametrize("say", [Say(500), Say(503, {"error": {"message": "loading"}})])
def test_a_server_that_fails_for_ever_is_told_soon(server, say):
    server.models = say
    with pytest.raises(ConnectionError, match=rf"nobody answers at .* \(HTTP {say.status}: "):
        greeted(server.url, "fake", first_patience_seconds=0.2)


@pytest.mark.parametrize("page", ["<html>login</html>", "[" * 100_000, '{"data": 3}'])
def test_a_page_that_is_no_list_of_models_is_shown(server, page):
    server.models = Say(200, page)
    with pytest.raises(ValueError, match="expected a list of models"):
        greeted(server.url, "fake")


def test_a_server_is_up_by_its_health_or_else_by_its_models(server):
    assert at(server.url, is_up)
    server.die(60)
    assert not at(server.url, is_up)
    with FakeOpenAI() as gone:
        url = gone.url
    assert not at(url, is_up)


PAGE = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 30.0
vllm:num_requests_running{engine="1",model_name="m"} 34.0
vllm:num_requests_waiting{engine="0",model_name="m"} 16.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 16.0
"""


def test_the_load_is_read_from_headers_and_gauges(server):
    server.metrics = Say(200, PAGE)
    assert at(server.url, load_of) == Load(80 / 64)
    server.metrics = Say(404)
    assert at(server.url, load_of) is None
    assert read_metrics('sglang:num_running_reqs 8\nsglang:num_queue_reqs{a="b"} 4') == Load(1.5)
    assert read_metrics(PAGE.replace("16.0", "0.0")) == Load(EMPTY)
    assert read_metrics("vllm:num_requests_running x\nprocess_start_time_seconds 3") is None
    server.script = lambda asked: Say(429, headers={"x-hare-running": "96", "x-hare-capacity": "64"})

    async def asking(session, endpoint):
        return await ask_once(session, endpoint, COMPLETE, Question("a", 1))

    assert at(server.url, asking)[1] == Load(1.5, 64)


@given(st.text(max_size=20), st.integers(0xD800, 0xDFFF))
@settings(max_examples=50, deadline=None)
def test_text_is_valid_and_unchanged_where_it_was(text, half):
    assert valid(text) == text
    assert valid(text + chr(half) + "a") == text + "\ufffda"
    assert valid("\ud83d\ude00") == "\U0001f600"


@pytest.mark.parametrize("reply", ["", "[]", "{}", '{"choices": []}', '{"choices": [{"text": "a"}], "usage": 3}',
    '{"choices": [{"text": ["a"]}]}', '{"choices": [{"text": "a"}], "usage": {"prompt_tokens": 1e400}}', "[" * 100_000,
    '{"choices": [{"text": "a"}], "usage": {"completion_tokens": 4294967296}}', "<html>\ud800"])  # fmt: skip
def test_a_reply_without_an_answer_is_an_error_row(reply):
    assert read_answer(reply, chat=False).finish.startswith("error: no answer in the reply")


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("end", ["stop", "length"])
def test_an_answer_without_text_is_an_error_row_and_an_empty_one_is_not(chat, end):
    def said(text):
        choice = {"message": {"content": text, "reasoning_content": "so"}} if chat else {"text": text}
        usage = {"prompt_tokens": 2, "completion_tokens": 9}
        return json.dumps({"choices": [{**choice, "finish_reason": end}], "usage": usage})

    assert read_answer(said(None), chat) == Answer(None, f"error: no text in the answer, ended by {end}", 2, 9)
    assert read_answer(said(""), chat) == Answer("", end, 2, 9)


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
