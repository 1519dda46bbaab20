"""DemoCrawl: bytes that do not change, what crawls have in them, docstrings as readable pages."""

import gzip
import importlib.metadata
import platform
import re
import subprocess
import sys
import sysconfig
import textwrap
from collections import Counter
from html import escape
from html.parser import HTMLParser
from types import SimpleNamespace

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.extract.html2text import extract_plain_text

from hare_ray.corpus.demo_crawl import DemoCrawl
from hare_ray.corpus.demo_html import content, prose
from hare_ray.corpus.demo_source import articles, candidates
from hare_ray.corpus.read import Read
from hare_ray.schema import SPLIT

PACKAGES = (("python", platform.python_version()), ("numpy", importlib.metadata.version("numpy")))
PAGES, FILES = 300, 3
VOID = {"meta", "link", "br", "hr", "input"}


def crawl(**changes):
    return DemoCrawl(**{"pages": PAGES, "files": FILES, "packages": PACKAGES, **changes})


def write(folder, stage):
    folder.mkdir()
    return stage.make(SimpleNamespace(folder=folder))


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "crawl"
    return folder, write(folder, crawl())


@pytest.fixture(scope="module")
def rows(made):
    reader = Read(files=crawl(), sample=1.0, max_payload_bytes=1 << 22)
    splits = [{"file": p.name, "path": str(p), "start": 0, "end": -1, "row": -1} for p in sorted(made[0].iterdir())]
    return reader.prepare(lambda _: made[0])(pa.Table.from_pylist(splits, schema=SPLIT)).to_pylist()


@pytest.fixture(scope="module")
def pages(rows):
    return {row["url"]: row["payload"].decode(row["charset"]) for row in rows if row["reason"] is None}


def words(html):
    text = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", html, flags=re.S)
    return set(re.findall(r"\w{3,}", text))


def test_same_bytes_in_another_process(made, tmp_path):
    code = (
        "import sys, types, pathlib; from hare_ray.corpus.demo_crawl import DemoCrawl; "
        f"DemoCrawl(pages={PAGES}, files={FILES}, packages={PACKAGES!r}, label='other')"
        ".make(types.SimpleNamespace(folder=pathlib.Path(sys.argv[1])))"
    )
    environment = {"PYTHONHASHSEED": "77", "PYTHONPATH": ":".join(path for path in sys.path if path)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment)
    assert contents(tmp_path) == contents(made[0])


