"""The names and columns of the real recipe with tiny stages behind them, so that a whole run takes a second."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from hare_ray.gather import Desk
from hare_ray.priors.topics import TopicTarget
from hare_ray.schema import DETAIL, DOCUMENT, REASON
from hare_ray.stage import Annotate, Files, Gather, Keep, Make, Map, PartFunction, Rebalance, Source, Stage, Table


class Read(Map):
    """JSON lines of url, title, text; a line without text is dropped, and one marked as outside the sample."""

    files: Stage
    writes: ClassVar[pa.Schema] = DOCUMENT

    def prepare(self, files: Files) -> PartFunction:
        def read(splits: pa.Table) -> pa.Table:
            rows = []
            for split in splits.to_pylist():
                for number, line in enumerate(Path(split["path"]).read_text().splitlines()):
                    page = json.loads(line)
                    reason = "not_sampled" if page["text"].startswith("unsampled") else None
                    reason = reason if page["text"] else "no_text"
                    id_ = xxhash.xxh3_128_digest(line.encode())
                    rows.append({**page, "id": id_, "file": split["file"], "offset": number, "reason": reason})
            return pa.Table.from_pylist(rows, schema=DOCUMENT.append(REASON))

        return read


class Says(Annotate):
    """Drops documents with a phrase; `detail` is the document's words after it, where wanted."""

    docs: Table
    phrases: dict[str, str]
    """Phrase -> reason."""
    with_detail: bool = False
    index: Make | None = None
    writes: ClassVar[pa.Schema] = pa.schema([REASON, DETAIL])

    def prepare(self, files: Files) -> PartFunction:
        def judge(docs: pa.Table) -> pa.Table:
            rows = []
            for text in docs["text"].to_pylist():
                phrase = next((p for p in self.phrases if p in text), None)
                detail = text.split(phrase)[1].split()[0] if phrase and self.with_detail else None
                rows.append({"reason": self.phrases[phrase] if phrase else None, "detail": detail})
            return pa.Table.from_pylist(rows, schema=self.writes)

        return judge


class Copies(Gather):
    """Equal texts, over all parts."""

    docs: Table
    writes: ClassVar[pa.Schema] = pa.schema([REASON, DETAIL])

    def gather(self, desk: Desk) -> None:
        first: dict[str, str] = {}
        for part in range(desk.parts(self.docs)):
            rows = []
            for row in desk.read(self.docs, part, ["url", "text"]).to_pylist():
                kept = first.setdefault(row["text"], row["url"])
                again = kept != row["url"]
                rows.append({"reason": "exact_duplicate" if again else None, "detail": kept if again else None})
            desk.write(part, pa.Table.from_pylist(rows, schema=self.writes))


def number_after(docs: pa.Table, word: str) -> list[float]:
    return [float(text.split(f"{word}=")[1].split()[0]) for text in docs["text"].to_pylist()]


class Assign(Annotate):
    docs: Table
    writes: ClassVar[pa.Schema] = pa.schema([("cluster", pa.int32()), ("similarity", pa.float32())])

    def prepare(self, files: Files) -> PartFunction:
        def assign(docs: pa.Table) -> pa.Table:
            cluster = pa.array(number_after(docs, "topic")).cast(pa.int32())
            return pa.table([cluster, pa.nulls(len(docs), pa.float32())], schema=self.writes)

        return assign


class Score(Annotate):
    docs: Table
    committee: Make
    writes: ClassVar[pa.Schema] = pa.schema([("quality", pa.float32()), ("disagreement", pa.float32())])

    def prepare(self, files: Files) -> PartFunction:
        def score(docs: pa.Table) -> pa.Table:
            quality = pa.array(number_after(docs, "quality")).cast(pa.float32())
            disagreement = pc.if_else(pc.less(quality, 0.5), 0.3, 0.1).cast(pa.float32())
            return pa.table([quality, disagreement], schema=self.writes)

        return score


class Select(Gather):
    clusters: Table
    scores: Table
    min_quality: float
    cap: int
    writes: ClassVar[pa.Schema] = pa.schema([REASON, ("weight", pa.float32())])

    def gather(self, desk: Desk) -> None:
        taken: dict[int, int] = {}
        for part in range(desk.parts(self.clusters)):
            reasons: list[str | None] = []
            topics = desk.read(self.clusters, part)["cluster"].to_pylist()
            for topic, quality in zip(topics, desk.read(self.scores, part)["quality"].to_pylist(), strict=True):
                if quality < self.min_quality:
                    reasons.append("below_quality")
                    continue
                taken[topic] = taken.get(topic, 0) + 1
                reasons.append("over_topic_cap" if taken[topic] > self.cap else None)
            weights = pa.array([2.5 if topic == 1 else 1.0 for topic in topics], pa.float32())
            desk.write(part, pa.table([pa.array(reasons, pa.string()), weights], schema=self.writes))


