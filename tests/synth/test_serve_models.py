"""The wishes that jobs/serve.py refuses, the key, and what is waited for or refused before a model is loaded."""

import asyncio
import dataclasses
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
from ray._private import state as ray_state

from hare_ray.synth import serve as serve_module
from hare_ray.synth import serve_models
from hare_ray.synth.gateway import Gateway
from hare_ray.synth.keeper import ANSWERING, FAILED, State
from hare_ray.synth.serve import check_can_start, wait_until_they_run
from hare_ray.synth.serve_models import KEY, Wish, serve
from hare_ray.synth.server import Server

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
    (tmp_path / "key").chmod(0o400)
    monkeypatch.setenv(KEY, "from-the-environment")
    assert serve_models._key(wish) == ("from-the-environment", f"${KEY}")
    assert serve_models._key(dataclasses.replace(wish, key_file=str(tmp_path / "key")))[0] == "from-the-file"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o660, 0o777])
def test_a_key_file_that_others_may_use_is_refused_without_showing_the_key(wish, tmp_path, mode):
    place = tmp_path / "key"
    place.write_text("a-well-known-key")
    place.chmod(mode)
    with pytest.raises(ValueError, match=f"mode {mode:o}.*expected 600.*chmod 600 {place}") as error:
        serve(dataclasses.replace(wish, key_file=str(place)), lambda line: None)
    assert "a-well-known-key" not in str(error.value)
    place.chmod(0o600)
    assert serve_models._key(dataclasses.replace(wish, key_file=str(place)))[0] == "a-well-known-key"


def test_a_gateway_that_cannot_start_ends_and_never_says_ready():
    def look():
        raise RuntimeError("not a keeper that is started again")

    said = []
    with socket.socket() as listener, pytest.raises(SystemExit):
        listener.bind(("127.0.0.1", 0))
        asyncio.run(serve_models._answer(Gateway({}, "", look), listener, lambda: said.append("ready")))
    assert not said


def server(gpus: int, name: str = "m") -> Server:
    return Server("/models/m", name, gpus, 1, 1)


@pytest.fixture
def cluster(monkeypatch):
    """What Ray says of a cluster, without one: resources and nodes."""

    def make(gpus: float, nodes: int = 1, most: dict[str, int] | None = None, joined: bool = False):
        monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0, "GPU": gpus} if gpus else {"CPU": 2.0})
        monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 1.0})
        monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True}] * nodes + [{"Alive": False}])
        monkeypatch.setattr(ray_state.state, "get_max_resources_from_cluster_config", lambda: most)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        if joined:
            monkeypatch.setenv("RAY_ADDRESS", "head:6379")

    return make


def test_more_gpus_than_a_ray_of_our_own_has_are_refused(cluster):
    cluster(1)
    check_can_start(server(1))
    check_can_start(server(0), server(0))
    for servers in ([server(8)], [server(1), server(1, "n")]):
        with pytest.raises(ValueError, match=r"needs [28] GPUs at a time; this Ray has 1 and can have 1 at most; ask"):
            check_can_start(*servers)
    cluster(0)
    with pytest.raises(ValueError, match="'m' needs 1 GPUs"):
        check_can_start(server(0, "c"), server(1))


def test_a_cluster_that_may_grow_is_waited_for_up_to_what_its_autoscaler_may_start(cluster):
    cluster(0, joined=True)
    check_can_start(server(8))
    cluster(1, nodes=2)
    check_can_start(server(8))
    cluster(0, joined=True, most={"CPU": 64, "GPU": 8})
    check_can_start(server(8))
    with pytest.raises(ValueError, match=r"needs 9 GPUs .* has 0 and can have 8 at most"):
        check_can_start(server(9))
    cluster(4, joined=True, most={"CPU": 64})  # added by hand beside an autoscaler of CPUs
    check_can_start(server(4))


def test_waiting_says_at_once_and_again_what_for(cluster, caplog, monkeypatch):
    cluster(1, joined=True)
    monkeypatch.setattr(serve_module, "TELL_SECONDS", 0.15)
    monkeypatch.setattr(serve_module, "LOOK_SECONDS", 0.01)
    began = time.monotonic()

    def look():
        up = State(ANSWERING, "", 1, 0)
        return [up if time.monotonic() - began > 0.4 else State("DEPLOYING", "no node\nfor it", 0, 1), up]

    wait_until_they_run(look, [server(8), server(1, "warm")], {"CPU": 1.0, "GPU": 1.0})
    first, *later = [record.getMessage() for record in caplog.records if record.name == "hare_ray"]
    assert first == "m: waiting for GPU 8 (the cluster has 1, free 1), CPU 1 (the cluster has 2, free 1)"
    assert 1 <= len(later) <= 2
    assert all("DEPLOYING: no node for it" in line and "GPU 8 (the cluster has 1, free 0)" in line for line in later)


def test_a_server_that_is_up_or_has_room_is_waited_for_without_a_word(cluster, caplog):
    cluster(1)
    looks = [[State("DEPLOYING", "", 0, 1)], [State(ANSWERING, "", 1, 0)]]
    wait_until_they_run(lambda: looks.pop(0), [server(1)], {"CPU": 1.0, "GPU": 1.0})
    wait_until_they_run(lambda: [State(ANSWERING, "", 1, 0)], [server(1)], {})
    assert not looks
    assert not caplog.records


def test_a_model_that_cannot_be_loaded_ends_the_waiting(cluster):
    failed = State(FAILED, "Traceback\n  line\nValueError: no such layer\n", 0, 0)
    with pytest.raises(ValueError, match="/models/m could not be served as 'm': ValueError: no such layer"):
        wait_until_they_run(lambda: [failed], [server(1)], {})


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
