"""A local HTTP server that speaks OpenAI's wire format, and misbehaves as it is told.

    with FakeOpenAI() as server:
        server.script = lambda asked: Say(429, headers={"Retry-After": "0"}) if asked.number == 0 else None
        ...server.url..., server.asked

`script` gets each request for an answer and returns what to say, or None for the usual answer: the prompt in
upper case, its words as tokens.
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
        self._lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._say(fake.models if self.path == "/v1/models" else Say(404, {"error": {"message": "no route"}}))

            def do_POST(self) -> None:
                sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with fake._lock:
                    asked = Asked(len(fake.asked), self.path, dict(self.headers), sent)
                    fake.asked.append(asked)
                    fake.in_flight += 1
                    fake.most_in_flight = max(fake.most_in_flight, fake.in_flight)
                say = fake.script(asked) or usual(asked)
                time.sleep(say.after_seconds)
                with fake._lock:
                    fake.in_flight -= 1
                self._say(say)

            def _say(self, say: Say) -> None:
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

    def __enter__(self) -> "FakeOpenAI":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