class Write(Make):
    """Files with given content."""

    content: dict[str, Any]
    docs: Table | None = None

    def make(self, desk: Desk) -> dict[str, int]:
        for name, value in self.content.items():
            (desk.folder / name).write_text(value if isinstance(value, str) else json.dumps(value))
        return {"rows": 0}


class StaticModel(Write):
    """What the report reads of a distilled model."""


class Titles(Write):
    """What the report reads of topics with titles."""


@dataclass(frozen=True)
class Wanted:
    """A prior on topics, as far as the report reads it."""

    targets: tuple[TopicTarget, ...]


class Balance(Make):
    """What the report reads of a balance: its targets and its books."""

    prior: Wanted
    told: dict[str, int]

    def make(self, desk: Desk) -> dict[str, int]:
        return self.told


class Certificate(Write):
    """What the report reads of a certificate."""


class Picture(Make):
    docs: Table
    clusters: Table

    def make(self, desk: Desk) -> dict[str, int]:
        parts = range(desk.parts(self.docs))
        docs = pa.concat_tables([desk.read(self.docs, part, ["id", "url", "title", "text"]) for part in parts])
        topics = pa.concat_tables([desk.read(self.clusters, part) for part in parts])["cluster"]
        angle = topics.to_numpy() * 2.4
        noise = np.random.default_rng(0).normal(0, 1, (2, len(docs)))
        place = 4 * np.sqrt(topics.to_numpy() + 1) * np.array([np.cos(angle), np.sin(angle)]) + noise
        table = docs.drop_columns(["text"]).append_column("cluster", topics)
        for name, values in zip("xy", place.astype(np.float32), strict=True):
            table = table.append_column(name, pa.array(values))
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        (desk.folder / "map.parquet").write_bytes(buffer.getvalue())
        return {"rows": len(docs)}


COVERAGE = {
    "arc": {"test": {"items": 40, "ngram": 31, "short_exact": 6, "joined": 2, "unchecked": 1}},
    "gsm8k": {"test": {"items": 25, "ngram": 25, "short_exact": 0, "joined": 0, "unchecked": 0}},
}
MEMBERS = {
    "members": {
        "meaning": {"accuracy": 91.25, "auc": 96.3, "weight": 0.55},
        "words": {"accuracy": 84.0, "auc": 90.2, "weight": 0.45},
    },
    "committee": {"accuracy": 93.0, "auc": 97.1},
    "examples": {"good": 40, "poor": 60},
    "folds": 5,
}


def build(crawl: Path, names: list[str], cap: int, min_quality: float) -> dict[str, Stage]:
    """The recipe, by name of stage."""
    a_file_each = max(path.stat().st_size for path in crawl.iterdir())
    source = Source(label="crawl", location=str(crawl), part_bytes=a_file_each)
    read = Read(files=source)
    language = Says(label="language", docs=read, phrases={"lingua": "other_language"}, with_detail=True)
    rules = Says(label="rules", docs=read, phrases={"click here": "boilerplate", "lorem": "filler"})
    clean = Keep(label="clean", docs=read, verdicts=(language, rules))
    parts = Rebalance(docs=clean, part_bytes=5000)
    duplicates = Copies(label="duplicates", docs=parts)
    unique = Keep(label="unique", docs=parts, verdicts=(duplicates,))
    refused = {"benchmark": "arc", "split": "test", "id": "q-7", "reason": "too_short", "words": 3}
    unchecked = json.dumps(refused) + "\n"
    index = Write(label="leak_index", content={"coverage.json": COVERAGE, "unchecked.jsonl": unchecked})
    leaks = Says(label="decontaminate", docs=unique, phrases={"item ": "leaked_ngram"}, with_detail=True, index=index)
    free = Keep(label="leak_free", docs=unique, verdicts=(leaks,))
    assign = Assign(label="assign", docs=free)
    labels = [
        {"cluster": n, "label": name, "words": name.split(), "rows": 20, "urls": [], "titles": []}
        for n, name in enumerate(names)
    ]
    told = {"titles": ["A <b>bold</b> title", None], "openings": ["", "how it begins"]}
    labels[0] |= {**told, "sources": [{"source": "a.org", "rows": 15}, {"source": "b & c", "rows": 1}]}
    labelled = Write(label="label_clusters", content={"labels.json": labels}, docs=assign)
    picture = Picture(label="cluster_map", docs=free, clusters=assign)
    committee = Write(label="committee", content={"report.json": MEMBERS})
    score = Score(label="score", docs=free, committee=committee)
    select = Select(label="select", clusters=assign, scores=score, min_quality=min_quality, cap=cap)
    d1 = Keep(label="d1", docs=free, verdicts=(select,), carry=("weight",))
    seen = {"final": {"corpora": ["D1 shards"], "rows": 7, "leaks": 2}}
    certificate = Certificate(label="stage_1_certificate", content={"certificate.json": seen}, docs=free)
    stages = (
        source, read, clean, unique, index, free, assign, labelled, picture, committee, score, select, d1, certificate,
    )  # fmt: skip
    return {stage.name: stage for stage in stages}
