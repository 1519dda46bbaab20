"""A synthetic corpus with templates, variants, rules and open data, of the real tables, with a writer by formula."""

import json
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import xxhash

from hare_ray import engine
from hare_ray.gather import Desk
from hare_ray.schema import DETAIL, REASON
from hare_ray.stage import Annotate, Files, Gather, Keep, Map, PartFunction, Rebalance, Source, Stage, Table
from hare_ray.synth.confirm import CHECK
from hare_ray.synth.diversity import Diversity
from hare_ray.synth.prompt import GENERATED, PROMPT, WRITTEN, prompt_id, prompt_url
from hare_ray.synth.textbook import Textbook
from tests.report.later import Pack
from tests.report.stages import Read

TEMPLATES = ("lesson", "cloze", "story", "broken")
AUDIENCES, STYLES = ("children", "students"), ("letter", "talk", "chapter")
PROMPTS_EACH = 3
DOCUMENTS = 90


class TextbookPrompts(Map):
    """Every template and three numbers for every document."""

    docs: Table
    templates: tuple[dict[str, str], ...]
    writes: ClassVar[pa.Schema] = PROMPT
    derives: ClassVar[bool] = True

    def prepare(self, files: Files) -> PartFunction:
        def ask(docs: pa.Table) -> pa.Table:
            rows = []
            for doc in docs.to_pylist():
                for at, (template, number) in enumerate((t, n) for t in self.templates for n in range(PROMPTS_EACH)):
                    name, turn = template["name"], doc["offset"] + at
                    variant = f"{AUDIENCES[turn % 2]} / {STYLES[turn % 3]}"
                    row = {"id": prompt_id(doc["id"], name, number), "url": prompt_url(doc["url"], name), "topic": 1}
                    row |= {"template": name, "seed": doc["text"], "variant": variant, "reason": None}
                    rows.append({**row, "prompt": f"Write a <{name}> for {variant} on: {doc['text']}"})
            return pa.Table.from_pylist(rows, schema=PROMPT.append(REASON))

        return ask


class Generate(Gather):
    """Words in the number that the prompt's hash says; `broken` is answered with an apology, mostly."""

    prompts: Table
    llm: str
    told: dict[str, int]
    """Its books."""
    writes: ClassVar[pa.Schema] = GENERATED

    def gather(self, desk: Desk) -> dict[str, int]:
        for part in range(desk.parts(self.prompts)):
            rows = [self._answer(row) for row in desk.read(self.prompts, part).to_pylist()]
            desk.write(part, pa.Table.from_pylist(rows, schema=GENERATED))
        return self.told

    def _answer(self, row: dict[str, Any]) -> dict[str, Any]:
        draw = row["id"][0]
        if row["prompt"] is None:
            none = {"prompt_tokens": 0, "completion_tokens": 0}
            return {"answer": None, "finish": "not_asked", "request": row["id"], **none}
        came = {"prompt_tokens": 50, "request": row["id"], "finish": "stop", "completion_tokens": 40 + draw % 7}
        if draw % 16 == 0:
            return came | {"answer": None, "finish": "error: the server was away", "completion_tokens": 0}
        bad = (row.get("template") == "broken" and draw % 3) or draw % 11 == 0
        text = (
            "I am sorry, I cannot."
            if bad
            else f"A text of {row.get('template')} from {row['id'].hex()}. " + "Word. " * 90
        )
        return came | {"answer": text}


class CheckPrompts(Annotate):
    """A second question about every third answer."""

    prompts: Table
    answers: Table
    writes: ClassVar[pa.Schema] = CHECK

    def prepare(self, files: Files) -> PartFunction:
        def check(prompts: pa.Table, answers: pa.Table) -> pa.Table:
            given = zip(prompts["id"].to_pylist(), answers["answer"].to_pylist(), strict=True)
            asked = [(key, f"Is it so? {answer}" if key[2] % 3 == 0 else None) for key, answer in given]
            rows = [{"id": xxhash.xxh3_128_digest(key), "prompt": text} for key, text in asked]
            return pa.Table.from_pylist(rows, schema=CHECK)

        return check


