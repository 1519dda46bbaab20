"""Items of lm-eval's own tasks, from folders that stand where the hub would be: no network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CARD = """---
configs:
- config_name: {config}
  data_files:
  - {{split: train, path: train.jsonl}}
  - {{split: {second}, path: second.jsonl}}
---
"""

READ = """
import json
from hare_ray.leakage.lm_tasks import documents
from hare_ray.priors.benchmarks import load_benchmark_forms
forms = load_benchmark_forms()
found = {
    "forms": [[d.task, d.split, *d.parsed] for d in documents(("winogrande", "gsm8k"), forms)],
    "templates": [[d.task, d.split, *d.parsed] for d in documents(("winogrande",), forms[:1])],
}
print(json.dumps(found))
"""


def put(folder: Path, config: str, second: str, items: list[dict[str, str]]) -> None:
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(CARD.format(config=config, second=second))
    for name, item in zip(("train", "second"), items, strict=True):
        (folder / f"{name}.jsonl").write_text(json.dumps(item) + "\n")


def test_all_splits_of_a_task_are_read_by_forms_or_by_its_templates(tmp_path):
    item = {"sentence": "The _ is green.", "option1": "garden", "option2": "stone", "answer": "1"}
    put(tmp_path / "allenai" / "winogrande", "winogrande_xl", "validation", [item, {**item, "answer": "2"}])
    sums = {"question": "How many?", "answer": "It is <<1+1=2>>2.\n#### 2"}
    put(tmp_path / "openai" / "gsm8k", "main", "test", [sums, sums])
    environment = {
        **os.environ, "HOME": str(tmp_path / "home"), "HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", READ], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    gap = ["The _ is green.", ["garden", "stone"]]
    assert found["forms"] == [
        ["winogrande", "train", *gap, "garden", None, None],
        ["winogrande", "validation", *gap, "stone", None, None],
        ["gsm8k", "train", "How many?", ["It is 2.\n#### 2"], "2", None, None],
        ["gsm8k", "test", "How many?", ["It is 2.\n#### 2"], "2", None, None],
    ]
    assert [row[2:5] for row in found["templates"]] == [[*gap, "garden"], [*gap, "stone"]]
