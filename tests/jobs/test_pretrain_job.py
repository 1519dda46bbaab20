"""jobs/pretrain.py: light to plan, and from two files of text through two rounds to a model."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from hare_ray.cli import Choice
from hare_ray.engine import run
from hare_ray.model.presets import PRESETS
from hare_ray.model.shape import Shape
from hare_ray.stage import upstream
from hare_ray.store import Root
from hare_ray.train.pretrain import Pretrain
from jobs import pretrain

LIGHT = """
import runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, "jobs")
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as stop:
    assert stop.code == 0, stop.code
heavy = {"ray", "torch", "numba", "resiliparse", "fastwarc", "jinja2", "safetensors"} & set(sys.modules)
assert not heavy, heavy
"""
T, BATCH, STEPS = 64, 8, 24
SHAPE = Shape(layers=2, hidden=64, heads=2, kv_heads=1, mlp_hidden=96, vocabulary=296, tied=True)
CONFIG = {
    "model_type": "llama", "num_hidden_layers": 6, "hidden_size": 192, "num_attention_heads": 6,
    "num_key_value_heads": 2, "intermediate_size": 512, "vocab_size": 4096, "tie_word_embeddings": True,
    "rms_norm_eps": PRESETS["tiny"].norm_epsilon, "rope_theta": PRESETS["tiny"].rope_theta,
}  # fmt: skip
NOUNS, VERBS = ("cat", "dog", "bird", "fish", "horse"), ("sees", "likes", "follows", "hears")


def sentences(count, seed):
    draw = np.random.default_rng(seed)
    found = [f"The {draw.choice(NOUNS)} {draw.choice(VERBS)} the {draw.choice(NOUNS)}." for _ in range(count)]
    return " ".join(found)


@pytest.fixture
def texts(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(2):
        documents = [sentences(6 + row % 30, seed=100 * number + row) for row in range(150)]
        lines = [json.dumps({"url": f"{number}-{row}", "text": text}) + "\n" for row, text in enumerate(documents)]
        (folder / f"{number}.jsonl").write_text("".join(lines))
    return str(folder)


@pytest.fixture
def small(monkeypatch):
    """The file's numbers, as a person would edit them."""
    size = replace(
        pretrain.SIZES["tiny"],
        sequence_tokens=T,
        batch_sequences=BATCH,
        learning_rate=0.01,
        warmup_tokens=2 * T * BATCH,
        tokens=STEPS * T * BATCH,
        workers=2,
    )
    monkeypatch.setitem(pretrain.SIZES, "tiny", size)
    for name, value in {"SHAPE": SHAPE, "ROUNDS": 2, "TEMPERATURE": 0.02}.items():
        monkeypatch.setattr(pretrain, name, value)