def test_nothing_of_the_packages_is_imported(tmp_path):
    code = (
        "import sys, types, pathlib; from hare_ray.corpus.demo_crawl import DemoCrawl; "
        f"DemoCrawl(pages=30, files=1, packages={(('scipy', importlib.metadata.version('scipy')),)!r})"
        ".make(types.SimpleNamespace(folder=pathlib.Path(sys.argv[1]))); sys.exit('scipy' in sys.modules)"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr  # 1 where scipy was imported


def test_counts_and_even_files(made, rows):
    assert made[1]["pages"] == len(rows) == PAGES
    assert 0 < made[1]["modules"] < PAGES
    per_file = Counter(row["file"] for row in rows)
    assert len(per_file) == FILES
    assert max(per_file.values()) - min(per_file.values()) <= 1


def test_records_are_gzip_members_of_their_own(made, rows):
    for name, data in contents(made[0]).items():
        for row in rows:
            if row["file"] == name:
                assert gzip.decompress(data[row["offset"] :])[:8] == b"WARC/1.0"


def test_has_what_crawls_have(rows):
    reasons = Counter(row["reason"] for row in rows)
    assert set(reasons) == {None, "redirect", "not_200", "not_html"}
    assert reasons[None] > 0.9 * PAGES
    charsets = Counter(row["charset"] for row in rows if row["reason"] is None)
    assert set(charsets) == {"utf-8", "iso-8859-1"}
    assert charsets["utf-8"] > 0.8 * PAGES
    assert len({row["url"] for row in rows}) == PAGES


def test_mirrors_are_near_duplicates_of_pages_elsewhere(pages):
    originals = {re.sub(r".*/", "", url): html for url, html in pages.items() if "mirror" not in url}
    mirrors = {url: html for url, html in pages.items() if "mirror" in url}
    assert len(mirrors) == round(PAGES * 0.04)
    for url, html in mirrors.items():
        original = originals[re.sub(r".*/", "", url)]
        said = words(escape(extract_plain_text(original, main_content=True)))
        assert html != original
        assert len(said & words(html)) > 0.9 * len(said)


def test_copies_are_duplicates_byte_for_byte(rows):
    payloads = {row["url"]: row["payload"] for row in rows}
    copies = [url for url in payloads if url.endswith("?highlight=search")]
    assert copies
    for url in copies:
        assert payloads[url] == payloads[url.removesuffix("?highlight=search")]


def test_authors_pages_hold_addresses_that_belong_to_nobody(pages):
    lists = [html for url, html in pages.items() if "AUTHORS" in url]
    assert lists
    for html in lists:
        addresses = re.findall(r"[\w.]+@([\w.]+)", html)
        assert len(addresses) >= 30
        assert all(host.endswith(".example") for host in addresses)


def test_index_pages_are_mostly_links(pages):
    indexes = [html for url, html in pages.items() if "genindex" in url]
    assert len(indexes) == round(PAGES * 0.03)
    for html in indexes:
        linked = sum(map(len, re.findall(r"<a [^>]*>(.*?)</a>", html)))
        assert linked > 0.4 * sum(map(len, re.findall(r">([^<]+)<", html)))


def test_pages_name_no_place_on_this_machine(rows):
    places = {
        sys.prefix,
        sysconfig.get_path("purelib"),
        importlib.metadata.distribution("numpy").locate_file(""),
    }
    for row in rows:
        for place in places:
            assert str(place).encode() not in (row["payload"] or b"") + row["url"].encode()


def test_known_docstring_is_on_its_page():
    found = {candidate.name: candidate for candidate in candidates(PACKAGES[:1])}
    html = content(articles(found["textwrap"])[0])
    assert textwrap.__doc__.strip() in html
    assert "textwrap.dedent" in html


class Balance(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.wrong = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def balanced(html):
    parser = Balance()
    parser.feed(html)
    return not parser.open and not parser.wrong


def test_pages_are_well_formed(pages):
    for url, html in pages.items():
        implied = re.sub(r"<d[dt]\b[^>]*>|</d[dt]>", "", html)
        assert balanced(implied), url


DOC = """Fit a line.

Long text with ``code``, `name` and **weight** & <angles>
over two lines.

Parameters
----------
x : array_like
    Where to look,
    and how.
y : float
    Height.

- first
- second goes
  on here

>>> fit(1 < 2)
3

Args:
    z: Depth.

.. versionadded:: 1.2
"""


def test_docstring_markup():
    html = prose(DOC, 2)
    assert "<p>Fit a line.</p>" in html
    assert "<code>code</code>" in html
    assert "<strong>weight</strong> &amp; &lt;angles&gt; over two lines.</p>" in html
    assert "<h2>Parameters</h2>" in html
    assert "<dt>x</dt><dd>array_like Where to look, and how.".replace(" ", "") in html.replace(" ", "")
    assert "<ul><li>first</li><li>second goes on here</li></ul>" in html
    assert "<pre>&gt;&gt;&gt; fit(1 &lt; 2)\n3</pre>" in html
    assert "<h2>Args</h2>" in html
    assert "<dt>z</dt><dd>Depth." in html
    assert "New in version 1.2" in html


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab :.-*`<>&\n=>_()1", max_size=80))
def test_any_docstring_gives_well_formed_html(doc):
    html = prose(doc, 2)
    assert balanced(re.sub(r"</?d[dt]\b[^>]*>", "", html))


def test_another_version_than_installed_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"asks for numpy 0\.1, but .* is installed"):
        write(tmp_path / "a", crawl(packages=(("numpy", "0.1"),)))
    with pytest.raises(ValueError, match=r"asks for python 1\.5"):
        write(tmp_path / "b", crawl(packages=(("python", "1.5"),)))


def test_package_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'no_such_package' is not installed"):
        write(tmp_path / "a", crawl(packages=(("no_such_package", "1"),)))


def test_more_pages_than_the_packages_hold_are_refused(tmp_path):
    version = importlib.metadata.version("xxhash")
    with pytest.raises(ValueError, match="name more packages"):
        write(tmp_path / "a", crawl(packages=(("xxhash", version),)))


@pytest.mark.parametrize("changes", [{"pages": 0}, {"files": 0}, {"files": 301}, {"packages": ()}])
def test_empty_crawl_is_refused(changes):
    with pytest.raises(ValueError, match="expected at least one"):
        crawl(**changes)
