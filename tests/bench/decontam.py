"""Decontamination: benchmark items planted into Wikipedia articles; us against datatrove's filter, one core each.

    make bench-decontam       (HARE_DATA: folder of real data; .bench/datatrove: datatrove's own venv)

Items: the six Open LLM Leaderboard tasks, read by the product's own forms, all in the index. The thresholds were set
with the items whose md5 is even and other articles; what is reported is of items whose md5 is odd. Each is planted
alone, as its kind says, after the first sentence of an article. `recall_edited` is of the kinds that change at most one
word in ten, and of a tag inside the text: its name is a word to us, as telling tags from text about tags would take a
parser on every page. datatrove gets an index of the planted items only, which makes nothing easier for it to miss, and
fewer articles to be timed on. False positives are documents dropped with nothing planted; quotations that Wikipedia and
a benchmark really share are among them. BoolQ was made from Wikipedia and must be found in all of it.
"""

import gzip
import json
import os
import random
import statistics
import string
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import md5
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table as Grid

from hare_ray.dedup.signature import Signature
from hare_ray.hardware import machine
from hare_ray.leakage.index import LeakIndex
from hare_ray.leakage.leaks import Rule, checker
from hare_ray.leakage.lookup import run_keys
from hare_ray.leakage.phrasings import BLANK, Item, entire
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Make, Table
from hare_ray.text import words_of
from tests.bench.decontam_cost import seconds_of
from tests.leakage.planted import ITEMS, READ

ROUNDS = 7
PLANTED, PEER_PLANTED = 3000, 300
CLEAN_EVERY, TIMED, PEER_TIMED = 8, 5000, 300
FREQUENT = 1000
"""Words that replace others, the most frequent ones of the articles."""
CLASSES = (8, 13, 20, 40)
"""Words of a question at which the classes of length begin."""
RULE = Rule(min_hits=1, max_overlap=0.0, reworded_share=0.7)
LEAN = Rule(min_hits=1, max_overlap=0.0, reworded_share=None)
"""The cheaper search, without reworded questions."""
NUMBERS: dict[str, Any] = {
    "ngram": 13,
    "min_words": 4,
    "min_weight": 1.0,
    "anchor_words": 4,
    "anchors_per_question": 10,
    "anchor_weight": 0.9,
    "reworded_weight": 2.0,
}
PEER = Path(".bench/datatrove/bin/python")
Row = dict[str, Any]


class Documents(Table):
    writes = DOCUMENT


class Given(Make):
    """Files that exist already."""


