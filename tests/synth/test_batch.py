"""The batch path for real: Ray Data LLM answers as transformers does, and loses nothing with what dies."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import validate

from hare_ray.catalog import Catalog
from hare_ray.engine import FailedError, run
from hare_ray.executor import plain_map
from hare_ray.gather import Desk
from hare_ray.on_ray import OnRay, start
from hare_ray.stage import Source
from hare_ray.store import Root
from hare_ray.synth.batch_keeping import lacking, told_while_waiting
from hare_ray.synth.batch_notes import KILLER, SUSPECT_DEATHS, Notes
from hare_ray.synth.generate import NOT_ASKED, Generate
from hare_ray.synth.journal import answered
from hare_ray.synth.prompts_left import EMPTY_PROMPT
from hare_ray.synth.server import Server
from tests.synth.batch_stages import MODEL, sampled, written
from tests.synth.processes import ours
from tests.synth.stages import WORDS, TinyMistral, answers, save_tiny_mistral

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"enum": ["A", "B"]}, "sure": {"type": "boolean"}},
    "required": ["answer", "sure"],
    "additionalProperties": False,
}
ANSWER_TOKENS = 40
ROWS = (500, 300)


@pytest.fixture(scope="module")
def cluster():
    """Two CPUs, as on the smallest machine."""
    start(2)
    import ray

    yield
    ray.shutdown()


def on_ray(root):
    return OnRay(root, 2)


def texts(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [f"{seed} {row} " + " ".join(draw.choices(WORDS, k=6)) for row in range(count)]


def greedy(folder: Path, prompts: list[str]) -> list[str]:
    """What transformers makes of the model."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    made = []
    for text in prompts:
        asked = tokenizer(text, return_tensors="pt")
        ids = model.generate(
            **{name: asked[name] for name in ("input_ids", "attention_mask")},
            max_new_tokens=ANSWER_TOKENS,
            do_sample=False,
        )
        made.append(tokenizer.decode(ids[0, asked["input_ids"].shape[1] :], skip_special_tokens=True))
    return made


def desk_of(root: Path, stage: Generate) -> Desk:
    """A desk at an unfinished stage."""
    return Desk(stage, Root(str(root)), Catalog(), plain_map, root)


def test_answers_are_those_of_transformers_and_each_row_has_its_own_fate(cluster, tmp_path):
    plain = texts(40, 0)
    asked = written(
        tmp_path / "in",
        [{"prompt": text} for text in plain],
        [],
        [{"prompt": "the cat " * 100}, {"prompt": None}, {"prompt": "the cat sees the sun"}],
        [{"prompt": f"{text} answer in JSON:", "schema": json.dumps(SCHEMA)} for text in plain[:8]],
        [{"prompt": "a dog", "schema": "{no schema"}, {"prompt": ""}],
    )
    stage = Generate(
        prompts=asked, model=MODEL, llm="", chat=False, max_tokens=ANSWER_TOKENS, temperature=0.0, top_p=1.0, seed=1,
        through="batch",
    )  # fmt: skip
    root = tmp_path / "run"
    run(stage, root=str(root), executor=on_ray)
    rows = answers(str(root), stage)
    assert [len(part) for part in rows] == [40, 0, 3, 8, 2]
    folder = root / MODEL.name / MODEL.fingerprint[:12]
    cut = "\N{REPLACEMENT CHARACTER}"  # of a character that the last token leaves unfinished
    assert [row["answer"].rstrip(cut) for row in rows[0][:5]] == [
        text.rstrip(cut) for text in greedy(folder, plain[:5])
    ]
    assert all(row["completion_tokens"] == ANSWER_TOKENS for row in rows[0] if row["finish"] == "length")
    assert len({row["request"] for part in rows for row in part}) == 53
    long, null, short = rows[2]
    assert long["finish"].startswith("error: ") and long["answer"] is None
    assert null["finish"] == NOT_ASKED and null["answer"] is None
    assert short["finish"] in ("stop", "length")
    for row in rows[3]:
        validate(json.loads(row["answer"]), SCHEMA)
    odd, empty = rows[4]
    assert odd["finish"].startswith("error: ") and "empty" not in odd["finish"]
    assert empty["finish"] == EMPTY_PROMPT.finish
    books = json.loads((root / stage.name / "manifest.json").read_text())["books"]
    assert (books["retried"], books["errors"], books["not_asked"]) == (0, 3, 1) and 16 < books["in_flight"] <= 71
    import ray

    assert ray.available_resources()["CPU"] == 2


def kill(root: Path, stage: Generate, row: int, done: threading.Event) -> None:
    """Kill the engine while it works, the actor of the next one, and whatever engine is asked `row` alone.

    Before, as if the engine had died of that row some times, once with it alone.
    """
    asked = root / stage.name / stage.fingerprint[:12] / "scratch" / "asked"
    earlier = {path.name for path in asked.glob("*")}
    while not (runs := {path.name for path in asked.glob("*")} - earlier):
        if done.wait(0.1):
            return
    (run,) = runs  # its first note is of the engine's start, before which nothing is asked
    notes = Notes(desk_of(root, stage), run)
    for _ in range(SUSPECT_DEATHS):
        notes.begin(0, np.array([row - 1, row], np.int32), alone=False)
    notes.begin(0, np.array([row], np.int32), alone=True)
    titles, seen = ["VLLM::EngineCor", "MapWorker"], {path.name for path in (asked / run).glob("0*")}
    while not done.wait(0.1):
        new = {path.name for path in (asked / run).glob("0*")} - seen
        if any(name.startswith(f"00000-{row:09d}-{row:09d}-alone") for name in new):
            title = "VLLM::EngineCor"
        elif titles and any("among" in name for name in new):
            time.sleep(0.5)
            title = titles.pop(0)
        else:
            continue
        for process in ours(title):
            os.kill(process, signal.SIGKILL)
        done.wait(3)
        seen |= {path.name for path in (asked / run).glob("0*")}


