"""What `tests.bench.synth` compares: the model, the prompts, and the three ways to have them answered."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from hare_ray.engine import run
from hare_ray.on_ray import OnRay
from hare_ray.priors.scales import HARE_1B
from hare_ray.stage import Source
from hare_ray.synth.generate import Generate, request_seed
from hare_ray.synth.prompt import ERROR
from hare_ray.synth.server import Server, engine_arguments
from tests.synth.stages import WORDS, LinesAsPrompts, TinyMistral, answers, save_tiny_mistral

PEER_SIDE = Path(__file__).parent / "peers" / "vllm_offline.py"
TEMPERATURE, TOP_P = 0.8, 0.95
PARTS = 4
WARM_ROWS = 4
LINGER_SECONDS = 120.0

SMALL = TinyMistral(layers=4, hidden=256, heads=4, kv_heads=2, vocabulary=4096, context=1024)
MEDIUM = TinyMistral(layers=8, hidden=512, heads=4, kv_heads=4, vocabulary=4096, context=1024)
"""22 M parameters."""
LARGE = TinyMistral(
    layers=HARE_1B.layers, hidden=HARE_1B.hidden, heads=HARE_1B.heads, kv_heads=HARE_1B.kv_heads,
    vocabulary=HARE_1B.vocabulary, context=2048,
)  # fmt: skip
"""About the 1 B of HARE; its inner layers are a third narrower."""


@dataclass(frozen=True)
class Work:
    """The same for all sides."""

    model: Path
    prompts: Path
    rows: int
    max_tokens: int
    gpus: int

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
            chat=False, max_tokens=self.max_tokens, temperature=TEMPERATURE, top_p=TOP_P, seed=seed, through=through,
            gpus=self.gpus, linger_seconds=linger,
        )  # fmt: skip


@dataclass(frozen=True)
class Took:
    """One round of one side."""

    start_seconds: float
    """Of all that is no steady work: start and end of the engine and of the run."""
    seconds: float
    """Of steady work: from the first prompt asked to the last part committed, or answer given."""
    tokens: int
    rows: int
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
            if self.place.is_dir() and any(path.name[0].isdigit() for path in self.place.iterdir()):
                self.at = time.time()
                return


def offline(work: Work, seeds: list[int], threads: int) -> list[Took]:
    """vLLM's own way, in a process of its own: one engine, a round for each seed."""
    texts = texts_of(work.prompts)
    drawn = [[request_seed(seed, str(row).encode()) for row in range(work.rows)] for seed in seeds]
    with tempfile.TemporaryDirectory() as name:
        job = Path(name) / "job.json"
        engine = {**engine_arguments(work.server), "distributed_executor_backend": "uni"}
        sampling = {"temperature": TEMPERATURE, "top_p": TOP_P, "max_tokens": work.max_tokens}
        told = {"model": str(work.model), "engine": engine, "environment": work.server.environment}
        told |= {"threads": threads, "sampling": sampling, "prompts": texts, "rounds": drawn}
        job.write_text(json.dumps(told))
        side = subprocess.run([sys.executable, str(PEER_SIDE), str(job)], capture_output=True, text=True)
    if side.returncode:
        raise RuntimeError(f"{PEER_SIDE.name} failed:\n{side.stderr[-3000:]}")
    said = json.loads(side.stdout.strip().split("\n")[-1])
    return [Took(said["start_seconds"], one["seconds"], one["tokens"], work.rows) for one in said["rounds"]]


def batch(work: Work, seed: int) -> Took:
    """Generate through Ray Data LLM, from the table of prompts to the committed parts."""
    root = Path(tempfile.mkdtemp(prefix="hare-bench-"))
    stage = work.stage("batch", seed)
    run(stage.prompts, root=str(root), executor=OnRay)
    first = FirstAsked(root, stage)
    began = time.time()
    first.start()
    run(stage, root=str(root), executor=OnRay)
    whole = time.time() - began
    first.ended.set()
    seconds = committed(root, stage) - first.at
    took = Took(whole - seconds, seconds, *counted(str(root), stage))
    shutil.rmtree(root)
    return took


def serve(work: Work, seed: int) -> Took:
    """Generate through Ray Serve: a stage of few rows starts the server, the next finds it warm."""
    root = Path(tempfile.mkdtemp(prefix="hare-bench-"))
    few = lines(root / "few", WARM_ROWS, parts=1)
    stage = work.stage("serve", seed)
    run(stage.prompts, root=str(root), executor=OnRay)
    began = time.time()
    run(work.stage("serve", seed, few, LINGER_SECONDS), root=str(root), executor=OnRay)
    warm = time.time()
    run(stage, root=str(root), executor=OnRay)
    whole = time.time() - began
    seconds = committed(root, stage) - warm
    took = Took(whole - seconds, seconds, *counted(str(root), stage))
    shutil.rmtree(root)
    return took


def best_threads(work: Work, cores: int) -> int:
    """The number of threads with which vLLM offline is fastest on this machine's CPU."""
    probe = Work(work.model, work.prompts, min(work.rows, 64), work.max_tokens // 2, work.gpus)
    if work.gpus:
        return 0
    return min({1, cores}, key=lambda threads: offline(probe, [0, 1], threads)[-1].seconds)


def told(took: list[Took]) -> list[dict[str, float]]:
    """Rounds for the record."""
    return [asdict(one) for one in took]


def set_threads() -> None:
    """Leave the threads of our sides to the engine, as a user of the command line does."""
    os.environ.pop("OMP_NUM_THREADS", None)
