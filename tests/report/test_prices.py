"""Prices: which of them a device or a model has, and what a slip in the file is answered with."""

from importlib.resources import files

import pytest

from hare_ray.priors.prices import Prices, load_prices
from hare_ray.priors.reading import parse
from hare_ray.report.cost import cost, per_million
from hare_ray.report.reading import Run
from hare_ray.report.ways import Count
from hare_ray.store import Root

TEXT = (files("hare_ray.priors") / "prices.yaml").read_text(encoding="utf-8")
QWEN = "endpoints:\n  - pattern: qwen3-8b\n    input: 0.05\n    output: 0.2\n"


def run(books: dict[str, int], machine: dict[str, object] | None = None) -> Run:
    """A run with one stage that asked a model."""
    took = {"seconds": 7200.0, "machine": {"cores": 4, **(machine or {})}}
    manifest = {"name": "answers", "kind": "gather", "fingerprint": "f" * 64, "books": books, "run": took}
    return Run(Root("/nowhere"), {"answers": manifest})


def prices(now: str, was: str = "endpoints: []\n") -> Prices:
    assert was in TEXT
    return parse(TEXT.replace(was, now), Prices, "prices.yaml")


def test_a_device_has_the_price_of_its_name_or_the_usual_one() -> None:
    found = load_prices()
    assert found.of_device("NVIDIA A100-SXM4-80GB").name == "A100"
    assert found.of_device("NVIDIA H200").per_hour == 3.5
    assert found.of_device(None) == found.of_device("another") == found.of_device("NVIDIA H100 80GB HBM3")


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        ("accelerator: H100", "accelerator: H1000", "line .*accelerator: given 'H1000', expected one of H200, H100"),
        ("per_hour: 2.5", "per_hour: -2.5", "per_hour: given -2.5, expected 0 or more"),
        ("name: A100", "name: H100", r"accelerators: given \['H100'\] more than once"),
        ("core_per_hour: null", "core_per_hour: -1.0", "core_per_hour: given -1.0, expected 0 or more, or null"),
        ("endpoints: []", QWEN.replace("qwen3-8b", "qwen("), "is no regular expression"),
        ("endpoints: []", QWEN.replace("0.2", "-0.2"), "output: given -0.2, expected 0 or more"),
    ],
)
def test_a_wrong_price_is_told_with_file_and_line(was: str, now: str, told: str) -> None:
    with pytest.raises(ValueError, match=rf"^prices\.yaml, line \d+: .*{told}|^prices\.yaml, {told}"):
        prices(now, was)


def test_an_endpoint_costs_its_tokens_and_a_core_its_hours_where_they_have_prices() -> None:
    total = Count(asked=10, prompt_tokens=2_000_000, completion_tokens=1_000_000, accepted=5, accepted_tokens=500_000)
    remote = cost(run({"endpoint": 1, "milliseconds": 1}), "answers", "Qwen/Qwen3-8B", total, prices(QWEN))
    assert remote.money == pytest.approx(2 * 0.05 + 0.2)
    assert per_million([remote], total.accepted_tokens).money == pytest.approx(0.6)
    assert "start of the model" not in remote.assumed
    cores = prices("core_per_hour: 0.04", "core_per_hour: null")
    assert cost(run({}), "answers", "m", total, cores).money == pytest.approx(0.04 * 4 * 2)
    named = cost(run({"gpus": 3}, {"accelerator": "NVIDIA H200"}), "answers", "m", total, load_prices())
    assert named.money == pytest.approx(3 * 2 * 3.5)
    assert "did not record" not in named.assumed
    nothing = cost(run({"gpus": 3}), "answers", "m", Count(asked=10, completion_tokens=100), load_prices())
    assert nothing.money is not None
    assert per_million([nothing], 0).money is None
