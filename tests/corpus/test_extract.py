import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.corpus import extraction as why
from hare_ray.corpus.depth import too_deep
from hare_ray.corpus.extract import Extract
from hare_ray.corpus.extraction import JUDGED, decoded, tidy
from hare_ray.schema import RECORD, conform
from hare_ray.stage import Table

SENTENCE = "The museum opened a new wing in the spring, and visitors came from far away to see it. "
PARAGRAPHS = "".join(f"<p>{SENTENCE * 3}Number {i}.</p>" for i in range(5))
PAGE = (
    "<html><head><title>The museum</title></head><body><nav><a href=/a>Home</a> <a href=/b>Login</a></nav>"
    f"<article><h1>News</h1>{PARAGRAPHS}<pre>def f():\n    return 1</pre><p>See <a href='http://x.example'>"
    "here</a>.<script>var x = '<div>';</script></article><footer>Imprint Privacy</footer></body></html>"
)


class Records(Table):
    writes = RECORD


STAGE = Extract(
    docs=Records(),
    max_payload_bytes=100_000,
    max_depth=300,
    max_broken_share=0.01,
    min_main_chars=100,
    min_chars=20,
)


def run(*payloads, media="text/html", charset=None, title=None):
    count = len(payloads)
    table = pa.table(
        {
            "id": [i.to_bytes(16, "big") for i in range(count)],
            "url": [f"http://x.example/{i}" for i in range(count)],
            "file": ["f"] * count,
            "offset": range(count),
            "media": [media] * count,
            "charset": [charset] * count,
            "title": [title] * count,
            "payload": payloads,
        },
        schema=RECORD,
    )
    return conform(STAGE.prepare(lambda stage: pytest.fail("asks for files"))(table), JUDGED, "it")


def reason(payload, **record):
    table = run(payload, **record)
    assert (table["text"].to_pylist() == [None]) == (table["reason"].to_pylist() != [None])
    return table["reason"].to_pylist()[0]


def test_main_text_keeps_paragraphs_code_and_title_and_leaves_navigation_and_scripts():
    row = run(PAGE.encode()).to_pylist()[0]
    assert row["title"] == "The museum"
    assert row["text"].count("\n\n") >= 5
    assert "def f():\n    return 1" in row["text"]
    assert "See here." in row["text"]
    for left_out in ("Login", "Imprint", "var x", "http://x.example"):
        assert left_out not in row["text"]


def test_a_page_without_main_content_gives_its_visible_text():
    text = run(b"<nav>Spring sale <a>Shoes</a> <a>Boots and laces</a></nav>")["text"].to_pylist()[0]
    assert "Boots and laces" in text


def test_plain_text_passes_unchanged_with_the_title_of_its_record():
    text = "First <b>line</b>.\n\n    indented code\n\nLast line."
    row = run(text.encode(), media="text/plain", title="From the feed").to_pylist()[0]
    assert (row["text"], row["title"], row["reason"]) == (text, "From the feed", None)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"x" * 100_001, why.TOO_LARGE),
        (b"<div>" * 301 + b"x" * 50, why.TOO_DEEP),
        (b"", why.EMPTY_TEXT),
        (b"<html><head><title>t</title></head><body></body></html>", why.EMPTY_TEXT),
        (None, why.EMPTY_TEXT),
        (b"<p>short</p>", why.TOO_SHORT),
        (PAGE.encode(), None),
    ],
)
def test_reasons(payload, code):
    assert reason(payload) == code


def test_bytes_of_no_charset_have_a_reason():
    payload = bytes(range(0x81, 0x100)) * 20 + b"\x81\x8d\x8f\x90\x9d" * 200
    assert reason(payload, media="text/plain", charset="ascii") == why.BAD_ENCODING


def test_a_page_the_parser_refuses_has_a_reason(monkeypatch):
    def refuse(html):
        raise why.HTMLParserException

    monkeypatch.setattr(why, "HTMLTree", type("Tree", (), {"parse": staticmethod(refuse)}))
    assert reason(PAGE.encode()) == why.BAD_HTML


