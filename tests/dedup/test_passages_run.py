"""Passages through the engine: texts, ledger and books, for any cutting of the same files; edges into clusters."""

import json

import pyarrow.parquet as pq
import xxhash

from hare_ray import engine
from hare_ray.dedup.duplicates import Duplicates
from hare_ray.dedup.signature import Signature
from tests.dedup.passage_stages import graph

NOTICE = "All rights reserved by the owners of this site."


def rows_of(root, made, name, kind="part"):
    folder = root / name / made[name]["fingerprint"][:12]
    return [row for part in sorted(folder.glob(f"{kind}-*.parquet")) for row in pq.read_table(part).to_pylist()]


def test_texts_ledger_and_books(tmp_path):
    texts = [f"Page {n} says something of its own.\n\n{NOTICE.upper() if n % 2 else NOTICE}" for n in range(30)]
    texts += [f"{NOTICE}\n", f"Hello {NOTICE}\n{NOTICE}", ""]
    first = min(texts[:31], key=lambda text: xxhash.xxh3_128_digest(text.encode()))
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    for name in range(3):
        (crawl / f"{name}.txt").write_text("\n".join(json.dumps(text) for text in texts[name::3]))
    answers = []
    for part_bytes in (1 << 20, 1):
        root = tmp_path / str(part_bytes)
        made = engine.run(*graph(crawl, part_bytes), root=str(root))
        kept = {row["text"] for row in rows_of(root, made, "drop_passages")}
        gone = [row["reason"] for row in rows_of(root, made, "drop_passages", "ledger")]
        books = made["drop_passages"]["books"]
        answers.append((kept, gone, books["removed_passages"], books["removed_bytes"]))
        assert made["repeated_passages"]["books"]["repeated_passages"] == 31
        assert books["in"] == len(texts) == books["out"] + len(gone)
    assert answers[0] == answers[1]
    kept, gone, passages, removed = answers[0]
    expected = {text if text == first else text.split("\n")[0] for text in texts[:30]} | {texts[31].split("\n")[0], ""}
    assert gone == ([] if first == texts[30] else ["few_words_left"])
    assert kept == expected | ({texts[30]} if first == texts[30] else set())
    assert passages == 31 - len(gone)
    assert removed == sum(len(text) for text in texts) - sum(map(len, kept)) - len(texts[30]) * len(gone)


def test_a_document_of_paragraphs_of_another_joins_its_cluster(tmp_path):
    paragraphs = [f"Sentence {n} of a text that is long enough to count, and says {n * n}." for n in range(20)]
    texts = ["\n".join(paragraphs), "\n".join(paragraphs[3:6]), "Nothing to do with the others, this one is."]
    (tmp_path / "crawl").mkdir()
    (tmp_path / "crawl" / "a.txt").write_text("\n".join(json.dumps(text) for text in texts))
    repeated, _ = graph(tmp_path / "crawl", 1)
    signature = Signature(docs=repeated.docs, ngram=5, unit="word", bands=14, rows=8, seed=1)
    duplicates = Duplicates(
        docs=repeated.docs, signatures=signature, min_similarity=0.5, prefer=("words",), edges=(repeated,)
    )
    made = engine.run(duplicates, root=str(tmp_path / "run"))
    verdicts = rows_of(tmp_path / "run", made, "duplicates")
    assert [v["reason"] for v in verdicts] == [None, "passage_duplicate", None]
    assert [v["duplicates"] for v in verdicts] == [2, 2, 1]
    assert made["repeated_passages"]["books"]["passage_edges"] == 1
