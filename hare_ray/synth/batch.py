"""The batch path of Generate: all prompts through Ray Data LLM, with no server in between.

    parts of PROMPT -> stretches of rows -> vLLM engines, which journal every answer -> parts of GENERATED

`ray.data.llm` builds the pipeline: engines as a pool of actors that grows to the replicas, tasks that read the prompts
in stretches ahead of them. What it keeps of an answer is replaced (`hare_ray.synth.batch_engine`): a run of ten million
prompts must lose neither a row nor itself when an engine dies.

This task holds numbers only: a stretch is (part, first row, row behind the last), and what comes back is how many rows
of a part are kept, and which ended with an error. A part is written as soon as all its rows are kept.

Against a server on Ray Serve: no HTTP, no proxy and no client, so more tokens a second of the same engine; but the
engine belongs to this one stage and ends with it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import uuid
from collections.abc import Generator, Iterator
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hare_ray.gather import Desk
from hare_ray.synth import journal
from hare_ray.synth.batch_keeping import Keeping, Stretch, told_while_waiting
from hare_ray.synth.batch_notes import QUESTION, Notes, Told, shared_desk
from hare_ray.synth.cache import request_keys
from hare_ray.synth.serve import check_can_start
from hare_ray.synth.server import Server, context_tokens, engine_arguments, engine_threads

if TYPE_CHECKING:
    from hare_ray.synth.generate import Generate

CPU_BATCH_ROWS, GPU_BATCH_ROWS = 16, 64
"""Rows that are noted and reported together: seconds of work of one engine."""

BATCHES = 16
"""Of stretches in one engine at a time. With four batches of each, which Ray Data takes at once, always more rows than
the engine works on, so that it never waits for the last answer of a batch."""

MOST_STRETCHES = 20_000
"""Each is a block of Ray Data, which its loop looks after; with more prompts they get longer instead of more."""

SILENT_SECONDS = 24 * 3600
"""Ray Data ends a pipeline that yields nothing for 30 minutes: a model of many GPUs may need as long to load."""

READING: dict[str, Any] = {"num_cpus": 0, "concurrency": 2}
"""Tasks beside the engines: they need hardly any CPU, and without a limit Ray starts a process for each stretch."""

_read: dict[str, pa.Table] = {}
"""The part this worker process read last; neighbouring stretches are of the same one."""


def answer_all(desk: Desk, parts: list[int]) -> None:
    """Have every row of these parts answered and the parts written.

    Raises ValueError where Ray does not run, the model cannot be served, or too many prompts fail.
    """
    server, rows, run = _server(desk), desk.rows(_stage(desk).prompts), uuid.uuid4().hex[:12]
    size = max(_batch_rows(server), -(-sum(rows[part] for part in parts) // MOST_STRETCHES))
    firsts = desk.map(partial(_unanswered, desk, size), parts)
    stretches = [
        (part, first, min(first + size, rows[part])) for part, some in zip(parts, firsts, strict=True) for first in some
    ]
    if not stretches:
        return
    check_can_start(server)
    keeping = Keeping(desk, run, rows, stretches)
    with told_while_waiting(desk, run, server) as begun, contextlib.closing(keeping):
        with contextlib.closing(_answered(desk, server, run, stretches)) as answered:
            for told in answered:
                begun.set()
                keeping.take(told, server.capacity * server.replicas)
        keeping.rest()


def _unanswered(desk: Desk, size: int, part: int) -> list[int]:
    """First rows of the stretches of `size` in which rows of the part have no answer; none: it is written."""
    rows = desk.rows(_stage(desk).prompts)[part]
    firsts = np.unique(journal.missing(desk, part, rows) // size) * size
    if not len(firsts):
        journal.finish_part(desk, part, rows)
    return firsts.tolist()


def _stage(desk: Desk) -> Generate:
    from hare_ray.synth.generate import Generate  # which asks through this module

    assert isinstance(desk.stage, Generate)
    return desk.stage


def _server(desk: Desk) -> Server:
    """What is to be started, checked as far as that goes without starting it."""
    import ray

    stage = _stage(desk)
    if importlib.util.find_spec("vllm") is None:
        raise ModuleNotFoundError("answering prompts here needs vllm, which is not installed", name="vllm")
    if not ray.is_initialized():
        raise ValueError(
            f"given through='batch', so {stage!r} runs its model here, which needs Ray; run on Ray, or give the "
            "address of an OpenAI-compatible server as endpoint"
        )
    model = stage.llm if stage.model is None else str(desk.files(stage.model))
    context_tokens(model)
    # Somebody must have a CPU to wait with; where the engine would take the only one, it counts as none.
    cpus = int(stage.gpus > 0 or ray.cluster_resources().get("CPU", 0) > 1)
    threads = engine_threads(stage.replicas)
    return Server(model, stage.llm or stage.name, stage.gpus, stage.replicas, cpus, threads=threads)


def _batch_rows(server: Server) -> int:
    return GPU_BATCH_ROWS if server.gpus else CPU_BATCH_ROWS


def _answered(desk: Desk, server: Server, run: str, stretches: list[Stretch]) -> Generator[Told]:
    """What the engines tell, as it happens. Closed before its end, it ends the engines."""
    import ray
    import ray.data

    with _quiet():
        shared = ray.put(desk)
        items = [{"part": part, "first": first, "end": end} for part, first, end in stretches]
        prompts: Any = ray.data.from_items(items, override_num_blocks=len(items))
        prompts = prompts.map_batches(Reader(shared), batch_size=None, batch_format="pyarrow", **READING)
        try:
            for row in _processor(shared, server, run)(prompts).iter_rows():
                yield Told(**{field.name: row[field.name] for field in fields(Told)})
        except Exception as error:
            if told := Notes(desk, run).refused():
                raise ValueError(told) from error
            raise
        finally:
            _end_telemetry()


@dataclass(frozen=True)
class Reader:
    """A stretch as rows of QUESTION."""

    shared: Any
    """Reference of Ray to the desk."""

    def __call__(self, stretches: pa.Table) -> pa.Table:
        """The rows of the stretches of one block."""
        from hare_ray.synth.generate import request_seed

        desk = shared_desk(self.shared)
        stage = _stage(desk)
        tables = []
        for stretch in stretches.to_pylist():
            part, first, end = stretch["part"], stretch["first"], stretch["end"]
            rows = _part(desk, part).slice(first, end - first)
            texts = rows["prompt"]
            schemas = rows["schema"] if "schema" in rows.column_names else pa.nulls(len(rows), pa.large_string())
            columns = [
                pa.array([part] * len(rows), pa.int32()),
                pa.array(range(first, end), pa.int32()),
                pa.array([request_seed(stage.seed, prompt) for prompt in rows["id"].to_pylist()], pa.int64()),
                pc.is_valid(texts),
                pc.fill_null(texts.cast(pa.large_string()), ""),
                pc.fill_null(schemas.cast(pa.large_string()), ""),
                request_keys(stage, rows),
            ]
            tables.append(pa.table(columns, schema=QUESTION))
        return pa.concat_tables([QUESTION.empty_table(), *tables])


def _part(desk: Desk, part: int) -> pa.Table:
    """What the engine needs of a part."""
    prompts = _stage(desk).prompts
    key = f"{prompts.fingerprint}-{part}"
    if key not in _read:
        _read.clear()
        _read[key] = desk.read(
            prompts, part, [name for name in ("id", "prompt", "schema") if name in prompts.schema().names]
        )
    return _read[key]


def _processor(shared: Any, server: Server, run: str) -> Any:
    """The pipeline of Ray Data LLM, with our engine stage in the place of Ray's."""
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    from hare_ray.synth.batch_engine import Asking

    config = vLLMEngineProcessorConfig(
        model_source=server.model,
        engine_kwargs=engine_arguments(server),
        runtime_env={"env_vars": server.environment},
        placement_group_config={"bundles": server.bundles if server.gpus else [{"CPU": 1}]},
        concurrency=(1, server.replicas),
        batch_size=_batch_rows(server),
        max_concurrent_batches=BATCHES,
        max_tasks_in_flight_per_actor=2 * BATCHES,
        log_engine_metrics=False,
        chat_template_stage=False,
        tokenize_stage=False,
        detokenize_stage=False,
    )
    processor: Any = build_processor(config, preprocess_map_kwargs=READING, postprocess_map_kwargs=READING)
    (stage,) = processor.stages.values()
    object.__setattr__(stage, "fn", Asking)  # an assignment would have Ray work its resources out a second time
    stage.fn_constructor_kwargs.update(shared=shared, run=run)
    if not server.gpus:
        stage.map_batches_kwargs["num_cpus"] = server.cpus
    return processor


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Ray Data as it is to work here: silent, patient, and ended by an engine that cannot start."""
    import ray.data

    context = ray.data.DataContext.get_current()
    wanted = {
        "enable_progress_bars": False,
        "print_on_execution_start": False,
        "execution_no_progress_timeout_s": SILENT_SECONDS,
        "max_consecutive_actor_init_deaths": 0,
    }
    before = {name: getattr(context, name) for name in wanted}
    logger = logging.getLogger("ray.data")
    level = logger.level
    for name, value in wanted.items():
        setattr(context, name, value)
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        logger.setLevel(level)


def _end_telemetry() -> None:
    """End the actor for usage statistics that Ray Data LLM leaves behind, for ever, on clusters that outlive a run."""
    import ray
    from ray.llm._internal.batch.observability.usage_telemetry import usage

    with contextlib.suppress(ValueError):
        ray.kill(ray.get_actor(usage.LLM_BATCH_TELEMETRY_ACTOR_NAME, namespace=usage.LLM_BATCH_TELEMETRY_NAMESPACE))
