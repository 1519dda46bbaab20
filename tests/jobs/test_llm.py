"""D2 and D3 of the recipe itself, written by whatever answers at an OpenAI-compatible address."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from hare_ray.cli import load_recipe
from hare_ray.engine import run
from hare_ray.schema import DOCUMENT, REASON
from hare_ray.stage import Make, Map
from hare_ray.synth.writer import writer
from tests.synth.fake_openai import Asked, FakeOpenAI, Say, usual

PAGE = (
    "Lighthouses were built where currents and rocks had cost ships for centuries. Their keepers trimmed the wick "
    "every four hours and wrote the weather into a book. The lamp of harbour {n} burned oil from whales."
)
CHAPTER = (
    "A lighthouse is a tower that carries a lamp, so that sailors can tell where they are at night. Builders chose "
    "places where reefs lie just below the water and where the tide pulls a ship from its course. Because a single "
    "flame is weak, opticians ground rings of glass that bend the light into one narrow beam. Such a lens can be seen "
    "from twenty miles away on a clear evening. Keepers lived beside the tower with their families and cleaned the "
    "glass every morning. They also noted wind and rain, which later helped the first weather offices. When electric "
    "motors and radio arrived, most towers were left without people. Some of them are museums today, and visitors "
    "climb the stairs to look across the bay."
)


PAGES = 36
"""Over three topics, in each of which templates take turns: a dozen turns reach questions and blanks."""


class Trained(Make):
    """The model of stage 1, which is not asked."""


class Numbers(Make):
    def make(self, desk) -> dict[str, int]:
        (desk.folder / "part-0").write_text("12")
        return {}


class D1(Map):
    files: Make
    writes = pa.schema([*DOCUMENT, pa.field("cluster", pa.int32(), nullable=False)])

    def prepare(self, files):
        def made(splits):
            rows = [
                {
                    "id": xxhash.xxh3_128_digest(str(n).encode()), "url": f"https://a.example/{n}", "file": "f",
                    "offset": n, "title": f"Harbour {n}", "text": PAGE.format(n=n), "cluster": n % 3, "reason": None,
                }
                for n in range(PAGES)
            ]  # fmt: skip
            return pa.Table.from_pylist(rows, schema=pa.schema([*self.writes, REASON]))

        return made


ITEMS = (
    {"question": "What did the keepers trim every four hours?", "answer": "the wick"},
    {"sentence": "Their keepers trimmed the ____ every four hours.", "answer": "wick"},
    {"title": "Lighthouses and Their Keepers"},
    {},
)
"""Answers by their keys; PAGE says them and CHAPTER does not, the title apart. The last is for all other tasks."""


def answering(again: str):
    """A chapter; where JSON is asked for, one of ITEMS; what is asked a second time gets `again`."""

    def answer(asked: Asked) -> Say:
        said = usual(asked)
        text = CHAPTER
        if "response_format" in asked.body:
            keys = asked.body["response_format"]["json_schema"]["schema"]["properties"].keys()
            item = next((item for item in ITEMS if item.keys() == keys), ITEMS[-1])
            text = json.dumps({"answer": again} if keys == {"answer"} else item)
        said.body["choices"][0]["message"]["content"] = text
        return said

    return answer


@pytest.fixture
def recipe():
    return load_recipe(str(Path(__file__).parents[2] / "jobs" / "hare.py")).__globals__


def rows(root: Path, name: str) -> list[dict]:
    return [row for file in sorted((root / name).glob("*/part-*.parquet")) for row in pq.read_table(file).to_pylist()]


def books(root: Path) -> dict[str, int]:
    """Of the second answers."""
    return json.loads((root / "d3_confirmed" / "manifest.json").read_text())["books"]


def written_by(recipe, root: Path, again: str) -> tuple[list[str], list[dict], list[dict], Counter]:
    """Requests, texts of D2, items of the LLM in D3, and why others are not there."""
    scale = replace(recipe["scale_of"]("smoke"), prompts=(8, 2 * PAGES))
    with FakeOpenAI() as server:
        server.script = answering(again)
        llm = writer(f"{server.url}#fake", Trained())
        d1 = D1(label="d1", files=Numbers())
        d2 = recipe["textbooks"](d1, llm, scale).verified
        d3 = recipe["tasks"](d1, d2, llm, scale).verified
        run(d1, d2, d3, root=str(root))
        asked = [json.dumps(one.body) for one in server.asked]
    items = rows(root, "d3_verified")
    assert {row["file"] for row in items} >= {"rules", "instructions.jsonl"}
    reasons = Counter(
        row["reason"] for file in root.glob("d3_written/*/ledger-*") for row in pq.read_table(file).to_pylist()
    )
    return asked, rows(root, "d2_verified"), [row for row in items if row["file"] == "synthetic"], reasons


def test_the_recipes_prompts_go_to_the_endpoint_and_good_answers_become_documents(recipe, tmp_path):
    asked, texts, written, reasons = written_by(recipe, tmp_path, "the wick")
    assert len(texts) == 8
    assert {row["text"] for row in texts} == {CHAPTER}
    assert {row["topic"] for row in texts} == {0, 1, 2}
    assert all('"model": "fake"' in body and '"messages"' in body for body in asked)
    assert sum("Lighthouses were built" in body for body in asked) >= 8
    templates = Counter(row["template"] for row in written)
    assert {"definition", "cloze", "title"} <= set(templates)
    assert len(written) + reasons.total() == 8 + PAGES
    confirmed = [row for row in written if not row["template"].startswith("title")]
    assert all("wick" in row["text"] and "harbour" in row["seed"] for row in confirmed)
    assert books(tmp_path)["confirmed"] == len(confirmed)
    assert len(asked) == 8 + (8 + PAGES) + len(confirmed)  # D2, D3, and what was asked again
    assert set(reasons) <= {"not_json", "missing_key", "not_grounded"}


def test_what_a_second_answer_does_not_confirm_is_refused(recipe, tmp_path):
    _, _, written, reasons = written_by(recipe, tmp_path, "They painted the doors of the harbour.")
    assert {row["template"].split("_")[0] for row in written} == {"title"}  # which nobody asks again
    assert reasons["not_confirmed"] == books(tmp_path)["not_confirmed"] > 0
    assert books(tmp_path)["confirmed"] == 0
