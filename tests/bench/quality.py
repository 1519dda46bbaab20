"""The committee on sources that it has not seen, against its members and fastText, on the same texts and seeds.

    make bench-quality        (HARE_DATA: folder of real data; .bench/quality: fastText's own venv)

Good: Wikipedia, Gutenberg's books and PEPs, these two cut into pages. Poor: bodies of spam and of mail, SMS, newsgroup
posts as they are, and all the text of web pages. SOURCE_TEXTS of each, cut off at TEXT_CHARS. Every source is left out
once: the committee learns from the others, less HELD_OUT of the texts of the other side, and the figure is the AUC
between the left-out source and those texts. It then scores the articles of OneStopEnglish, which are written at three
reading levels: the share of articles with Adv > Int > Ele, 1/6 by chance. `ours` is the mean of both figures, averaged
over sources and seeds. A seed draws what is held out, and is that of all training.
"""

import email
import gzip
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from fastwarc.warc import ArchiveIterator, WarcRecordType
from numpy.typing import NDArray
from resiliparse.extract.html2text import extract_plain_text
from rich.console import Console
from rich.table import Table as Grid
from sklearn.metrics import f1_score, roc_auc_score

from hare_ray.cluster.embed import Embed
from hare_ray.cluster.packaged import embedder
from hare_ray.hardware import machine
from hare_ray.quality import Committee, Score
from hare_ray.quality.calibration import ece
from hare_ray.quality.labels import LABELLED
from hare_ray.quality.names import MEMBERS
from hare_ray.stage import Source, Table
from tests.bench.filters import peak_mb

SEEDS = 5
SOURCE_TEXTS = 200
TEXT_CHARS = 1_500
LEVEL_CHARS = 4_000
"""Of an article of OneStopEnglish; about as long as most are."""
PAGE_CHARS = 2_000
FEWEST_CHARS = 40
HELD_OUT = 0.3
GOOD = ("wikipedia", "gutenberg", "peps")
LEVELS = ("Adv-Txt", "Int-Txt", "Ele-Txt")
PEER = Path(".bench/quality/bin/python")
PEER_SIDE = Path(__file__).parent / "peers" / "quality_fasttext.py"
TEMPERATURE = 5.0


class Texts(Table):
    """Labelled texts, in memory."""

    writes = LABELLED


@dataclass(frozen=True)
class Desk:
    """What a Make reads, in memory, in one part."""

    folder: Path
    tables: dict[str, pa.Table]

    def parts(self, stage: Table) -> int:
        """One."""
        del stage
        return 1

    def read(self, stage: Table, part: int, columns: list[str]) -> pa.Table:
        """Columns of a table."""
        del part
        return self.tables[stage.name].select(columns)


DOCS = Texts()
EMBEDDING = Embed(
    docs=DOCS, model=Source(location=embedder()), dimensions=384, max_tokens=256, max_chunks=1, batch_rows=32,
    dtype="bfloat16",
)  # fmt: skip


@dataclass(frozen=True)
class Data:
    """All texts, the sources' first, then those of the articles, level by level within each."""

    texts: list[str]
    vectors: pa.Table
    source: NDArray[np.int64]
    names: list[str]

    @property
    def label(self) -> NDArray[np.int64]:
        """1 for texts of good sources."""
        return (self.source < len(GOOD)).astype(np.int64)


@dataclass(frozen=True)
class Trial:
    """One source left out."""

    seed: int
    source: int
    train: NDArray[np.int64]
    test: NDArray[np.int64]


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Lines of a file of JSON."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def pages(text: str) -> list[str]:
    """Stretches of a long text."""
    return [text[at : at + PAGE_CHARS] for at in range(0, len(text), PAGE_CHARS)]


def body(mail: str) -> str:
    """The first text of a mail, without its headers."""
    for part in email.message_from_string(mail).walk():
        if part.get_content_maintype() == "text":
            payload = part.get_payload(decode=True)
            return payload.decode("latin-1") if isinstance(payload, bytes) else ""
    return ""