def rows_of(path: Path) -> Iterator[Row]:
    """Rows of a JSONL file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def items_of(path: Path) -> list[Row]:
    """Rows of items.parquet, as the product reads the file."""
    name = path.name.split(".")[0]
    parsed = (READ(row, f"{name}, item {number}")._asdict() for number, row in enumerate(rows_of(path)))
    return [{**row, "benchmark": name, "split": "all", "id": str(number)} for number, row in enumerate(parsed)]


def leaderboard(folder: Path) -> list[Row]:
    """All items of the six tasks."""
    names = ("arc_challenge", "hellaswag", "mmlu", "truthfulqa", "winogrande", "gsm8k")
    paths = [path for name in names for path in sorted(folder.glob(f"{name}*.jsonl.gz"))]
    return [row for path in paths for row in items_of(path)]


def indexed(rows: list[Row], work: Path) -> tuple[Path, float]:
    """The folder of an index of these items, and the seconds to make it."""
    source, out = work / "items", work / "index"
    source.mkdir(parents=True)
    out.mkdir()
    pq.write_table(pa.Table.from_pylist(rows, ITEMS), source / "items.parquet", row_group_size=4096)
    stage = LeakIndex(benchmarks=(Given(),), **NUMBERS)
    desk: Any = SimpleNamespace(stage=stage, folder=out, files=lambda stage: source)
    began = time.perf_counter()
    stage.make(desk)
    return out, time.perf_counter() - began


def edited(text: str, share: float, draw: random.Random, frequent: list[str]) -> str:
    """`share` of the words, at least one, replaced, followed by another, or dropped."""
    words = text.split()
    edits = {i for i in range(len(words)) if draw.random() < share} or {draw.randrange(len(words))}
    out = []
    for i, word in enumerate(words):
        other = draw.choice(frequent)
        out += draw.choice(([other], [word, other], [])) if i in edits else [word]
    return " ".join(out)


def swapped(text: str, share: float, draw: random.Random) -> str:
    """Neighbouring words swapped, `share` of them and at least one pair."""
    words = text.split()
    for i in {i for i in range(len(words) - 1) if draw.random() < share} or {draw.randrange(max(1, len(words) - 1))}:
        words[i : i + 2] = words[i : i + 2][::-1]
    return " ".join(words)


def listed(row: Row, form: str) -> str:
    """Question and choices, with letters or numbers."""
    signs = string.ascii_uppercase if "A" in form else [str(number) for number in range(1, 100)]
    lines = [form.replace("A", sign).replace("1", sign) + choice for sign, choice in zip(signs, row["choices"])]  # noqa: B905
    return "\n".join([row["question"], *lines])


def filled(row: Row) -> str | None:
    """The question with the answer in its blank; None where there is none."""
    choice = row["answer"] or (row["choices"] or [None])[0]
    return BLANK.sub(lambda _: choice, row["question"]) if choice and BLANK.search(row["question"]) else None


def marked(text: str) -> str:
    """With a tag and a bullet around, and two words set off."""
    words = text.split()
    words[len(words) // 2] = f"**{words[len(words) // 2]}**"
    words[-1] = f"\\( {words[-1]} \\)"
    return f"- <b>{' '.join(words)}</b>"


def tagged(text: str) -> str:
    """With a tag inside, whose name is a word like any other."""
    words = text.split()
    words[len(words) // 2] = f"<em>{words[len(words) // 2]}</em>"
    return " ".join(words)


def wrapped(text: str) -> str:
    """Other line breaks and other punctuation."""
    words = text.replace(",", " -").replace("?", " ...").replace(".", ";").split()
    return "\n".join(" ".join(words[i : i + 5]) for i in range(0, len(words), 5))


VERBATIM: dict[str, Callable[[Row], str | None]] = {
    "verbatim": lambda row: row["question"],
    "choices inline": lambda row: " ".join([row["question"], *row["choices"]]),
    "choices A.": lambda row: listed(row, "A. "),
    "choices (1)": lambda row: listed(row, "(1) "),
    "answer after a newline": lambda row: f"{row['question']}\nAnswer: {row['answer'] or '72'}",
    "upper case": lambda row: row["question"].upper(),
    "markup": lambda row: marked(row["question"]),
    "wrapped, punctuated": lambda row: wrapped(row["question"]),
    "blank filled": filled,
}
Editor = Callable[[str, random.Random, list[str]], str]
EDITED: dict[str, Editor] = {
    "5 % edited": lambda text, draw, frequent: edited(text, 0.05, draw, frequent),
    "10 % edited": lambda text, draw, frequent: edited(text, 0.1, draw, frequent),
    "20 % edited": lambda text, draw, frequent: edited(text, 0.2, draw, frequent),
    "tag inside": lambda text, draw, frequent: tagged(text),
    "10 % swapped": lambda text, draw, frequent: swapped(text, 0.1, draw),
}
HEADLINE = ("5 % edited", "10 % edited", "10 % swapped", "tag inside")
"""Light paraphrase, one word in ten or less; 20 % is told by kind."""


class Kind(NamedTuple):
    """Articles with an item each, and the number of the row that it comes from."""

    rows: np.ndarray
    texts: list[str]


def planted(rows: list[Row], articles: list[str]) -> dict[str, Kind]:
    """By kind, every item that has it, in an article."""
    draw = random.Random(1)
    counts = Counter(word for text in articles[:2000] for word in text.split())
    frequent = [word for word, _ in counts.most_common(FREQUENT)]
    hosts = [draw.choice(articles) for _ in rows]

    def host(text: str, leak: str) -> str:
        cut = text.find(". ") + 1
        return f"{text[:cut]} {leak} {text[cut:]}"

    leaks: dict[str, list[str | None]] = {kind: [make(row) for row in rows] for kind, make in VERBATIM.items()}
    for kind, edit in EDITED.items():
        leaks[kind] = [edit(row["question"], draw, frequent) for row in rows]
    kinds = {}
    for kind, found in leaks.items():
        some = [(number, leak) for number, leak in enumerate(found) if leak is not None]
        texts = [host(hosts[number], leak) for number, leak in some]
        kinds[kind] = Kind(np.array([number for number, _ in some], np.int64), texts)
    return kinds


def dropped(check: Callable[[pa.Table], pa.Table], texts: list[str]) -> np.ndarray:
    """Which documents are dropped."""
    return np.asarray(check(table(texts)).column("reason").is_valid())


def table(texts: list[str]) -> pa.Table:
    """Documents that no one has seen, so that nothing is remembered of them."""
    return pa.table({"text": pa.array(texts, pa.large_string())})


def cost(check: Callable[[pa.Table], pa.Table], texts: list[str]) -> dict[str, float]:
    """Seconds of Signature, of the check alone, and of both over one table; medians."""
    stage = Signature(docs=Documents(), ngram=5, unit="word", bands=14, rows=8, seed=1)
    sign = stage.prepare(lambda stage: Path())
    column = table(texts).column("text")
    runs = {"signature": (sign,), "alone": (check,), "both": (sign, check)}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, functions in runs.items():
            docs = pa.table({"text": column})
            began = time.perf_counter()
            for function in functions:
                function(docs)
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


@dataclass(frozen=True)
class Theirs:
    """What datatrove's filter did."""

    megabytes_per_second: float
    recall: dict[str, float]
    peak_mb: int


