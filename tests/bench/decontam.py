"""Decontamination: benchmark items planted into Wikipedia articles; us against datatrove's filter, one core each.

    make bench-decontam       (HARE_DATA: folder of real data; .bench/datatrove: datatrove's own venv)

Items: the six Open LLM Leaderboard tasks, all in the index. The thresholds were set with the items whose md5 is even
and other articles; what is reported is of items whose md5 is odd. Each is planted alone, as its kind says, after the
first sentence of an article. datatrove gets an index of the planted items only, which makes nothing easier for it to
miss, and fewer articles to be timed on. False positives are documents dropped with nothing planted; quotations that
Wikipedia and a benchmark really share are among them. BoolQ was made from Wikipedia and must be found in all of it.
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
from typing import Any

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
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Make, Table
from hare_ray.text import words_of
from tests.bench.decontam_cost import seconds_of
from tests.leakage.planted import ITEMS

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


def item(benchmark: str, number: int, question: str, choices: list[str], answer: str | None) -> Row:
    """A row of items.parquet."""
    names = {"benchmark": benchmark, "split": "all", "id": str(number)}
    return {**names, "question": question, "choices": choices, "answer": answer}


def exam(row: Row) -> tuple[str, list[str], str | None]:
    """Question, choices and answer of a row of any of the six tasks."""
    if "ctx" in row:
        return row["ctx"], row["endings"], row["endings"][row["label"]]
    if "sentence" in row:
        choices = [row["option1"], row["option2"]]
        return row["sentence"], choices, choices[int(row["answer"]) - 1]
    if "mc1_targets" in row:
        return row["question"], list(row["mc1_targets"]), next(k for k, v in row["mc1_targets"].items() if v)
    if isinstance(row["question"], dict):
        choices = [choice["text"] for choice in row["question"]["choices"]]
        return row["question"]["stem"], choices, None
    if "choices" in row:
        return row["question"], row["choices"], row["choices"][row["answer"]]
    return row["question"], [], row["answer"]


def leaderboard(folder: Path) -> list[Row]:
    """All items of the six tasks."""
    names = ("arc_challenge", "hellaswag", "mmlu", "truthfulqa", "winogrande", "gsm8k")
    paths = [path for name in names for path in sorted(folder.glob(f"{name}*.jsonl.gz"))]
    return [item(path.name.split(".")[0], i, *exam(row)) for path in paths for i, row in enumerate(rows_of(path))]


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
    signs = string.ascii_uppercase if "A" in form else string.digits[1:]
    lines = [form.replace("A", sign).replace("1", sign) + choice for sign, choice in zip(signs, row["choices"])]  # noqa: B905
    return "\n".join([row["question"], *lines])


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


VERBATIM: dict[str, Callable[[Row], str]] = {
    "verbatim": lambda row: row["question"],
    "choices inline": lambda row: " ".join([row["question"], *row["choices"]]),
    "choices A.": lambda row: listed(row, "A. "),
    "choices (1)": lambda row: listed(row, "(1) "),
    "answer after a newline": lambda row: f"{row['question']}\nAnswer: {row['answer'] or '72'}",
    "upper case": lambda row: row["question"].upper(),
    "markup": lambda row: marked(row["question"]),
    "wrapped, punctuated": lambda row: wrapped(row["question"]),
}
Editor = Callable[[str, random.Random, list[str]], str]
EDITED: dict[str, Editor] = {
    "5 % edited": lambda text, draw, frequent: edited(text, 0.05, draw, frequent),
    "10 % edited": lambda text, draw, frequent: edited(text, 0.1, draw, frequent),
    "20 % edited": lambda text, draw, frequent: edited(text, 0.2, draw, frequent),
    "tag inside": lambda text, draw, frequent: tagged(text),
    "10 % swapped": lambda text, draw, frequent: swapped(text, 0.1, draw),
}
HEADLINE = ("5 % edited", "10 % edited", "10 % swapped")
"""Light paraphrase, one word in ten or less; 20 % is told by kind."""


def planted(rows: list[Row], articles: list[str]) -> dict[str, list[str]]:
    """By kind, every item in an article."""
    draw = random.Random(1)
    counts = Counter(word for text in articles[:2000] for word in text.split())
    frequent = [word for word, _ in counts.most_common(FREQUENT)]
    hosts = [draw.choice(articles) for _ in rows]

    def host(text: str, leak: str) -> str:
        cut = text.find(". ") + 1
        return f"{text[:cut]} {leak} {text[cut:]}"

    plain = {
        kind: [host(*pair) for pair in zip(hosts, map(make, rows), strict=True)] for kind, make in VERBATIM.items()
    }
    for kind, edit in EDITED.items():
        plain[kind] = [host(text, edit(row["question"], draw, frequent)) for text, row in zip(hosts, rows, strict=True)]
    return plain


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


def peer(rows: list[Row], kinds: dict[str, list[str]], articles: list[str], work: Path) -> dict[str, Theirs]:
    """datatrove's filter by its default and with n-grams of the question."""
    given = {"items": rows, "kinds": {kind: texts[: len(rows)] for kind, texts in kinds.items()}, "clean": articles}
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
    rows = [item("boolq", i, row["query"], [], None) for i, row in enumerate(rows_of(data / "eval/boolq_val.jsonl.gz"))]
    check = checker(indexed(rows, work)[0], Rule(min_hits=1, max_overlap=0.0, reworded_share=None))
    texts = (row["text"] for row in rows_of(data / "text/enwiki_2014_dev.jsonl.gz"))
    hit: list[str] = []
    while batch := list(islice(texts, 4000)):
        hit += [batch[i] for i in np.flatnonzero(dropped(check, batch))]
    # An n-gram of several items names the first; here every item that holds one counts.
    known, asked = (words_of(pa.array(some)) for some in (hit, [row["question"] for row in rows]))
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
    return {name: float(found[classes == i].mean()) for i, name in enumerate(names)}


