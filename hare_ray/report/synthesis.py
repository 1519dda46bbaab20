"""The synthetic branches: who wrote how much at what cost, what the checks refused and why, by template and variant.

    PROMPT     id, url, seed, prompt, template, variant, ...      what was asked
    GENERATED  answer, finish, prompt_tokens, completion_tokens   an opinion on the prompts, by class Generate
    WRITTEN    id, url, text, seed, template, variant, tokens     what was kept, base by base

A branch is shown for each way in which its texts were written (`hare_ray.report.ways`): by a model, by rule, from
other data. Accepted are the texts that the branch ends with, or the last base so far; refused is what every base on
the way there dropped, by reason. Where a model was asked again about its answers, the time, tokens and cost of these
second questions stand with the way that they are about. Samples are rows drawn at random (`hare_ray.report.samples`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from hare_ray.priors.prices import Prices, load_prices
from hare_ray.report.cost import Cost, PerMillion, cost, per_million
from hare_ray.report.diversity import Diverse, diversity
from hare_ray.report.funnel import Funnel, Step, read_ledgers, step
from hare_ray.report.lineage import Branch, Track, asks, branches, ledger_holders, origin
from hare_ray.report.reading import Run
from hare_ray.report.samples import Sample, Samples, overall, samples
from hare_ray.report.templates import Line, Matrix, lines, matrix, ordered, tasks_of
from hare_ray.report.ways import Again, Count, Counted, Way, count, total
from hare_ray.report.words import share, spoken

FEW = 0.2
"""Accepted share below which the page says in a sentence what became of the model's text."""

WITHOUT_MODEL = {"RuleItems": "by rule", "Instructions": "from instruction data"}
"""How a start that asks no model comes to its texts, by its class."""


@dataclass
class Writing:
    """What a model was asked and what came of it."""

    stage: str
    model: str
    settings: dict[str, Any]
    """Plain fields of its recipe."""
    prompts: int
    prompt_tokens: int
    completion_tokens: int
    finishes: Counter[str]
    cost: Cost


@dataclass
class Path:
    """One track: what went in, what each base dropped, what came out."""

    title: str
    flow: Funnel
    entered: int
    left: int


@dataclass
class Written:
    """One way in which texts of a corpus were written."""

    title: str
    total: Count
    tokens_known: bool
    """Whether the tokens of what was accepted are known."""
    writing: Writing | None
    """None where no model wrote."""
    again: list[Writing]
    """Second questions about what was written."""
    refused: list[tuple[str, int]]
    """Reason and rows, most frequent first."""
    lines: list[Line]
    matrix: Matrix | None
    kept_samples: list[Sample]
    refused_samples: list[Sample]

    @property
    def per_million(self) -> PerMillion:
        """What a million accepted tokens took, second questions included."""
        asked = [writing for writing in (self.writing, *self.again) if writing is not None and writing.prompts]
        return per_million([writing.cost for writing in asked], self.total.accepted_tokens)


