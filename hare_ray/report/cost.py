"""What a model's answers took: wall seconds, tokens a second, accelerator seconds, and money.

    tokens/s          tokens written now / wall seconds of asking
    accelerators      accelerator seconds x price of an hour, or
    cores             cores x wall seconds x price of an hour, where there is no accelerator, or
    endpoint          tokens of prompts and answers x prices of the model
    per million       wall seconds, accelerator seconds and money of all answers / accepted tokens

Books of the stage: `milliseconds` (wall time of asking, over all its runs), `accelerator_seconds` (of the replicas that
were up in that time), `reused` (rows with an answer of an earlier run), `retried`, `endpoint` (1: somebody else's
server). Without the first the stage's own time counts. Without the second it is `gpus`, the most that the replicas
could hold, over the whole time: an upper bound, and the page says so.

A model that runs here is started within the time of asking where no earlier stage left it running, so a cold start is
in all of these numbers. Answers reused from an earlier run took no time in this one; what a million accepted tokens
took counts them as if asked again, so that it compares with other runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hare_ray.priors.prices import Prices
from hare_ray.report.reading import Run
from hare_ray.report.ways import Count

MILLION = 1e6
HOUR_SECONDS = 3600.0

WHOLE_STAGE = "Seconds are those of the whole stage, the start of the model included. "
WITH_START = "Seconds are those of asking, with the start of the model where it was not running yet. "
AT_MOST = "Accelerator time is that of the most that its replicas could hold, over all of these seconds. "


@dataclass(frozen=True)
class Cost:
    """What the answers of one stage took; `money` is of all answers, also those reused."""

    seconds: float | None
    """Of wall time; None where nothing was asked in this run."""
    tokens_per_second: float | None
    accelerator_seconds: float | None
    """Of all accelerators together; None where there were none, or nothing was asked."""
    at_most: bool
    """Whether that is an upper bound."""
    asked_now: float
    """Share of the rows that were asked in this run."""
    money: float | None
    """None where no price is known."""
    currency: str
    assumed: str
    """How the seconds and the money were found, in words."""
    reused: int
    retried: int

    @property
    def accelerators(self) -> float | None:
        """Held at a time, on average."""
        return self.accelerator_seconds / self.seconds if self.accelerator_seconds and self.seconds else None


@dataclass(frozen=True)
class PerMillion:
    """What a million accepted tokens took; None where that is not known of all that was asked for them."""

    seconds: float | None
    accelerator_seconds: float | None
    money: float | None
    whole_money: float | None
    """Of all answers."""


def cost(run: Run, stage: str, model: str, total: Count, prices: Prices) -> Cost:
    """The cost of what the stage's model wrote; `total` are the counts of its prompts."""
    books, took = run.books(stage), run.owner(stage)["run"]
    measured, remote = books.get("milliseconds"), bool(books.get("endpoint"))
    seconds = measured / 1000 if measured is not None else took["seconds"]
    reused = min(books.get("reused", 0), total.asked)
    now = 1 - reused / total.asked if total.asked else 0.0
    if not seconds or not now:
        seconds = None
    held, at_most = _held(books, seconds)
    money, assumed = None, ""
    if remote:
        money, assumed = _of_tokens(model, total, prices)
    elif seconds is not None:
        money, assumed = _of_time(seconds / now, None if held is None else held / now, took["machine"], prices)
    clock = WHOLE_STAGE if measured is None else WITH_START if not remote and seconds is not None else ""
    return Cost(
        seconds=seconds,
        tokens_per_second=total.completion_tokens * now / seconds if seconds else None,
        accelerator_seconds=held,
        at_most=at_most,
        asked_now=now,
        money=money,
        currency=prices.currency,
        assumed=clock + (AT_MOST if at_most else "") + assumed,
        reused=reused,
        retried=books.get("retried", 0),
    )


def per_million(costs: Sequence[Cost], accepted_tokens: int) -> PerMillion:
    """What all of these together come to for a million of the tokens that were accepted."""
    seconds = _sum([one.seconds / one.asked_now if one.seconds is not None else None for one in costs])
    held = _sum([one.accelerator_seconds / one.asked_now if one.accelerator_seconds else None for one in costs])
    money = _sum([one.money for one in costs])
    each = [None if one is None or not accepted_tokens else one * MILLION / accepted_tokens
            for one in (seconds, held, money)]  # fmt: skip
    return PerMillion(*each, whole_money=money)


def _sum(numbers: list[float | None]) -> float | None:
    """None where one of them is not known."""
    known = [number for number in numbers if number is not None]
    return sum(known) if known and len(known) == len(numbers) else None


def _held(books: dict[str, int], seconds: float | None) -> tuple[float | None, bool]:
    """Seconds of all accelerators together, and whether it is only known that there were no more."""
    if seconds is None:
        return None, False
    measured = books.get("accelerator_seconds")
    if measured is not None:
        return measured or None, False
    most = books.get("gpus", 0) * seconds
    return most or None, bool(most)


def _of_tokens(model: str, total: Count, prices: Prices) -> tuple[float | None, str]:
    """The price of the tokens at somebody else's server."""
    price = prices.of_model(model)
    if price is None:
        return None, f"No cost: prices.yaml has no endpoint whose pattern fits {model}."
    found = (total.prompt_tokens * price.input + total.completion_tokens * price.output) / MILLION
    told = f"{price.input:g} {prices.currency} per million tokens of prompts and {price.output:g} per million written"
    return found, f"Cost at {told} (prices.yaml)."


def _of_time(
    seconds: float, held: float | None, machine: dict[str, object], prices: Prices
) -> tuple[float | None, str]:
    """What that much time of this run's accelerators, or else its cores, costs."""
    if held is not None:
        name = machine.get("accelerator")
        device = prices.of_device(name if isinstance(name, str) else None)
        each = f"{device.per_hour:g} {prices.currency} for an hour of one {device.name}"
        guess = "" if name else "; the run did not record what kind it has"
        return held * device.per_hour / HOUR_SECONDS, f"Cost at {each} (prices.yaml{guess})."
    if prices.core_per_hour is None:
        return None, "No accelerator recorded, and no price of a core in prices.yaml: seconds, and no cost."
    cores = machine["cores"]
    assert isinstance(cores, int)
    told = f"{prices.core_per_hour:g} {prices.currency} an hour for each of {cores} cores"
    return cores * prices.core_per_hour * seconds / HOUR_SECONDS, f"Cost at {told} (prices.yaml)."
