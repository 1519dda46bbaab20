"""A model served here for real: vLLM on Ray Serve answers as transformers does, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hare_ray.engine import run
from hare_ray.on_ray import OnRay, start
from hare_ray.synth.generate import Generate
from hare_ray.synth.serve import KEEPER, NAMESPACE
from tests.synth.stages import DyingClient, TinyMistral, answers, prompts

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

MODEL = TinyMistral(layers=2, hidden=64, heads=2, kv_heads=1, vocabulary=320, context=64)
SETTINGS = {"model": MODEL, "llm": "", "chat": False, "top_p": 1.0, "seed": 1, "journal_rows": 16}
"""Where the prompts have 64 tokens or more, they are longer than the context."""

ANSWER_TOKENS = 12


@pytest.fixture(scope="module")
def cluster():
    """Two CPUs, as on the smallest machine."""
    start(2)
    import ray

    yield
    ray.shutdown()


def on_ray(root):
    return OnRay(root, 2)


def processes(*titles: str) -> list[str]:
    """Number and command line of the processes with one of these in their titles."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if any(title in line for title in titles):
                found.append(f"{process.name} {line.strip()}")
    return found


def served_processes() -> list[str]:
    """Those of a served model and of Serve, by what Ray and vLLM call them."""
    return processes("VLLM::", "ServeReplica", "ServeController", "ProxyActor")


def wait_until(true, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.2)


def nothing_is_left() -> bool:
    import ray

    try:
        ray.get_actor(KEEPER, namespace=NAMESPACE)
        return False
    except ValueError:
        pass
    free, there = ray.available_resources(), ray.cluster_resources()
    return free.get("CPU") == there.get("CPU") and not served_processes()


def greedy(folder: Path, texts: list[str]) -> list[str]:
    """What transformers makes of the model."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    made = []
    for text in texts:
        asked = tokenizer(text, return_tensors="pt")
        ids = model.generate(
            **{name: asked[name] for name in ("input_ids", "attention_mask")},
            max_new_tokens=ANSWER_TOKENS,
            do_sample=False,
        )
        made.append(tokenizer.decode(ids[0, asked["input_ids"].shape[1] :], skip_special_tokens=True))
    return made


def model_folder(root: Path) -> Path:
    return root / MODEL.name / MODEL.fingerprint[:12]


def test_served_answers_are_those_of_transformers_and_a_second_stage_finds_it_warm(cluster, tmp_path):
    root = tmp_path / "run"
    asked = prompts(tmp_path / "in", 40, 7)
    (tmp_path / "in" / "1.txt").write_text("the cat " * 70 + "\n" + "the cat sees the sun")
    first = Generate(label="first", prompts=asked, temperature=0.0, max_tokens=ANSWER_TOKENS, **SETTINGS)
    run(first, root=str(root), executor=on_ray)
    rows = answers(str(root), first)
    texts = (tmp_path / "in" / "0.txt").read_text().splitlines()[:5]
    assert [row["answer"] for row in rows[0][:5]] == greedy(model_folder(root), texts)
    assert [len(part) for part in rows] == [40, 2]
    assert rows[1][0]["finish"].startswith("error: HTTP 400")
    assert {row["finish"] for row in rows[0]} <= {"stop", "length"}
    assert all(row["completion_tokens"] == ANSWER_TOKENS for row in rows[0] if row["finish"] == "length")

    second = Generate(
        label="second", prompts=asked, temperature=1.0, max_tokens=20, **SETTINGS, linger_seconds=0.0
    )  # fmt: skip
    began = time.monotonic()
    run(second, root=str(root), executor=on_ray)
    assert time.monotonic() - began < 15, "the server was started again"
    assert [len(part) for part in answers(str(root), second)] == [40, 2]
    wait_until(nothing_is_left, 20)


def test_a_killed_replica_keeper_and_client_still_give_each_row_once(cluster, tmp_path):
    root = tmp_path / "run"
    stage = DyingClient(
        prompts=prompts(tmp_path / "in", 600), temperature=1.0, max_tokens=40, marker=str(tmp_path / "died"),
        **SETTINGS, linger_seconds=0.0,
    )  # fmt: skip
    killed = []

    def kill() -> None:
        wait_until(lambda: (tmp_path / "died").exists(), 300)
        time.sleep(1)
        for title in ("ray::Keeper", "ServeReplica"):
            pid = next(int(line.split()[0]) for line in processes(title))
            os.kill(pid, signal.SIGKILL)
            killed.append(title)

    killer = threading.Thread(target=kill)
    killer.start()
    run(stage, root=str(root), executor=on_ray)
    killer.join()
    (rows,) = answers(str(root), stage)
    assert len(killed) == 2
    assert len(rows) == 600
    assert {row["finish"] for row in rows} <= {"stop", "length"}
    wait_until(nothing_is_left, 20)


def test_a_killed_drivers_server_ends_by_itself(tmp_path):
    """A cluster that outlives its driver, and the driver killed while its answers come."""
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    prompts(tmp_path / "in", 4000)
    driver = subprocess.Popen(
        [sys.executable, "-m", "tests.synth.drive", str(tmp_path / "run"), str(tmp_path / "in")],
        env={**os.environ, "RAY_ADDRESS": cluster.address, "RAY_AUTH_MODE": "token"},
    )
    try:
        wait_until(lambda: any((tmp_path / "run").glob("generate/*/scratch/*")), 240)
        driver.kill()
        driver.wait()
        assert processes("VLLM::")
        ray.init(address=cluster.address, log_to_driver=False)
        wait_until(nothing_is_left, 90)
    finally:
        driver.kill()
        ray.shutdown()
        cluster.shutdown()