@dataclass
class Synthetic:
    """One synthetic corpus."""

    name: str
    paths: list[Path]
    ways: list[Written]
    kept: int | None
    """Documents in the end; None where there are only prompts so far."""
    joined: bool
    """Whether the model's text was joined with other text."""
    last: str | None
    """The base that the samples kept are read from."""
    diversity: list[Diverse]
    sentence: str | None = None

    @property
    def writings(self) -> list[Writing]:
        """What models wrote."""
        return [way.writing for way in self.ways if way.writing is not None]

    @property
    def prompts(self) -> int:
        """That models were asked."""
        return sum(writing.prompts for writing in self.writings)

    @property
    def of_models(self) -> Count:
        """All that models wrote."""
        return total(way.total for way in self.ways if way.writing is not None)

    @property
    def accepted(self) -> int | None:
        """Texts of models among the documents in the end; None where none was checked yet."""
        return self.of_models.accepted if self.writings and self.kept is not None else None

    @property
    def accepted_tokens(self) -> int | None:
        """Tokens of these; None where the tables do not say."""
        known = all(way.tokens_known for way in self.ways if way.writing is not None)
        return self.of_models.accepted_tokens if self.accepted is not None and known else None

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens that models wrote, by the time it took; None where nothing was asked in this run."""
        speeds = [writing.cost for writing in self.writings if writing.cost.tokens_per_second is not None]
        seconds = sum(one.seconds or 0.0 for one in speeds)
        written = sum((one.tokens_per_second or 0.0) * (one.seconds or 0.0) for one in speeds)
        return written / seconds if seconds else None


def synthesis(run: Run) -> list[Synthetic]:
    """Every synthetic branch of the run."""
    prices = load_prices()
    return [_synthetic(run, branch, prices) for branch in branches(run)]


def _synthetic(run: Run, branch: Branch, prices: Prices) -> Synthetic:
    ready = not asks(run, branch.name)
    counted = count(run, branch, ready)
    shown = samples(run, counted)
    found = Synthetic(
        name=branch.name,
        paths=[_path(run, track) for track in branch.tracks],
        ways=_ways(run, branch, counted, shown, prices),
        kept=run.rows(branch.name) if ready else None,
        joined=len(branch.tracks[-1].starts) > 1 and any(way.prompts is None for way in counted.ways),
        last=counted.last,
        diversity=diversity(run, branch),
    )
    found.sentence = _sentence(found)
    return found


def _path(run: Run, track: Track) -> Path:
    ledgers = read_ledgers(run, ledger_holders(run, list(track.bases)))
    steps = []
    for name in track.bases:
        one = step(run, name, ledgers)
        if name in track.starts:  # new rows out of documents: those that led to nothing were not refused
            one.rows_in = one.rows_out + one.dropped
        if one.kind != "rebalance" and (one.drops or name not in track.starts):
            steps.append(one)
    entered = steps[0].rows_in if steps else run.rows(track.bases[0]) or 0
    left = run.rows(track.bases[-1]) or 0
    title = " and ".join(spoken(name) for name in track.starts)
    return Path(title, Funnel(_first(run, track, steps), steps, ledgers), entered, left)


def _first(run: Run, track: Track, steps: list[Step]) -> str:
    """A word for what the first step takes in."""
    start, *others = track.starts
    if others:
        return "joined"
    if steps and steps[0].name == start:
        return origin(run, start) or start
    return "prompts" if asks(run, start) else start


def _ways(run: Run, branch: Branch, counted: Counted, shown: Samples, prices: Prices) -> list[Written]:
    tasks = tasks_of([run.given(start) for track in branch.tracks for start in track.starts])
    found = []
    for number, way in enumerate(counted.ways):
        writing = None if way.prompts is None else _written(run, way, prices)
        again = [_again(run, one, prices) for one in way.again]
        title = f"by {writing.model}" if writing else WITHOUT_MODEL.get(run.class_of(way.start), spoken(way.start))
        refused = [(reason, way.total.refused[reason]) for reason in ordered(way.total.refused)]
        table = lines(number, way, tasks if writing else {}, shown) if counted.last is not None else []
        read = (overall(shown.kept, number), overall(shown.refused, number))
        found.append(Written(title, way.total, way.tokens_known, writing, again, refused, table, matrix(way), *read))
    return found


def _written(run: Run, way: Way, prices: Prices) -> Writing:
    return _writing(run, way.start, run.rows(way.start) or 0, (way.total, way.finishes), prices)


def _again(run: Run, again: Again, prices: Prices) -> Writing:
    return _writing(run, again.stage, again.count.asked, (again.count, again.finishes), prices)


def _writing(run: Run, stage: str, prompts: int, came: tuple[Count, Counter[str]], prices: Prices) -> Writing:
    fields, (total, finishes) = run.given(stage), came
    plain = {key: value for key, value in fields.items() if isinstance(value, (int, float, str)) and key != "llm"}
    model = model_name(run, fields.get("llm") or fields.get("model"))
    spent = cost(run, stage, model, total, prices)
    return Writing(stage, model, plain, prompts, total.prompt_tokens, total.completion_tokens, finishes, spent)


def model_name(run: Run, llm: Any) -> str:
    """The name of a model as a recipe has it: a name, the stage that made it, or a dataclass that holds either."""
    if isinstance(llm, str):
        return llm
    if isinstance(llm, dict) and set(llm) == {"stage"}:
        return next((n for n, made in run.known.items() if made["fingerprint"] == llm["stage"]), llm["stage"][:12])
    if isinstance(llm, dict):
        inner = (llm[key] for key in ("model", "name", "llm") if key in llm)
        return next((model_name(run, value) for value in inner), "a model")
    return "a model"


def _sentence(found: Synthetic) -> str | None:
    """What became of the model's text, where little of it was kept."""
    accepted, prompts, whole = found.accepted, found.prompts, found.of_models
    if accepted is None or not prompts or accepted >= FEW * prompts:
        return None
    models = " and ".join(dict.fromkeys(writing.model for writing in found.writings))
    most = next(iter(ordered(whole.refused)), None)
    told = f", most often as {spoken(most)} ({whole.refused[most]:,})" if most else ""
    kept = f"{accepted:,} {'document was' if accepted == 1 else 'documents were'} kept ({share(accepted, prompts)})"
    return (
        f"The checks refused most of what {models} wrote: of {prompts:,} prompts it made "
        f"{whole.completion_tokens:,} tokens, and {kept}; the rest was refused{told}."
    )
