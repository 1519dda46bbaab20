"""Calibration: known distortions are undone, order stays, and errors are those of the definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.quality.calibration import bins, ece, fit, fitted, probability


def drawn(rows=10_000, seed=0):
    """True chances, and labels drawn by them."""
    draw = np.random.default_rng(seed)
    truth = probability(draw.normal(0, 2, rows))
    return truth, (draw.random(rows) < truth).astype(np.int64)


def logit(p):
    return np.log(p) - np.log1p(-p)


def test_members_that_are_too_sure_are_brought_back():
    truth, label = drawn()
    sure = probability(3 * logit(truth) + 1)
    assert ece(sure, label) > 0.08
    curve = fit(sure, label, "platt")
    assert curve.a == pytest.approx(1 / 3, abs=0.02) and curve.a == curve.b
    assert ece(curve(sure), label) < 0.015


def test_what_is_bent_on_one_side_needs_the_beta_family():
    truth, label = drawn()
    bent = truth**3  # ln p tripled, and 1 - p left about as it is
    family, curve = fitted(bent, label, seed=0)
    assert family == "beta"
    assert ece(curve(bent), label) < 0.015 < ece(fit(bent, label, "platt")(bent), label)


def test_chances_that_are_right_stay():
    truth, label = drawn()
    curve = fitted(truth, label, seed=0)[1]
    np.testing.assert_allclose(curve(truth), truth, atol=0.03)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=10, max_size=60))
def test_the_order_never_changes(rows):
    chances, label = np.array([p for p, _ in rows]), np.array([y for _, y in rows])
    found = fitted(chances, label, seed=0)[1](np.sort(chances))
    assert np.isfinite(found).all() and (np.diff(found) >= 0).all()
    assert ((found >= 0) & (found <= 1)).all()


def test_examples_that_are_told_apart_fully_give_a_finite_curve():
    chances = np.array([0.0, 0.1, 0.9, 1.0] * 10)
    curve = fitted(chances, (chances > 0.5).astype(np.int64), seed=0)[1]
    assert np.isfinite([curve.a, curve.b, curve.c]).all()
    assert (curve(np.array([0.1, 0.9])) > 0.5).tolist() == [False, True]


def test_the_error_by_hand():
    chances, label = np.array([0.05, 0.08, 0.95, 1.0]), np.array([0, 1, 1, 1])
    assert [(one["from"], one["rows"], one["share_good"]) for one in bins(chances, label)] == [(0, 2, 0.5), (0.9, 2, 1)]
    assert ece(chances, label) == pytest.approx((2 * (0.5 - 0.065) + 2 * (1 - 0.975)) / 4)
