"""The report on a run: one HTML file with its styles, charts and data inside, that asks the network for nothing.

Made from the run's directory alone, so also from a run that is not finished: a section that waits for a stage says
which, and the command that makes it. The same directory gives the same page, byte for byte; a policy in the head
forbids the browser to load anything from outside.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from hare_ray.report import cards, charts, diagrams, quality, records, samples, sections, words
from hare_ray.report import topics as themes
from hare_ray.report.beside_training import Beside
from hare_ray.report.curves import curves
from hare_ray.report.funnel import Funnel
from hare_ray.report.known import Known
from hare_ray.report.reading import FINAL, Run
from hare_ray.report.synthesis import Synthetic
from hare_ray.report.tally import DISAGREE, Tally, tally
from hare_ray.report.training import Trained

HERE = Path(__file__).parent

NAME = "report.html"

NEEDED = {
    "map": ("cluster_map", "label_clusters"),
    "topics": ("assign", FINAL, "label_clusters"),
    "quality": ("score", FINAL, "committee"),
    "leaks": ("leak_index", "leak_free"),
}
"""Section -> stages it shows."""


def render(root: str) -> str:
    """The page about the run in the directory `root`; ValueError where there is none."""
    run = Run.of(root)
    return _page(run, Known.of(run))


def _page(run: Run, known: Known) -> str:
    path = known.funnel
    found = tally(run)
    topics = themes.topic_names(run, found)
    dots = themes.map_data(run, topics)
    judges = quality.committee(run)
    context = {
        "root": run.root.url,
        "name": run.root.url.rstrip("/").rsplit("/", 1)[-1],
        "funnel": path,
        "tiles": _tiles(run, path, topics) + _model_tiles(known.trained),
        "charts": _charts(path, found, topics, judges),
        "tally": found,
        "topics": topics[: themes.LISTED],
        "unlisted": max(0, len(topics) - themes.LISTED),
        "table": themes.topic_table(topics, found),
        "coverage": themes.coverage(run, path, found),
        "static": themes.static_models(run),
        "dots": dots,
        "dots_json": None if dots is None else _embedded(dots),
        "committee": judges,
        "disagree": DISAGREE,
        "benchmarks": sections.benchmarks(run, path),
        "unable": sections.unable(run),
        "unchecked": sections.unchecked(run),
        "certificates": sections.certificates(run),
        **_second_half(known),
        "beside": Beside.of(run),
        "recipe": records.recipe(run),
        "spent": records.spent(run),
        "wall": records.wall_seconds(run),
        "machines": records.machines(run),
        "missing": {section: run.missing(*names) for section, names in NEEDED.items()},
    }
    return _environment().get_template("page.html.j2").render(context)


def _second_half(known: Known) -> dict[str, Any]:
    """What the page says of synthesis, mixtures, training and evaluation; empty where their stages are not there."""
    flows = {
        branch.name: [charts.flow(path.flow) if path.flow.steps else None for path in branch.paths]
        for branch in known.synthetic
    }
    return {
        "synthetic": known.synthetic,
        "branch_charts": flows,
        "branch_clips": {branch.name: _chars_each(branch) for branch in known.synthetic},
        "whole_chars": samples.WHOLE_CHARS,
        "mixtures": known.mixtures,
        "trained": known.trained,
        "curves": [curves(stages) for stages in known.trained],
        "evaluations": known.evaluations,
    }


def _chars_each(branch: Synthetic) -> int:
    """How much of each text is shown in the samples by template."""
    shown = [one for way in branch.ways for line in way.lines for one in (line.kept, line.refused)]
    return samples.folded_chars(2 * sum(map(len, shown)))  # its seed, too


def write(root: str) -> str:
    """Put the page and the cards into the run's directory; returns where the page is."""
    run = Run.of(root)
    known = Known.of(run)
    run.root.write(NAME, _page(run, known).encode())
    cards.write(run, known)
    return f"{run.root.url.rstrip('/')}/{NAME}"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    named = (words.spoken, words.count, words.whole, words.shown, words.compact, words.share, words.duration,
             samples.clip)  # fmt: skip
    environment.filters.update({function.__name__: function for function in named})
    environment.tests.update({"linked": words.linked, "input": lambda value: isinstance(value, records.Input)})
    environment.globals.update(
        {
            "css": Markup((HERE / "style.css").read_text()),
            "script": Markup((HERE / "map.js").read_text()),
            "hue": charts.hue,
            "fades": charts.fades(),
            "preview": samples.PREVIEW_CHARS,
        }
    )
    return environment


