"""Training refuses what was not searched for what it will be judged by; no training is run here."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from hare_ray.leakage.certificate import Certificate
from hare_ray.leakage.leaks import Rule
from hare_ray.leakage.shards import CheckShards
from hare_ray.model.export_stage import Export
from hare_ray.model.shape import Shape
from hare_ray.stage import Make, Source
from hare_ray.train.certified import check_certificate
from hare_ray.train.settings import Speed
from tests.train.stages import BATCH, SHAPE, TRAINING, corpus, trained

RULE = Rule(min_hits=1, max_overlap=0.0, reworded_share=None)


def split(exact: int, joined: int, unchecked: int) -> dict[str, int]:
    checked = exact + joined
    return {"items": checked + unchecked, "checked": checked, "exact": exact, "joined": joined, "unchecked": unchecked}


EXAM = {
    "exam": {"test": split(3, 1, 1), "dev": split(0, 0, 1), "none": split(0, 0, 0)},
    "half": {"test": split(1, 1, 2)},
    "few": {"test": split(1, 48, 50)},
}
CLEAN = {"corpora": ["rows"], "rows": 9, "leaks": 0, "bases": {}}


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


def test_a_training_before_that_says_nothing_of_its_corpus_is_refused_where_anything_is_judged(toy, tmp_path):
    given = {"steps": 4, "certificate": certified(toy), "tokenizer": Make(label="words")}
    for before in (Source(label="weights", location=str(tmp_path)), Make(label="weights")):
        assert trained(toy, before=before, **given).before is before
        with pytest.raises(ValueError, match="which does not say what its corpus was searched for"):
            trained(toy, before=before, evaluated=("exam",), **given)


def test_weights_that_a_training_left_are_judged_by_what_it_was_searched_for(toy, tmp_path):
    """Whatever lies between: an export, or a smaller model made of it."""
    first = trained(toy, steps=4, evaluated=("exam/test",), certificate=certified(toy))
    export = Export(trained=first, tokenizer=first.tokenizer, dtype="float32", context_tokens=32)
    given = {"steps": 4, "start": export, "label": "stage_2", "certificate": certified(toy, label="certificate_2")}
    assert trained(toy, evaluated=("exam/test",), **given).start is export
    with pytest.raises(ValueError, match="expected \\['other'\\] there as well"):
        trained(toy, evaluated=("other",), **given)
    unknown = {**given, "start": Source(label="weights", location=str(tmp_path))}
    assert trained(toy, **unknown).start is unknown["start"]
    with pytest.raises(ValueError, match="which does not say what its corpus was searched for"):
        trained(toy, evaluated=("exam/test",), **unknown)


def test_numbers_that_do_not_fit_are_refused(toy):
    first = trained(toy, steps=4)
    large = Shape(layers=22, hidden=2048, heads=32, kv_heads=4, mlp_hidden=5632, vocabulary=32000, tied=False)
    eight = replace(TRAINING, float8=True)
    for wrong, why in (
        ({"workers": BATCH + 1}, "expected 1 to batch_sequences"),
        ({"workers": (2, 1)}, "the fewest first"),
        ({"training": eight}, "below that it is slower"),
        ({"training": eight, "shape": large}, "gpu=False"),
        ({"training": eight, "gpu": True, "shape": replace(large, mlp_hidden=5640)}, "expected multiples of 16"),
        ({"before": first, "start": first}, "weights come from one place"),
        ({"before": first, "shape": replace(SHAPE, layers=3)}, "given shape="),
        ({"before": first, "training": replace(TRAINING, betas=(0.9, 0.99))}, "given training.betas="),
        ({"checkpoints": 0}, "expected at least 1"),
        ({"hook": "nonsense"}, "expected 'module:function'"),
        ({"training": replace(TRAINING, batch_tokens=1)}, "given training.batch_tokens=1 and batch_sequences=8"),
        ({"training": replace(TRAINING, sequence_tokens=64)}, "training.sequence_tokens=64; give the batch"),
    ):
        with pytest.raises(ValueError, match=why):
            trained(toy, steps=4, **wrong)
    assert trained(toy, steps=4, training=eight, gpu=True, shape=large).crew == (2, 2)


def test_how_many_work_and_how_fast_is_no_part_of_the_identity(toy):
    first = trained(toy, steps=4)
    other = trained(toy, steps=4, workers=(1, 3), micro_batch=1, speed=Speed(compile=True, zero_stage=1))
    assert other.fingerprint == first.fingerprint
    assert trained(toy, steps=4, seed=2).fingerprint != first.fingerprint
    assert "deepspeed" in other.required_packages() and "deepspeed" not in first.required_packages()


def certificate_files(folder, final) -> Source:
    """As a certificate of another run is given."""
    folder.mkdir()
    (folder / "certificate.json").write_text(json.dumps({"final": final, "benchmarks": EXAM}))
    return Source(label="certificate", location=str(folder))


def test_a_certificate_given_as_files_must_be_of_the_tables_that_are_trained_on(toy, tmp_path):
    other = {**CLEAN, "bases": {"packed": "0123456789abcdef"}}
    for name, final in {"other": other, "unnamed": {k: v for k, v in CLEAN.items() if k != "bases"}}.items():
        given = certificate_files(tmp_path / name, final)
        stage = trained(toy, steps=4, evaluated=("exam/test",), certificate=given)
        desk = SimpleNamespace(read_file=lambda of, file: (Path(of.location) / file).read_bytes())
        with pytest.raises(ValueError, match=f"expected toy {toy.fingerprint[:12]} as well"):
            stage.make(desk)  # pyright: ignore[reportArgumentType]
    told = {"final": {**CLEAN, "bases": {"elsewhere": toy.fingerprint}}, "benchmarks": EXAM}
    check_certificate(Make(label="stage"), told, ("exam/test",), (toy,))


def test_what_is_evaluated_is_part_of_the_identity(toy):
    given = {"steps": 4, "certificate": certified(toy)}
    assert len({trained(toy, evaluated=names, **given).fingerprint for names in ((), ("exam",), ("exam/test",))}) == 3


@pytest.mark.parametrize("evaluated", [(), ("exam/test",), ("exam/none",), ("half",)])
def test_a_clean_certificate_that_covers_all_is_accepted(evaluated):
    assert check_certificate(Make(label="stage"), {"final": CLEAN, "benchmarks": EXAM}, evaluated, ()) is None


@pytest.mark.parametrize(
    ("final", "evaluated", "message"),
    [
        (
            CLEAN,
            ("exam/test", "other"),
            "given the benchmark 'other', of which nothing was checked; expected one of exam/",
        ),
        (CLEAN, ("exam/train",), "given the benchmark 'exam/train', of which nothing was checked"),
        (CLEAN, ("exam",), r"'exam', of whose split 'dev' 0 of 1 items can be found"),
        (
            CLEAN,
            ("few/test",),
            r"'test' 49 of 99 items can be found \(1 exactly, 48 only with choices or answer, 50 not at all\), "
            "expected at least 50%",
        ),
        ({**CLEAN, "leaks": 2}, ("exam/test",), "found leaks in 2 of 9 rows of rows, expected none"),
        ({**CLEAN, "leaks": 2}, (), "found leaks in 2 of 9"),
        ({"corpora": [], "rows": 0, "leaks": 0}, ("exam/test",), "without a last look"),
    ],
)
def test_a_certificate_with_gaps_or_leaks_is_refused(final, evaluated, message):
    with pytest.raises(ValueError, match=message):
        check_certificate(Make(label="stage"), {"final": final, "benchmarks": EXAM}, evaluated, ())


def test_training_refuses_before_it_does_anything(toy):
    stage = trained(toy, steps=4, evaluated=("exam",), certificate=certified(toy))
    told = json.dumps({"final": {**CLEAN, "bases": {"toy": toy.fingerprint}}, "benchmarks": {}}).encode()
    desk = SimpleNamespace(read_file=lambda of, name: {(stage.certificate, "certificate.json"): told}[of, name])
    with pytest.raises(
        ValueError, match="given the benchmark 'exam', of which nothing was checked; expected one of none"
    ):
        stage.make(desk)  # pyright: ignore[reportArgumentType]
