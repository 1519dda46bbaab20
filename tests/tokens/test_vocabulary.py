"""Which entries go and how many stay: the paper's table, shares of real shapes, and what holds of every vocabulary."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.model.presets import PRESETS
from hare_ray.model.shape import Shape
from hare_ray.tokens.vocabulary import MAX_SHARE, Entries, Size, covered, proposed, share, shown, sizes

PAPER = [  # arXiv 2402.02791, section 2.1 and table 1
    Size(8_000, 0.7868, 0.0297),
    Size(16_000, 0.8724, 0.0601),
    Size(32_000, 0.9449, 0.1179),
    Size(48_000, 0.9786, 0.1807),
    Size(72_000, 0.9984, 0.2688),
    Size(100_000, 1.0, 0.3819),
]

TINY = Shape(layers=2, hidden=64, heads=2, kv_heads=2, mlp_hidden=192, vocabulary=1000, tied=False)


def test_of_the_papers_sizes_the_rule_takes_what_the_paper_took():
    assert proposed(PAPER) == PAPER[3]
    assert proposed(PAPER[::-1]).vocabulary == 48_000


def test_shares_are_those_of_the_paper_and_of_the_weights():
    ablation = Shape(layers=20, hidden=1792, heads=14, kv_heads=14, mlp_hidden=4960, vocabulary=1, tied=False)
    assert share(ablation, 48_000) == pytest.approx(0.1807, abs=0.003)
    for shape in (TINY, dataclasses.replace(TINY, tied=True), *PRESETS.values()):
        for vocabulary in (64, 5000):
            fitted = dataclasses.replace(shape, vocabulary=vocabulary)
            tables = (1 if shape.tied else 2) * vocabulary * shape.hidden
            assert share(shape, vocabulary) == pytest.approx(tables / fitted.parameters, rel=1e-12)


@pytest.mark.parametrize(
    ("candidates", "told"),
    [
        (PAPER[:2] + PAPER[4:], r"is 16000 entries \(coverage 87.24%.* 72000 entries .*26.88%"),
        (PAPER[4:], r"none: the smallest is 72000 entries"),
        (PAPER[:1], r"over 90% is none"),
        ([], "no multiple of 64"),
    ],
)
def test_where_no_size_is_both_the_error_has_the_numbers(candidates, told):
    with pytest.raises(ValueError, match=told):
        proposed(candidates)


def test_a_size_found_is_the_largest_below_the_share():
    counts = (1e9 / np.arange(1, 100_001) ** 1.1).astype(np.int64)  # Zipf's law, a little steeper
    entries = Entries(np.arange(100_000) < 259, np.full((100_000, 2), -1))
    shape = PRESETS["pangu-1b-pro"]
    candidates = sizes(entries.dropping(counts), counts, shape)
    found = proposed(candidates)
    assert found.vocabulary % 64 == 0
    assert share(shape, found.vocabulary) < MAX_SHARE < share(shape, found.vocabulary + 64)
    assert found.coverage == pytest.approx(counts[: found.vocabulary].sum() / counts.sum())
    assert 30 < len(shown(candidates)) < 35
    assert shown(candidates)[-1].vocabulary == 100_000 // 64 * 64


@st.composite
def vocabularies(draw):
    """Entries that are joined from earlier ones, as merges make them, and their counts."""
    singles, joined = draw(st.integers(1, 6)), draw(st.integers(0, 40))
    halves = np.full((singles + joined, 2), -1)
    for entry in range(singles, singles + joined):
        halves[entry] = draw(st.tuples(st.integers(0, entry - 1), st.integers(0, entry - 1)))
    fixed = np.array(draw(st.lists(st.booleans(), min_size=len(halves), max_size=len(halves))))
    counts = draw(st.lists(st.integers(0, 9), min_size=len(halves), max_size=len(halves)))
    return Entries(fixed, halves), np.array(counts, np.int64)


@settings(max_examples=200, deadline=None)
@given(vocabularies())
def test_every_cut_keeps_what_entries_are_joined_from_and_what_is_fixed(drawn):
    entries, counts = drawn
    dropping = entries.dropping(counts)
    left = covered(dropping, counts)
    before = np.full(len(entries), True)
    for vocabulary in range(len(entries), len(entries) - len(dropping) - 1, -1):
        remap = entries.remap(dropping, vocabulary)
        kept = remap >= 0
        assert kept.sum() == vocabulary
        assert kept[entries.fixed].all()
        halves = entries.halves[kept]
        assert kept[halves[halves >= 0]].all()
        assert (remap[kept] == np.arange(vocabulary)).all()
        assert not (kept & ~before).any()
        assert left[len(entries) - vocabulary] == counts[kept].sum()
        before = kept


def test_what_can_never_go_are_the_fixed_and_what_they_are_joined_from():
    # 0 and 1 make 2, 2 and 3 make 4; 5 stands alone.
    halves = np.array([[-1, -1], [-1, -1], [0, 1], [-1, -1], [2, 3], [-1, -1]])
    fixed = np.array([False, False, False, False, True, False])
    assert Entries(fixed, halves).dropping(np.zeros(6, np.int64)).tolist() == [5]


def test_a_dropped_entry_hands_its_occurrences_to_its_halves():
    # Entry 2 is rare by itself, but 3 falls apart into 2 and 1; so 4, which is rarer than that, goes first.
    halves = np.array([[-1, -1], [-1, -1], [0, 1], [2, 1], [0, 0]])
    fixed = np.array([True, True, False, False, False])
    assert Entries(fixed, halves).dropping(np.array([50, 50, 1, 5, 5])).tolist() == [4, 3, 2]
    assert Entries(fixed, halves).dropping(np.array([50, 50, 1, 4, 6])).tolist() == [3, 2, 4]
    assert Entries(fixed, halves).dropping(np.array([50, 50, 3, 4, 6])).tolist() == [3, 4, 2]
