"""Benchmarks install the peers that they start, and give them our numbers."""

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent.parent
RULES = re.findall(r"^bench-\w+: (.*)\n.* -m tests\.bench\.(\w+)$", (HERE / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize(("needs", "program"), RULES)
def test_a_benchmark_installs_the_peers_that_it_starts(needs, program):
    started = re.findall(r'"\.bench/(\w+)/bin/python"', (HERE / "tests" / "bench" / f"{program}.py").read_text())
    assert {f".bench/{peer}/installed" for peer in started} <= set(needs.split())


def test_datatrove_keeps_languages_from_the_score_on_that_the_crawl_s_recipe_asks_for():
    ours = re.search(r"Language\(docs=text, .*min_score=([\d.]+)", (HERE / "jobs" / "hare_documents.py").read_text())
    theirs = re.search(
        r"^MIN_SCORE = ([\d.]+)$", (HERE / "tests/bench/peers/datatrove_corpus.py").read_text(), re.MULTILINE
    )
    assert ours and theirs
    assert ours[1] == theirs[1]