def web(folder: Path) -> Iterator[str]:
    """All the text of every second page of a crawl."""
    with (folder / "web/wcxb_dev_00.warc.gz").open("rb") as stream:
        for at, record in enumerate(ArchiveIterator(stream, record_types=WarcRecordType.response)):
            if at % 2 == 0:
                yield extract_plain_text(record.reader.read().decode("utf-8", "replace"), main_content=False)


def sources(folder: Path) -> dict[str, list[str]]:
    """SOURCE_TEXTS texts of every source, drawn by a fixed seed."""
    text = folder / "text"
    mail = list(rows(text / "spamassassin_set1.jsonl.gz"))
    given = {
        "wikipedia": (row["text"] for row in rows(text / "enwiki_2014_dev.jsonl.gz")),
        "gutenberg": (page for row in rows(text / "gutenberg17.jsonl.gz") for page in pages(row["text"])),
        "peps": (page for row in rows(text / "peps.jsonl.gz") for page in pages(row["text"])),
        "spam": (body(row["text"]) for row in mail if row["label"] == "spam"),
        "mail": (body(row["text"]) for row in mail if row["label"] == "ham"),
        "sms": (row["text"] for row in rows(text / "sms_spam.jsonl.gz")),
        "newsgroups": (row["text"] for row in rows(text / "newsgroups20_train.jsonl.gz")),
        "web": web(folder),
    }
    found = {}
    for name, texts in given.items():
        enough = [one for one in texts if len(one.strip()) >= FEWEST_CHARS]
        drawn = random.Random(name).sample(enough, min(SOURCE_TEXTS, len(enough)))
        found[name] = [one[:TEXT_CHARS] for one in drawn]
    return found


def articles(folder: Path) -> list[list[str]]:
    """Articles of OneStopEnglish that have all levels, from the hardest to the easiest."""
    found: dict[str, dict[str, str]] = {}
    for row in rows(folder / "quality/onestop_english.jsonl.gz"):
        found.setdefault(row["id"].rsplit("-", 1)[0], {}).setdefault(row["level"], row["text"][:LEVEL_CHARS])
    return [[levels[level] for level in LEVELS] for levels in found.values() if len(levels) == len(LEVELS)]


def data(folder: Path) -> Data:
    """Read and embed everything."""
    found = sources(folder)
    texts = [text for name in found for text in found[name]]
    source = np.repeat(np.arange(len(found)), [len(found[name]) for name in found])
    texts += [text for levels in articles(folder) for text in levels]
    docs = pa.table({"title": pa.nulls(len(texts), pa.string()), "text": pa.array(texts, pa.large_string())})
    return Data(texts, EMBEDDING.prepare(lambda stage: Path(embedder()))(docs), source, list(found))


def trials(given: Data) -> list[Trial]:
    """Every source left out, by every seed."""
    found = []
    for seed in range(SEEDS):
        for source in range(len(given.names)):
            draw = np.random.default_rng([seed, source])
            apart = given.source == source
            other = (given.label != given.label[apart][0]) & (draw.random(len(given.label)) < HELD_OUT)
            train = draw.permutation(np.flatnonzero(~apart & ~other))
            found.append(Trial(seed, source, train, np.flatnonzero(apart | other)))
    return found


def ours(given: Data, trial: Trial) -> dict[str, NDArray[np.float64]]:
    """What committee and members say of what is tested and of the articles."""
    train = trial.train
    labelled = pa.table(
        {
            "text": pa.array([given.texts[row] for row in train], pa.large_string()),
            "label": pa.array(given.label[train], pa.float32()),
            "group": pa.array([given.names[given.source[row]] for row in train]),
        },
        pa.schema([LABELLED.field(name) for name in ("text", "label", "group")]),
    )
    committee = Committee(
        labelled=DOCS, embeddings=EMBEDDING, good_from=0.6, max_examples=50_000, temperature=TEMPERATURE,
        seed=trial.seed, folds=4,
    )  # fmt: skip
    tested = asked(given, trial)
    with tempfile.TemporaryDirectory() as name:
        desk: Any = Desk(Path(name), {DOCS.name: labelled, EMBEDDING.name: given.vectors.take(pa.array(train))})
        committee.make(desk)
        score = Score(docs=DOCS, embeddings=EMBEDDING, committee=committee).prepare(lambda stage: Path(name))
    texts = pa.table({"text": pa.array([given.texts[row] for row in tested], pa.large_string())})
    began = time.perf_counter()
    said = score(texts, given.vectors.take(pa.array(tested)))
    took = time.perf_counter() - began
    names = {"ours": "quality", **{member: f"member_{member}" for member in MEMBERS}}
    found = {who: said.column(column).to_numpy().astype(np.float64) for who, column in names.items()}
    return {**found, "documents_per_second": np.array([len(tested) / took])}


