"""What `tests.bench.synth` compares: the model, the prompts, and the three ways to have them answered."""

import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from hare_ray.engine import run
from hare_ray.on_ray import OnRay
from hare_ray.priors.scales import HARE_1B
from hare_ray.stage import Source
from hare_ray.synth.generate import Generate, request_seed
from hare_ray.synth.prompt import ERROR
from hare_ray.synth.server import Server, engine_arguments
from tests.bench.watched import Peak
from tests.synth.stages import WORDS, LinesAsPrompts, TinyMistral, answers, save_tiny_mistral

PEER_SIDE = Path(__file__).parent / "peers" / "vllm_offline.py"
TEMPERATURE, TOP_P = 0.8, 0.95
PARTS = 4
WARM_ROWS = 4
LINGER_SECONDS = 120.0
PROBE_ROWS, PROBE_TOKENS = 32, 100

SMALL = TinyMistral(layers=4, hidden=256, heads=4, kv_heads=2, vocabulary=4096, context=1024)
MEDIUM = TinyMistral(layers=8, hidden=512, heads=4, kv_heads=4, vocabulary=4096, context=1024)
"""22 M parameters."""
LARGE = TinyMistral(
    layers=HARE_1B.layers, hidden=HARE_1B.hidden, heads=HARE_1B.heads, kv_heads=HARE_1B.kv_heads,
    vocabulary=HARE_1B.vocabulary, context=2048, mlp=HARE_1B.mlp_hidden,
)  # fmt: skip
"""The 1 B of HARE."""


@dataclass(frozen=True)
class Work:
    """The same for all sides."""

    model: Path
    prompts: Path
    rows: int
    max_tokens: int
    gpus: int
    temperature: float = TEMPERATURE

    @property
    def server(self) -> Server:
        """Engine settings of all sides."""
        return Server(str(self.model), "bench", self.gpus, 1, 1)

    def stage(self, through: str, seed: int, prompts: Path | None = None, linger: float = 0.0) -> Generate:
        """Ours."""
        kind = "few" if prompts else "all"
        source = Source(label=f"{kind}_lines", location=str(prompts or self.prompts), part_bytes=1)
        return Generate(
            label=f"{kind}_answers", prompts=LinesAsPrompts(label=f"{kind}_prompts", files=source),
            model=Source(label="llm", location=str(self.model)), llm="",
            chat=False, max_tokens=self.max_tokens, temperature=self.temperature, top_p=TOP_P, seed=seed,
            through=through, gpus=self.gpus, linger_seconds=linger,
        )  # fmt: skip


@dataclass(frozen=True)
class Took:
    """One round of one side."""

    start_seconds: float
    """Of all that is no steady work: start and end of the engine and of the run."""
    seconds: float
    """Of steady work: from the first prompt asked (serve: from the start of a run that finds the server warm) to the
    last part committed (vLLM: to the last answer)."""
    tokens: int
    rows: int
    peak_mib: float
    """Of all processes of the side."""
    lost: int = 0


def endless(folder: Path, size: TinyMistral, gpus: int) -> Path:
    """A random model whose answers never end by themselves: it knows no token for the end."""
    save_tiny_mistral(folder, size)
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        path = folder / name
        settings = json.loads(path.read_text())
        for key in ("eos_token_id", "eos_token"):
            settings.pop(key, None)
        if name == "config.json" and gpus:
            settings["dtype"] = "bfloat16"
        path.write_text(json.dumps(settings))
    return folder


def lines(folder: Path, rows: int, parts: int = PARTS, words: int = 30) -> Path:
    """A folder of prompts, one a line."""
    folder.mkdir(parents=True)
    draw = random.Random(1)
    for part in range(parts):
        count = rows * (part + 1) // parts - rows * part // parts
        texts = [f"{part} {row} " + " ".join(draw.choices(WORDS, k=words)) for row in range(count)]
        (folder / f"{part}.txt").write_text("\n".join(texts))
    return folder


def texts_of(folder: Path) -> list[str]:
    """All prompts of a folder, in order."""
    return [line for path in sorted(folder.glob("*.txt")) for line in path.read_text().splitlines()]


def counted(root: str, stage: Generate) -> tuple[int, int, int]:
    """Tokens, rows and rows without an answer of a finished stage."""
    rows = [row for part in answers(root, stage) for row in part]
    lost = sum(row["answer"] is None or row["finish"].startswith(ERROR) for row in rows)
    return sum(row["completion_tokens"] for row in rows), len(rows), lost