class Items(Map):
    """One text for every document, without a model."""

    docs: Table
    template: str
    writes: ClassVar[pa.Schema] = WRITTEN
    derives: ClassVar[bool] = True

    def prepare(self, files: Files) -> PartFunction:
        def items(docs: pa.Table) -> pa.Table:
            rows = []
            for doc in docs.to_pylist():
                url = (
                    prompt_url(doc["url"], self.template) if type(self) is RuleItems else f"open.jsonl#{doc['offset']}"
                )
                sorry = "I am sorry about the rule." if doc["id"][0] % 5 == 0 else "A good item."
                row = {**doc, "url": url, "file": "rules", "offset": 0, "template": self.template, "finish": "stop"}
                key = xxhash.xxh3_128_digest(type(self).__name__.encode() + doc["id"])
                rows.append({**row, "id": key, "seed": "", "text": sorry, "reason": None})
            return pa.Table.from_pylist(rows, schema=WRITTEN.append(REASON))

        return items


class RuleItems(Items):
    pass


class Instructions(Items):
    pass


class Apologies(Annotate):
    docs: Table
    writes: ClassVar[pa.Schema] = pa.schema([REASON, DETAIL])

    def prepare(self, files: Files) -> PartFunction:
        def judge(docs: pa.Table) -> pa.Table:
            sorry = ["refusal" if "sorry" in text else None for text in docs["text"].to_pylist()]
            return pa.table([pa.array(sorry, pa.string()), pa.nulls(len(docs), pa.string())], schema=self.writes)

        return judge


class Unlucky(Annotate):
    """Drops every seventh of what is left."""

    docs: Table
    writes: ClassVar[pa.Schema] = pa.schema([REASON])

    def prepare(self, files: Files) -> PartFunction:
        def judge(docs: pa.Table) -> pa.Table:
            drawn = ["below_quality" if key[1] % 7 == 0 else None for key in docs["id"].to_pylist()]
            return pa.table([pa.array(drawn, pa.string())], schema=self.writes)

        return judge


TOLD = {"reused": 180, "retried": 4, "milliseconds": 20_000, "gpus": 2}
TOLD_AGAIN = {"retried": 1, "milliseconds": 5_000, "accelerator_seconds": 8}


def stages(folder: Path, told: dict[str, int] | None = None, llm: str = "a/writer-8B") -> dict[str, Stage]:
    """`plain`: one way of writing; `joined`: the same with rules and open data; `packed`: never written by itself.

    `again` are second questions about the answers of `plain`, `other_again` about those of another writer.
    """
    crawl = folder / "crawl"
    if not crawl.exists():
        crawl.mkdir()
        for part in range(3):
            lines = [
                {"url": f"https://example.org/{n}", "title": "t", "text": f"seed number {n}"}
                for n in range(part, DOCUMENTS, 3)
            ]
            (crawl / f"{part}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    docs = Read(label="docs", files=Source(label="crawl", location=str(crawl)))
    templates = tuple({"name": name, "kind": "web", "text": "..."} for name in TEMPLATES)
    asked = TextbookPrompts(label="asked", docs=docs, templates=templates)
    answers = Generate(label="answers", prompts=asked, llm=llm, told=TOLD if told is None else told)
    written = Textbook(label="written", prompts=asked, answers=answers)
    plain = Keep(label="plain", docs=written, verdicts=(Apologies(label="sound", docs=written),))
    rules, given = RuleItems(docs=docs, template="cloze"), Instructions(docs=docs, template="question")
    both = Rebalance(label="both", docs=(written, rules, given), part_bytes=1 << 13)
    sorry, unlucky = Apologies(label="no_apology", docs=both), Unlucky(label="quality", docs=both)
    joined = Keep(label="joined", docs=both, verdicts=(sorry, unlucky))
    diverse = Diversity(prompts=asked, texts=plain, embeddings=None, sample=40)
    packed = Pack(label="packed", docs=plain, sequence_tokens=64)
    checks = CheckPrompts(label="checks", prompts=asked, answers=answers)
    again = Generate(label="again", prompts=checks, llm=llm, told=TOLD_AGAIN)
    other = Generate(label="other", prompts=asked, llm="a/judge-1B", told={})
    other_checks = CheckPrompts(label="other_checks", prompts=asked, answers=other)
    other_again = Generate(label="other_again", prompts=other_checks, llm=llm, told={})
    made = {"plain": plain, "joined": joined, "packed": packed, "diversity": diverse}
    return {**made, "again": again, "other_again": other_again}


def ran(folder: Path, last: str, told: dict[str, int] | None = None, llm: str = "a/writer-8B", *more: str) -> Path:
    """The root of a run of one of these, and of `more` of them."""
    made = stages(folder, told, llm)
    engine.run(made[last], *(made[name] for name in more), root=str(folder / last))
    return folder / last
