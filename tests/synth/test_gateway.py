"""One address for several models, in front of servers that speak OpenAI's wire format and misbehave."""

import asyncio
import json
import socket
import threading
import time
from contextlib import contextmanager

import aiohttp
import pytest
import uvicorn

from hare_ray.synth.door import RESTART_SECONDS
from hare_ray.synth.gateway import BODY_BYTES, Gateway
from hare_ray.synth.keeper import ANSWERING, FAILED, ILL, State
from hare_ray.synth.serve import Served
from tests.synth.fake_openai import FakeOpenAI, Say

WELL, ASLEEP, LOST = State(ANSWERING, "", 1, 0), State(ANSWERING, "", 0, 0), State(ILL, "gone", 0, 1)


@contextmanager
def gateway(servers, key="", states=None, look=None):
    app = Gateway(servers, key, look or (lambda: states or [WELL] * len(servers)))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield app, f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def ask(url, body=None, key=None, path="/v1/completions"):
    """Status, headers and parsed body."""

    async def act():
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            data = body if isinstance(body, bytes | None) else json.dumps(body)
            async with session.request("GET" if body is None else "POST", url + path, data=data) as answer:
                return answer.status, answer.headers, await answer.json(content_type=None)

    return asyncio.run(act())


@pytest.fixture(scope="module")
def two():
    with FakeOpenAI(("a",)) as a, FakeOpenAI(("b",)) as b:
        yield a, b


@pytest.fixture
def servers(two):
    for server in two:
        server.script = lambda asked: None
        server.asked.clear()
    return {"a": Served(two[0].url, "inner"), "b": Served(two[1].url, "")}


def test_a_request_reaches_the_model_it_names_with_that_servers_key(two, servers):
    with gateway(servers, key="outer-key") as (_, url):
        for name in ("a", "b"):
            status, _, said = ask(url, {"model": name, "prompt": f"for {name}", "seed": 3}, key="outer-key")
            assert (status, said["choices"][0]["text"]) == (200, f"FOR {name.upper()}")
        status, _, said = ask(
            url, {"model": "b", "messages": [{"role": "user", "content": "x"}]}, "outer-key", "/v1/chat/completions"
        )
        assert (status, said["choices"][0]["message"]["content"]) == (200, "X")
        status, _, said = ask(url, key="outer-key", path="/v1/models")
        assert [model["id"] for model in said["data"]] == ["a", "b"]
    a, b = two
    assert [asked.body["prompt"] for asked in a.asked] == ["for a"]
    assert a.asked[0].body["seed"] == 3
    assert [asked.path for asked in b.asked] == ["/v1/completions", "/v1/chat/completions"]
    sent = [{name.lower(): value for name, value in asked.headers.items()} for asked in (*a.asked, *b.asked)]
    assert [headers.get("authorization") for headers in sent] == ["Bearer inner", None, None]


def test_wrong_requests_are_told_what_is_wrong(two, servers):
    with gateway(servers, key="outer-key") as (_, url):
        assert ask(url, {"model": "a", "prompt": "x"})[0] == 401
        assert ask(url, {"model": "a", "prompt": "x"}, "other-key")[0] == 401
        assert ask(url, path="/v1/models")[0] == 401
        assert ask(url, path="/health")[0] == 200
        status, _, said = ask(url, {"model": "c", "prompt": "x"}, "outer-key")
        assert status == 404
        assert "'c'" in said["error"]["message"]
        assert "a, b" in said["error"]["message"]
        for body in (b"", b"{", b"[1]", b'{"model": 3}', b"\xff\xfe", b"[" * 100_000, b'"a"'):
            assert ask(url, body, "outer-key")[0] == 400, body[:10]
        assert ask(url, {"prompt": "which model?"}, "outer-key")[0] == 404
        assert ask(url, b" " * (BODY_BYTES + 1), "outer-key")[0] == 413
        assert ask(url, key="outer-key", path="/metrics")[0] == 404
    assert not any(server.asked for server in two)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/../../other-app/admin",
        "/v1/%2e%2e/%2e%2e/other/x",
        "/v1/..%2f..%2fapi/shutdown",
        "/v1/completions/../../../other-app",
        "/v1/completions%3Fa=b",
        "/v1/completions%23",
        "/v1/@evil.example/x",
        "/v1//completions",
        "//v1/completions",
        "/v1/%252e%252e/x",
        "/v1/load_lora_adapter",
        "/v1/",
        "/sleep",
        "/collective_rpc",
    ],
)
def test_no_path_leads_anywhere_but_to_the_routes(two, servers, path):
    with gateway(servers, key="outer-key") as (_, url):
        assert raw(url, path, {"model": "a", "prompt": "x"}, "outer-key") == 404
    assert not any(server.asked for server in two)


def raw(url, path, body, key):
    """Status of a POST with the path as it is written: clients tidy it."""
    host, port = url.removeprefix("http://").split(":")
    data = json.dumps(body).encode()
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n"
        connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        return int(connection.makefile("rb").readline().split()[1])


