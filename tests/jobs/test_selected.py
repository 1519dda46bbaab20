"""D1's selection of the recipe itself, where an LLM at an OpenAI-compatible address rates texts and names topics."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from hare_ray.engine import run
from hare_ray.priors.scales import scale_of
from hare_ray.schema import DOCUMENT, REASON
from hare_ray.stage import Annotate, Keep, Make, Map
from hare_ray.synth.writer import writer
from tests.synth.fake_openai import Asked, FakeOpenAI, Say, usual

pytestmark = pytest.mark.slow  # loads the real embedding model

SUBJECTS = {
    "sea": "Lighthouses were built where currents and rocks had cost ships for centuries. Their keepers trimmed the "
    "wick every four hours, wrote the weather into a book, and knew every captain of the coast by voice. Harbour {n} "
    "still has its lamp, and boys paint the fishing boats there before the season begins.",
    "oven": "Bread rises because yeast makes gas that the dough holds in small bubbles. A baker of oven {n} folds the "
    "dough twice, lets it rest under a cloth, and bakes it hot at first, so that the crust forms late and stays thin. "
    "Butter and salt are all that a warm slice of such bread asks for.",
}


class Numbers(Make):
    def make(self, desk) -> dict[str, int]:
        (desk.folder / "part-0").write_text("60")
        return {}


class Pages(Map):
    files: Make
    writes = DOCUMENT

    def prepare(self, files):
        def made(splits):
            rows = [
                {
                    "id": xxhash.xxh3_128_digest(str(n).encode()), "url": f"https://{name}.example/{n}", "file": "f",
                    "offset": n, "title": name, "text": text.format(n=n) + f" {n * 7919} " * (n % 5), "reason": None,
                }
                for n, (name, text) in enumerate([*SUBJECTS.items()] * 30)
            ]  # fmt: skip
            return pa.Table.from_pylist(rows, schema=pa.schema([*self.writes, REASON]))

        return made


class Fine(Annotate):
    docs: Map
    writes = pa.schema([REASON])

    def prepare(self, files):
        return lambda docs: pa.table([pa.nulls(len(docs), pa.string())], schema=self.writes)


def answer(asked: Asked) -> Say:
    """Four points for the sea and one for the rest; a title for any topic."""
    said = usual(asked)
    points = "Clear and complete.\nScore: " + ("4" if "Lighthouses were" in asked.prompt else "1")
    sea = "\n- sea" in asked.prompt
    text = points if "Score: n" in asked.prompt else "Coasts and Lamps" if sea else "Baking Bread"
    said.body["choices"][0]["message"]["content"] = text
    return said


@pytest.fixture
def selected(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "jobs"))
    import hare_topics

    yield hare_topics.selected
    for name in ("hare_topics", "hare_documents", "hare_synthesis"):
        sys.modules.pop(name, None)


def test_an_llm_rates_texts_for_the_committee_and_names_the_topics(selected, tmp_path):
    scale = replace(scale_of("smoke"), static_embedding=False, rated_share=1.0)
    pages = Pages(files=Numbers())
    with FakeOpenAI() as server:
        server.script = answer
        leak_free = Keep(label="leak_free", docs=pages, verdicts=(Fine(docs=pages),))
        d1, topics = selected(leak_free, None, scale, writer(f"{server.url}#fake", None))
        made = run(d1, topics.labels, root=str(tmp_path))
    labels = json.loads(next(tmp_path.glob("titles/*/labels.json")).read_text())
    assert {label.get("title") for label in labels} == {"Coasts and Lamps", "Baking Bread"}
    report = json.loads(next(tmp_path.glob("committee/*/report.json")).read_text())
    assert report["groups"]["llm"] == 60
    rated = [row for file in tmp_path.glob("ratings/*/part-*.parquet") for row in pq.read_table(file).to_pylist()]
    assert {round(row["label"], 3) for row in rated} == {0.8, 0.2}
    kept = [row for file in tmp_path.glob("d1/*/part-*.parquet") for row in pq.read_table(file).to_pylist()]
    assert kept and all(row["weight"] == 1 for row in kept)
    scored = [row for file in tmp_path.glob("score/*/part-*.parquet") for row in pq.read_table(file).to_pylist()]
    mean = {name: sum(r["quality"] for r in scored[at::2]) / 30 for at, name in enumerate(SUBJECTS)}
    assert mean["sea"] > mean["oven"] + 0.2
    assert made["semantic_duplicates"]["books"]["reasons"]