FRENCH = "D\u00e9j\u00e0 vu \u00e0 la carte: le caf\u00e9 tr\u00e8s bient\u00f4t ferm\u00e9, h\u00e9las. " * 10
JAPANESE = (
    "\u65e5\u672c\u8a9e\u306e\u6587\u7ae0\u3067\u3059\u3002\u4eca\u65e5\u306f\u3044\u3044\u5929\u6c17\u3067\u3059\u306d\u3002"
    * 10
)


@pytest.mark.parametrize(
    ("text", "codec", "declared", "prefix"),
    [
        (FRENCH, "utf-8", None, b""),
        (FRENCH, "utf-8", "iso-8859-1", b""),
        (FRENCH, "utf-8", None, b"\xef\xbb\xbf"),
        (FRENCH, "latin-1", "latin1", b""),
        (FRENCH, "latin-1", None, b""),
        (FRENCH, "latin-1", "utf-8", b""),
        (FRENCH, "latin-1", "no-such-charset", b""),
        (FRENCH, "utf-16-le", None, b"\xff\xfe"),
        (FRENCH, "utf-16-be", None, b"\xfe\xff"),
        (FRENCH, "utf-16-le", "utf-16", b""),
        (FRENCH, "utf-8", "utf-16", b""),
        (JAPANESE, "shift_jis", "Shift_JIS", b""),
        (JAPANESE, "euc_jp", None, b""),
        (JAPANESE, "iso2022_jp", "iso-2022-jp", b""),
        (JAPANESE, "shift_jis", None, b"<meta charset=shift_jis>"),
    ],
)
def test_charsets(text, codec, declared, prefix):
    found = decoded(prefix + text.encode(codec), declared, html=True, max_broken_share=0.01)
    assert found is not None
    assert found.removeprefix("<meta charset=shift_jis>") == text


def test_utf8_with_a_few_broken_bytes_stays_utf8():
    payload = JAPANESE.encode()[:-1] + b"\xff"
    found = decoded(payload, None, html=False, max_broken_share=0.01)
    assert found is not None
    assert found[:-2] == JAPANESE[:-1][: len(found) - 2]


def test_layout_is_tidied():
    assert tidy("\r\n a\r\nb\rc\x00d\n\n\n\n\ne\n \n\t\n\n\nf\n\ng  ") == "a\nb\ncd\n\n\ne\n\n\nf\n\ng"


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=200)
    | st.text(st.sampled_from("<>/ap!-\x00\r\n &#xD80;\u00e9\u4e2d"), max_size=80).map(str.encode)
)
def test_any_bytes_give_valid_text_or_a_reason(payload):
    for media in ("text/html", "text/plain"):
        row = run(payload, media=media).to_pylist()[0]
        assert (row["text"] is None) == (row["reason"] is not None)
        text = row["text"] or ""
        assert tidy(text) == text
        assert "\x00" not in text


N = 100


@pytest.mark.parametrize(
    ("page", "deep"),
    [
        ("<div>" * 101, True),
        ("<div>" * 100, False),
        ("<DIV class='x'>" * 101, True),
        ("<div></nothing>" * 101, True),
        ("<span><div></span>" * 51, True),
        ("<table></div>" * 101, True),
        ("<x/>" * 101, True),
        ("<svg>" + "<x/>" * 200, False),
        ("<svg>" + "<div><x/>" * 51, True),
        ("<div><p>a<br></div>" * 200, False),
        ("<div><b></div>" * 200, False),
        ("<p>" * 200 + "<img>" * 200, False),
        ("<script>" + "'<div>'" * 200 + "</script>", False),
        ("<!--" + "<div>" * 200 + "-->", False),
        ("<", False),
        ("a < b " * 200, False),
    ],
)
def test_depth_of_tags(page, deep):
    column = pa.array([None, page.encode(), b"<div>"], pa.large_binary())
    assert too_deep(column, N).tolist() == [False, deep, False]
