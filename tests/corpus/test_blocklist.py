import gzip
import time
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.corpus.blocklist import BANNED_WORD, BLOCKED_DOMAIN, BLOCKED_URL, BlockList
from hare_ray.corpus.blocklist_index import index, look_up, parse
from hare_ray.schema import DOCUMENT, conform
from hare_ray.stage import Source, Table
from hare_ray.text import text_buffers

DOMAINS = """# comment
Bad.example
0.0.0.0 hosts.example   # a hosts file
||filter.example^
.dotted.example
m\u00fcnchen.example
http://www.scheme.example/
"""
URLS = "good.example/bad\r\nhttps://www.other.example/a/b/\n"


class Docs(Table):
    writes = DOCUMENT


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lists")
    (folder / "adult").mkdir()
    (folder / "adult" / "domains").write_text(DOMAINS)
    (folder / "adult" / "urls").write_bytes(URLS.encode())
    (folder / "adult" / "expressions").write_text("(.*bad.*)")
    (folder / "own.txt.gz").write_bytes(gzip.compress(b"packed.example"))
    return folder


@pytest.fixture(scope="module")
def judge(lists):
    stage = BlockList(docs=Docs(), lists=Source(location=str(lists)), banned_words=("casino", "xxx"))
    function = stage.prepare(lambda source: lists)
    return lambda urls: conform(function(pa.table({"url": pa.array(urls, pa.string())})), stage.schema(), "it")


@pytest.mark.parametrize(
    ("url", "reason", "detail"),
    [
        ("http://bad.example", BLOCKED_DOMAIN, "bad.example"),
        ("https://a.b.BAD.example.:8080/x", BLOCKED_DOMAIN, "bad.example"),
        ("http://user:p@ss@x.bad.example/", BLOCKED_DOMAIN, "bad.example"),
        ("https://www.bad.example?q", BLOCKED_DOMAIN, "bad.example"),
        ("http://hosts.example#f", BLOCKED_DOMAIN, "hosts.example"),
        ("http://sub.filter.example/", BLOCKED_DOMAIN, "filter.example"),
        ("http://dotted.example/", BLOCKED_DOMAIN, "dotted.example"),
        ("http://scheme.example/any", BLOCKED_DOMAIN, "scheme.example"),
        ("http://packed.example/", BLOCKED_DOMAIN, "packed.example"),
        ("bad.example/without/scheme", BLOCKED_DOMAIN, "bad.example"),
        ("https://xn--mnchen-3ya.example/", BLOCKED_DOMAIN, "xn--mnchen-3ya.example"),
        ("https://www.M\u00dcNCHEN.example/p", BLOCKED_DOMAIN, "xn--mnchen-3ya.example"),
        ("https://good.example/bad", BLOCKED_URL, "good.example/bad"),
        ("https://WWW.good.example:443/bad/x", BLOCKED_URL, "good.example:443/bad"),
        ("https://good.example/bad?x", BLOCKED_URL, "good.example/bad"),
        ("https://other.example/a/b", BLOCKED_URL, "other.example/a/b"),
        ("https://x.example/online-CASINO/", BANNED_WORD, None),
        ("https://xxx.example/", BANNED_WORD, None),
        ("http://notbad.example/", None, None),
        ("http://bad.example.org/", None, None),
        ("http://example/", None, None),
        ("http://ok.example/?u=http://bad.example/", None, None),
        ("https://good.example/badger", None, None),
        ("https://good.example/Bad", None, None),
        ("https://other.example/a", None, None),
        ("https://sub.good.example/bad", None, None),
        ("https://x.example/casinos", None, None),
        ("http://[2606:4700::1]:80/bad.example", None, None),
        ("http://" + "a" * 300 + ".bad.example/", None, None),
        ("", None, None),
        ("://", None, None),
    ],
)
def test_reasons(judge, url, reason, detail):
    assert judge([url]).to_pylist() == [{"reason": reason, "detail": detail}]


def test_one_row_per_row(judge):
    assert judge([]).num_rows == 0
    urls = ["http://ok.example/", "http://bad.example/", "http://M\u00fcnchen.example/", "http://\u00e9.example/"]
    assert judge(urls)["reason"].to_pylist() == [None, BLOCKED_DOMAIN, BLOCKED_DOMAIN, None]


def test_long_hosts_take_no_time_and_are_compared_as_they_are(judge):
    long = ["http://" + "a" * 200_000 + mark for mark in ("/\u00e9", "\u00e9.bad.example/", "@\u00e9/")]
    began = time.perf_counter()
    assert judge([*long, "http://" + "\u00e9" * 60_000 + ".bad.example/"])["reason"].to_pylist() == [None] * 4
    assert time.perf_counter() - began < 1


def test_words_alone_need_no_list():
    stage = BlockList(docs=Docs(), lists=None, banned_words=("casino",))
    function = stage.prepare(lambda source: pytest.fail("asks for files"))
    urls = pa.array(["http://a.example/casino", "http://bad.example/"])
    assert function(pa.table({"url": urls}))["reason"].to_pylist() == [BANNED_WORD, None]


LABELS = st.sampled_from(["a", "b", "com", "x-1", "Q"])
HOSTS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)


@settings(max_examples=100, deadline=None)
@given(st.lists(HOSTS, max_size=6), st.lists(HOSTS, max_size=6))
def test_domains_against_sets_of_strings(entries, hosts):
    known = {entry.lower() for entry in entries}
    listed = index(parse(np.frombuffer("\n".join(entries).encode(), np.uint8))[0])
    urls = pa.array([f"https://{host}/path.{host}" for host in hosts], pa.string())
    found = np.zeros((len(hosts), 3), np.int64)
    for data, begins, stops in text_buffers(urls):
        look_up(data, begins, stops, listed, index(np.empty(0, np.uint64)), found)
    for url, kind in zip(urls.to_pylist(), found[:, 2], strict=True):
        labels = (urlsplit(url).hostname or "").split(".")
        suffixes = {".".join(labels[at:]) for at in range(len(labels))}
        assert bool(kind) == bool(suffixes & known)


def test_an_index_of_many_holds_them_all_and_no_others_in_ten_bytes_each():
    names = np.arange(200_000)
    hosts, urls = parse(np.frombuffer("\n".join(f"h{n}.example" for n in names).encode(), np.uint8))
    listed = index(hosts)
    assert len(listed.hashes) == len(names) and len(urls) == 0
    assert (listed.hashes.nbytes + listed.starts.nbytes) / len(names) < 10
    asked = pa.array([f"http://h{n}.example/" for n in range(100_000, 300_000)])
    found = np.zeros((len(asked), 3), np.int64)
    for data, begins, stops in text_buffers(asked):
        look_up(data, begins, stops, listed, index(urls), found)
    assert found[:, 2].tolist() == [1] * 100_000 + [0] * 100_000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("list.pdf", b"a.example", "no block list by its name"), ("empty.txt", b"# nothing\n\n", "holds no entry")],
)
def test_files_that_are_no_lists_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    stage = BlockList(docs=Docs(), lists=Source(location=str(tmp_path)), banned_words=())
    with pytest.raises(ValueError, match=message):
        stage.prepare(lambda source: tmp_path)


def test_a_stage_that_blocks_nothing_is_refused():
    with pytest.raises(ValueError, match="expected a source"):
        BlockList(docs=Docs(), lists=None, banned_words=())
    with pytest.raises(ValueError, match="lower-case letters"):
        BlockList(docs=Docs(), lists=None, banned_words=("a.b",))