def asked(given: Data, trial: Trial) -> NDArray[np.int64]:
    """Rows that are scored: what is tested, then all articles."""
    return np.concatenate([trial.test, np.arange(len(given.source), len(given.texts))])


def fasttext(given: Data, tried: list[Trial]) -> list[NDArray[np.float64]]:
    """What fastText says of the same texts after learning from the same."""
    jobs = [
        {
            "seed": trial.seed,
            "train": [[int(given.label[row]), given.texts[row]] for row in trial.train],
            "test": [given.texts[row] for row in asked(given, trial)],
        }
        for trial in tried
    ]
    with tempfile.TemporaryDirectory() as name:
        source, out = Path(name, "jobs.json"), Path(name, "out.json")
        source.write_text(json.dumps(jobs))
        subprocess.run([str(PEER), str(PEER_SIDE), str(source), str(out)], check=True)
        return [np.array(one) for one in json.loads(out.read_text())["chances"]]


def judged(given: Data, tried: list[Trial], said: list[NDArray[np.float64]]) -> dict[str, float]:
    """Means over the trials: AUC, F1 and calibration error on what was left out; articles in order."""
    found: dict[str, list[float]] = {"auc": [], "f1": [], "ece": [], "in_order": []}
    for trial, chances in zip(tried, said, strict=True):
        label, tested = given.label[trial.test], chances[: len(trial.test)]
        levels = chances[len(trial.test) :].reshape(-1, len(LEVELS))
        found["auc"].append(float(roc_auc_score(label, tested)))
        found["f1"].append(float(f1_score(label, tested >= 0.5)))
        found["ece"].append(ece(tested, label))
        found["in_order"].append(float(np.mean((np.diff(levels, axis=1) < 0).all(axis=1))))
    means = {name: statistics.fmean(values) for name, values in found.items()}
    return {"both": (means["auc"] + means["in_order"]) / 2, **means}


def main() -> int:
    """Measure, print a table and one line of JSON."""
    folder = os.environ.get("HARE_DATA")
    if not folder or not PEER.exists():
        print(f"needs HARE_DATA (now {folder!r}) and {PEER}; see tests/bench/peers/quality.txt")
        return 1
    given = data(Path(folder))
    tried = trials(given)
    committees = [ours(given, trial) for trial in tried]
    found = {who: judged(given, tried, [one[who] for one in committees]) for who in ("ours", *MEMBERS)}
    found["fasttext"] = judged(given, tried, fasttext(given, tried))
    speed = statistics.median(float(one["documents_per_second"][0]) for one in committees)
    grid = Grid("", "AUC, unseen source", "articles in order", "mean of both", "F1", "ECE")
    for who, one in found.items():
        grid.add_row(who, *(f"{one[name]:.3f}" for name in ("auc", "in_order", "both", "f1", "ece")))
    Console().print(grid)
    best = max(MEMBERS, key=lambda member: found[member]["both"])
    peers = {"best-member": found[best]["both"], "fasttext": found["fasttext"]["both"]}
    print(f"{len(given.texts)} texts; {SEEDS} seeds; best member: {best}; {speed:.0f} documents/s on one core")
    told = {"bench": "quality", "unit": "mean of AUC and share of articles in order", "ours": found["ours"]["both"]}
    told |= {"peers": peers, "ratio": found["ours"]["both"] / max(peers.values())}
    told |= {"quality": {**found, "best_member": best, "documents_per_second_per_core": speed}}
    print(json.dumps({**told, "peak_mb": {"ours": peak_mb()}, "machine": machine()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
