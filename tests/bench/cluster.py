"""Clusters against human labels, and what a million vectors cost.

    make bench-cluster        (HARE_DATA: folder of real data)

Labels: 20 Newsgroups without headers, and Reuters articles with exactly one topic among the topics of at least
MIN_ARTICLES such articles, those with the smallest hashes, embedded by our `Embed` (MiniLM, 256 tokens, bf16; its time
is not counted). Ours and scikit-learn get the same vectors, as many clusters as there are labels and as many as
`suggested_clusters` says; NMI is the mean over SEEDS.

Cost: ROWS made vectors (tests/bench/vector_stages.py) in CLUSTERS clusters, everybody in a process of its own with two
cores: ours from Parquet to Parquet with two forked processes; the others read the same files and keep what they find
in memory; faiss takes its own sample of 256 rows per cluster. `found` is the NMI with the planted topics of rows that
have one. Semantic duplicates, with our clusters, have the planted pairs as the truth. Medians of ROUNDS, in turn; the
first is watched for memory. scikit-learn's KMeans, on a sample of the same size, runs once and is cut off after
SKLEARN_SECONDS, which the table says.
"""

import argparse
import gzip
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table as Grid
from sklearn.metrics import normalized_mutual_info_score

from hare_ray.cluster import Assign, Embed, KMeans, suggested_clusters
from hare_ray.cluster.packaged import embedder
from hare_ray.dedup.semantic import SemanticDuplicates
from hare_ray.engine import run
from hare_ray.forked import Forked
from hare_ray.hardware import machine
from hare_ray.on_ray import OnRay
from hare_ray.stage import Source, Table
from tests.bench.scale_stages import Numbered, Ranges
from tests.bench.vector_stages import COPY_BACK, DIMENSIONS, NOISE, Made, Texts, copies_of, topics_of
from tests.bench.watched import timed

SEEDS = range(1, 6)
DOCUMENTS = {"newsgroups": 4000, "reuters": 2500}
FILE_DOCUMENTS = 250
FILE_BYTES = 2 << 20
"""More than any file has, which is read whole."""
MIN_ARTICLES = 20
ITERATIONS = 20
ROWS, PART_ROWS, CLUSTERS = 1_000_000, 50_000, 1000
SAMPLE_PER_CLUSTER = 256
MIN_SIMILARITY = 0.9
WORKERS = 2
LIMIT_SECONDS = 1800
ROUNDS = 3
SKLEARN_SECONDS = 150
CUT_OFF = "cut_off_after_seconds"
TIMED = ("ours", "faiss", "sklearn-minibatch", "semantic")
"""In every round; the last needs the clusters of the first."""

Vectors = NDArray[np.float32]
Labels = NDArray[np.int64]


def newsgroups(row: dict[str, Any]) -> tuple[str, str]:
    """Text without its headers, which end at the first empty line, and the group."""
    return row["text"].split("\t\t", 1)[-1], row["group"]


def reuters(row: dict[str, Any]) -> tuple[str, str]:
    """Title and text, and the topic; no label where there is not exactly one."""
    return f"{row['title'] or ''}\n{row['text']}", row["topics"][0] if len(row["topics"]) == 1 else ""