def test_a_plan_needs_neither_ray_nor_torch(texts):
    command = [sys.executable, "-c", LIGHT, "jobs/pretrain.py", "--scale", "1b", "--source", texts, "--plan"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    assert "1,123.1 M" in done.stdout
    assert "2,097,152 tokens, 24,795 steps" in done.stdout  # 52 B (arXiv 2406.11410, section 3)


@pytest.mark.parametrize("scale", pretrain.SIZES)
@pytest.mark.parametrize("rounds", [1, 2])
def test_every_scale_warms_up_before_it_falls(scale, rounds, texts, monkeypatch):
    monkeypatch.setattr(pretrain, "ROUNDS", rounds)
    model = pretrain.recipe(Choice(scale=scale, source=texts))[0]
    size, last = pretrain.SIZES[scale], model.parents[0]
    assert isinstance(last, Pretrain)
    assert last.shape == PRESETS[scale]
    assert (last.before is None) == (rounds == 1)
    first = last if last.before is None else last.before
    assert isinstance(first, Pretrain)
    rates = [first.schedule.factor(share * size.tokens, size.tokens) for share in (0.001, 0.05, 0.2, 0.5)]
    assert rates[0] < rates[1] <= max(rates)
    assert max(rates) > 0.9


def test_what_would_fail_later_or_be_ignored_is_refused_at_once(texts, monkeypatch):
    with pytest.raises(ValueError, match="given no --source"):
        pretrain.recipe(Choice(scale="tiny"))
    with pytest.raises(ValueError, match="given --llm"):
        pretrain.recipe(Choice(scale="tiny", source=texts, llm="folder"))
    monkeypatch.setattr(pretrain, "ROUNDS", 3)
    with pytest.raises(ValueError, match="given ROUNDS=3, expected 1 or 2"):
        pretrain.recipe(Choice(scale="tiny", source=texts))


def test_a_plan_without_text_says_so():
    command = [sys.executable, "jobs/pretrain.py", "--scale", "1b", "--plan"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 1
    assert "error: given no --source" in done.stderr


@pytest.mark.parametrize("scale", pretrain.SIZES)
def test_states_of_the_large_ones_are_divided(scale):
    size = pretrain.SIZES[scale]
    assert size.zero_stage == (PRESETS[scale].parameters > 500_000_000)


def test_a_scale_must_be_named(texts):
    with pytest.raises(ValueError, match="expected one of tiny, 60m, 250m, 1b, pangu-1b-pro"):
        pretrain.recipe(Choice(source=texts))


def test_the_rounds_share_one_course_of_the_rate(small):
    size = pretrain.SIZES["tiny"]
    first, second = (pretrain.schedule(size, later) for later in (False, True))
    tokens, end = size.tokens, int(size.tokens * pretrain.SHARE)
    assert first.factor(tokens, tokens) == second.factor(0, end) == 1.0
    assert second.factor(end, end) == 0.0
    cosine = replace(size, schedule="cosine", floor=0.1)
    first, second = (pretrain.schedule(cosine, later) for later in (False, True))
    assert 0.1 < first.factor(tokens, tokens) < 0.5
    assert first.factor(tokens, tokens) == pytest.approx(second.factor(0, end))


@pytest.mark.parametrize(("constant", "name"), [("START", "start"), ("INHERIT", "inherited")])
def test_a_given_model_gives_weights_and_tokenizer(constant, name, texts, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, constant, str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    stages = {stage.name: stage for stage in upstream(*pretrain.recipe(Choice(scale="tiny", source=texts)))}
    assert stages["round_1"].inputs["start"] == (stages[name],)
    assert stages["packed"].inputs["tokenizer"] == (stages["tokenizer"],)
    assert stages["tokenizer"].inputs["given"] == (stages["tokenizer_files"],)
    assert getattr(stages["tokenizer_files"], "location", None) == str(tmp_path)


@pytest.mark.parametrize("constant", ["START", "INHERIT"])
@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "without config.json"),
        ({"model_type": "gpt2"}, "a model of type 'gpt2'"),
        ({"vocab_size": 5000}, "vocabulary=5000"),
        ({"rope_theta": 5.0}, "rope_theta=5.0"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused_by_name(constant, config, said, texts, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, constant, str(tmp_path))
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(CONFIG | config))
    with pytest.raises(ValueError, match=f"{constant}=.*{said}"):
        pretrain.recipe(Choice(scale="tiny", source=texts))


def test_weights_come_from_one_place(texts, tmp_path, monkeypatch):
    for constant in ("START", "INHERIT"):
        monkeypatch.setattr(pretrain, constant, str(tmp_path))
    with pytest.raises(ValueError, match=r"given START=.* and INHERIT="):
        pretrain.recipe(Choice(scale="tiny", source=texts))


def test_files_of_tokens_need_their_tokenizer(texts, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "TOKEN_FILES", pretrain.TokenFiles(2, end_token=2, pad_token=2))
    with pytest.raises(ValueError, match="given TOKEN_FILES with TOKENIZER=''"):
        pretrain.recipe(Choice(scale="tiny", source=texts))
    monkeypatch.setattr(pretrain, "TOKENIZER", str(tmp_path))
    stages = {stage.name: stage for stage in upstream(*pretrain.recipe(Choice(scale="tiny", source=texts)))}
    assert type(stages["packed"]).__name__ == "Tokenised"


@pytest.mark.ray
@pytest.mark.timeout(400)
def test_two_files_become_a_model_in_two_rounds(small, texts, tmp_path):
    from hare_ray.on_ray import OnRay

    targets = pretrain.recipe(Choice(scale="tiny", source=texts))
    manifests = run(*targets, root=str(tmp_path / "root"), executor=OnRay)
    root = Root(str(tmp_path / "root"))

    def told(stage, name):
        return json.loads(root.read(f"{stage}/{manifests[stage]['fingerprint'][:12]}/{name}"))

    first, second = (told(name, "summary.json") for name in ("round_1", "round_2"))
    assert first["final_loss"] < 0.6 * np.log(SHAPE.vocabulary) < first["first_loss"]
    assert second["first_loss"] < first["first_loss"] / 2
    assert second["final_loss"] < first["final_loss"]

    sizes = [[part["rows"] for part in manifests[name]["parts"]] for name in ("packed", "resampled_packed")]
    assert sizes[1] == [int(rows / 2 + 0.5) for rows in sizes[0]]
    assert manifests["resampled_packed"]["books"]["dropped"] == {"not_drawn": sum(sizes[0]) - sum(sizes[1])}
    (rounds,) = told("round_summary", "rounds.json")["sources"]
    assert rounds["drawn_sequences"] == sum(sizes[1])
    assert rounds["loss_drawn"] > rounds["loss"] > rounds["loss_not_drawn"]
    assert rounds["loss"] == pytest.approx(first["final_loss"], rel=0.3)
    forgotten = told("forgetting", "forgetting.json")
    seen = sum(one["sequences"] for one in forgotten["bins"])
    assert seen + forgotten["unseen"]["sequences"] == sum(sizes[0])

    config = told("model", "config.json")
    assert (config["model_type"], config["hidden_size"]) == ("mistral", SHAPE.hidden)
