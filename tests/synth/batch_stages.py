"""Prompts with schemas; to be killed: python -m tests.synth.batch_stages ROOT PROMPTS."""

import json
import sys
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import xxhash

from hare_ray.engine import run
from hare_ray.on_ray import OnRay
from hare_ray.schema import REASON
from hare_ray.stage import Files, Map, PartFunction, Source, Stage
from hare_ray.synth.generate import Generate
from hare_ray.synth.prompt import PROMPT
from tests.synth.stages import TinyMistral

MODEL = TinyMistral(layers=2, hidden=64, heads=2, kv_heads=1, vocabulary=320, context=128)

NULLABLE = pa.schema([field.with_nullable(True) if field.name == "prompt" else field for field in PROMPT])


class JsonPrompts(Map):
    """One prompt a line, `{"prompt": ..., "schema": ...}`; each file is a part."""

    files: Stage
    writes: ClassVar[pa.Schema] = NULLABLE
    derives: ClassVar[bool] = True

    def prepare(self, files: Files) -> PartFunction:
        def read(splits: pa.Table) -> pa.Table:
            rows = []
            for split in splits.to_pylist():
                for number, line in enumerate(Path(split["path"]).read_text().splitlines()):
                    url = f"https://example.org/{split['file']}/{number}#plain"
                    same = {"url": url, "topic": 0, "template": "plain", "seed": "", "variant": None, "reason": None}
                    rows.append(
                        {"id": xxhash.xxh3_128_digest(url.encode()), **same, "schema": None, **json.loads(line)}
                    )
            return pa.Table.from_pylist(rows, schema=NULLABLE.append(REASON))

        return read


def written(folder: Path, *parts: list[dict]) -> JsonPrompts:
    """Prompts in parts of these rows."""
    folder.mkdir(parents=True)
    for number, rows in enumerate(parts):
        (folder / f"{number}.txt").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_from(folder)


def read_from(folder: Path) -> JsonPrompts:
    """The prompts of a folder."""
    return JsonPrompts(files=Source(location=str(folder), part_bytes=1))


def sampled(prompts: JsonPrompts) -> Generate:
    """Long answers, so that something can be killed meanwhile."""
    return Generate(
        prompts=prompts, model=MODEL, llm="", chat=False, max_tokens=60, temperature=1.0, top_p=1.0, seed=1,
        through="batch",
    )  # fmt: skip


if __name__ == "__main__":
    run(sampled(read_from(Path(sys.argv[2]))), root=sys.argv[1], executor=OnRay)
