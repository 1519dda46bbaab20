"""From lm-eval's results of one model to scores: value, standard error, items, chance; and the table of all models.

lm-eval gives no standard error for bits per byte, a ratio of sums over texts i of n: R = sum(bits_i) / sum(bytes_i).
Here it is that of a ratio estimator, texts being the sample:

    se(R) = sqrt( n / (n - 1) * sum((bits_i - R * bytes_i)^2) ) / sum(bytes_i)

and, as byte perplexity is 2^R, ln(2) * 2^R * se(R) for that. Chance is the mean of 1 / choices over the items.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hare_ray.evaluate.tasks import CHOICE_METRICS

Scores = dict[str, float | int | None]
"""metric, metric_stderr and items of one task."""

DIGITS = 6
"""Decimals kept: float32 sums over a text are not good for more."""

STDERR = "_stderr"


@dataclass(frozen=True)
class Judged:
    """What became of one model on some tasks; it travels from the worker that judged it."""

    scores: dict[str, Scores]
    chance: dict[str, dict[str, float]]
    samples: list[dict[str, Any]]
    """One record per item: task, id, log-likelihoods, and whether it was right."""


def judged(raw: Mapping[str, Any], task: str) -> Judged:
    """What lm-eval's results say of a task or group; of a tag, which has no score of its own, its members."""
    found = raw["results"]
    names = [task] if task in found else list(found)
    scores, chance, samples = {}, {}, []
    for name in names:
        own = [_sample(name, sample) for sample in raw["samples"].get(name, [])]
        texts = [sample for sample in own if "bytes" in sample]
        scores[name] = dict(sorted({**_scores(found[name]), **_ratio_errors(texts)}.items()))
        scores[name]["items"] = found[name].get("sample_len")
        choices = [len(sample["loglikelihoods"]) for sample in own if "loglikelihoods" in sample]
        asked = [metric for metric in CHOICE_METRICS if metric in scores[name]]
        if choices and asked:
            chance[name] = dict.fromkeys(asked, _rounded(sum(1 / count for count in choices) / len(choices)))
        samples += own
    return Judged(scores, chance, samples)


def _scores(found: Mapping[str, Any]) -> Scores:
    """lm-eval's "metric,filter" as metric, with the filter in brackets where there is one."""
    scores: Scores = {}
    for key, value in found.items():
        metric, comma, filter_ = key.partition(",")
        if not comma or not isinstance(value, int | float):
            continue
        error = STDERR if metric.endswith(STDERR) else ""
        shown = metric.removesuffix(STDERR) + (f" ({filter_})" if filter_ != "none" else "")
        scores[shown + error] = _rounded(value)
    return scores


def _sample(task: str, sample: Mapping[str, Any]) -> dict[str, Any]:
    """One item: its id, or its number where it has none."""
    item = {"task": task, "id": str(sample["doc"].get("id", sample["doc_id"]))}
    answers = sample["filtered_resps"]
    if "bits_per_byte" in sample:
        likelihood, size = sample["bits_per_byte"]
        return {**item, "loglikelihood": _rounded(likelihood), "bytes": size}
    if "acc" in sample and all(isinstance(answer, list | tuple) for answer in answers):
        likelihoods = [_rounded(answer[0]) for answer in answers]
        choice = max(range(len(likelihoods)), key=likelihoods.__getitem__)
        return {**item, "loglikelihoods": likelihoods, "choice": choice, "correct": bool(sample["acc"])}
    return item


def _ratio_errors(samples: Sequence[Mapping[str, Any]]) -> Scores:
    if len(samples) < 2:
        return {}
    bits = [-sample["loglikelihood"] / math.log(2) for sample in samples]
    sizes = [sample["bytes"] for sample in samples]
    ratio = sum(bits) / sum(sizes)
    squares = sum((bit - ratio * size) ** 2 for bit, size in zip(bits, sizes, strict=True))
    error = math.sqrt(len(samples) / (len(samples) - 1) * squares) / sum(sizes)
    return {
        f"bits_per_byte{STDERR}": _rounded(error),
        f"byte_perplexity{STDERR}": _rounded(math.log(2) * 2**ratio * error),
    }


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)


def table(results: Mapping[str, Any]) -> str:
    """All scores as Markdown: a line per task and metric, a column per model, then chance."""
    models: Mapping[str, Mapping[str, Scores]] = results["models"]
    asked = dict.fromkeys(
        (task, metric)
        for tasks in models.values()
        for task, scores in tasks.items()
        for metric in scores
        if metric != "items" and not metric.endswith(STDERR)
    )
    lines = [_row(("task", "metric", "items", *models, "chance")), _row(["---"] * (4 + len(models)))]
    for task, metric in asked:
        scores = [tasks.get(task, {}) for tasks in models.values()]
        items = " / ".join(dict.fromkeys(str(score["items"]) for score in scores if "items" in score))
        chance = results["chance"].get(task, {}).get(metric)
        cells = [_cell(score.get(metric), score.get(metric + STDERR)) for score in scores]
        lines.append(_row((task, metric, items, *cells, _cell(chance, None))))
    if not asked:
        lines.append(_row(("nothing was asked: there were no items", *[""] * (3 + len(models)))))
    unsearched = [name for name, certificate in results.get("certificates", {}).items() if certificate is None]
    if asked and unsearched:
        lines += ["", f"Not checked for leaks of what was asked: {', '.join(unsearched)}."]
    return "\n".join(lines) + "\n"


def _cell(value: float | None, error: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" + (f" +- {error:.4f}" if error is not None else "")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