def show(recall: dict[str, np.ndarray], rows: list[Row], theirs: dict[str, Theirs]) -> dict[str, dict[str, float]]:
    """Print recall by kind and class of length; return it."""
    classes = {kind: by_length(found, rows) for kind, found in recall.items()}
    grid = Grid("kind", "ours", *classes["verbatim"], *theirs)
    for kind, found in recall.items():
        others = [f"{one.recall[kind]:.3f}" for one in theirs.values()]
        grid.add_row(kind, f"{found.mean():.4f}", *(f"{share:.3f}" for share in classes[kind].values()), *others)
    Console(width=180).print(grid)
    return classes


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
    rows = random.Random(2).sample(odd, PLANTED)
    kinds = planted(rows, articles)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        index, made = indexed(every, work / "leaderboard")
        check = checker(index, RULE)
        recall = {kind: dropped(check, texts) for kind, texts in kinds.items()}
        lean = checker(index, LEAN)
        lean_recall = {kind: float(dropped(lean, texts).mean()) for kind, texts in kinds.items()}
        verdicts = check(table(articles))
        timed = articles[:TIMED]
        megabytes = sum(len(text.encode()) for text in timed) / 1e6
        seconds, lean_seconds = cost(check, timed), cost(lean, timed)
        whole = seconds_of(work / "leaderboard" / "items", articles, NUMBERS, RULE, work / "cost")
        unchecked = set(unasked(index))
        theirs = peer(rows[:PEER_PLANTED], kinds, articles[:PEER_TIMED], work)
        boolq = boolq_found(data, work / "boolq")
    classes = show(recall, rows, theirs)
    asked = np.array([(row["benchmark"], row["id"]) not in unchecked for row in rows])
    hits = Counter(reason for reason in verdicts.column("reason").to_pylist() if reason)
    for row in verdicts.filter(pa.compute.is_valid(verdicts["reason"])).to_pylist()[:20]:
        print(f"  {row['reason']} {row['detail']}: {' '.join(row['leak_snippet'].split())[:110]}")
    print(f"{len(articles)} untouched articles: {dict(hits)}; index of {len(every)} items in {made:.1f} s; {seconds}")
    print(f"from Parquet to verdicts, {len(articles)} articles: {whole}")
    ours = megabytes / seconds["alone"]
    speeds = {name: one.megabytes_per_second for name, one in theirs.items()}
    quality = {
        "recall_verbatim": float(np.mean([recall[kind].mean() for kind in VERBATIM])),
        "recall_verbatim_of_checked": float(np.mean([recall[kind][asked].mean() for kind in VERBATIM])),
        "recall_edited": float(np.mean([recall[kind].mean() for kind in HEADLINE])),
        "false_positives": sum(hits.values()) / len(articles),
        "by_kind": {kind: float(found.mean()) for kind, found in recall.items()},
        "by_length": classes,
        "without_reworded": {"share_of_cost": lean_seconds["alone"] / seconds["alone"], **lean_recall},
        "peers_by_kind": {name: one.recall for name, one in theirs.items()},
        "boolq_items_found": boolq,
        "share_of_dedup": whole["alone"] / whole["dedup"],
        "share_added": (whole["both"] - whole["dedup"]) / whole["dedup"],
        "share_of_signature": seconds["alone"] / seconds["signature"],
        "share_added_to_signature": (seconds["both"] - seconds["signature"]) / seconds["signature"],
        "documents_per_second": len(timed) / seconds["alone"],
    }
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024
    told = {"bench": "decontam", "unit": "MB/s", "ours": ours, "peers": speeds, "ratio": ours / max(speeds.values())}
    peaks = {"ours": peak, **{name: one.peak_mb for name, one in theirs.items()}}
    print(json.dumps({**told, "quality": quality, "peak_mb": peaks, "machine": machine()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