def test_a_route_is_reached_however_its_letters_are_written_and_without_the_query(two, servers):
    with gateway(servers) as (_, url):
        for path in ("/v1/completions", "/v1/completions?x=../..", "/v1/%63ompletions", "/v1/completions/"):
            assert raw(url, path, {"model": "a", "prompt": "x"}, "") == 200
    assert [asked.path for asked in two[0].asked] == ["/v1/completions"] * 4


def test_a_redirection_is_not_followed_with_the_servers_key(two, servers):
    two[0].script = lambda asked: Say(307, {}, {"Location": two[1].url + "/completions"})
    with gateway(servers) as (_, url):
        assert raw(url, "/v1/completions", {"model": "a", "prompt": "x"}, "") == 307
    assert not two[1].asked


def test_a_keeper_that_is_gone_at_the_start_is_waited_for(two, servers):
    looks = []

    def look():
        looks.append(1)
        if len(looks) == 1:
            raise ConnectionError("the keeper is started again")
        return [LOST, WELL]

    with gateway(servers, look=look) as (_, url):
        assert ask(url, path="/health")[2]["models"]["a"]["status"] == "UNKNOWN"
        assert ask(url, {"model": "a", "prompt": "x"})[0] == 200
        until = time.monotonic() + 5
        while ask(url, path="/health")[0] == 200 and time.monotonic() < until:
            time.sleep(0.05)
        assert ask(url, path="/health")[2]["models"]["a"]["status"] == ILL


def test_refusals_of_a_model_pass_and_those_of_serve_get_their_form(two, servers):
    ours = {"x-hare-running": "9", "x-hare-capacity": "3"}
    with gateway(servers) as (_, url):
        for say, expected in (
            (Say(429, {"error": {}}, {"Retry-After": "7", **ours}), (429, "7", "3")),
            (Say(500, {"error": {}}, ours), (500, None, "3")),
            (Say(400, {"error": {}}, ours), (400, None, "3")),
            (Say(500, {}), (503, str(RESTART_SECONDS), None)),
            (Say(503, {}, {"Retry-After": "4"}), (503, "4", None)),
        ):
            two[0].script = lambda asked, say=say: say
            status, headers, _ = ask(url, {"model": "a", "prompt": "x"})
            assert (status, headers.get("Retry-After"), headers.get("x-hare-capacity")) == expected


def test_nobody_behind_it_is_a_503(servers):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = Served(f"http://127.0.0.1:{free.getsockname()[1]}/v1", "")
        with gateway({"a": gone}) as (_, url):
            status, headers, said = ask(url, {"model": "a", "prompt": "x"})
    assert (status, headers["Retry-After"]) == (503, str(RESTART_SECONDS))
    assert "lost" in said["error"]["message"]


def test_a_model_that_is_ill_is_refused_and_one_that_sleeps_is_asked(two, servers):
    with gateway(servers, states=[LOST, ASLEEP]) as (_, url):
        status, headers, _ = ask(url, {"model": "a", "prompt": "x"})
        assert (status, headers["Retry-After"]) == (503, str(RESTART_SECONDS))
        assert ask(url, {"model": "b", "prompt": "x"})[0] == 200
        status, _, said = ask(url, path="/health")
        assert (status, said["status"]) == (503, "ill")
        assert said["models"]["a"] == {"replicas": 0, "starting": 1, "status": ILL}
    assert not two[0].asked
    assert State(FAILED, "", 0, 0).ill
    with gateway(servers, states=[WELL, ASLEEP]) as (_, url):
        assert ask(url, path="/health")[2]["status"] == "ok"


def test_the_only_model_needs_no_name(two, servers):
    with gateway({"a": servers["a"]}) as (_, url):
        assert ask(url, {"prompt": "x"})[0] == 200


def test_draining_refuses_the_new_and_answers_those_inside(two, servers):
    two[0].script = lambda asked: Say(200, {"late": True}, after_seconds=0.5)
    with gateway(servers) as (app, url):
        replies = []
        waiting = threading.Thread(target=lambda: replies.append(ask(url, {"model": "a", "prompt": "x"})))
        waiting.start()
        while app.inside == 0:
            time.sleep(0.01)
        app.draining = True
        status, headers, _ = ask(url, {"model": "b", "prompt": "x"})
        assert (status, headers["Retry-After"]) == (503, str(RESTART_SECONDS))
        assert ask(url, path="/health")[0] == 503
        waiting.join()
    assert [(status, said) for status, _, said in replies] == [(200, {"late": True})]
    assert app.inside == 0


def test_a_client_that_leaves_is_not_waited_for(two, servers):
    two[0].script = lambda asked: Say(200, {}, after_seconds=3)

    async def leave(url):
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.3)) as session:
            with pytest.raises(TimeoutError):
                await session.post(url + "/v1/completions", json={"model": "a", "prompt": "x"})

    with gateway(servers) as (app, url):
        asyncio.run(leave(url))
        until = time.monotonic() + 2
        while app.inside and time.monotonic() < until:
            time.sleep(0.01)
        assert app.inside == 0