def committed(root: Path, stage: Generate) -> float:
    """When the last part was."""
    place = root / stage.name / stage.fingerprint[:12]
    return max(path.stat().st_mtime for path in place.glob("part-*.json"))


class FirstAsked(threading.Thread):
    """Watches for the first prompt that the batch path asks: its note, on the root."""

    def __init__(self, root: Path, stage: Generate) -> None:
        super().__init__(daemon=True)
        self.place = root / stage.name / stage.fingerprint[:12] / "scratch" / "asked"
        self.at = 0.0
        self.ended = threading.Event()

    def run(self) -> None:
        """Until it is there."""
        while not self.ended.wait(0.02):
            if any(self.place.glob("*/0*")):
                self.at = time.time()
                return


def offline(work: Work, seeds: list[int], threads: int) -> list[Took]:
    """vLLM's own way, in a process of its own: one engine, a round for each seed."""
    texts = texts_of(work.prompts)
    drawn = [[request_seed(seed, str(row).encode()) for row in range(work.rows)] for seed in seeds]
    with tempfile.TemporaryDirectory() as name:
        job = Path(name) / "job.json"
        engine = {**engine_arguments(work.server), "distributed_executor_backend": "uni"}
        sampling = {"temperature": work.temperature, "top_p": TOP_P, "max_tokens": work.max_tokens}
        told = {"model": str(work.model), "engine": engine, "environment": work.server.environment}
        told |= {"threads": threads, "sampling": sampling, "prompts": texts, "rounds": drawn}
        job.write_text(json.dumps(told))
        side = subprocess.Popen(
            [sys.executable, str(PEER_SIDE), str(job)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        with Peak(side.pid) as peak:
            out, wrong = side.communicate()
    if side.returncode:
        raise RuntimeError(f"{PEER_SIDE.name} failed:\n{wrong[-3000:]}")
    said, mib = json.loads(out.strip().split("\n")[-1]), peak.tree_mib
    return [Took(said["start_seconds"], one["seconds"], one["tokens"], work.rows, mib) for one in said["rounds"]]


def batch(work: Work, seed: int) -> Took:
    """Generate through Ray Data LLM, from the table of prompts to the committed parts."""
    root = Path(tempfile.mkdtemp(prefix="hare-bench-"))
    stage = work.stage("batch", seed)
    run(stage.prompts, root=str(root), executor=OnRay)
    first = FirstAsked(root, stage)
    began = time.time()
    first.start()
    with Peak(psutil.Process().pid) as peak:
        run(stage, root=str(root), executor=OnRay)
    whole = time.time() - began
    first.ended.set()
    return took_by(root, stage, whole, committed(root, stage) - first.at, peak.tree_mib)


def serve(work: Work, seed: int) -> Took:
    """Generate through Ray Serve: a stage of few rows starts the server, the next finds it warm."""
    root = Path(tempfile.mkdtemp(prefix="hare-bench-"))
    few = lines(root / "few", WARM_ROWS, parts=1)
    stage = work.stage("serve", seed)
    run(stage.prompts, root=str(root), executor=OnRay)
    began = time.time()
    with Peak(psutil.Process().pid) as peak:
        run(work.stage("serve", seed, few, LINGER_SECONDS), root=str(root), executor=OnRay)
        warm = time.time()
        run(stage, root=str(root), executor=OnRay)
    whole = time.time() - began
    return took_by(root, stage, whole, committed(root, stage) - warm, peak.tree_mib)


def took_by(root: Path, stage: Generate, whole: float, steady: float, mib: float) -> Took:
    """Our side, of a run in a root that is then deleted."""
    tokens, rows, lost = counted(str(root), stage)
    shutil.rmtree(root)
    return Took(whole - steady, steady, tokens, rows, mib, lost)


def best_threads(work: Work, cores: int) -> int:
    """The number of threads with which vLLM offline is fastest on this machine's CPU."""
    if work.gpus:
        return 0
    probe = replace(work, rows=min(work.rows, PROBE_ROWS), max_tokens=min(work.max_tokens, PROBE_TOKENS))
    return min({1, cores}, key=lambda threads: offline(probe, [0], threads)[0].seconds)