def labelled(path: Path, kind: Callable[[dict[str, Any]], tuple[str, str]], wanted: int) -> tuple[list[str], Labels]:
    """Texts and the numbers of their labels."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [kind(json.loads(line)) for line in lines]
    articles = Counter(label for text, label in rows if text.strip())
    kept = [row for row in rows if row[0].strip() and row[1] and articles[row[1]] >= MIN_ARTICLES]
    kept = sorted(kept, key=lambda row: xxhash.xxh3_64_intdigest(row[0].encode()))[:wanted]
    return [text for text, _ in kept], np.unique([label for _, label in kept], return_inverse=True)[1]


def parts(root: Path, stage: str, column: str) -> Iterator[pa.ChunkedArray]:
    """A column of a finished table, part by part."""
    manifest = json.loads((root / stage / "manifest.json").read_text())
    for number in range(len(manifest["parts"])):
        path = root / stage / manifest["fingerprint"][:12] / f"part-{number:05d}.parquet"
        yield pq.read_table(path, columns=[column]).column(column)


def numbers(root: Path, stage: str, column: str) -> NDArray:
    """A column of numbers, whole."""
    return np.concatenate([part.to_numpy() for part in parts(root, stage, column)])


def matrix(root: Path, stage: str) -> Vectors:
    """All vectors."""
    chunks = [chunk for part in parts(root, stage, "embedding") for chunk in part.chunks]
    rows = sum(map(len, chunks))
    found = np.empty((rows, DIMENSIONS), np.float32)
    at = 0
    for chunk in chunks:
        found[at : at + len(chunk)] = chunk.flatten().to_numpy().reshape(-1, DIMENSIONS)
        at += len(chunk)
    return found


def clusters_of(embeddings: Table, clusters: int | None, seed: int, name: str) -> Assign:
    """Ours."""
    centroids = KMeans(
        label=f"kmeans-{name}", embeddings=embeddings, clusters=clusters, sample_rows=5_000_000,
        iterations=ITERATIONS, seed=seed, spherical=True,
    )  # fmt: skip
    return Assign(label=f"assign-{name}", embeddings=embeddings, centroids=centroids)


def purity(labels: Labels, cluster: NDArray[np.integer]) -> float:
    """Share of rows whose label is the most frequent of their cluster."""
    table = np.zeros((cluster.max() + 1, labels.max() + 1), np.int64)
    np.add.at(table, (cluster, labels), 1)
    return float(table.max(axis=1).sum() / len(labels))


def theirs(vectors: Vectors, clusters: int) -> dict[str, Callable[[int], NDArray[np.integer]]]:
    """The peers, by seed."""
    from sklearn.cluster import KMeans as Theirs
    from sklearn.cluster import MiniBatchKMeans

    return {
        "sklearn": lambda seed: Theirs(clusters, n_init=10, random_state=seed).fit_predict(vectors),
        "sklearn-once": lambda seed: Theirs(clusters, n_init=1, random_state=seed).fit_predict(vectors),
        "sklearn-minibatch": lambda seed: MiniBatchKMeans(clusters, random_state=seed).fit_predict(vectors),
        "random": lambda seed: np.random.default_rng(seed).integers(clusters, size=len(vectors)),
    }


def scores(found: list[NDArray[np.integer]], labels: Labels, seconds: float) -> dict[str, float]:
    """Means over the seeds."""
    nmi = [float(normalized_mutual_info_score(labels, cluster)) for cluster in found]
    pure = float(np.mean([purity(labels, cluster) for cluster in found]))
    return {"nmi": float(np.mean(nmi)), "nmi_sd": float(np.std(nmi)), "purity": pure, "seconds": seconds}


def against_labels(texts: list[str], labels: Labels, root: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Scores of everybody on one set, by number of clusters."""
    crawl = root / "crawl"
    crawl.mkdir(parents=True)
    for first in range(0, len(texts), FILE_DOCUMENTS):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts[first : first + FILE_DOCUMENTS])
        (crawl / f"{first:06d}.jsonl").write_text(lines)
    docs = Texts(files=Source(label="crawl", location=str(crawl), part_bytes=FILE_BYTES))
    embed = Embed(
        docs=docs, model=Source(label="model", location=embedder()), dimensions=DIMENSIONS, max_tokens=256,
        max_chunks=1, batch_rows=32, dtype="bfloat16",
    )  # fmt: skip
    counts = {"labels": int(labels.max()) + 1, "suggested": suggested_clusters(len(texts))}
    stages = {
        (kind, seed): clusters_of(embed, clusters, seed, f"{kind}-{seed}")
        for kind, clusters in counts.items()
        for seed in SEEDS
    }
    # Not forked: scikit-learn's threads are in this process already, and torch's would be copied from them.
    manifests = run(*stages.values(), root=str(root / "run"), executor=lambda place: OnRay(place, WORKERS))
    vectors = matrix(root / "run", "embed")
    found: dict[str, dict[str, dict[str, float]]] = {}
    for kind, clusters in counts.items():
        mine = [stages[kind, seed].name for seed in SEEDS]
        seconds = [manifests[name.replace("assign", "kmeans")]["run"]["seconds"] for name in mine]
        here = [numbers(root / "run", stage, "cluster") for stage in mine]
        found[kind] = {"ours": scores(here, labels, float(np.mean(seconds)))}
        for peer, fit in theirs(vectors, clusters).items():
            began = time.perf_counter()
            there = [fit(seed) for seed in SEEDS]
            found[kind][peer] = scores(there, labels, (time.perf_counter() - began) / len(SEEDS))
    return found


