"""Training refuses what was not searched for what it will be judged by; no training is run here."""

import json
from types import SimpleNamespace

import pytest

from hare_ray.leakage.certificate import Certificate
from hare_ray.leakage.leaks import Rule
from hare_ray.leakage.shards import CheckShards
from hare_ray.stage import Make
from hare_ray.train.certified import check_certificate
from tests.train.stages import corpus, trained

RULE = Rule(min_hits=1, max_overlap=0.0, reworded_share=None)
EXAM = {
    "exam": {"test": {"items": 5, "checked": 4}, "dev": {"items": 1, "checked": 0}, "none": {"items": 0, "checked": 0}}
}
CLEAN = {"corpora": ["rows"], "rows": 9, "leaks": 0}


def certified(toy, *, final=("rows",), label="certificate") -> Certificate:
    index = Make(label="index")
    check = CheckShards(sequences=toy, tokenizer=Make(label="words"), index=index, rule=RULE, token_bytes=2)
    return Certificate(label=label, indexes=(index,), names=("rows",), tables=(check,), final=final)


@pytest.fixture
def toy(tmp_path):
    return corpus(tmp_path / "in")


def test_benchmarks_without_a_certificate_are_refused(toy):
    with pytest.raises(ValueError, match="no certificate, expected the Certificate of its corpora"):
        trained(toy, steps=4, evaluated=("exam",))
    assert trained(toy, steps=4).evaluated == ()


def test_the_last_look_must_be_at_what_is_trained_on(toy, tmp_path):
    stage = trained(toy, steps=4, evaluated=("exam",), certificate=certified(toy))
    assert stage.certificate in stage.parents
    with pytest.raises(ValueError, match="last look is not at"):
        trained(toy, steps=4, evaluated=("exam",), certificate=certified(corpus(tmp_path / "other")))
    with pytest.raises(ValueError, match="last look is not at"):
        trained(toy, steps=4, evaluated=("exam",), certificate=certified(toy, final=()))


def test_a_later_stage_is_judged_by_what_all_before_it_were_searched_for(toy):
    first = trained(toy, steps=4, evaluated=("exam/test",), certificate=certified(toy))
    given = {"steps": 4, "before": first, "label": "stage_2", "certificate": certified(toy, label="certificate_2")}
    assert trained(toy, evaluated=("exam/test",), **given).before is first
    for wanted in ("exam", "other"):
        with pytest.raises(ValueError, match=f"expected \\['{wanted}'\\] there as well"):
            trained(toy, evaluated=(wanted,), **given)


def test_what_is_evaluated_is_part_of_the_identity(toy):
    given = {"steps": 4, "certificate": certified(toy)}
    assert len({trained(toy, evaluated=names, **given).fingerprint for names in ((), ("exam",), ("exam/test",))}) == 3


@pytest.mark.parametrize("evaluated", [(), ("exam/test",), ("exam/none",)])
def test_a_clean_certificate_that_covers_all_is_accepted(evaluated):
    check_certificate(Make(label="stage"), {"final": CLEAN, "benchmarks": EXAM}, evaluated)


@pytest.mark.parametrize(
    ("final", "evaluated", "message"),
    [
        (
            CLEAN,
            ("exam/test", "other"),
            "given the benchmark 'other', of which nothing was checked; expected one of exam/",
        ),
        (CLEAN, ("exam/train",), "given the benchmark 'exam/train', of which nothing was checked"),
        (CLEAN, ("exam",), r"'exam', of which nothing was checked in \['dev'\]"),
        ({**CLEAN, "leaks": 2}, ("exam/test",), "found leaks in 2 of 9 rows of rows, expected none"),
        ({**CLEAN, "leaks": 2}, (), "found leaks in 2 of 9"),
        ({"corpora": [], "rows": 0, "leaks": 0}, ("exam/test",), "without a last look"),
    ],
)
def test_a_certificate_with_gaps_or_leaks_is_refused(final, evaluated, message):
    with pytest.raises(ValueError, match=message):
        check_certificate(Make(label="stage"), {"final": final, "benchmarks": EXAM}, evaluated)


def test_training_refuses_before_it_does_anything(toy):
    stage = trained(toy, steps=4, evaluated=("exam",), certificate=certified(toy))
    told = json.dumps({"final": CLEAN, "benchmarks": {}}).encode()
    desk = SimpleNamespace(read_file=lambda of, name: {(stage.certificate, "certificate.json"): told}[of, name])
    with pytest.raises(
        ValueError, match="given the benchmark 'exam', of which nothing was checked; expected one of none"
    ):
        stage.make(desk)  # pyright: ignore[reportArgumentType]
