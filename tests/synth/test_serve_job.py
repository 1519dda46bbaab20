"""jobs/serve.py as people use it: two models at one address, and an end that cuts nobody off."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from tests.synth.asking import ask, complete, wait_until
from tests.synth.processes import ours, ours_of_serving
from tests.synth.stages import TinyMistral, save_tiny_mistral

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]

JOB = Path(__file__).parents[2] / "jobs" / "serve.py"
MODEL = TinyMistral(layers=2, hidden=64, heads=2, kv_heads=1, vocabulary=320, context=2048)

KEY = "a-key-for-the-test"


@pytest.fixture
def job(tmp_path):
    """The process and its address."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    save_tiny_mistral(folder, MODEL)
    said = tmp_path / "said"
    command = [sys.executable, str(JOB), "--llm", str(folder), "--llm", f"other={folder}", "--port", "0"]
    environment = {**os.environ, "HARE_SERVE_KEY": KEY, "RAY_AUTH_MODE": "token"}
    environment.pop("RAY_ADDRESS", None)
    with said.open("w") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log, env=environment)
    try:
        wait_until(lambda: "ready:" in said.read_text() or process.poll() is not None, 200)
        found = re.search(r"ready: tiny, other at (http://127\.0\.0\.1:\d+/v1)", said.read_text())
        assert found, said.read_text()
        yield process, found[1]
    finally:
        process.kill()
        process.wait()
    assert KEY not in said.read_text()


def test_two_models_at_one_address_answer_to_the_end(job):
    process, url = job
    for name in ("tiny", "other"):
        status, headers, said = complete(url, {"model": name, "prompt": "the cat", "max_tokens": 4}, KEY)
        assert (status, said["model"]) == (200, name)
        assert int(headers["x-hare-capacity"]) > 1
    assert complete(url, {"model": "third", "prompt": "the cat"}, KEY)[0] == 404
    assert complete(url, {"model": "tiny", "prompt": "the cat"})[0] == 401
    with urllib.request.urlopen(url.removesuffix("/v1") + "/health") as health:
        assert {model["replicas"] for model in json.load(health)["models"].values()} == {1}

    long = {"model": "tiny", "prompt": "the cat", "max_tokens": 1500, "ignore_eos": True}
    replies = []
    asking = threading.Thread(target=lambda: replies.extend(asyncio.run(ask(url, [long] * 16, KEY))))
    asking.start()
    time.sleep(1.5)
    assert not replies
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    status, headers, _ = complete(url, {"model": "other", "prompt": "the cat"}, KEY)
    assert status == 503
    assert int(headers["Retry-After"]) >= 1
    asking.join()
    assert Counter(status for status, *_ in replies) == {200: 16}
    assert {said["usage"]["completion_tokens"] for *_, said in replies} == {1500}
    assert process.wait(60) == 0
    wait_until(lambda: not ours("ray::Keeper") and not ours_of_serving(), 20)
