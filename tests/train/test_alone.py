"""The loop without Ray: killed, stopped, diverged, gone on with, by one process or several."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from hare_ray.train import alone
from hare_ray.train import loop as loops
from hare_ray.train.alone import run
from hare_ray.train.checkpoint import WEIGHTS, Checkpoints, step_of
from hare_ray.train.loop import IN_A_ROW, End, Loop
from hare_ray.train.notice import Notice, Signals
from hare_ray.train.saving import COMMIT_SECONDS
from hare_ray.train.settings import Plan, Ranks
from hare_ray.train.stored import Stored
from tests.train.plans import metrics, plan, processes
from tests.train.stages import BATCH, KILLS, SHAPE, T, too_fast

STEPS = 12


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> tuple[Plan, dict]:
    """A training that was left alone, and what it said of itself."""
    torch.set_num_threads(1)
    made = plan(tmp_path_factory.mktemp("calm"))
    return made, run(made)


def weights(made: Plan) -> dict[str, torch.Tensor]:
    checkpoints = Checkpoints(made.lasting, made.fingerprint)
    stored = Stored.opened(f"{made.lasting}/{checkpoints.committed()[-1]}")
    return {name: stored.read(name) for name in stored.names()}


def ended(ranks: list[subprocess.Popen], folder: Path, status: int = 0) -> None:
    got = [rank.wait(timeout=100) for rank in ranks]
    told = (folder / "rank-0.log").read_text()[-3000:]
    assert got == [status] * len(ranks), told


def test_it_learns_and_counts(calm):
    made, result = calm
    rows = metrics(made)
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.5
    assert rows[-1]["real_tokens"] == result["real_tokens"] == STEPS * BATCH * 28
    assert (result["targets"], result["source_tokens"]) == (STEPS * BATCH * 26, [STEPS * BATCH * 28])
    assert (result["groups"], result["restarts"], result["spikes"]) == ([[1, 1]], 0, 0)


def test_a_kill_changes_no_bit(calm, tmp_path, monkeypatch):
    monkeypatch.setenv(KILLS, str(tmp_path))
    (tmp_path / "die").write_text("10")
    ended(processes(tmp_path, 1, hook="tests.train.stages:die_once"), tmp_path, -signal.SIGKILL)
    made = plan(tmp_path)
    assert metrics(made)[-1:] != metrics(calm[0])[-1:]
    result = run(made)
    assert metrics(made) == metrics(calm[0])
    whole, resumed = weights(calm[0]), weights(made)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert {name: result[name] for name in ("targets", "source_tokens", "spikes", "restarts")} == {
        **{name: calm[1][name] for name in ("targets", "source_tokens", "spikes")},
        "restarts": 1,
    }


@pytest.mark.parametrize("where", ["local", "memory"])
def test_on_sigterm_it_saves_and_goes_on_from_there(calm, tmp_path, where):
    lasting = {"local": str(tmp_path / "stage" / "lasting"), "memory": f"memory:/{tmp_path}/stage/lasting"}[where]
    made = plan(tmp_path, checkpoint_steps=1000, lasting=lasting)
    with pytest.raises(SystemExit) as left:
        run(replace(made, hook="tests.train.stages:end_at_six"))
    assert left.value.code == 128 + signal.SIGTERM
    (saved,) = Checkpoints(made.lasting, made.fingerprint).committed()
    assert "step-00000006" in saved
    assert len(metrics(made)) == 6
    run(made)
    assert metrics(made) == metrics(calm[0])


def test_a_loss_that_is_no_number_ends_it(tmp_path):
    made = plan(tmp_path, training=too_fast(1e30), checkpoint_steps=1)
    with pytest.raises(ValueError, match=r"at step \d+ and those after it, expected a number; .* Lower learning_rate"):
        run(made)
    facts = json.loads((Path(made.lasting) / "diverged.json").read_text())
    assert facts["step"] == facts["good"] + 1
    assert all(torch.isfinite(tensor).all() for tensor in weights(made).values())


class Struck(Loop):
    """A loop in whose forward passes of some steps everything becomes no number."""

    steps: range

    def _step(self, step, batch):
        normed = self.engine.model.model.norm.register_forward_hook(
            lambda module, given, out: out * float("nan") if step in self.steps else out
        )
        try:
            return super()._step(step, batch)
        finally:
            normed.remove()


def struck(made: Plan, steps: range, notice: Notice | None = None) -> End:
    one = type("One", (Struck,), {"steps": steps})
    return one(made, Ranks(0, 1, lambda value: [value]), torch.device("cpu"), notice or Signals()).run()


def saved(made: Plan) -> list[int]:
    return [step_of(name) for name in Checkpoints(made.lasting, made.fingerprint).committed()]


class Once:
    """Says one thing, where the loop logs for the `at`-th time, and never again."""

    def __init__(self, what: str, at: int) -> None:
        self.what, self.left = what, {"told": at, "taken": at, "joined": at}

    def now(self, what: str) -> bool:
        self.left[what] -= 1
        return what == self.what and self.left[what] == 0

    def told(self) -> bool:
        return self.now("told")

    def taken(self) -> frozenset[str]:
        return frozenset({"node"} if self.now("taken") else ())

    def joined(self) -> bool:
        return self.now("joined")


@pytest.mark.parametrize(
    ("what", "end", "steps"),
    [("told", End.STOPPED, [8]), ("taken", End.FINISHED, [8, STEPS]), ("joined", End.JOINED, [8])],
)
def test_what_is_heard_at_a_step_without_a_number_holds_until_one_is_saved(tmp_path, monkeypatch, what, end, steps):
    monkeypatch.setattr(loops, "ASK_SECONDS", 0.0)
    made = plan(tmp_path, checkpoint_steps=1000, log_steps=5)
    monkeypatch.setattr(loops, "DEAF_SECONDS", 1e-6)  # looks at every step
    assert struck(made, range(6, 8), Once(what, 6)) is end
    assert saved(made) == steps


def test_who_is_told_to_end_and_sees_no_number_any_more_has_diverged(tmp_path):
    made = plan(tmp_path, steps=20, checkpoint_steps=1000)
    assert struck(made, range(6, 20), Once("told", 6)) is End.DIVERGED
    assert saved(made) == []


@pytest.mark.parametrize("at", [8, STEPS])
def test_a_step_without_a_number_is_left_out_and_told(calm, tmp_path, at):
    """Also where a checkpoint is due after it: that comes a step later, or at the end."""
    made = plan(tmp_path, log_steps=1 if at == 8 else 5)
    assert struck(made, range(at, at + 1)) is End.FINISHED
    rows = metrics(made)
    assert [row["step"] for row in rows if row["loss"] is None or row["grad_norm"] is None] == [at]
    assert [row["skipped"] for row in rows] == [int(step >= at) for step in range(1, STEPS + 1)]
    assert rows[: at - 1] == metrics(calm[0])[: at - 1]
    assert saved(made) == [9 if at == 8 else 8, STEPS]
    assert all(torch.isfinite(tensor).all() for tensor in weights(made).values())


def test_many_of_them_in_a_row_end_it_and_nothing_is_saved_among_them(tmp_path):
    made = plan(tmp_path, steps=20, checkpoint_steps=1)
    assert struck(made, range(6, 6 + IN_A_ROW - 1)) is End.FINISHED
    again = plan(tmp_path, steps=20, checkpoint_steps=1, lasting=str(tmp_path / "again" / "lasting"))
    assert struck(again, range(6, 6 + IN_A_ROW)) is End.DIVERGED
    facts = json.loads((Path(again.lasting) / "diverged.json").read_text())
    assert facts == {"step": 6, "good": 5, "loss": "nan", "grad_norm": "nan"}


def test_a_run_that_ends_among_them_has_diverged(tmp_path):
    assert struck(plan(tmp_path), range(STEPS - 1, STEPS + 1)) is End.DIVERGED
    one = plan(tmp_path, steps=1, lasting=str(tmp_path / "one" / "lasting"))
    assert struck(one, range(1, 2)) is End.DIVERGED


def test_ranks_bear_a_wait_for_each_other_longer_than_rank_0_waits_for_files(monkeypatch):
    given = {}
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(dist, "init_process_group", lambda backend, timeout: given.update({backend: timeout}))
    monkeypatch.setattr(alone, "members", lambda: Ranks(0, 2, lambda value: [value]))
    for name in ("barrier", "destroy_process_group"):
        monkeypatch.setattr(dist, name, lambda: None)
    with alone.group(torch.device("cpu")):
        assert given["gloo"].total_seconds() > COMMIT_SECONDS


def test_states_are_copied_when_the_save_before_is_written_and_that_time_counts(tmp_path):
    made = plan(tmp_path, checkpoint_steps=1, steps=3)
    loop = Loop(made, Ranks(0, 1, lambda value: [value]), torch.device("cpu"), Signals())
    owned, running = loop.engine.owned, []

    def slow():
        running.append(loop.saver._running)
        time.sleep(0.2)
        return owned()

    loop.engine.owned = slow
    assert loop.run() is End.FINISHED
    assert running == [None] * 3
    assert json.loads((Path(made.lasting) / "result.json").read_text())["waited_seconds"] >= 0.6


def test_logging_seldom_changes_no_row(calm, tmp_path):
    made = plan(tmp_path, log_steps=5)
    run(made)
    assert metrics(made) == metrics(calm[0])


@pytest.mark.parametrize(("deaf_seconds", "looks"), [(1e-6, STEPS), (1e6, 5)])
def test_slow_steps_are_looked_at_more_often_than_asked_for(tmp_path, monkeypatch, deaf_seconds, looks):
    """Else at the first two, of which the speed is not known, at five later, at the checkpoint, and at the end."""
    monkeypatch.setattr(loops, "DEAF_SECONDS", deaf_seconds)
    loop = Loop(plan(tmp_path, log_steps=5), Ranks(0, 1, lambda value: [value]), torch.device("cpu"), Signals())
    asked, log = [], loop._log

    def counted():
        asked.append(len(loop.pending))
        return log()

    loop._log = counted
    assert loop.run() is End.FINISHED
    assert len(asked) == looks and sum(asked) == STEPS


def test_the_last_checkpoints_are_kept(calm):
    names = Checkpoints(calm[0].lasting, calm[0].fingerprint).names()
    assert [name.split("-")[1] for name in names] == ["00000008", "00000012"]


def test_weights_in_one_file(calm, tmp_path):
    from safetensors.torch import load_file

    made, result = calm
    Stored.opened(f"{made.lasting}/{result['checkpoint']}").weights(tmp_path / "weights.safetensors")
    state, stored = load_file(tmp_path / "weights.safetensors"), weights(made)
    assert {f"{WEIGHTS}{name}" for name in state} == {name for name in stored if name.startswith(WEIGHTS)}
    assert all(torch.equal(tensor, stored[f"{WEIGHTS}{name}"]) for name, tensor in state.items())
    assert sum(tensor.numel() for tensor in state.values()) == SHAPE.parameters


def test_an_earlier_training_is_gone_on_from_with_its_moments(calm, tmp_path):
    """One stage of 12 steps is one of 8 and one of 4 that reads on where the first ended, at a constant rate."""
    whole = metrics(calm[0])
    first = plan(tmp_path)
    cut = replace(first, lasting=str(tmp_path / "stage" / "one"))
    result = run(cut)
    second = replace(
        first,
        before=f"{cut.lasting}/{result['checkpoint']}",
        lasting=str(tmp_path / "stage" / "two"),
        checkpoint_steps=12,
    )
    run(second)
    rows = metrics(second)
    assert rows[0]["step"] == 1 and rows[0]["tokens"] == BATCH * T
    assert abs(rows[0]["loss"] - whole[-1]["loss"]) < 0.5 < whole[0]["loss"] - rows[0]["loss"]


def test_a_start_of_another_shape_is_refused(calm, tmp_path):
    from hare_ray.model.decoder import Decoder
    from hare_ray.model.export import SpecialTokens, to_hf
    from hare_ray.train.first_weights import first_model

    made = plan(tmp_path, start=str(tmp_path / "hf"))
    cpu = torch.device("cpu")
    model: Decoder = first_model(replace(made, start=None, seed=7), cpu, resumed=False)
    to_hf(model, SHAPE, tmp_path / "hf", dtype="float32", context_tokens=T, special=SpecialTokens(1, 2, 3))
    taken = first_model(made, cpu, resumed=False)
    resumed = first_model(made, cpu, resumed=True)
    name = "model.embed_tokens.weight"
    assert torch.equal(taken.state_dict()[name], model.state_dict()[name])
    assert not any(tensor.any() for tensor in resumed.state_dict().values())
    with pytest.raises(ValueError, match="give both the same shape"):
        first_model(replace(made, shape=replace(SHAPE, layers=1)), cpu, resumed=False)


def test_it_needs_no_ray_and_nothing_else_heavy():
    heavy = "{'ray', 'deepspeed', 'numba', 'tensorboard', 'transformers'}"
    program = f"import sys, hare_ray.train.alone; print(sorted({heavy} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