def _embedded(data: dict[str, Any]) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _tiles(run: Run, path: Funnel, topics: list[themes.Topic]) -> list[dict[str, str]]:
    """The key numbers: what, how much, in which words."""
    last = path.steps[-1] if path.steps else None
    final = run.rows(FINAL)
    characters = run.books(FINAL).get("characters")
    machine = records.machines(run)[-1].machine
    host = f"{machine['cores']} cores"
    detail = f"{machine['cpu']}, {machine['memory_gb']} GB"
    waiting = f"so far {words.count(last.rows_out)} in {words.spoken(last.name)}" if last else "not made yet"
    kept = f"{words.share(final, path.crawled)} of what was crawled" if final is not None else waiting
    sample = f"{path.sample}, " if path.sample else ""
    unable = sections.unable(run)
    leaks = f"nothing to check against: {unable}" if unable else "documents that held benchmark items"
    return [
        _tile("Pages crawled", words.count(path.crawled), f"{sample}read from {words.spoken(path.source)}"),
        _tile("Documents in D1", words.count(final), kept),
        _tile("Characters in D1", words.compact(characters), "text that goes into training"),
        _tile("Topics", words.count(len(topics) or None), "clusters of like documents"),
        _tile("Leaks removed", words.count(None if unable else path.leaked), leaks),
        _tile("Time", words.duration(records.wall_seconds(run)), f"{len(run.manifests)} stages written"),
        _tile("Machine", host, detail),
    ]


def _model_tiles(trained: list[list[Trained]]) -> list[dict[str, str]]:
    """The key numbers of the model that the last training stage gave."""
    if not trained:
        return []
    last = trained[-1][-1]
    loss, before = (last.summary.get(key) for key in ("final_loss", "first_loss"))
    fell = f"nats per token, from {words.shown(before)}" if before is not None else "nats per token"
    stages = "1 stage" if last.after is None else f"all stages up to {words.spoken(last.name)}"
    return [
        _tile("Parameters", words.compact(last.summary.get("parameters")), f"of {words.spoken(last.name)}"),
        _tile("Tokens trained on", words.compact(last.end), f"in {stages}"),
        _tile("Final loss", words.shown(loss), f"{fell} in {words.spoken(last.name)}"),
    ]


def _tile(label: str, value: str, note: str) -> dict[str, str]:
    return {"label": label, "value": value, "note": note}


def _charts(
    path: Funnel, found: Tally | None, topics: list[themes.Topic], judges: quality.Committee | None
) -> dict[str, Markup]:
    drawn = {}
    if judges is not None and judges.calibration:
        drawn["reliability"] = diagrams.reliability(judges.calibration)
    if found is not None and found.clustered and found.before.topics > 1:
        drawn["sizes"] = diagrams.rank_sizes(found.before.sizes, found.after.sizes if found.after else None)
    if path.steps:
        drawn["flow"] = charts.flow(path)
    if found is not None and found.scored:
        after = found.after if found.after and found.after.total else None
        drawn["histogram"] = charts.histogram(found.edges, found.before.histogram, after.histogram if after else None)
    if found is not None and found.scored and found.clustered and found.before.topics > 1:
        names = {topic.number: topic.label for topic in topics}
        numbers = np.sort(np.argsort(-found.before.rows, kind="stable")[: min(found.before.topics, themes.LISTED)])
        labels = [names.get(number, f"topic {number}") for number in numbers.tolist()]
        means_after = found.after.topic_means()[numbers] if found.after else None
        drawn["dumbbells"] = charts.dumbbells(labels, found.before.topic_means()[numbers], means_after)
    return drawn
