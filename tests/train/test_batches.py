"""Batches of all ranks against the order: the same sequences whatever the number of ranks, counts by brute force."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from hare_ray.model.attention import Backend, choose
from hare_ray.model.initial import Initial
from hare_ray.train.order import Order
from hare_ray.train.reading import Reader
from hare_ray.train.sequences import Sequences
from hare_ray.train.settings import Plan, Ranks
from tests.train.stages import SHAPE, TRAINING
from tests.train.test_sequences import WIDTH, written

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """Steps of five sequences, of three tables, one of which gives none."""
    place = tmp_path_factory.mktemp("packed")
    sizes = {"a": (9,), "b": (4,), "c": (3, 8)}
    tables = [written(place / name, rows, seed=n)[0] for n, (name, rows) in enumerate(sizes.items())]
    unused: dict[str, Any] = {"training": TRAINING, "schedule": None, "shape": SHAPE, "initial": Initial(), "seed": 1}
    unused |= {"start": None, "before": None, "lasting": "", "checkpoint_steps": 1, "checkpoints": 1, "log_steps": 1}
    return Plan(
        fingerprint="", tables=tuple(tables), order=Order((14, 0, 11), (9, 4, 11), 1), sequence_tokens=WIDTH,
        token_bytes=2, batch_sequences=5, micro_batch=2, workers=(1, 5), hook="", gpu=False, **unused,
    )  # fmt: skip


def reader(plan, rank, count, backend=None):
    return Reader(plan, Ranks(rank, count, lambda value: [value]), backend or choose(CPU), CPU)


def joined(batch):
    """Tokens, segments and positions of all micro-batches."""
    return [torch.cat([inputs[n] for inputs in batch.micro_batches]) for n in range(3)]


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_any_number_of_ranks_sees_the_batch_of_the_order(plan, count, micro_batch):
    plan = replace(plan, micro_batch=micro_batch)
    sequences = Sequences(plan.tables, WIDTH, 2)
    for step in range(plan.steps):
        source, _, row = plan.order.of(np.arange(5 * step, 5 * step + 5))
        batches = [reader(plan, rank, count).read(step) for rank in range(count)]
        assert {len(batch.micro_batches) for batch in batches} == {plan.micro_batches(count)}
        assert all(len(inputs[0]) <= micro_batch for batch in batches for inputs in batch.micro_batches)
        seen = [torch.cat(each) for each in zip(*map(joined, batches), strict=True)]
        real = seen[1][:, 0] >= 0  # Rows that fill up a small share are padding from the first token on.
        for each, wanted in zip(seen, sequences.read(source, row), strict=True):
            assert torch.equal(each[real], torch.from_numpy(wanted))
        assert not seen[0][~real].any() and (seen[1][~real] == -1).all()


@pytest.mark.parametrize("count", [1, 2, 4])
def test_counts_are_targets_and_tokens_of_each_source(plan, count):
    sequences = Sequences(plan.tables, WIDTH, 2)
    for step in range(plan.steps):
        counts = np.sum([reader(plan, rank, count).read(step).counts for rank in range(count)], 0)
        source, _, row = plan.order.of(np.arange(5 * step, 5 * step + 5))
        segments = sequences.read(source, row).segments.tolist()
        targets = sum(a == b >= 0 for row in segments for a, b in pairwise(row))
        tokens = [sum(n >= 0 for s, row in zip(source, segments, strict=True) if s == t for n in row) for t in range(3)]
        assert counts.dtype == np.int64
        assert counts.tolist() == [targets, *tokens]
        assert tokens[1] == 0


def test_micro_batches_are_nearly_equal(plan):
    sizes = [len(inputs[0]) for inputs in reader(plan, 0, 1).read(0).micro_batches]
    assert sorted(sizes) == [1, 2, 2]


@pytest.mark.parametrize("name", ["sdpa_pieces", "torch_varlen", "sdpa_mask"])
def test_what_attention_must_know_is_of_each_micro_batch(plan, name):
    from hare_ray.model.attention import spans

    backend = Backend(name, "")
    for inputs in reader(plan, 0, 1, backend).read(1).micro_batches:
        expected = spans(backend, inputs[1])
        assert inputs[3].lengths == expected.lengths
        for field in ("offsets", "mask"):
            one: Any = getattr(inputs[3], field)
            other: Any = getattr(expected, field)
            assert one is other is None or torch.equal(one, other)


def test_steps_go_on_from_anywhere_as_if_read_one_by_one(plan):
    for first in (0, 3, plan.steps):
        got = list(reader(plan, 1, 2).steps(first))
        assert len(got) == plan.steps - first
        for step, batch in enumerate(got, first):
            alone = reader(plan, 1, 2).read(step)
            assert all(map(torch.equal, joined(batch), joined(alone)))
            assert batch.counts.tolist() == alone.counts.tolist()


def test_another_device_gets_all_of_a_step(plan):
    """Values are tested where the device has some; `meta` has types and shapes."""
    alone = Reader(plan, Ranks(0, 1, lambda value: [value]), Backend("torch_varlen", ""), torch.device("meta"))
    for inputs in alone.read(0).micro_batches:
        assert [each.device.type for each in inputs[:3]] == ["meta"] * 3
        assert [each.dtype for each in inputs[:3]] == [torch.int64, torch.int32, torch.int32]
        assert inputs[3].offsets is not None and inputs[3].offsets.device.type == "meta"


def test_what_goes_wrong_while_reading_ahead_is_raised(plan, tmp_path):
    table, _, _ = written(tmp_path / "gone", (9,))
    (tmp_path / "gone" / "part-00000.arrow").unlink()
    steps = reader(replace(plan, tables=(table, *plan.tables[1:])), 0, 1).steps(0)
    with pytest.raises(ValueError, match="--redo"):
        list(steps)
