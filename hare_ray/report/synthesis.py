"""The synthetic branches: which model wrote how much, what the checks refused and why, and samples of both.

    PROMPT     id, url, seed, prompt, ...                     what was asked
    GENERATED  answer, finish, prompt_tokens, completion_tokens   an opinion on the prompts, by class Generate
    WRITTEN    id, url, text, seed, ...                       what was kept, base by base

Numbers come from the books, but for finishes and tokens, which are read from GENERATED a part at a time. Samples are
those with the smallest ids, as in the funnel. The accepted share is documents kept per prompt: where tracks are joined
before the end, it is taken at the last base that is the model's own.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow.compute as pc

from hare_ray.report.funnel import Drop, Example, Funnel, Step, read_ledgers, step
from hare_ray.report.lineage import Branch, Track, asks, branches, generates, ledger_holders, origin
from hare_ray.report.reading import Run
from hare_ray.report.samples import SHOWN, Sample, accepted_samples
from hare_ray.report.words import share, spoken

FEW = 0.2
"""Accepted share below which the page says in a sentence what became of the model's text."""


@dataclass
class Writing:
    """What a model was asked and what came of it."""

    stage: str
    model: str
    settings: dict[str, Any]
    """Plain fields of its recipe."""
    prompts: int
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finishes: Counter[str] = field(default_factory=Counter)


@dataclass
class Path:
    """One track: what went in, what each base dropped, what came out."""

    title: str
    flow: Funnel
    entered: int
    left: int
    writings: list[Writing]


@dataclass
class Refused:
    """A refused text and why."""

    reason: str
    example: Example


@dataclass
class Synthetic:
    """One synthetic corpus."""

    name: str
    paths: list[Path]
    kept: int | None
    """Documents in the end; None where there are only prompts so far."""
    prompts: int
    accepted: int | None
    """Documents of the model's own after the last base that is only its own; None where none was checked yet."""
    joined: bool
    """Whether more was done after the model's text was joined with other text."""
    samples: list[Sample]
    refused: list[Refused]
    sentence: str | None

    @property
    def writings(self) -> list[Writing]:
        """All of them."""
        return [writing for path in self.paths for writing in path.writings]


def synthesis(run: Run) -> list[Synthetic]:
    """Every synthetic branch of the run."""
    return [_synthetic(run, branch) for branch in branches(run)]


def _synthetic(run: Run, branch: Branch) -> Synthetic:
    paths = [_path(run, track) for track in branch.tracks]
    asked = [base for track in branch.tracks for base in track.bases if generates(run, base)]
    ready = not asks(run, branch.name)
    kept = run.rows(branch.name) if ready else None
    written = [(track, path) for track, path in zip(branch.tracks, paths, strict=True) if path.writings]
    checked = all(track.bases[-1] not in (*asked, *track.starts) for track, _ in written)
    accepted = sum(path.left for _, path in written) if written and checked else None
    prompts = sum(writing.prompts for path in paths for writing in path.writings)
    drops = [drop for path in paths for one in path.flow.steps for drop in one.drops]
    last = branch.tracks[-1]
    return Synthetic(
        name=branch.name,
        paths=paths,
        kept=kept,
        prompts=prompts,
        accepted=accepted,
        joined=len(last.starts) > 1,
        samples=accepted_samples(run, branch, asked) if ready else [],
        refused=_in_turn(sorted(drops, key=lambda drop: (-drop.rows, drop.reason))),
        sentence=_sentence([path for _, path in written], accepted, prompts),
    )


def _path(run: Run, track: Track) -> Path:
    ledgers = read_ledgers(run, ledger_holders(run, list(track.bases)))
    writings = [_writing(run, name) for base in track.bases for name in generates(run, base)]
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
    return Path(title, Funnel(_first(run, track, steps), steps, ledgers), entered, left, writings)


def _first(run: Run, track: Track, steps: list[Step]) -> str:
    """A word for what the first step takes in."""
    start, *others = track.starts
    if others:
        return "joined"
    if steps and steps[0].name == start:
        return origin(run, start) or start
    return "prompts" if asks(run, start) else start


def _writing(run: Run, name: str) -> Writing:
    fields = run.given(name)
    plain = {key: value for key, value in fields.items() if isinstance(value, (int, float, str)) and key != "llm"}
    found = Writing(name, model_name(run, fields.get("llm") or fields.get("model")), plain, run.rows(name) or 0)
    for part in range(run.parts(name)):
        rows = run.read(name, part, ["finish", "prompt_tokens", "completion_tokens"])
        for pair in pc.value_counts(rows["finish"].combine_chunks()).to_pylist():
            finish = (pair["values"] or "none").partition(":")[0]  # an error is told after a colon
            found.finishes[finish] += pair["counts"]
        found.prompt_tokens += pc.sum(rows["prompt_tokens"]).as_py() or 0
        found.completion_tokens += pc.sum(rows["completion_tokens"]).as_py() or 0
    return found


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


def _in_turn(drops: list[Drop]) -> list[Refused]:
    """The first example of every reason, then the second, as far as there is room."""
    rounds = (
        Refused(drop.reason, drop.examples[number])
        for number in range(SHOWN)
        for drop in drops
        if number < len(drop.examples)
    )
    return [refused for refused, _ in zip(rounds, range(SHOWN), strict=False)]


def _sentence(written: list[Path], accepted: int | None, prompts: int) -> str | None:
    """What became of the model's text, where little of it was kept."""
    if accepted is None or not prompts or accepted >= FEW * prompts:
        return None
    writings = [writing for path in written for writing in path.writings]
    models = " and ".join(dict.fromkeys(writing.model for writing in writings))
    tokens = sum(writing.completion_tokens for writing in writings)
    drops = [drop for path in written for one in path.flow.steps for drop in one.drops]
    most = max(drops, key=lambda drop: drop.rows, default=None)
    told = f", most often as {spoken(most.reason)} ({most.rows:,})" if most else ""
    kept = f"{accepted:,} {'document was' if accepted == 1 else 'documents were'} kept ({share(accepted, prompts)})"
    return (
        f"The checks refused most of what {models} wrote: of {prompts:,} prompts it made {tokens:,} tokens, "
        f"and {kept}; the rest was refused{told}."
    )
