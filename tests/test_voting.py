"""The vote against the published example of CV-DD, its limits, and what any mean must keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hare_ray.voting import vote, weights

PERFORMANCES = st.lists(st.floats(0, 100), min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("prior_performance", "temperature", "expected"),
    [
        ((63.0, 68.5), 5, (0.25, 0.75)),
        ((46.5, 28.3), 5, (0.974, 0.026)),
        ((67.6, 67.4), 5, (0.51, 0.49)),
        ((63, 65.3, 68.5, 67.6, 67.4), 10, (0.140, 0.177, 0.243, 0.222, 0.218)),
        ((64, 60.6, 51.6, 59.4, 56.4), 10, (0.323, 0.230, 0.093, 0.204, 0.151)),
    ],
)
def test_weights_are_those_of_the_paper(prior_performance, temperature, expected):
    np.testing.assert_allclose(weights(prior_performance, temperature), expected, atol=0.006)


@given(PERFORMANCES, st.floats(0.05, 1000))
def test_weights_are_a_distribution_in_the_order_of_performance(performance, temperature):
    found = weights(performance, temperature)
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()
    assert (np.diff(found[np.argsort(performance)]) >= -1e-12).all()


def test_temperature_goes_from_one_winner_to_equal_votes():
    np.testing.assert_allclose(weights((50, 60), 0.01), (0, 1), atol=1e-9)
    np.testing.assert_allclose(weights((50, 60), 1e6), (0.5, 0.5), atol=1e-4)


def test_mean_and_disagreement_by_hand():
    mean, disagreement = vote([[0.2, 0.5], [0.6, 0.5]], [0.25, 0.75])
    np.testing.assert_allclose(mean, [0.5, 0.5])
    np.testing.assert_allclose(disagreement, [np.sqrt(0.25 * 0.09 + 0.75 * 0.01), 0], atol=1e-12)


@given(PERFORMANCES, st.integers(0, 2**32 - 1))
def test_the_mean_lies_between_the_members(performance, seed):
    given_probabilities = np.random.default_rng(seed).random((len(performance), 9))
    mean, disagreement = vote(given_probabilities, weights(performance, 5))
    assert (mean <= given_probabilities.max(axis=0) + 1e-12).all()
    assert (mean >= given_probabilities.min(axis=0) - 1e-12).all()
    assert ((disagreement >= 0) & (disagreement <= 0.5 + 1e-12)).all()


@pytest.mark.parametrize(("performance", "temperature"), [((), 5), ((50, float("nan")), 5), ((50,), 0)])
def test_nonsense_is_refused(performance, temperature):
    with pytest.raises(ValueError, match="expected"):
        weights(performance, temperature)


def test_one_weight_per_member():
    with pytest.raises(ValueError, match=r"shape \(2, 1\)"):
        vote([[0.1], [0.2]], [1.0])
