"""The wishes that jobs/serve.py refuses, and the key: all of it before Ray is started."""

import dataclasses
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hare_ray.synth import serve_models
from hare_ray.synth.serve_models import KEY, Wish, serve

JOB = Path(__file__).parents[2] / "jobs" / "serve.py"


@pytest.fixture
def wish(tmp_path, monkeypatch) -> Wish:
    monkeypatch.delenv(KEY, raising=False)
    monkeypatch.setattr(serve_models, "KEY_FILE", tmp_path / "home" / "serve.key")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps({"max_position_embeddings": 64}))
    return Wish((str(tmp_path / "model"),), 0, 1, "127.0.0.1", 0, "", 10.0)


def refused(wish: Wish, says: str, **changed) -> None:
    with pytest.raises(ValueError, match=says) as error:
        serve(dataclasses.replace(wish, **changed), lambda line: None)
    assert "\n" not in str(error.value)


def test_numbers_that_mean_nothing_are_refused(wish):
    refused(wish, "gpus = -1, expected at least 0", gpus=-1)
    refused(wish, "replicas = 0, expected at least 1", replicas=0)
    refused(wish, "idle_minutes = -2", idle_minutes=-2)
    refused(wish, "port = 70000, expected 0 .* to 65535", port=70_000)


def test_a_folder_that_is_none_or_holds_no_model_is_refused(wish, tmp_path):
    refused(wish, "there is no folder '/nowhere/model'", llms=("/nowhere/model",))
    refused(wish, "there is no folder './model'", llms=("x=./model",))
    refused(wish, "there is no folder ''", llms=("x=",))
    refused(wish, r"holds no config\.json", llms=(str(tmp_path),))


def test_two_models_of_one_name_are_refused(wish):
    refused(wish, "two models are called 'model'", llms=wish.llms * 2)


def test_a_port_in_use_and_an_address_of_another_machine_are_refused(wish):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused(wish, "cannot listen on 127.0.0.1:[0-9]+: .*in use.*--port 0", port=taken.getsockname()[1])
    refused(wish, "cannot listen on 203.0.113.1", host="203.0.113.1")
    refused(wish, "host 'no such host'", host="no such host")


def test_localhost_needs_no_key_and_elsewhere_one_is_made_once(wish, tmp_path):
    assert serve_models._key(wish) == ("", "")
    place = tmp_path / "home" / "serve.key"
    for host in ("0.0.0.0", "192.0.2.7", "::", "some.host"):
        key, shown = serve_models._key(dataclasses.replace(wish, host=host))
        assert key == place.read_text()
        assert len(key) >= 40
        assert shown == f"$(cat {place})"
    assert place.stat().st_mode & 0o777 == 0o600


def test_a_key_is_taken_from_the_environment_or_a_file(wish, tmp_path, monkeypatch):
    (tmp_path / "key").write_text("from-the-file\n")
    monkeypatch.setenv(KEY, "from-the-environment")
    assert serve_models._key(wish) == ("from-the-environment", f"${KEY}")
    assert serve_models._key(dataclasses.replace(wish, key_file=str(tmp_path / "key")))[0] == "from-the-file"


def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(wish, tmp_path, monkeypatch):
    for key in ("short", "two words of a key", "a-key-\nin-two-lines", "kl\u00fcger-geheimer-key"):
        monkeypatch.setenv(KEY, key)
        with pytest.raises(ValueError, match=f"{KEY} holds no key") as error:
            serve(wish, lambda line: None)
        assert key not in str(error.value)


def test_the_job_says_what_is_wrong_in_one_line():
    ran = subprocess.run([sys.executable, str(JOB), "--llm", "/nowhere"], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "there is no folder '/nowhere'" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
