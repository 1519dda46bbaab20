"""Nobody is asked what its training was not told of; who was trained elsewhere is asked, and it is said."""

import pytest

from hare_ray.evaluate.checked import certificate_of, trainings
from hare_ray.evaluate.harness import Evaluate
from hare_ray.evaluate.results import table
from hare_ray.evaluate.tasks import Benchmark, Task
from hare_ray.stage import Make, Stage


class Training(Make):
    """As Pretrain tells it."""

    certificate: Stage | None = None
    evaluated: tuple[str, ...] = ()
    before: Stage | None = None


class Exported(Make):
    trained: Stage


OWN = ("bits_per_byte", "cloze")


def evaluate(*models: Stage, **other) -> Evaluate:
    names = tuple(f"m{number}" for number in range(len(models)))
    return Evaluate(
        models=models, names=names, items=Make(label="items"), context_tokens=64, max_items=None, seed=1, **other
    )


def model(*evaluated: str, certificate: Stage | None = None) -> Exported:
    given = Make(label="certificate") if certificate is None else certificate
    return Exported(trained=Training(evaluated=evaluated, certificate=given))


def test_what_the_training_was_told_of_is_asked():
    asked = (Benchmark("quiz", "exam_test.jsonl.gz", "", "choices", "answer"),)
    files = Make(label="files")
    for told in ((*OWN, "exam", "mmlu"), (*OWN, "exam/test", "mmlu/test"), (*OWN, "exam", "mmlu/validation")):
        stage = evaluate(model(*told), benchmarks=asked, benchmark_files=files, tasks=(Task("mmlu", 5),))
        assert stage.asked() == ("bits_per_byte", "cloze", "exam/test", "mmlu")


@pytest.mark.parametrize(
    ("told", "other", "message"),
    [
        ((), {}, "told of no benchmark; expected bits_per_byte, cloze among them"),
        (("cloze",), {}, "expected bits_per_byte among them"),
        (OWN, {"tasks": (Task("mmlu", 5),)}, "expected mmlu among them"),
        ((*OWN, "mmlu/dev", "mmlu/train", "mmlu_pro"), {"tasks": (Task("mmlu", 5),)}, "expected mmlu among them"),
        (
            (*OWN, "exam/train"),
            {
                "benchmarks": (Benchmark("quiz", "exam_test.jsonl", "", "choices", "answer"),),
                "benchmark_files": Make(label="files"),
            },
            "expected exam/test among them",
        ),
    ],
)
def test_what_it_was_not_told_of_is_refused(told, other, message):
    with pytest.raises(ValueError, match=message):
        evaluate(Make(label="elsewhere"), model(*told), **other)


def test_a_file_that_is_not_divided_needs_the_whole_benchmark():
    files = {"benchmarks": (Benchmark("quiz", "exam.jsonl", "", "choices", "answer"),), "benchmark_files": Make()}
    for told in ("exam", "exam/all"):
        assert "exam/all" in evaluate(model(*OWN, told), **files).asked()
    with pytest.raises(ValueError, match="expected exam/all among them"):
        evaluate(model(*OWN, "exam/test"), **files)


def test_the_nearest_trainings_answer_and_each_once():
    first = Training(label="first", evaluated=OWN, certificate=Make(label="one"))
    second = Training(label="second", evaluated=OWN, certificate=Make(label="two"), before=first)
    assert trainings(Exported(trained=second)) == [second]
    assert trainings(Make(label="elsewhere")) == []
    assert certificate_of(Exported(trained=second)) == "two"
    assert certificate_of(Make(label="elsewhere")) is None
    assert certificate_of(Exported(trained=Training(certificate=None))) is None


def test_the_table_says_who_was_not_checked():
    results = {
        "models": {"a": {"cloze": {"acc": 0.5, "items": 2}}},
        "chance": {},
        "certificates": {"a": None, "b": "c"},
    }
    assert table(results).splitlines()[-1] == "Not checked for leaks of what was asked: a."
    assert "Not checked" not in table({**results, "certificates": {"a": "c"}})
