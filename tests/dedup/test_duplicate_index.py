"""The index of a crawl, and crawls compared with those of earlier ones, on the engine and in memory."""

import itertools
import json
import random
import shutil
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hare_ray.dedup import known
from hare_ray.dedup.duplicates import Duplicates
from hare_ray.dedup.index_files import overlapping
from hare_ray.dedup.runs import hashed
from hare_ray.dedup.signature import Signature
from hare_ray.engine import run
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Source
from tests.dedup.crawl import DOCS, SIGNATURE, MemoryDesk, document, parts_of, words
from tests.dedup.crawl import verdicts as verdicts_on
from tests.dedup.stages import KeepAll, Texts


def graph(folder, name, old=(), **signed):
    """Signatures, verdicts and index of the texts in a folder, with labels of their own."""
    source = Source(label=f"{name}_source", location=str(folder))
    docs = Texts(label=f"{name}_docs", files=source)
    signed = {"ngram": 5, "unit": "word", "bands": 14, "rows": 8, "seed": 1, **signed}
    signature = Signature(label=f"{name}_signature", docs=docs, **signed)
    found = Duplicates(
        label=f"{name}_duplicates", docs=docs, signatures=signature, min_similarity=0.5, prefer=("words",), known=old
    )
    index = known.DuplicateIndex(label=f"{name}_index", docs=docs, signatures=signature, duplicates=found)
    return found, index


def write_crawl(folder, texts, files=2):
    """Lines of text, one document each; the URL is the first word."""
    folder.mkdir(parents=True)
    for file in range(files):
        (folder / f"{file}.txt").write_text("\n".join(texts[file::files]) + "\n")
    return folder


def verdicts_of(root, name):
    """URL and verdict of every row, and the books."""
    manifest = json.loads((root / f"{name}_duplicates" / "manifest.json").read_text())
    tables = []
    for kind in ("docs", "duplicates"):
        place = json.loads((root / f"{name}_{kind}" / "manifest.json").read_text())["fingerprint"][:12]
        paths = sorted((root / f"{name}_{kind}" / place).glob("part-*.parquet"))
        tables.append(pa.concat_tables([pq.read_table(path) for path in paths]).to_pylist())
    return {doc["url"]: {**verdict, "id": doc["id"]} for doc, verdict in zip(*tables, strict=True)}, manifest["books"]


def line(name, text):
    return f"https://{name} " + " ".join(text)


def near(seed, edit):
    """A text of 300 words of which one is changed: an edit of its own for every `edit`."""
    text = words(300, seed)
    text[10 * edit] = f"edited{edit}"
    return text


def test_three_crawls_keep_no_text_twice_and_old_text_is_not_read(tmp_path):
    crawls = [
        [line(f"1/{n}", words(300, n)) for n in range(20)] + [line("1/again", words(300, 0)), line("1/short", ["a"])],
        [line(f"2/{n}", near(n, 1)) for n in range(5)] + [line(f"2/{n}", words(300, n)) for n in range(30, 40)],
        [line(f"3/{n}", near(n, 2)) for n in (3, 4, 31, 50)] + [line("3/short", ["A!"]), line("3/50b", words(300, 50))],
    ]
    folders = [write_crawl(tmp_path / str(n), texts) for n, texts in enumerate(crawls)]
    roots = [tmp_path / f"root{n}" for n in range(3)]
    first = graph(folders[0], "one")
    run(*first, root=str(roots[0]))
    shutil.rmtree(folders[0])
    found = json.loads((roots[0] / "one_index" / "manifest.json").read_text())["fingerprint"][:12]
    one = Source(label="one_known", location=str(roots[0] / "one_index" / found))
    second = graph(folders[1], "two", old=(one,))
    run(*second, root=str(roots[1]))
    shutil.rmtree(folders[1])
    for root in roots[:2]:
        for kind in ("docs", "signature"):
            for path in root.glob(f"*_{kind}"):
                shutil.rmtree(path)
    found = json.loads((roots[1] / "two_index" / "manifest.json").read_text())["fingerprint"][:12]
    two = Source(label="two_known", location=str(roots[1] / "two_index" / found))
    third = graph(folders[2], "three", old=(one, two))
    run(*third, root=str(roots[2]))
    verdicts, books = verdicts_of(roots[2], "three")
    new = sorted(("https://3/50", "https://3/50b"), key=lambda url: verdicts[url]["id"])
    assert {url: (v["reason"], v["detail"]) for url, v in verdicts.items()} == {
        "https://3/3": ("near_duplicate", "https://1/3"),
        "https://3/4": ("near_duplicate", "https://1/4"),
        "https://3/31": ("near_duplicate", "https://2/31"),
        "https://3/short": ("exact_duplicate", "https://1/short"),
        new[0]: (None, None),
        new[1]: ("near_duplicate", new[0]),
    }
    assert verdicts["https://3/3"]["duplicates"] == 2
    assert verdicts["https://3/3"]["similarity"] > 0.8
    assert (books["known_texts"], books["texts"]) == (21 + 10, 6)


