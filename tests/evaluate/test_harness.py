"""Evaluate on tiny random models: every number against a direct computation, and against what must come out."""

import gzip
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hare_ray.engine import run
from hare_ray.evaluate.harness import Evaluate
from hare_ray.evaluate.tasks import Benchmark
from hare_ray.stage import Source
from tests.evaluate.tiny import sentence, some_cloze, some_texts, write_items, write_model

pytestmark = pytest.mark.slow

CONTEXT = 48


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A random model with large weights: its log-likelihoods differ a lot from word to word."""
    return write_model(tmp_path_factory.mktemp("model") / "model", context=CONTEXT, std=0.3)


@pytest.fixture(scope="module")
def direct(model):
    return Direct(model)


class Direct:
    """Log-likelihoods straight from transformers, one text at a time."""

    def __init__(self, folder):
        from transformers import AutoTokenizer, MistralForCausalLM

        self.model = MistralForCausalLM.from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def tokens(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False)

    def following(self, inputs, count):
        """Log-probabilities of all tokens after each of the last `count` inputs."""
        import torch

        with torch.no_grad():
            logits = self.model(torch.tensor([inputs])).logits[0, -count:].double()
        return torch.log_softmax(logits, -1)

    def whole(self, text):
        """Of a text, each token with at most CONTEXT tokens before it, in windows that follow each other."""
        stream = [1, *self.tokens(text)]
        total, done = 0.0, 0
        while done < len(stream) - 1:
            end = min(done + CONTEXT, len(stream) - 1)
            scored = range(done + 1, end + 1)
            found = self.following(stream[max(0, end - CONTEXT) : end], len(scored))
            total += sum(float(found[row, stream[at]]) for row, at in enumerate(scored))
            done = end
        return total


def evaluated(tmp_path, models, items, **changed):
    """results.json and samples.jsonl of a run, and the folder they lie in."""
    stages = tuple(Source(label=f"model_{n}", location=str(folder)) for n, folder in enumerate(models))
    stage = Evaluate(**{
        "models": stages, "names": tuple(f"m{n}" for n in range(len(stages))),
        "items": Source(label="items", location=str(items)), "context_tokens": CONTEXT, "max_items": None, "seed": 1,
        **changed,
    })  # fmt: skip
    run(stage, root=str(tmp_path / "run"))
    (folder,) = {path.parent for path in (tmp_path / "run" / "evaluate").glob("*/results.json")}
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    return json.loads((folder / "results.json").read_text()), samples, folder


def of_task(samples, task):
    return [sample for sample in samples if sample["task"] == task]


def test_bits_per_byte_and_cloze_are_what_transformers_computes(tmp_path, model, direct):
    texts = [*some_texts(12, 5, 9), *some_texts(5, 6, 150), "caf\u00e9 \u4e16\u754c \u2014 x"]
    cloze = some_cloze(20, 7)
    results, samples, folder = evaluated(tmp_path, [model], write_items(tmp_path / "items", texts, cloze))
    likelihoods = [direct.whole(text) for text in texts]
    assert max(len(direct.tokens(text)) for text in texts) > 3 * CONTEXT
    scores = results["models"]["m0"]["hare_bits_per_byte"]
    size = sum(len(text.encode()) for text in texts)
    assert scores["bits_per_byte"] == pytest.approx(-sum(likelihoods) / math.log(2) / size, abs=1e-5)
    assert scores["byte_perplexity"] == pytest.approx(math.exp(-sum(likelihoods) / size), abs=1e-4)
    assert scores["items"] == len(texts)
    found = [sample["loglikelihood"] for sample in of_task(samples, "hare_bits_per_byte")]
    assert found == pytest.approx(likelihoods, abs=2e-3)

    right = 0
    for sample, (question, choices, answer) in zip(of_task(samples, "hare_cloze"), cloze, strict=True):
        wholes = [direct.whole(question.replace("____", choice)) for choice in choices]
        assert sample["loglikelihoods"] == pytest.approx(wholes, abs=2e-3)
        right += max(range(4), key=wholes.__getitem__) == answer
    accuracy = right / len(cloze)
    assert results["models"]["m0"]["hare_cloze"]["acc"] == pytest.approx(accuracy)
    expected = math.sqrt(accuracy * (1 - accuracy) / (len(cloze) - 1))
    assert results["models"]["m0"]["hare_cloze"]["acc_stderr"] == pytest.approx(expected, abs=1e-5)
    assert "hare_cloze | acc | 20" in (folder / "results.md").read_text()


def test_answers_the_model_prefers_give_one_and_others_zero_and_guesses_chance(tmp_path, model, direct):
    cloze = some_cloze(150, 8)
    best = [
        max(range(4), key=[direct.whole(question.replace("____", choice)) for choice in choices].__getitem__)
        for question, choices, _ in cloze
    ]
    for name, shift, expected in (("best", 0, 1.0), ("worse", 1, 0.0)):
        asked = [
            (question, choices, (top + shift) % 4) for (question, choices, _), top in zip(cloze, best, strict=True)
        ]
        items = write_items(tmp_path / name / "items", [], asked)
        results, _, _ = evaluated(tmp_path / name, [model], items)
        assert results["models"]["m0"]["hare_cloze"]["acc"] == expected
        assert list(results["models"]["m0"]) == ["hare_cloze"]
    results, _, _ = evaluated(tmp_path / "guess", [model], write_items(tmp_path / "guess" / "items", [], cloze))
    chance = results["chance"]["hare_cloze"]["acc"]
    assert chance == 0.25
    assert abs(results["models"]["m0"]["hare_cloze"]["acc"] - chance) <= 3 * math.sqrt(chance * (1 - chance) / 150)


def test_a_tokenizer_that_adds_the_first_token_changes_nothing(tmp_path, model):
    other = write_model(tmp_path / "adds", context=CONTEXT, std=0.3, adds_start=True)
    items = write_items(tmp_path / "items", some_texts(4, 1, 60), some_cloze(4, 2))
    results, samples, _ = evaluated(tmp_path, [model, other], items)
    assert results["models"]["m0"] == results["models"]["m1"]
    ones, twos = ([{**s, "model": ""} for s in samples if s["model"] == name] for name in ("m0", "m1"))
    assert ones == twos


def test_again_the_same_bytes(tmp_path, model):
    items = write_items(tmp_path / "items", some_texts(6, 3, 80), some_cloze(6, 4))
    first, second = (evaluated(tmp_path / name, [model], items)[2] for name in ("first", "second"))
    for name in ("results.json", "results.md", "samples.jsonl"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_nothing_to_ask_and_one_of_each(tmp_path, model):
    results, samples, folder = evaluated(tmp_path / "none", [model], write_items(tmp_path / "none" / "items", [], []))
    assert (results["models"], results["chance"], samples) == ({"m0": {}}, {}, [])
    assert "nothing was asked" in (folder / "results.md").read_text()
    items = write_items(tmp_path / "one" / "items", some_texts(3, 1, 5), some_cloze(3, 2))
    results, samples, _ = evaluated(tmp_path / "one", [model], items, max_items=1)
    assert [sample["id"] for sample in samples] == ["t0", "c0"]
    assert not any(name.endswith("_stderr") for task in results["models"]["m0"].values() for name in task)


def test_cloze_questions_longer_than_the_context_are_left_out(tmp_path, model):
    import random

    long = (sentence(random.Random(1), 60) + " ____.", ["garden", "river"], 0)
    items = write_items(tmp_path / "items", [], [long, *some_cloze(2, 3)])
    _, samples, _ = evaluated(tmp_path, [model], items)
    assert [sample["id"] for sample in samples] == ["c1", "c2"]


def test_a_context_longer_than_the_model_is_refused(tmp_path, model):
    items = write_items(tmp_path / "items", some_texts(1, 1, 5), [])
    with pytest.raises(ValueError, match=f"made for {CONTEXT} tokens"):
        evaluated(tmp_path, [model], items, context_tokens=CONTEXT + 1)


def test_benchmarks_score_the_choice_after_its_context(tmp_path, model, direct):
    asked = [{"question": "Which stone?", "options": ["green light", "market"], "key": 1} for _ in range(2)]
    pairs = [{"good": "The river is little.", "bad": "The river are little."}]
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "asked.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, asked)).encode()))
    (folder / "pairs.jsonl").write_text(json.dumps(pairs[0]))
    benchmarks = (
        Benchmark("asked", "asked.jsonl.gz", "Question: {{question}}\nAnswer:", "options", "key"),
        Benchmark("pairs", "pairs.jsonl", "", "{{[good, bad]}}", "0"),
    )
    items = write_items(tmp_path / "items", [], [])
    source = Source(label="benchmark_files", location=str(folder))
    results, samples, _ = evaluated(tmp_path, [model], items, benchmarks=benchmarks, benchmark_files=source)
    context = direct.tokens("Question: Which stone?\nAnswer:")
    expected = []
    for option in asked[0]["options"]:
        whole = [1, *direct.tokens(f"Question: Which stone?\nAnswer: {option}")]
        count = len(whole) - 1 - len(context)
        found = direct.following(whole[:-1], count)
        expected.append(sum(float(found[row, token]) for row, token in enumerate(whole[-count:])))
    assert of_task(samples, "asked")[0]["loglikelihoods"] == pytest.approx(expected, abs=2e-3)
    assert results["models"]["m0"]["asked"]["acc"] == float(expected[1] > expected[0])
    wholes = [direct.whole(pairs[0][key]) for key in ("good", "bad")]
    assert of_task(samples, "pairs")[0]["loglikelihoods"] == pytest.approx(wholes, abs=2e-3)
    assert results["models"]["m0"]["pairs"]["acc"] == float(wholes[0] > wholes[1])
    assert results["chance"] == {"asked": {"acc": 0.5, "acc_norm": 0.5}, "pairs": {"acc": 0.5, "acc_norm": 0.5}}


def test_text_is_generated_greedily_up_to_the_stop(model, direct):
    from lm_eval.api.instance import Instance

    from hare_ray.evaluate.language_model import LanguageModel

    stream = [1, *direct.tokens("The quiet garden")]
    begun = len(stream)
    for _ in range(12):
        stream.append(int(direct.following(stream, 1).argmax()))
        if stream[-1] == 2:
            break
    text = direct.tokenizer.decode(stream[begun:], skip_special_tokens=True)
    stop = text[len(text) // 2 :][:2]
    loaded = LanguageModel(model, "cpu", CONTEXT)

    def made(**asked):
        request = Instance("generate_until", {}, ("The quiet garden", {"max_gen_toks": 12, **asked}), 0)
        return loaded.generate_until([request])[0]

    assert made(until=[]) == text
    assert made(until=["never there", stop]) == text[: text.index(stop)]
    with pytest.raises(ValueError, match="expected greedy"):
        made(do_sample=True)
    with pytest.raises(ValueError, match="expected fewer"):
        made(max_gen_toks=CONTEXT)


NAMED = """
import sys
from pathlib import Path
import tests.evaluate.test_harness as t
from hare_ray.evaluate.tasks import Task
base = Path(sys.argv[1])
t.evaluated(base, [Path(sys.argv[2])], base / "items", tasks=(Task("winogrande", 1),), max_items=3)
"""

HUB_CARD = """---
configs:
- config_name: winogrande_xl
  data_files:
  - {split: train, path: train.jsonl}
  - {split: validation, path: validation.jsonl}
