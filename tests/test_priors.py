"""The priors that ship with the package: figures of the paper, and examples fit to learn from."""

from collections import Counter

import pytest

from hare_ray.priors import load, load_sources


def test_the_weights_of_each_part_are_those_of_the_paper():
    totals = Counter()
    for source in load_sources():
        totals[source.part] += source.weight_percent
    assert totals["D1"] == pytest.approx(46.50)
    assert totals["D2"] == pytest.approx(7.7 + 5.93)
    assert totals["D3"] == pytest.approx(23.5 + 16.37)
    assert sum(totals.values()) == pytest.approx(100)


def test_every_source_says_where_it_is_or_that_it_is_not():
    sources = load_sources()
    assert len({source.name for source in sources}) == len(sources) == 19 + 2 + 2
    for source in sources:
        assert source.status in {"available", "substitute", "unavailable"}
        assert bool(source.location) == (source.status != "unavailable"), source.name


@pytest.mark.parametrize("name", ["quality_good", "quality_poor"])
def test_examples_are_many_short_and_different(name):
    texts = load(name)
    assert len(texts) >= 60
    assert len(set(texts)) == len(texts)
    odd = [(len(text), text[:40]) for text in texts if not 200 <= len(text) <= 800 or "---" in text]
    assert not odd


def test_no_example_is_both_good_and_poor():
    assert not set(load("quality_good")) & set(load("quality_poor"))


def test_unknown_priors_are_named():
    with pytest.raises(FileNotFoundError, match="no_such_prior"):
        load("no_such_prior")
