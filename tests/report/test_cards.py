"""The cards of a run: facts of its manifests in the form of Hugging Face, the same bytes every time."""

import json
import re
import shutil
from pathlib import Path

import pytest

from hare_ray.manifest import load_all
from hare_ray.report import write
from hare_ray.report.cards import md
from hare_ray.store import Root
from tests.report.later import RESULTS


def test_cards_say_what_the_manifests_say(both: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(both, root)
    write(str(root))
    data, model = ((root / name).read_text() for name in ("DATASET_CARD.md", "MODEL_CARD.md"))
    manifests = load_all(Root(str(root)))
    for card in (data, model):
        assert card.startswith("---\n")
        assert card.split("---\n")[1].strip()
        assert not re.search(r"\b20\d\d-\d\d-\d\d", card)
    assert 'tags: ["pretraining", "synthetic"]' in data
    assert f"D1 holds {manifests['d1']['books']['out']} documents" in data
    assert "- `crawl` (Source): 3 files," in data
    assert "| `unique` | 66 | exact_duplicate | 3 | 63 |" in data
    assert "| `sound_d2` | 141 | too_short | 129 | 12 |" in data
    assert "Written by tiny_mistral (stage `generate_d2`): 144 prompts, 498 tokens." in data
    assert "| d2 | `pack_d2` | 3 | 300 | 40 | 4 % | 1.50 | 2,560 | yes |" in data
    assert "Held-out share: 2 % of the documents (stage `hold_out`)." in data
    assert "Share of mix2 that is not from the crawl: 15 %." in data
    assert "  - min_quality: 0.3" in data
    for manifest in manifests.values():
        for stage in (manifest, *manifest.get("members", ())):
            assert f"- `{stage['name']}`, {stage['recipe']['class']} (" in data
    assert "trained on 460,800 tokens." in model
    assert "| arc\\|easy | acc | 200 | 0.260 ± 0.030 | 0.310 ± 0.030 | 0.250 |" in model
    assert "| cloze | acc | 400 | 0.300 ± 0.020 | **0.500** ± 0.020 | 0.250 |" in model
    assert "library_name" not in model  # nothing was exported
    assert "license" not in data + model
    assert "  - start: `stage1`" in model


def test_front_matter_is_yaml(both: Path, tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    root = tmp_path / "run: of #1"
    shutil.copytree(both, root)
    write(str(root))
    data, model = (
        yaml.safe_load((root / name).read_text().split("---\n")[1]) for name in ("DATASET_CARD.md", "MODEL_CARD.md")
    )
    assert data["pretty_name"] == "run: of #1"
    assert data["size_categories"] == ["n<1K"]
    assert [entry["name"] for entry in model["model-index"]] == ["stage1", "stage2"]
    scores = model["model-index"][1]["results"]
    assert {(s["dataset"]["name"], s["metrics"][0]["type"], s["metrics"][0]["value"]) for s in scores} == {
        (task, metric, value)
        for task, said in RESULTS["models"]["stage2"].items()
        for metric, value in said.items()
        if metric in ("acc", "bits_per_byte")
    }


def test_cards_are_the_same_again_and_for_an_equal_run(both: Path, tmp_path: Path) -> None:
    cards = []
    for name in ("a", "b"):
        root = tmp_path / name / "run"
        shutil.copytree(both, root)
        for path in root.glob("*/manifest.json"):
            manifest = json.loads(path.read_text())
            manifest["run"]["seconds"] = 3.0 if name == "a" else 4.0
            path.write_text(json.dumps(manifest))
        write(str(root))
        cards.append([(root / card).read_bytes() for card in ("DATASET_CARD.md", "MODEL_CARD.md")])
    assert cards[0] == cards[1]


def test_a_run_without_a_model_has_no_model_card(whole: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(whole, root)
    write(str(root))
    card = (root / "DATASET_CARD.md").read_text()
    assert not (root / "MODEL_CARD.md").exists()
    assert "synthetic" not in card.lower()
    assert "Decontaminated" not in card  # the fixture's index is of another class


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("a_b", "a_b"),
        ("_a_", "\\_a\\_"),
        ("a | b", "a \\| b"),
        ("<script>", "\\<script\\>"),
        ("two\nlines", "two lines"),
        ("[x](y)", "\\[x\\](y)"),
    ],
)
def test_text_in_a_card_is_only_text(text: str, safe: str) -> None:
    assert md(text) == safe