def peer(rows: list[Row], kinds: dict[str, Kind], articles: list[str], work: Path) -> dict[str, Theirs]:
    """datatrove's filter by its default and with n-grams of the question."""
    texts = {kind: some.texts[: int((some.rows < len(rows)).sum())] for kind, some in kinds.items()}
    given = {"items": rows, "kinds": texts, "clean": articles}
    (work / "in.json").write_text(json.dumps(given))
    script = Path(__file__).parent / "peers" / "decontam_datatrove.py"
    subprocess.run([str(PEER), str(script), str(work / "in.json"), str(work / "out.json")], check=True)
    size = sum(len(text.encode()) for text in articles) / 1e6
    told = json.loads((work / "out.json").read_text())
    return {
        name: Theirs(size / one["seconds"], {k: float(np.mean(v)) for k, v in one["found"].items()}, one["peak_mb"])
        for name, one in told.items()
    }


def boolq_found(data: Path, work: Path) -> int:
    """Items of BoolQ found in the whole of Wikipedia by n-grams."""
    rows = items_of(data / "eval/boolq_val.jsonl.gz")
    check = checker(indexed(rows, work)[0], Rule(min_hits=1, max_overlap=0.0, reworded_share=None))
    texts = (row["text"] for row in rows_of(data / "text/enwiki_2014_dev.jsonl.gz"))
    hit: list[str] = []
    while batch := list(islice(texts, 4000)):
        hit += [batch[i] for i in np.flatnonzero(dropped(check, batch))]
    # An n-gram of several items names the first; here every item that holds one counts.
    known, asked = (words_of(pa.array(some)) for some in (hit, [entire(Item(**row)) for row in rows]))
    keys, _ = run_keys(known.hashes, known.offsets, NUMBERS["ngram"])
    own, items = run_keys(asked.hashes, asked.offsets, NUMBERS["ngram"])
    return len(np.unique(items[np.isin(own, keys)]))


def unasked(index: Path) -> list[tuple[str, str]]:
    """Benchmark and id of the items that the index says nothing checks."""
    lines = map(json.loads, (index / "unchecked.jsonl").read_text().splitlines())
    return [(line["benchmark"], line["id"]) for line in lines]


def by_length(found: np.ndarray, rows: list[Row]) -> dict[str, float]:
    """Share found by number of words of the question."""
    classes = np.digitize([len(row["question"].split()) for row in rows], CLASSES)
    names = ["under 8", "8 to 12", "13 to 19", "20 to 39", "40 and more"]
    return {name: float(found[classes == i].mean()) for i, name in enumerate(names) if np.any(classes == i)}


def show(
    recall: dict[str, np.ndarray], kinds: dict[str, Kind], rows: list[Row], theirs: dict[str, Theirs]
) -> dict[str, dict[str, float]]:
    """Print recall by kind and class of length; return it."""
    classes = {kind: by_length(found, [rows[i] for i in kinds[kind].rows]) for kind, found in recall.items()}
    grid = Grid("kind", "ours", *classes["verbatim"], *theirs)
    for kind, found in recall.items():
        others = [f"{one.recall[kind]:.3f}" for one in theirs.values()]
        shares = [f"{classes[kind][name]:.3f}" if name in classes[kind] else "" for name in classes["verbatim"]]
        grid.add_row(kind, f"{found.mean():.4f}", *shares, *others)
    Console(width=180).print(grid)
    return classes


