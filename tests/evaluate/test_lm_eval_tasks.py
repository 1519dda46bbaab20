"""What is asked, and what becomes of lm-eval's numbers: no model, no torch."""

import gzip
import json
import math
import random
import subprocess
import sys
from pathlib import Path

import pytest

from hare_ray.evaluate.harness import Evaluate
from hare_ray.evaluate.results import judged, table
from hare_ray.evaluate.tasks import LEADERBOARD, Benchmark, Task, cloze_of, filled, records, texts_of
from hare_ray.stage import Make
from tests.evaluate.tiny import write_items

PATH = Path("cloze.jsonl")


def evaluate(**changed):
    model, other, items = Make(label="model"), Make(label="other"), Make(label="items")
    given = {
        "models": (model, other), "names": ("one", "two"), "items": items, "context_tokens": 64, "max_items": None,
        "seed": 1,
    }  # fmt: skip
    return Evaluate(**{**given, **changed})


def test_every_choice_goes_into_the_first_blank():
    assert filled("A ____ b ____.", ["x", "$y"], PATH) == ["A x b ____.", "A $y b ____."]
    with pytest.raises(ValueError, match="expected one with a blank"):
        filled("No gap.", ["x"], PATH)


def test_items_are_read_plain_or_gzipped_and_empty_texts_are_left_out(tmp_path):
    write_items(tmp_path, ["first\u2028line", "", "second"], [("A ____.", ["b", "c"], 1)])
    assert [item["text"] for item in texts_of(tmp_path / "bits_per_byte.jsonl", None)] == ["first\u2028line", "second"]
    assert texts_of(tmp_path / "bits_per_byte.jsonl", 1) == [{"id": "t0", "text": "first\u2028line"}]
    assert cloze_of(tmp_path / "cloze.jsonl", None) == [{"id": "c0", "texts": ["A b.", "A c."], "answer": 1}]
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(b'{"a": 1}\n\n{"a": 2}\n'))
    assert records(packed) == [{"a": 1}, {"a": 2}]


def text_sample(number, bits, size):
    pair = (-bits * math.log(2), size)
    return {
        "doc": {"id": f"t{number}"}, "doc_id": number, "filtered_resps": [pair[0]], "bits_per_byte": pair,
        "byte_perplexity": pair,
    }  # fmt: skip


def test_standard_error_of_bits_per_byte_is_what_resampling_gives():
    draw = random.Random(3)
    sizes = [draw.randint(50, 500) for _ in range(200)]
    bits = [size * draw.gauss(1.5, 0.4) for size in sizes]
    ratio = sum(bits) / sum(sizes)
    raw = {
        "results": {"texts": {"bits_per_byte,none": ratio, "bits_per_byte_stderr,none": "N/A", "sample_len": 200}},
        "samples": {"texts": [text_sample(n, b, s) for n, (b, s) in enumerate(zip(bits, sizes, strict=True))]},
    }
    scores = judged(raw, "texts").scores["texts"]
    means = []
    for _ in range(2000):
        rows = draw.choices(range(200), k=200)
        means.append(sum(bits[row] for row in rows) / sum(sizes[row] for row in rows))
    mean = sum(means) / len(means)
    resampled = math.sqrt(sum((value - mean) ** 2 for value in means) / len(means))
    assert scores["bits_per_byte_stderr"] == pytest.approx(resampled, rel=0.1)
    # a difference quotient of 2^R
    slope = (2 ** (ratio + 1e-6) - 2 ** (ratio - 1e-6)) / 2e-6
    assert scores["byte_perplexity_stderr"] == pytest.approx(slope * scores["bits_per_byte_stderr"], rel=1e-3)


def test_one_text_has_a_score_and_no_error():
    raw = {
        "results": {"texts": {"bits_per_byte,none": 2.0, "bits_per_byte_stderr,none": "N/A", "sample_len": 1}},
        "samples": {"texts": [text_sample(0, 20, 10)]},
    }
    assert judged(raw, "texts").scores == {"texts": {"bits_per_byte": 2.0, "items": 1}}


def test_chance_counts_the_choices_of_every_item():
    def sample(number, choices):
        answers = [(-float(choice + 1), False) for choice in range(choices)]
        return {"doc": {}, "doc_id": number, "filtered_resps": answers, "acc": 1.0, "acc_norm": 0.0}

    raw = {
        "results": {"asked": {"acc,none": 1.0, "acc_stderr,none": 0.0, "sample_len": 2}},
        "samples": {"asked": [sample(0, 2), sample(1, 4)]},
    }
    found = judged(raw, "asked")
    assert found.chance == {"asked": {"acc": 0.375}}
    assert found.samples[1] == {
        "task": "asked", "id": "1", "loglikelihoods": [-1.0, -2.0, -3.0, -4.0], "choice": 0, "correct": True,
    }  # fmt: skip


def test_a_group_stands_for_its_members_a_tag_does_not_and_filters_are_named():
    results = {
        "group": {"acc,none": 0.5, "acc_stderr,none": 0.1, "sample_len": 4},
        "member": {"acc,none": 0.5, "sample_len": 4},
        "maths": {"exact_match,strict-match": 0.25, "exact_match_stderr,strict-match": 0.1, "sample_len": 4},
    }
    assert list(judged({"results": results, "samples": {}}, "group").scores) == ["group"]
    tagged = judged({"results": results, "samples": {}}, "tag").scores
    assert list(tagged) == ["group", "member", "maths"]
    assert tagged["maths"] == {
        "exact_match (strict-match)": 0.25, "exact_match (strict-match)_stderr": 0.1, "items": 4,
    }  # fmt: skip


def test_the_table_has_a_line_per_metric_and_a_column_per_model():
    results = {
        "models": {
            "one": {"cloze": {"acc": 0.5, "acc_stderr": 0.05, "items": 9}},
            "a|b": {"texts": {"bits_per_byte": 1.25, "items": 3}},
        },
        "chance": {"cloze": {"acc": 0.25}},
    }
    assert table(results).splitlines()[2:] == [
        "| cloze | acc | 9 | 0.5000 +- 0.0500 |  | 0.2500 |",
        "| texts | bits_per_byte | 3 |  | 1.2500 |  |",
    ]
    assert "a\\|b" in table(results)
    assert "nothing was asked" in table({"models": {"one": {}}, "chance": {}})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"names": ("one",)}, "as many different names"),
        ({"names": ("one", "one")}, "as many different names"),
        ({"models": (), "names": ()}, "one or more models"),
        ({"benchmarks": (Benchmark("b", "b.jsonl", "", "choices", "answer"),)}, "no benchmark_files"),
        ({"context_tokens": 1}, "at least 2"),
    ],
)
def test_recipes_that_mean_nothing_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        evaluate(**changed)


def test_what_is_asked_is_part_of_the_identity():
    plain = evaluate().fingerprint
    changes = [{"max_items": 5}, {"context_tokens": 32}, {"tasks": (Task("mmlu", 5),)}, {"names": ("one", "three")}]
    assert len({plain, *(evaluate(**change).fingerprint for change in changes)}) == 5


def test_leaderboard_has_the_shots_of_the_paper():
    assert {task.name.split("_")[0]: task.shots for task in LEADERBOARD} == {
        "mmlu": 5, "arc": 25, "truthfulqa": 0, "winogrande": 5, "hellaswag": 10, "gsm8k": 5,
    }  # fmt: skip


def test_a_recipe_loads_nothing_heavy():
    code = "import hare_ray.evaluate.harness, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "lm_eval", "datasets", "ray"} & set(json.loads(done.stdout))