def test_a_crawl_seen_before_is_dropped_whole(tmp_path):
    texts = [line(str(n), words(40, n)) for n in range(30)]
    first = graph(write_crawl(tmp_path / "in", texts), "one")
    again = graph(write_crawl(tmp_path / "again", texts, files=3), "two", old=(first[1],))
    run(first[1], again[0], root=str(tmp_path / "run"))
    verdicts, _ = verdicts_of(tmp_path / "run", "two")
    assert {v["reason"] for v in verdicts.values()} == {"same_record"}
    assert all(v["detail"] == url and v["duplicates"] == 2 for url, v in verdicts.items())
    assert all(v["duplicate_cluster"] == v["id"] and v["similarity"] == 1 for v in verdicts.values())


def test_the_files_of_an_index_are_sorted_runs_of_what_was_kept(tmp_path):
    texts = [line(str(n), words(40, n % 25)) for n in range(30)]
    index = graph(write_crawl(tmp_path / "in", texts), "one")[1]
    run(index, root=str(tmp_path / "run"))
    manifest = json.loads((tmp_path / "run" / "one_index" / "manifest.json").read_text())
    folder = tmp_path / "run" / "one_index" / manifest["fingerprint"][:12]
    names = {"settings.json", "texts-00000.bin", "records-00000.parquet", "bands-00000.bin", "ids-00000.bin"}
    assert {file["name"] for file in manifest["files"]} == names == {path.name for path in folder.iterdir()}
    assert manifest["books"] == {"rows": 30, "texts": 25}
    exact = np.frombuffer((folder / "texts-00000.bin").read_bytes(), np.uint64, 50).reshape(-1, 2)
    keys = np.frombuffer((folder / "bands-00000.bin").read_bytes(), np.uint64, 25 * 14)
    assert np.all(np.diff(hashed(exact).astype(object)) > 0) and np.all(np.diff(keys.astype(object)) >= 0)
    assert (folder / "bands-00000.bin").stat().st_size == 25 * 14 * 12


@pytest.mark.parametrize("wrong", [{"ngram": 4}, {"seed": 2}, {"bands": 7}, {"unit": "character"}])
def test_signatures_made_otherwise_are_refused(tmp_path, wrong):
    folder = write_crawl(tmp_path / "in", [line("a", words(30, 1))])
    index = graph(folder, "one")[1]
    other = graph(folder, "two", old=(index,), **wrong)[0]
    name, value = next(iter(wrong.items()))
    with pytest.raises(ValueError, match=rf"(?s){name}.*{value!r}"):
        run(index, other, root=str(tmp_path / "run"))


def test_an_index_of_nothing_can_be_compared_with(tmp_path):
    first = graph(write_crawl(tmp_path / "in", [line("a", ["..."])]), "one")
    second = graph(write_crawl(tmp_path / "more", [line("b", words(30, 1))], files=1), "two", old=(first[1],))
    run(second[0], root=str(tmp_path / "run"))
    verdicts, _ = verdicts_of(tmp_path / "run", "two")
    assert [v["reason"] for v in verdicts.values()] == [None]


def test_an_index_of_many_files_says_the_same(tmp_path, monkeypatch):
    old = write_crawl(tmp_path / "old", [line(f"old/{n}", words(120, n)) for n in range(200)], files=5)
    new = write_crawl(tmp_path / "new", [line(f"new/{n}", near(n, 1)[:120]) for n in range(0, 400, 2)], files=3)
    found = []
    for file_bytes in (known.FILE_BYTES, 3000):
        monkeypatch.setattr(known, "FILE_BYTES", file_bytes)
        first = graph(old, "one")
        root = tmp_path / str(file_bytes)
        run(graph(new, "two", old=(first[1],))[0], root=str(root))
        found.append(verdicts_of(root, "two"))
        manifest = json.loads((root / "one_index" / "manifest.json").read_text())
        assert len(manifest["files"]) == (5 if file_bytes > 3000 else 3 * 16 + 16 + 1)
    assert found[0] == found[1]
    assert sum(v["reason"] == "near_duplicate" for v in found[0][0].values()) == 100


def test_an_index_may_hold_a_text_twice(tmp_path):
    old, _ = graph(write_crawl(tmp_path / "old", [line(f"o{n}", words(40, n % 3)) for n in range(9)]), "one")
    keep = KeepAll(docs=old.docs)
    index = known.DuplicateIndex(docs=old.docs, signatures=old.signatures, duplicates=keep)
    new = [line(f"n{n}", words(40, n)) for n in range(4)]
    run(graph(write_crawl(tmp_path / "new", new), "two", old=(index,))[0], root=str(tmp_path / "run"))
    verdicts, _ = verdicts_of(tmp_path / "run", "two")
    assert [verdicts[f"https://n{n}"]["reason"] for n in range(4)] == [*["exact_duplicate"] * 3, None]
    assert [verdicts[f"https://n{n}"]["duplicates"] for n in range(4)] == [4, 4, 4, 1]


