"""A local HTTP server that speaks OpenAI's wire format, and misbehaves as it is told.

    with FakeOpenAI() as server:
        server.script = lambda asked: Say(429, headers={"Retry-After": "0"}) if asked.number == 0 else None
        ...server.url..., server.asked

`script` gets each request for an answer and returns what to say, or None for the usual answer: the prompt in
upper case, its words as tokens. `die` drops the requests in flight and answers 503 for a while, as a server does
whose engine is started again.
"""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Asked:
    """A request for an answer."""

    number: int
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        return self.body["prompt"] if "prompt" in self.body else self.body["messages"][-1]["content"]


@dataclass
class Say:
    status: int = 200
    """0: the connection is dropped."""
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    after_seconds: float = 0.0


def usual(asked: Asked) -> Say:
    text = asked.prompt.upper()
    chat = asked.path.endswith("/chat/completions")
    choice = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    words = len(asked.prompt.split())
    usage = {"prompt_tokens": words, "completion_tokens": words + 1}
    return Say(body={"choices": [{"index": 0, "finish_reason": "stop", **choice}], "usage": usage})


class FakeOpenAI:
    def __init__(self, models: tuple[str, ...] = ("fake",)) -> None:
        self.models: Say = Say(body={"object": "list", "data": [{"id": name} for name in models]})
        self.script: Callable[[Asked], Say | None] = lambda asked: None
        self.asked: list[Asked] = []
        self.in_flight = self.most_in_flight = 0
        self.metrics = Say(404)
        self.deaths = 0
        self._down_until = 0.0
        self._lock = threading.Condition()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet, or the client's delayed ACK costs 40 ms

            def do_GET(self) -> None:
                up = time.monotonic() >= fake._down_until
                routes = {"/v1/models": fake.models, "/health": Say(200 if up else 503), "/metrics": fake.metrics}
                self._say(routes.get(self.path, Say(404, {"error": {"message": "no route"}})))

            def do_POST(self) -> None:
                sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with fake._lock:
                    asked = Asked(len(fake.asked), self.path, dict(self.headers), sent)
                    fake.asked.append(asked)
                    fake.in_flight += 1
                    fake.most_in_flight = max(fake.most_in_flight, fake.in_flight)
                deaths = fake.deaths
                down = time.monotonic() < fake._down_until
                say = Say(503) if down else fake.script(asked) or usual(asked)
                with fake._lock:
                    fake._lock.wait_for(lambda: fake.deaths > deaths, say.after_seconds)
                    fake.in_flight -= 1
                self._say(Say(0) if fake.deaths > deaths else say)

            def _say(self, say: Say) -> None:
                if say.status == 0:
                    self.close_connection = True
                    return
                data = say.body.encode() if isinstance(say.body, str) else json.dumps(say.body).encode()
                self.send_response(say.status)
                for name, value in {**say.headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_request(self, *line: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def die(self, seconds: float) -> None:
        with self._lock:
            self.deaths += 1
            self._down_until = time.monotonic() + seconds
            self._lock.notify_all()

    def __enter__(self) -> "FakeOpenAI":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
