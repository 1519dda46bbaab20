"""Opting out: lists, what they cover, and that a changed list reaches what is made of the text, and nothing before."""

import gzip
import json
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray import engine
from hare_ray.dedup.optout import OptOut, OptOutList, _matches
from hare_ray.dedup.optout_entries import Entry, normal, parse
from hare_ray.gather import Desk
from hare_ray.schema import DOCUMENT, ID, REASON
from hare_ray.stage import Files, Gather, Keep, Map, PartFunction, Source, Stage, Table


class Pages(Map):
    """One document a line: URL and text."""

    files: Stage
    writes: ClassVar[pa.Schema] = DOCUMENT

    def prepare(self, files: Files) -> PartFunction:
        return self.read

    def read(self, splits: pa.Table) -> pa.Table:
        rows = []
        for split in splits.to_pylist():
            for number, line in enumerate(Path(split["path"]).read_text().splitlines()):
                url, text = line.split(" ", 1)
                identity = xxhash.xxh3_128_digest(line.encode())
                rows.append({"id": identity, "url": url, "file": split["file"], "offset": number, "text": text})
        return pa.Table.from_pylist(rows, DOCUMENT).append_column(REASON, pa.nulls(len(rows), pa.string()))


class EqualTexts(Gather):
    """Clusters of equal text; the first row of each is kept. Enough of a verdict on duplicates."""

    docs: Table
    writes: ClassVar[pa.Schema] = pa.schema([REASON, ID.with_name("duplicate_cluster")])

    def gather(self, desk: Desk) -> None:
        first: dict[str, bytes] = {}
        for part in range(desk.parts(self.docs)):
            rows = desk.read(self.docs, part, ["id", "text"]).to_pylist()
            new = [row["text"] not in first for row in rows]
            clusters = [first.setdefault(row["text"], row["id"]) for row in rows]
            reasons = [None if fresh else "copy" for fresh in new]
            table = {"reason": pa.array(reasons, pa.string()), "duplicate_cluster": pa.array(clusters, pa.binary(16))}
            desk.write(part, pa.table(table, schema=self.schema()))


class Upper(Map):
    """Stands for what is made of a selection, such as shards."""

    docs: Table
    writes: ClassVar[pa.Schema] = DOCUMENT

    def prepare(self, files: Files) -> PartFunction:
        return lambda docs: docs.set_column(
            docs.schema.get_field_index("text"), "text", pc.utf8_upper(docs["text"])
        ).append_column(REASON, pa.nulls(len(docs), pa.string()))


PAGES = {
    "a": ["https://www.one.org/x/ apple", "http://two.org/y#top banana", "https://sub.three.org/z cherry"],
    "b": ["https://copy.net/1 apple", "https://four.org/ date", "https://four.org/more elder", "https://éa.org/ö fig"],
}


def graph(folder, asked):
    """Sources written to `folder`, the list among them, and the stages on them."""
    for name, rows in PAGES.items():
        (folder / "crawl").mkdir(exist_ok=True)
        (folder / "crawl" / name).write_text("\n".join(rows))
    (folder / "asked").mkdir(exist_ok=True)
    (folder / "asked" / "list.txt").write_text(asked)
    docs = Pages(files=Source(label="crawl", location=str(folder / "crawl"), part_bytes=1))
    copies = EqualTexts(docs=docs)
    unique = Keep(label="unique", docs=docs, verdicts=(copies,), carry=("duplicate_cluster",))
    listed = OptOutList(docs=docs, duplicates=copies, lists=(Source(label="asked", location=str(folder / "asked")),))
    verdict = OptOut(docs=unique, opted_out=listed)
    d1 = Keep(label="d1", docs=unique, verdicts=(verdict,))
    return unique, d1, Upper(label="shards", docs=d1)


def texts(root, manifests, name):
    folder = root / name / manifests[name]["fingerprint"][:12]
    return sorted(
        text for part in folder.glob("part-*.parquet") for text in pa.parquet.read_table(part)["text"].to_pylist()
    )


def left(tmp_path, asked):
    """Texts that stay with this list, the report, and the books of the verdict."""
    root = tmp_path / "run"
    made = engine.run(*graph(tmp_path, asked), root=str(root))
    folder = root / "opt_out_list" / made["opt_out_list"]["fingerprint"][:12]
    return texts(root, made, "shards"), json.loads((folder / "report.json").read_text()), made


@pytest.mark.parametrize(
    ("asked", "host", "meant"),
    [
        ("gov.uk", "hmrc.gov.uk", True),
        ("gov.uk", "www.gov.uk", True),
        ("www.gov.uk", "www.gov.uk", True),
        ("https://WWW.gov.uk/", "gov.uk", True),
        ("www.gov.uk", "hmrc.gov.uk", False),
        ('{"host": "www.gov.uk"}', "london.gov.uk", False),
    ],
)
def test_a_host_with_www_speaks_for_itself_alone(tmp_path, asked, host, meant):
    (tmp_path / "list").write_text(asked)
    docs = pa.table({"id": pa.array([bytes(16)], pa.binary(16)), "url": [f"https://{host}/page"]})
    assert any((numbers >= 0).any() for numbers in _matches(docs, parse(tmp_path / "list"))) == meant


ALL = ["APPLE", "BANANA", "CHERRY", "DATE", "ELDER", "FIG"]