@pytest.mark.parametrize("files", [1, 4, 32])
@pytest.mark.parametrize("bits", [0, 2, 5])
def test_every_partition_opens_the_files_it_overlaps_and_no_others(files, bits):
    keys = np.random.default_rng(0).integers(0, 1 << 10, 2000)
    for partition in range(1 << bits):
        mine = keys[keys >> (10 - bits) == partition]
        assert set(mine * files >> 10) == set(overlapping(files, partition, bits))


def index_folder(root, name="one"):
    """Where the files of an index are."""
    manifest = json.loads((root / f"{name}_index" / "manifest.json").read_text())
    return root / f"{name}_index" / manifest["fingerprint"][:12]


def test_a_folder_that_is_no_index_is_refused(tmp_path):
    folder = write_crawl(tmp_path / "in", [line("a", words(30, 1))])
    other = graph(folder, "two", old=(Source(label="elsewhere", location=str(folder)),))[0]
    with pytest.raises(ValueError, match=rf"(?s){folder} without settings.json.*runs/<crawl>/duplicate_index/<id>"):
        run(other, root=str(tmp_path / "run"))
    for text, told in (("{}", "lacks bands, ids, signature, texts"), ("[", "no JSON")):
        (folder / "settings.json").write_text(text)
        with pytest.raises(ValueError, match=told):
            run(graph(folder, "two", old=(Source(location=str(folder)),))[0], root=str(tmp_path / text))


@pytest.mark.parametrize(("kind", "record_bytes"), [("texts", 128), ("bands", 12), ("ids", 20)])
@pytest.mark.parametrize("whole", [True, False])
def test_a_file_that_was_cut_short_is_refused(tmp_path, kind, record_bytes, whole):
    folder = write_crawl(tmp_path / "in", [line(str(n), words(30, n)) for n in range(9)])
    run(graph(folder, "one")[1], root=str(tmp_path / "run"))
    old = shutil.copytree(index_folder(tmp_path / "run"), tmp_path / "old")
    file = old / f"{kind}-00000.bin"
    file.write_bytes(file.read_bytes()[: -(record_bytes if whole else 3)])
    with pytest.raises(
        ValueError, match=rf"{file.name} of \d+ bytes, expected \d+ records of {record_bytes}.*cut short"
    ):
        run(graph(folder, "two", old=(Source(label="old", location=str(old)),))[0], root=str(tmp_path / "run"))


def test_order_cutting_and_memory_do_not_matter_beside_known_texts(tmp_path, monkeypatch):
    monkeypatch.setattr(known, "FILE_BYTES", 3000)
    old = [line(f"old/{n}", words(80, n)) for n in range(60)]
    run(graph(write_crawl(tmp_path / "old", old), "one")[1], root=str(tmp_path / "run"))
    files = {path.name: path.read_bytes() for path in index_folder(tmp_path / "run").iterdir()}
    assert len(files) > 15
    texts = [words(80, n) for n in range(40, 90)]
    texts += [[*text[1:], f"edit{copy}"] for text in texts[::2] for copy in range(3)]
    rows = [document(" ".join(text), f"https://{n}", "f", n) for n, text in enumerate(texts)]
    rows += [{**rows[0], "file": "g"}, document("", "https://none"), document(old[3].split(" ", 1)[1], "https://old")]
    sign, stage = SIGNATURE.prepare(lambda stage: tmp_path), Source(label="known", location="elsewhere")
    draw, found = random.Random(9), []
    for memory_bytes, parts in itertools.product((1 << 30, 60_000, 9_000), (1, 3, 11)):
        order = draw.sample(rows, len(rows))
        some = parts_of(pa.Table.from_pylist(order, DOCUMENT), [draw.randrange(len(rows)) for _ in range(parts - 1)])
        desk = MemoryDesk({"docs": some, SIGNATURE.name: [sign(part) for part in some]}, {"known": files})
        fields = {"min_similarity": 0.5, "prefer": ("words",), "known": (stage,), "memory_bytes": memory_bytes}
        verdicts, books = verdicts_on(desk, Duplicates(docs=DOCS, signatures=SIGNATURE, **fields))
        keys = [(row["file"], row["url"]) for row in order]
        found.append((dict(zip(keys, verdicts, strict=True)), books))
    assert all(one == found[0] for one in found)
    reasons = Counter(verdict["reason"] for verdict in found[0][0].values())
    assert set(reasons) == {None, "exact_duplicate", "near_duplicate", "no_words"}
    dropped_for_old = {v["detail"] for v in found[0][0].values() if (v["detail"] or "").startswith("https://old/")}
    assert len(dropped_for_old) == 21