def measured(rows: list[Row], every: list[Row], data: Path, articles: list[str]) -> Row:
    """All that is told: rates of both sides, quality, peaks."""
    kinds, timed = planted(rows, articles), articles[:TIMED]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        index, made = indexed(every, work / "leaderboard")
        check, lean = checker(index, RULE), checker(index, LEAN)
        recall = {kind: dropped(check, some.texts) for kind, some in kinds.items()}
        lean_recall = {kind: float(dropped(lean, some.texts).mean()) for kind, some in kinds.items()}
        verdicts = check(table(articles))
        seconds, lean_seconds = cost(check, timed), cost(lean, timed)
        whole = seconds_of(work / "leaderboard" / "items", articles, NUMBERS, RULE, work / "cost")
        unchecked = set(unasked(index))
        theirs = peer(rows[:PEER_PLANTED], kinds, articles[:PEER_TIMED], work)
        boolq = boolq_found(data, work / "boolq")
    print(f"index of {len(every)} items in {made:.1f} s; {seconds}")
    print(f"from Parquet to verdicts, {len(articles)} articles: {whole}")
    asked = np.array([(row["benchmark"], row["id"]) not in unchecked for row in rows])
    share = {kind: float(found.mean()) for kind, found in recall.items()}
    of_asked = [recall[kind][asked[kinds[kind].rows]].mean() for kind in VERBATIM]
    quality = {
        "recall_verbatim": float(np.mean([share[kind] for kind in VERBATIM])),
        "recall_verbatim_of_checked": float(np.mean(of_asked)),
        "recall_edited": float(np.mean([share[kind] for kind in HEADLINE])),
        "false_positives": alarms(verdicts),
        "by_kind": share,
        "by_length": show(recall, kinds, rows, theirs),
        "without_reworded": {"share_of_cost": lean_seconds["alone"] / seconds["alone"], **lean_recall},
        "peers_by_kind": {name: one.recall for name, one in theirs.items()},
        "boolq_items_found": boolq,
        "share_of_dedup": whole["alone"] / whole["dedup"],
        "share_added": (whole["both"] - whole["dedup"]) / whole["dedup"],
        "share_of_signature": seconds["alone"] / seconds["signature"],
        "share_added_to_signature": (seconds["both"] - seconds["signature"]) / seconds["signature"],
        "documents_per_second": len(timed) / seconds["alone"],
    }
    ours = sum(len(text.encode()) for text in timed) / 1e6 / seconds["alone"]
    speeds = {name: one.megabytes_per_second for name, one in theirs.items()}
    peaks = {name: one.peak_mb for name, one in theirs.items()}
    return {"ours": ours, "peers": speeds, "ratio": ours / max(speeds.values()), "quality": quality, "peak_mb": peaks}


def alarms(verdicts: pa.Table) -> float:
    """Print what is dropped of untouched articles; which share of them."""
    hits = Counter(reason for reason in verdicts.column("reason").to_pylist() if reason)
    for row in verdicts.filter(pa.compute.is_valid(verdicts["reason"])).to_pylist()[:20]:
        print(f"  {row['reason']} {row['detail']}: {' '.join(row['leak_snippet'].split())[:110]}")
    print(f"{len(verdicts)} untouched articles: {dict(hits)}")
    return sum(hits.values()) / len(verdicts)


def main() -> int:
    """Measure, print a table and one line of JSON."""
    folder = os.environ.get("HARE_DATA")
    if not folder or not PEER.exists():
        print(f"needs HARE_DATA (now {folder!r}) and {PEER}; see tests/bench/peers/datatrove.txt")
        return 1
    data = Path(folder)
    articles = [row["text"] for row in rows_of(data / "text/enwiki_2014_dev.jsonl.gz")][4::CLEAN_EVERY]
    every = leaderboard(data / "eval")
    odd = [row for row in every if md5(row["question"].encode()).digest()[0] % 2 and row["question"].split()]
    told = measured(random.Random(2).sample(odd, PLANTED), every, data, articles)
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024
    told["peak_mb"] = {"ours": peak, **told["peak_mb"]}
    print(json.dumps({"bench": "decontam", "unit": "MB/s", **told, "machine": machine()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
