"""What a model's answers took: wall seconds, tokens a second, accelerator seconds, and money.

    tokens/s          tokens written now / wall seconds of asking
    accelerators      accelerators held x wall seconds x price of an hour, or
    endpoint          tokens of prompts and answers x prices of the model
    per million       cost of all answers / accepted tokens

Books of the stage: `milliseconds` (wall time of asking, over all its runs), `reused` (rows with an answer of an earlier
run), `retried`, `gpus` (accelerators that its replicas held), `endpoint` (1: somebody else's server). Without the first
the stage's own time counts, with the model's start in it. Answers reused from an earlier run took no time in this one;
the cost of a million accepted tokens counts them as if asked again, so that it compares with other runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from hare_ray.priors.prices import Prices
from hare_ray.report.reading import Run
from hare_ray.report.ways import Count

MILLION = 1e6
HOUR_SECONDS = 3600.0


@dataclass(frozen=True)
class Cost:
    """What the answers of one stage took; `money` is of all answers, also those reused."""

    seconds: float | None
    """Of wall time; None where nothing was asked in this run."""
    tokens_per_second: float | None
    accelerators: int
    money: float | None
    """None where no price is known."""
    per_million: float | None
    """Of accepted tokens."""
    currency: str
    assumed: str
    """How the seconds and the money were found, in words."""
    reused: int
    retried: int

    @property
    def accelerator_seconds(self) -> float | None:
        """Seconds of all accelerators together."""
        return self.accelerators * self.seconds if self.accelerators and self.seconds is not None else None


def cost(run: Run, stage: str, model: str, total: Count, prices: Prices) -> Cost:
    """The cost of what the stage's model wrote; `total` are the counts of its prompts."""
    books, took = run.books(stage), run.owner(stage)["run"]
    measured = books.get("milliseconds")
    seconds = measured / 1000 if measured is not None else took["seconds"]
    reused = min(books.get("reused", 0), total.asked)
    now = 1 - reused / total.asked if total.asked else 0.0
    speed = total.completion_tokens * now / seconds if seconds and now else None
    accelerators = books.get("gpus", 0)
    money, assumed = _money(run, stage, model, total, prices)
    if money is None and seconds is not None and now and not books.get("endpoint"):
        hourly, assumed = _hourly(accelerators, took["machine"], prices)
        money = hourly * seconds / HOUR_SECONDS / now if hourly is not None else None
    known = money is not None and total.accepted_tokens > 0
    clock = "" if measured is not None else "Seconds are those of the whole stage, the start of the model included. "
    return Cost(
        seconds=seconds if now else None,
        tokens_per_second=speed,
        accelerators=accelerators,
        money=money,
        per_million=money * MILLION / total.accepted_tokens if money is not None and known else None,
        currency=prices.currency,
        assumed=clock + assumed,
        reused=reused,
        retried=books.get("retried", 0),
    )


def _money(run: Run, stage: str, model: str, total: Count, prices: Prices) -> tuple[float | None, str]:
    """The price of the tokens at somebody else's server."""
    if not run.books(stage).get("endpoint"):
        return None, ""
    price = prices.of_model(model)
    if price is None:
        return None, f"No cost: prices.yaml has no endpoint whose pattern fits {model}."
    found = (total.prompt_tokens * price.input + total.completion_tokens * price.output) / MILLION
    told = f"{price.input:g} {prices.currency} per million tokens of prompts and {price.output:g} per million written"
    return found, f"Cost at {told} (prices.yaml)."


def _hourly(accelerators: int, machine: dict[str, object], prices: Prices) -> tuple[float | None, str]:
    """What an hour of this run's machines costs, in words too."""
    if accelerators:
        name = machine.get("accelerator")
        device = prices.of_device(name if isinstance(name, str) else None)
        each = f"{device.per_hour:g} {prices.currency} an hour for each of {accelerators} {device.name}"
        guess = "" if name else "; the run did not record what kind they are"
        return accelerators * device.per_hour, f"Cost at {each} (prices.yaml{guess})."
    if prices.core_per_hour is None:
        return None, "No accelerator recorded, and no price of a core in prices.yaml: seconds, and no cost."
    cores = machine["cores"]
    assert isinstance(cores, int)
    told = f"{prices.core_per_hour:g} {prices.currency} an hour for each of {cores} cores"
    return cores * prices.core_per_hour, f"Cost at {told} (prices.yaml)."
