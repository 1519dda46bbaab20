"""The draw of another round: against torch.multinomial and exact theory, at its limits, and whatever the cut."""

from dataclasses import replace
from itertools import combinations, permutations

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy import stats

from hare_ray.stage import Annotate, Table
from hare_ray.tokens.pack import packed_schema
from hare_ray.train.resampled import NOT_DRAWN, Resampled, drawn, grain_losses, probabilities, row_keys
from hare_ray.train.round_summary import flatness, measured, total

SCORES = np.array([0.0, 0.4, 1.1, 2.0, -0.7])
COUNT = 3
SETS = list(combinations(range(len(SCORES)), COUNT))
TRIALS = 20_000
PIECES = pa.schema([("documents", pa.list_(pa.binary(16))), ("starts", pa.list_(pa.uint32()))])


class Packed(Table):
    writes = packed_schema(4, 2)


class Losses(Annotate):
    sequences: Table
    writes = pa.schema([("loss", pa.float32()), ("targets", pa.int32())])


PACKED = Packed()
STAGE = Resampled(sequences=PACKED, losses=Losses(sequences=PACKED), seed=1)


def rows(count, first=0):
    """Rows of two pieces; the first one is another in each."""
    documents = [[(at * 2654435761 % 2**64).to_bytes(16, "big"), bytes(16)] for at in range(first, first + count)]
    return pa.table([pa.array(documents, PIECES[0].type), pa.array([[0, 4]] * count, PIECES[1].type)], schema=PIECES)


def table(losses, targets=3):
    counts = np.broadcast_to(np.asarray(targets, np.int32), len(losses))
    return pa.table([pa.array(losses, pa.float32()), pa.array(counts, pa.int32())], schema=Losses.writes)


def chosen(sequences, losses, **other):
    """Which rows the stage draws."""
    verdict = replace(STAGE, **other).prepare(lambda _: None)(sequences, losses)
    assert set(verdict["reason"].to_pylist()) <= {None, NOT_DRAWN}
    return np.array([reason is None for reason in verdict["reason"].to_pylist()])


def chances():
    """Of every set, one after the other without replacement."""
    p, found = probabilities(SCORES), dict.fromkeys(SETS, 0.0)
    for order in permutations(range(len(p)), COUNT):
        left, chance = 1.0, 1.0
        for one in order:
            chance, left = chance * p[one] / left, left - p[one]
        found[tuple(sorted(order))] += chance
    return np.array(list(found.values()))


def counted(indices):
    """How often each set came."""
    names = [tuple(one) for one in np.sort(indices, 1).tolist()]
    return np.array([names.count(one) for one in SETS])


@pytest.fixture(scope="module")
def sets():
    keys = row_keys(rows(TRIALS * len(SCORES)), seed=1).reshape(TRIALS, -1)
    return counted(np.array([np.flatnonzero(drawn(SCORES, one, COUNT)) for one in keys]))


def test_sets_come_as_often_as_drawing_one_after_the_other_says(sets):
    assert stats.chisquare(sets, chances() * TRIALS).pvalue > 1e-3


def test_and_as_often_as_from_torch_multinomial(sets):
    torch.manual_seed(1)
    p = torch.from_numpy(probabilities(SCORES)).expand(TRIALS, -1)
    theirs = counted(torch.multinomial(p, COUNT, replacement=False).numpy())
    assert stats.chi2_contingency([sets, theirs]).pvalue > 1e-3


def test_keys_that_ignored_the_losses_would_be_found_out(sets):
    uniform = np.full(len(SETS), TRIALS / len(SETS))
    assert stats.chisquare(sets, uniform).pvalue < 1e-9


def test_a_low_temperature_takes_the_worst_learnt_and_a_high_one_draws_evenly():
    losses = np.random.default_rng(1).normal(2.5, 0.5, 4000).astype(np.float32)
    best = np.sort(losses)[-1000:].min()
    assert (losses[chosen(rows(4000), table(losses), share=0.25, temperature=1e-6)] >= best).all()
    even = chosen(rows(4000), table(losses), share=0.25, temperature=1e6)
    assert abs(losses[even].mean() - losses.mean()) < 4 * 0.5 / np.sqrt(1000)
    ordered = even[np.argsort(losses)].reshape(8, 500).sum(1)
    assert stats.chisquare(ordered, np.full(8, 125)).pvalue > 1e-3