def answered_until_killed(root: Path, prompts: Path, stage: Generate) -> list[list[dict]]:
    """What the journal holds of each part after a driver on a cluster of its own was killed at the first answers."""
    from ray.cluster_utils import Cluster

    desk = desk_of(root, stage)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    driver = subprocess.Popen(
        [sys.executable, "-m", "tests.synth.batch_stages", str(root), str(prompts)],
        env={**os.environ, "RAY_ADDRESS": str(cluster.address), "RAY_AUTH_MODE": "token"},
    )
    try:
        until = time.monotonic() + 240
        while not sum(len(answered(desk, part)) for part in range(len(ROWS))):
            assert driver.poll() is None and time.monotonic() < until, "no answer came"
            time.sleep(0.1)
    finally:
        driver.kill()
        driver.wait()
        cluster.shutdown()
    time.sleep(1)
    return [answered(desk, part).to_pylist() for part in range(len(ROWS))]


def test_a_killed_driver_engine_and_actor_and_a_prompt_that_kills_still_give_each_row_once(cluster, tmp_path):
    import ray

    ray.shutdown()  # of the fixture, which has chosen that Ray asks for tokens
    asked = written(tmp_path / "in", *[[{"prompt": text} for text in texts(count, count)] for count in ROWS])
    root, stage = tmp_path / "run", sampled(asked)
    before = answered_until_killed(root, tmp_path / "in", stage)
    assert sum(map(len, before)) < sum(ROWS)
    poison = max(set(range(ROWS[0])) - {row["row"] for row in before[0]})

    start(2)
    done = threading.Event()
    killer = threading.Thread(target=kill, args=(root, stage, poison, done))
    killer.start()
    try:
        run(stage, root=str(root), executor=on_ray)
    finally:
        done.set()
        killer.join()
        ray.shutdown()
    rows = answers(str(root), stage)
    assert tuple(map(len, rows)) == ROWS
    for part, kept in enumerate(before):
        assert all(rows[part][row["row"]] == {key: row[key] for key in row if key != "row"} for row in kept)
    fine = ("stop", "length")
    odd = [(part, at) for part, some in enumerate(rows) for at, row in enumerate(some) if row["finish"] not in fine]
    assert odd == [(0, poison)]
    assert rows[0][poison]["finish"] == KILLER


def test_a_model_that_cannot_start_ends_the_run_with_the_cause(cluster, tmp_path):
    folder = tmp_path / "model"
    size = TinyMistral(layers=1, hidden=20, heads=2, kv_heads=1, vocabulary=320, context=64)
    save_tiny_mistral(folder, size)
    stage = Generate(
        prompts=written(tmp_path / "in", [{"prompt": "the cat"}]), model=Source(label="llm", location=str(folder)),
        llm="", chat=False, max_tokens=4, temperature=0.0, top_p=1.0, seed=1, through="batch",
    )  # fmt: skip
    began = time.monotonic()
    with pytest.raises((ValueError, FailedError), match=r"cannot start .*head_dim"):
        run(stage, root=str(tmp_path / "run"), executor=on_ray)
    assert time.monotonic() - began < 120
    import ray

    ray.shutdown()  # the engine that failed holds its CPU for as long as this process's Ray lives
    start(2)


def test_a_model_whose_answers_are_errors_ends_the_run_soon_and_keeps_none_of_them(cluster, tmp_path):
    asked = written(tmp_path / "in", [{"prompt": text, "schema": "{no schema"} for text in texts(3000, 0)])
    stage, root = sampled(asked), tmp_path / "run"
    began = time.monotonic()
    with pytest.raises((ValueError, FailedError), match=r"gave an error to .* is asked again"):
        run(stage, root=str(root), executor=on_ray)
    assert time.monotonic() - began < 120
    assert len(answered(desk_of(root, stage), 0)) == 0
    import ray

    until = time.monotonic() + 20
    while ray.available_resources().get("CPU") != 2:
        assert time.monotonic() < until, "an engine goes on"
        time.sleep(0.2)


def test_what_an_engine_waits_for_is_said(cluster, tmp_path, caplog):
    server = Server("model", "writer", gpus=1, replicas=1, cpus=1)
    assert lacking(server) == "1 GPU; 0 of 0 are free"
    assert lacking(Server("model", "writer", gpus=0, replicas=1, cpus=1)) == ""
    desk = desk_of(tmp_path, sampled(written(tmp_path / "in", [])))
    with caplog.at_level("WARNING", "hare_ray"), told_while_waiting(desk, "run", server):
        time.sleep(0.5)
    assert "writer: waiting for 1 GPU; 0 of 0 are free" in caplog.text
