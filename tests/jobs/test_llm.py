"""D2 and D3 of the recipe itself, written by whatever answers at an OpenAI-compatible address."""

import json
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
                for n in range(12)
            ]  # fmt: skip
            return pa.Table.from_pylist(rows, schema=pa.schema([*self.writes, REASON]))

        return made


def answer(asked: Asked) -> Say:
    """A chapter; where JSON is asked for, a question and its answer, which is right for some of the tasks only."""
    said = usual(asked)
    item = {"question": "What did the keepers trim every four hours?", "answer": "the wick"}
    text = json.dumps(item) if "JSON" in asked.prompt else CHAPTER
    said.body["choices"][0]["message"]["content"] = text
    return said


@pytest.fixture
def recipe():
    return load_recipe(str(Path(__file__).parents[2] / "jobs" / "hare.py")).__globals__


def rows(root: Path, name: str) -> list[dict]:
    return [row for file in sorted((root / name).glob("*/part-*.parquet")) for row in pq.read_table(file).to_pylist()]


def test_the_recipes_prompts_go_to_the_endpoint_and_good_answers_become_documents(recipe, tmp_path):
    scale = recipe["scale_of"]("smoke")
    with FakeOpenAI() as server:
        server.script = answer
        llm = writer(f"{server.url}#fake", Trained())
        d1 = D1(label="d1", files=Numbers())
        d2 = recipe["textbooks"](d1, llm, scale).verified
        d3 = recipe["tasks"](d1, d2, llm, scale).verified
        run(d1, d2, d3, root=str(tmp_path))
        asked = [json.dumps(one.body) for one in server.asked]
    texts, items = rows(tmp_path, "d2_verified"), rows(tmp_path, "d3_verified")
    assert len(texts) == 8
    assert {row["text"] for row in texts} == {CHAPTER}
    assert {row["topic"] for row in texts} == {0, 1, 2}
    assert len(asked) == 8 + 4
    assert all('"model": "fake"' in body and '"messages"' in body for body in asked)
    assert sum("Lighthouses were built" in body for body in asked) >= 8
    written = [row for row in items if row["file"] == "synthetic"]
    assert all("the wick" in row["text"] and row["template"].startswith("question") for row in written)
    assert {row["file"] for row in items} >= {"rules", "instructions.jsonl"}
    reasons = {
        row["reason"] for file in tmp_path.glob("d3_written/*/ledger-*") for row in pq.read_table(file).to_pylist()
    }
    assert len(written) + sum(len(pq.read_table(f)) for f in tmp_path.glob("d3_written/*/ledger-*")) == 4
    assert reasons <= {"missing_key", "copied", "not_grounded"}