@pytest.mark.parametrize(
    ("count", "share", "wanted"), [(0, 0.5, 0), (1, 0.5, 1), (7, 0.5, 4), (10, 0.24, 2), (9, 1, 9)]
)
def test_exactly_the_share_is_drawn(count, share, wanted):
    assert chosen(rows(count), table(np.zeros(count)), share=share).sum() == wanted


def test_what_is_drawn_hangs_on_the_rows_and_the_seed_alone():
    losses = np.random.default_rng(2).normal(size=300).astype(np.float32)
    sequences, order = rows(300), np.random.default_rng(3).permutation(300)
    first = chosen(sequences, table(losses))
    moved = chosen(sequences.take(pa.array(order)), table(losses[order]))
    np.testing.assert_array_equal(moved, first[order])
    padded = pa.concat_tables([rows(20, first=900), sequences]).slice(20)  # offsets that do not begin at 0
    np.testing.assert_array_equal(chosen(padded, table(losses)), first)
    assert (chosen(sequences, table(losses), seed=2) != first).sum() > 60


def test_copies_of_one_sequence_are_drawn_independently():
    same = pa.concat_tables([rows(1)] * 2000)
    got = chosen(same, table(np.zeros(2000)), share=0.5)
    together = (got[::2] & got[1::2]).mean()  # 1/4 where they are independent, 1/2 or 0 where they are one
    assert got.sum() == 1000
    assert abs(together - 0.25) < 0.06


def test_a_grain_is_drawn_as_a_whole_and_weighs_its_targets():
    losses = np.array([9, 0, 0, 0, 1, 1, 1, 1, 8, 8], np.float32)
    targets = np.array([0, 1, 1, 1, 3, 3, 3, 3, 1, 1], np.int32)
    np.testing.assert_allclose(grain_losses(losses, targets, 4), [0, 1, 8])
    got = chosen(rows(10), table(losses, targets), share=0.34, temperature=1e-6, grain_sequences=4)
    np.testing.assert_array_equal(got, [False] * 8 + [True] * 2)
    got = chosen(rows(400), table(np.random.default_rng(4).normal(size=400)), grain_sequences=8).reshape(50, 8)
    assert (got.all(1) | ~got.any(1)).all()
    assert got.all(1).sum() == 25


def test_means_of_large_grains_hardly_differ():
    """The reason for single sequences: the paper's grain makes of softmax a uniform draw."""
    losses, targets = np.random.default_rng(5).normal(2.25, 0.4, 64_000).astype(np.float32), np.ones(64_000, np.int32)
    single, batch = (flatness(grain_losses(losses, targets, size)) for size in (1, 1000))
    assert single is not None
    assert batch is not None
    assert single == pytest.approx(np.exp(-(0.4**2) / 2), abs=0.01)  # a normal's: KL(N(m + s^2, s) | N(m, s)) = s^2 / 2
    assert batch > 0.9999
    assert flatness(np.array([0.0, 2000.0])) == pytest.approx(0.5)


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_loss_that_is_no_number_is_refused(loss):
    with pytest.raises(ValueError, match=f"a loss of {loss} in row 2 of a part, expected a number"):
        chosen(rows(4), table([1, 2, loss, 3]))


def test_the_summary_says_what_was_drawn():
    losses, targets = np.array([1, 2, 3, 4], np.float32), np.array([1, 1, 1, 3], np.int32)
    verdict = pa.table({"reason": pa.array([NOT_DRAWN, None, NOT_DRAWN, None])})
    part = measured(table(losses, targets), verdict, STAGE)
    assert part["loss"] == pytest.approx(18 / 6)
    assert part["loss_drawn"] == pytest.approx(14 / 4)
    assert part["loss_not_drawn"] == pytest.approx(4 / 2)
    empty = measured(table([]), verdict.slice(4), STAGE)
    assert empty["loss"] is None
    assert total([part, empty])["loss_drawn"] == pytest.approx(14 / 4)
    assert total([part, part])["sequences"] == 8


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"share": 0.0}, "given share=0.0"),
        ({"share": 1.1}, "given share=1.1"),
        ({"temperature": 0.0}, "a temperature above 0"),
        ({"grain_sequences": 0}, "given grain_sequences=0"),
        ({"losses": PACKED}, "see SequenceLosses"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        replace(STAGE, **wrong)
