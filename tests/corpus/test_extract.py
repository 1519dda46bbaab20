from dataclasses import replace
from functools import cache

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.corpus import extraction as why
from hare_ray.corpus.charset import utf8
from hare_ray.corpus.extract import Extract
from hare_ray.corpus.extraction import tidy
from hare_ray.schema import REASON, RECORD, conform
from hare_ray.stage import Table

SENTENCE = "The museum opened a new wing in the spring, and visitors came from far away to see it. "
PAGE = f"""<html><head><title>The museum opens a wing | City News</title></head><body class="single-post">
<div class=site-header><nav class=menu><ul><li><a href=/a>Home</a><li><a href=/b>Login</a></ul></nav></div>
<main><article class="post"><h1 class="entry-title">The museum opens a wing</h1><div class="entry-content">
<p>{SENTENCE}The mayor, who had asked for it since the last election, cut the ribbon on Saturday morning.</p>
<p>Its architect wanted light: the roof is of glass, and the walls, said the director, "hardly stand in the way".</p>
<h2>How the lights are controlled</h2>
<p>A small program decides when they go on. It reads the brightness from a sensor once a minute:</p>
<pre>def lights(brightness):
    if brightness &lt; 0.3:
        return "on"
    return "off"</pre>
<p>Everything else is left to the guards, who can <a href='http://x.example'>see the plan here</a> at any time.</p>
<table><tr><th>Hall</th><th>Lamps</th></tr><tr><td>First floor, old masters</td><td>120 lamps</td></tr></table>
<p>The wing is open every day but Monday, from nine in the morning until six in the evening.</p></div></article>
</main><script>var x = '<div>';</script>
<footer class="site-footer"><a href=/i>Imprint</a> <a href=/p>Privacy</a></footer>
</body></html>"""


class Records(Table):
    writes = RECORD


STAGE = Extract(
    docs=Records(), engine="model", max_payload_bytes=100_000, max_depth=300, max_broken_share=0.01, min_chars=20
)
JUDGED = pa.schema([*Extract.writes, REASON])


@cache
def prepared(engine):
    return replace(STAGE, engine=engine).prepare(lambda stage: pytest.fail("asks for files"))


def records(*payloads, media="text/html", charset=None, title=None, robots=None):
    count = len(payloads)
    return pa.table(
        {
            "id": [i.to_bytes(16, "big") for i in range(count)],
            "url": [f"http://x.example/{i}" for i in range(count)],
            "file": ["f"] * count,
            "offset": range(count),
            "media": [media] * count,
            "charset": [charset] * count,
            "title": [title] * count,
            "license": [None] * count,
            "robots": [robots] * count,
            "payload": payloads,
        },
        schema=RECORD,
    )


def run(*payloads, engine="model", **record):
    return conform(prepared(engine)(records(*payloads, **record)), JUDGED, "it")


def reason(payload, **record):
    table = run(payload, **record)
    assert (table["text"].to_pylist() == [None]) == (table["reason"].to_pylist() != [None])
    return table["reason"].to_pylist()[0]


def test_main_text_keeps_paragraphs_code_tables_and_title_and_leaves_navigation_and_scripts():
    row = run(PAGE.encode()).to_pylist()[0]
    assert row["title"] == "The museum opens a wing | City News"
    assert row["text"].count("\n\n") >= 7
    assert 'def lights(brightness):\n    if brightness < 0.3:\n        return "on"\n    return "off"' in row["text"]
    assert "who can see the plan here at any time." in row["text"]
    assert "First floor, old masters | 120 lamps" in row["text"]
    for left_out in ("Login", "Imprint", "var x", "http://x.example"):
        assert left_out not in row["text"]


def test_resiliparse_gives_visible_text_where_it_finds_no_main_content():
    text = run(b"<nav>Spring sale <a>Shoes</a> <a>Boots and laces</a></nav>", engine="resiliparse")["text"][0].as_py()
    assert "Boots and laces" in text


def test_engines_agree_on_a_plain_page():
    texts = [run(PAGE.encode(), engine=engine)["text"][0].as_py() for engine in ("model", "resiliparse")]
    for text in texts:
        assert SENTENCE.strip() in text
        assert "Login" not in text


def test_an_unknown_engine_is_refused():
    with pytest.raises(ValueError, match="lynx"):
        replace(STAGE, engine="lynx")


def test_licence_and_robots_come_from_page_and_record():
    page = PAGE.replace(
        "<head>",
        "<head><meta name='ROBOTS' content='noai'/><meta name=robots content=noarchive><link rel=license href='https://cc.example/by/4.0/'>",
    )
    row = run(page.encode(), robots="noindex").to_pylist()[0]
    assert (row["license"], row["robots"]) == ("https://cc.example/by/4.0/", "noindex, noai, noarchive")


def test_a_page_without_text_gives_its_description():
    told = "A reader asks which telescope to buy first, and what can be seen with it on a clear night in town."
    page = f"<head><meta property='og:description' content='{told} &amp; more'></head><body><div id=app></div></body>"
    assert run(page.encode())["text"].to_pylist() == [f"{told} & more"]


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


def test_a_page_of_too_many_blocks_has_a_reason():
    part = replace(STAGE, max_payload_bytes=1 << 20).prepare(lambda stage: pytest.fail("asks for files"))
    assert part(records(b"<p>x" * 110_000))["reason"].to_pylist() == [why.TOO_MANY_BLOCKS]


def test_bytes_of_no_charset_have_a_reason():
    payload = bytes(range(0x81, 0x100)) * 20 + b"\x81\x8d\x8f\x90\x9d" * 200
    assert reason(payload, media="text/plain", charset="ascii") == why.BAD_ENCODING


def test_a_page_the_engine_refuses_has_a_reason(monkeypatch):
    def refuse(html):
        raise why.BadHTMLError

    monkeypatch.setitem(why.ENGINES, "resiliparse", refuse)
    part = replace(STAGE, engine="resiliparse", min_chars=1).prepare(lambda stage: pytest.fail("asks for files"))
    assert part(records(PAGE.encode()))["reason"].to_pylist() == [why.BAD_HTML]


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
    found = utf8(prefix + text.encode(codec), declared, html=True, max_broken_share=0.01)
    assert found is not None
    assert found.decode().removeprefix("<meta charset=shift_jis>") == text


def test_utf8_with_a_few_broken_bytes_stays_utf8():
    payload = JAPANESE.encode()[:-1] + b"\xff"
    data = utf8(payload, None, html=False, max_broken_share=0.01)
    assert data is not None
    found = data.decode()
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