def made_graph() -> tuple[Numbered, Made]:
    """Documents and vectors of the cost side."""
    docs = Numbered(ranges=Ranges(documents=ROWS, part_documents=PART_ROWS))
    return docs, Made(docs=docs)


def ours_at_scale(root: Path) -> dict[str, float]:
    """k-means and assignment of the made vectors."""
    _, vectors = made_graph()
    forget(root, "kmeans-made", "assign-made")
    began = time.perf_counter()
    manifests = run(
        clusters_of(vectors, CLUSTERS, 1, "made"), root=str(root), executor=lambda _: Forked(WORKERS)
    )  # fmt: skip
    seconds = time.perf_counter() - began
    steps = {f"{name}_seconds": manifests[f"{name}-made"]["run"]["seconds"] for name in ("kmeans", "assign")}
    return {"seconds": seconds, **steps, "found": found_topics(numbers(root, "assign-made", "cluster"))}


def forget(root: Path, *stages: str) -> None:
    """Take away what an earlier round has made."""
    for stage in stages:
        shutil.rmtree(root / stage, ignore_errors=True)


def peer_at_scale(peer: str, root: Path) -> dict[str, float]:
    """The same by another library, with its own threads."""
    began = time.perf_counter()
    vectors = matrix(root, "made")
    sample = np.sort(np.random.default_rng(1).choice(ROWS, SAMPLE_PER_CLUSTER * CLUSTERS, replace=False))
    if peer == "faiss":
        import faiss

        kmeans = faiss.Kmeans(DIMENSIONS, CLUSTERS, niter=ITERATIONS, seed=1, spherical=True)
        kmeans.train(vectors)
        index = faiss.IndexFlatIP(DIMENSIONS)
        index.add(kmeans.centroids)
        cluster = index.search(vectors, 1)[1][:, 0]
    elif peer == "sklearn":
        from sklearn.cluster import KMeans as Theirs

        fit = Theirs(CLUSTERS, n_init=1, max_iter=ITERATIONS, random_state=1).fit(vectors[sample])
        cluster = fit.predict(vectors)
    else:
        from sklearn.cluster import MiniBatchKMeans

        cluster = MiniBatchKMeans(CLUSTERS, n_init=1, random_state=1).fit_predict(vectors)
    return {"seconds": time.perf_counter() - began, "found": found_topics(cluster)}


def found_topics(cluster: NDArray[np.integer]) -> float:
    """NMI with the planted topics, of rows that have one."""
    topic = np.concatenate([topics_of(first, PART_ROWS) for first in range(0, ROWS, PART_ROWS)])
    return float(normalized_mutual_info_score(topic[topic != NOISE], cluster[topic != NOISE]))


def semantic(root: Path) -> dict[str, float]:
    """Semantic duplicates of the made vectors: seconds, and what of the planted pairs was found."""
    docs, vectors = made_graph()
    clusters = clusters_of(vectors, CLUSTERS, 1, "made")
    stage = SemanticDuplicates(
        docs=docs, embeddings=vectors, clusters=clusters, min_similarity=MIN_SIMILARITY, prefer=()
    )  # fmt: skip
    forget(root, stage.name)
    began = time.perf_counter()
    run(stage, root=str(root), executor=lambda _: Forked(WORKERS))
    seconds = time.perf_counter() - began
    gone = np.concatenate([pc.is_valid(part).to_numpy() for part in parts(root, stage.name, "reason")])
    copies = np.concatenate([first + copies_of(PART_ROWS) for first in range(0, ROWS, PART_ROWS)])
    pairs = gone[copies] | gone[copies - COPY_BACK]
    recall, precision = float(pairs.mean()), float(pairs.sum() / max(gone.sum(), 1))
    return {"seconds": seconds, "rows_per_second": ROWS / seconds, "recall": recall, "precision": precision}


def make_vectors(root: Path) -> dict[str, float]:
    """Those of the cost side; nobody counts the time."""
    run(made_graph()[1], root=str(root), executor=lambda _: Forked(WORKERS))
    return {}


