"""Plans, batches and engines of toy size, in this process or in several that train together."""

import datetime
import itertools
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing
from torch.utils._python_dispatch import TorchDispatchMode

from hare_ray.model.attention import choose, spans
from hare_ray.model.decoder import Decoder
from hare_ray.model.shape import Shape
from hare_ray.train.engine import Inputs
from hare_ray.train.made import engine
from hare_ray.train.order import Order
from hare_ray.train.settings import Plan, Ranks, Speed
from tests.model.packed import packed
from tests.train import stages
from tests.train.plans import bare

SEQUENCES, TOKENS = 5, 24
"""Of a step: an odd number, so that two ranks have unequal shares."""

SHAPE = Shape(layers=2, hidden=64, heads=2, kv_heads=1, mlp_hidden=96, vocabulary=101, tied=True)

TRAINING = replace(
    stages.TRAINING,
    sequence_tokens=TOKENS,
    batch_tokens=SEQUENCES * TOKENS,
    epsilon=1e-3,  # so that where a gradient is next to nothing its rounding does not decide
    gradient_clip=0.5,
    precision="float32",
)


PLAIN = Speed()


def plan(*, micro_batch: int = 2, shape: Shape = SHAPE, speed: Speed = PLAIN, **training: Any) -> Plan:
    """Only what an engine looks at is more than a stand-in."""
    return bare(
        order=Order((100 * SEQUENCES,), (SEQUENCES,), 0),
        sequence_tokens=TOKENS,
        shape=shape,
        training=replace(TRAINING, **training),
        batch_sequences=SEQUENCES,
        micro_batch=micro_batch,
        speed=speed,
    )


def one_rank() -> Ranks:
    return Ranks(0, 1, lambda value: [value])


def decoder(plan: Plan) -> Decoder:
    return Decoder(plan.shape, choose("cpu", torch.float32), plan.seed)


def made(plan: Plan, ranks: Ranks | None = None):
    return engine(plan, decoder(plan), ranks or one_rank(), torch.device("cpu"))


def batch(step: int, plan: Plan, rows: range) -> Inputs:
    """Some rows of the step with this number: a long document and a short one, and padding, each another."""
    lengths = [[9 + (step + row) % 5, 4 + (3 * step + row) % 6] for row in range(plan.batch_sequences)]
    each = packed(lengths, plan.sequence_tokens, plan.shape.vocabulary, seed=step)
    tokens, segments, positions = (part[rows.start : rows.stop] for part in each)
    return tokens, segments, positions, spans(choose("cpu"), segments)


def targets_of(step: int, plan: Plan) -> Tensor:
    _, segments, _, _ = batch(step, plan, range(plan.batch_sequences))
    return ((segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] >= 0)).sum()


def micro_batches(step: int, plan: Plan, ranks: Ranks) -> list[Inputs]:
    """This rank's, as many as every other's."""
    share, count = plan.share(ranks.rank, ranks.count), plan.micro_batches(ranks.count)
    edges = [share.start + len(share) * number // count for number in range(count + 1)]
    return [batch(step, plan, range(*pair)) for pair in itertools.pairwise(edges)]


def go(engine: Any, plan: Plan, ranks: Ranks, steps: range) -> list[tuple[float, float, float]]:
    """Mean loss, gradient norm and verdict of steps, of all ranks."""
    rows = []
    for step in steps:
        targets = targets_of(step, plan)
        done = engine.step(micro_batches(step, plan, ranks), targets, plan.learning_rate(0) / (1 + 0.1 * step))
        loss = sum(ranks.together(done.loss.item()))
        rows.append((loss / targets.item(), done.grad_norm.item(), done.skipped.item()))
    return rows


def all_owned(engine: Any, ranks: Ranks) -> dict[str, Tensor]:
    """The states as a checkpoint has them: each tensor from one rank."""
    found: dict[str, Tensor] = {}
    for part in ranks.together(engine.owned()):
        assert not found.keys() & part.keys()
        found |= part
    return found


WAITING = {
    torch.ops.aten._local_scalar_dense.default: "looks at a value",
    torch.ops.aten.lift_fresh.default: "brings a number to the device",
}
"""What on a GPU waits for all that was asked before."""


class Blind(TorchDispatchMode):
    """Where nothing waits for the device, but `waits` times."""

    def __init__(self, waits: int = 0) -> None:
        super().__init__()
        self.left = waits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in WAITING:
            self.left -= 1
            assert self.left >= 0, WAITING[func]
        return func(*args, **(kwargs or {}))


def together(work: Callable[[Ranks], Any], count: int = 2) -> list[Any]:
    """What `work` gives on each of `count` ranks, processes of their own; `work` must be picklable."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.start_processes(_rank, (count, folder, work), nprocs=count, start_method="spawn")
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(count)]


def _rank(rank: int, count: int, folder: str, work: Callable[[Ranks], Any]) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", count)
    timeout = datetime.timedelta(seconds=60)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=count, timeout=timeout)
    torch.save(work(Ranks(rank, count, gathered)), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def gathered(value: Any) -> list[Any]:
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def check_no_number_changes_nothing(given: Plan) -> None:
    """A gradient that is no number is left out, and every state stays as it was, bit for bit."""
    engine = made(given)
    go(engine, given, one_rank(), range(1))
    calm = engine.owned()
    expected = go(engine, given, one_rank(), range(1, 2))
    broken = {name: value.clone() for name, value in calm.items()}
    broken["weights/model.norm.weight"][0] = torch.inf
    engine.load(broken.__getitem__)
    done = engine.step(micro_batches(1, given, one_rank()), targets_of(1, given), 0.01)
    assert done.skipped == 1 and not torch.isfinite(done.grad_norm)
    assert all(torch.equal(value, broken[name]) for name, value in engine.owned().items())
    engine.load(calm.__getitem__)
    assert go(engine, given, one_rank(), range(1, 2)) == expected  # nothing of the bad gradient is left