---
"""


def test_tasks_of_lm_eval_run_by_name_with_shots(tmp_path, model, direct):
    """Its WinoGrande, from a folder that stands where the hub would: asks for what follows the blank."""
    hub = tmp_path / "allenai" / "winogrande"
    hub.mkdir(parents=True)
    (hub / "README.md").write_text(HUB_CARD)
    item = {"sentence": "The _ is green.", "option1": "garden", "option2": "stone", "answer": "2"}
    (hub / "train.jsonl").write_text((json.dumps({**item, "sentence": "A _ in winter."}) + "\n") * 4)
    (hub / "validation.jsonl").write_text((json.dumps(item) + "\n") * 5)
    write_items(tmp_path / "items", some_texts(1, 1, 5), [])
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        **os.environ, "HOME": str(home), "HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }  # fmt: skip
    command = [sys.executable, "-c", NAMED, str(tmp_path), str(model)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = (tmp_path / "run" / "evaluate").glob("*/samples.jsonl")
    found = of_task([json.loads(line) for line in path.read_text().splitlines()], "winogrande")
    assert len(found) == 3
    shot = "A stone in winter.\n\n"
    expected = []
    for option in ("garden", "stone"):
        before = [1, *direct.tokens(f"{shot}The {option}")]
        whole = [1, *direct.tokens(f"{shot}The {option} is green.")]
        scored = direct.following(whole[:-1], len(whole) - len(before))
        expected.append(sum(float(scored[row, token]) for row, token in enumerate(whole[len(before) :])))
    assert found[0]["loglikelihoods"] == pytest.approx(expected, abs=2e-3)


def test_nothing_but_compiled_kernels_is_left_in_a_home_directory(tmp_path, model):
    write_items(tmp_path / "items", some_texts(2, 1, 5), some_cloze(2, 2))
    home = tmp_path / "home"
    home.mkdir()
    code = NAMED.replace(', tasks=(Task("winogrande", 1),)', "")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_"))}
    environment |= {"HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, str(tmp_path), str(model)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    left = {path.relative_to(home).parts[:2] for path in home.rglob("*")}
    assert left <= {(".cache",), (".cache", "hare_ray")}