def measured(who: str, work: Path, watch: bool = False, limit_seconds: float = LIMIT_SECONDS) -> dict[str, float]:
    """One side in a process of its own; memory where it is watched."""
    told = work / f"{who}.json"
    command = [sys.executable, "-m", "tests.bench.cluster", "--one", who, str(work / "root"), str(told)]
    took = timed(command, work / f"{who}.log", watch=watch, limit_seconds=limit_seconds)
    memory = {"peak_mib": took.tree_mib, "largest_process_mib": took.largest_mib} if watch else {}
    return {**json.loads(told.read_text()), **memory}


def at_scale(work: Path) -> tuple[dict[str, dict[str, float]], dict[str, list[float]]]:
    """Medians of every side's numbers, and the seconds of its rounds."""
    measured("make", work)
    rounds: dict[str, list[dict[str, float]]] = {who: [] for who in TIMED}
    for number in range(ROUNDS):
        for who, said in rounds.items():
            said.append(measured(who, work, watch=number == 0))
    medians = {
        who: {name: statistics.median(one[name] for one in said if name in one) for name in said[0]}
        for who, said in rounds.items()
    }
    try:
        medians["sklearn"] = measured("sklearn", work, watch=True, limit_seconds=SKLEARN_SECONDS)
    except RuntimeError as error:
        if f"ended after {SKLEARN_SECONDS} s" not in str(error):
            raise
        medians["sklearn"] = {CUT_OFF: SKLEARN_SECONDS}
    return medians, {who: [one["seconds"] for one in said] for who, said in rounds.items()}


def cell(one: dict[str, float], name: str) -> str:
    """A number as it is shown; the seconds of a side that was cut off are more than its limit."""
    if name == "seconds" and CUT_OFF in one:
        return f"> {one[CUT_OFF]:g} s"
    return f"{one[name]:,.4g}" if name in one else ""


def grid(title: str, rows: dict[str, dict[str, float]]) -> Grid:
    """A row for everybody, a column for every number."""
    names = list(dict.fromkeys(name for one in rows.values() for name in one if name != CUT_OFF))
    table = Grid("", *names, title=title)
    for who, one in rows.items():
        table.add_row(who, *(cell(one, name) for name in names))
    return table


def main() -> int:
    """Measure, print tables and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=3, metavar=("WHO", "ROOT", "OUT"), help="what a process of one side does")
    options = parser.parse_args()
    if options.one:
        who, root, out = options.one
        sides = {"make": make_vectors, "ours": ours_at_scale, "semantic": semantic}
        told = sides[who](Path(root)) if who in sides else peer_at_scale(who, Path(root))
        Path(out).write_text(json.dumps(told))
        return 0
    folder = os.environ.get("HARE_DATA")
    if not folder:
        print("needs HARE_DATA: the folder of real data")
        return 1
    import ray

    console = Console(width=160) if not sys.stdout.isatty() else Console()
    work = Path(tempfile.mkdtemp(prefix="hare-bench-"))
    try:
        sets = {"newsgroups": ("newsgroups20_train", newsgroups), "reuters": ("reuters21578_train", reuters)}
        by_set: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
        for name, (file, kind) in sets.items():
            texts, labels = labelled(Path(folder, "text", f"{file}.jsonl.gz"), kind, DOCUMENTS[name])
            by_set[name] = against_labels(texts, labels, work / name)
            for count, rows in by_set[name].items():
                console.print(grid(f"{name}, k: {count}", rows))
        ray.shutdown()
        cost, rounds = at_scale(work)
        duplicates = cost.pop("semantic")
        console.print(grid(f"{ROWS:,} vectors, k = {CLUSTERS:,}, medians of {ROUNDS}", cost))
        console.print(grid(f"semantic duplicates, median of {ROUNDS}", {"ours": duplicates}))
    finally:
        shutil.rmtree(work)
    means = {
        who: float(np.mean([one["labels"][who]["nmi"] for one in by_set.values()]))
        for who in by_set["newsgroups"]["labels"]
    }
    ours = means.pop("ours")
    watched = {who: one for who, one in {**cost, "semantic": duplicates}.items() if "peak_mib" in one}
    peaks = {who: round(one["peak_mib"]) for who, one in watched.items()}
    quality = {"sets": by_set, "million": cost, "semantic": duplicates, "round_seconds": rounds}
    told = {"bench": "cluster", "unit": "NMI", "ours": ours, "peers": means, "ratio": ours / max(means.values())}
    print(json.dumps({**told, "quality": quality, "peak_mb": peaks, "machine": machine()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