@pytest.mark.parametrize(
    ("asked", "gone"),
    [
        ("http://one.org/x", "APPLE"),
        ("https://copy.net/1/#here", "APPLE"),  # dropped as a copy; the kept one goes with it
        ("TWO.org/y", "BANANA"),
        ("three.org", "CHERRY"),
        ("*.three.org  # all of it", "CHERRY"),
        ('{"url": "https://four.org", "date": "2024-05-01"}', "DATE"),
        ("https://four.org/", "DATE ELDER"),
        ('{"host": "four.org"}', "DATE ELDER"),
        ("https://\u00c9a.org/\u00f6", "FIG"),
        (xxhash.xxh3_128_hexdigest(PAGES["a"][1].encode()).upper(), "BANANA"),
        (json.dumps({"id": xxhash.xxh3_128_hexdigest(PAGES["b"][0].encode())}), "APPLE"),
        ("\ufeff# nobody\n\n  \n", ""),
    ],
)
def test_who_asks_takes_all_copies_along(tmp_path, asked, gone):
    stay, report, made = left(tmp_path, asked)
    assert stay == [text for text in ALL if text not in gone.split()]
    assert report["found"] == report["asked"] == bool(gone)
    assert made["d1"]["books"]["dropped"] == ({"opted_out": len(gone.split())} if gone else {})


@pytest.mark.parametrize("asked", ["one.org/x/deeper", "one.org/X", "hree.org", "wo.org", "copy.net/", "0" * 32])
def test_what_is_near_is_not_meant(tmp_path, asked):
    stay, report, _ = left(tmp_path, f"{asked}\nfour.org/more")
    if asked == "copy.net/":  # no path: the host
        assert "APPLE" not in stay
    else:
        assert stay == [text for text in ALL if text != "ELDER"]
        assert report["matched_nothing"] == [asked]
    assert [entry["documents"] for entry in report["entries"]] == [int(asked == "copy.net/"), 1]


def test_a_changed_list_makes_the_verdict_and_what_follows_again_and_nothing_else(tmp_path):
    root = tmp_path / "run"
    before = engine.run(*graph(tmp_path, "two.org\n"), root=str(root))
    kept = {name: (root / name / "manifest.json").read_bytes() for name in before}
    assert texts(root, before, "shards") == [text for text in ALL if text != "BANANA"]
    changed = graph(tmp_path, "two.org\nhttps://copy.net/1\n")
    with pytest.raises(ValueError, match=r"list\.txt"):
        engine.run(*changed, root=str(root))
    after = engine.run(*changed, root=str(root), settings=engine.Settings(redo=("asked",)))
    assert texts(root, after, "shards") == ["CHERRY", "DATE", "ELDER", "FIG"]
    assert texts(root, after, "d1") == ["cherry", "date", "elder", "fig"]
    same = {name for name in kept if (root / name / "manifest.json").read_bytes() == kept[name]}
    assert same == {"crawl", "pages", "equal_texts", "unique"}
    assert set(kept) - same == {"asked", "opt_out_list", "d1", "shards"}
    assert after["opt_out_list"]["fingerprint"] != before["opt_out_list"]["fingerprint"]


def entries(tmp_path, text, name="list.txt"):
    data = text.encode() if isinstance(text, str) else text
    (tmp_path / name).write_bytes(data)
    return parse(tmp_path / name)


def test_lines_become_entries(tmp_path):
    text = 'one.org\r\nhttps://Two.org/A?b=c#d # why\n{"host": ".three.org"}\nhttp://localhost:80/x\n'
    assert entries(tmp_path, gzip.compress(text.encode()), "list.gz") == [
        Entry("one.org", "host", "one.org"),
        Entry("https://Two.org/A?b=c#d", "url", "two.org/A?b=c"),
        Entry(".three.org", "host", "three.org"),
        Entry("http://localhost:80/x", "url", "localhost/x"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "two words.org",
        "localhost",
        "0123456789abcdef",
        "-.org",
        "me@example.org",
        '{"url": "https://a.org/", "host": "a.org"}',
        '{"page": "https://a.org/"}',
        '{"id": "abc"}',
        '{"host": "a.org/b"}',
        '{"url": 3}',
        '{"url": "a"',
        "https:///",
        b"\xff.org",
    ],
)
def test_malformed_lines_are_named(tmp_path, line):
    data = b"ok.org\n\n" + (line if isinstance(line, bytes) else line.encode()) + b"\n"
    with pytest.raises(ValueError, match=r"list\.txt, line 3: given .*expected a URL"):
        entries(tmp_path, data)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a",
        "https://example.org/a/",
        "HTTPS://www.EXAMPLE.org.:8080/a#b",
        "example.org/a//",
        "https://me:secret@example.org/a",
    ],
)
def test_forms_of_one_url(url):
    hosts, whole = normal(pa.array([url]))
    assert (hosts[0].as_py(), whole[0].as_py()) == ("example.org", "example.org/a")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_normal_form_is_stable(url):
    _, once = normal(pa.array([url]))
    assert len(once) == 1 and once.null_count == 0
    hosts, _ = normal(pa.array([f"https://example.org/{url.strip('/')}"]))
    assert hosts[0].as_py() == "example.org"


def test_wrong_inputs_are_refused(tmp_path):
    docs = Pages(files=Source(label="crawl", location="nowhere"))
    copies, lists = EqualTexts(docs=docs), (Source(label="asked", location="nowhere"),)
    with pytest.raises(ValueError, match="base"):
        OptOutList(docs=Pages(label="p2", files=docs.files), duplicates=copies, lists=lists)
    with pytest.raises(ValueError, match="duplicate_cluster"):
        OptOutList(docs=docs, duplicates=docs, lists=lists)
    with pytest.raises(ValueError, match="no list"):
        OptOutList(docs=docs, duplicates=copies, lists=())
    with pytest.raises(ValueError, match=r"carry=\('duplicate_cluster',\)"):
        OptOut(docs=docs, opted_out=OptOutList(docs=docs, duplicates=copies, lists=lists))
