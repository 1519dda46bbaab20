"""The scanner of pages: blocks, text, tree and formulas, against crafted pages and against lexbor's tree."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.extract.html2text import extract_plain_text

from hare_ray.corpus import page_model as pm
from hare_ray.corpus import page_text as pt
from hare_ray.corpus.page_labels import aligned, bag, f1, shares
from hare_ray.corpus.page_model import Forest, choose, predict, render
from hare_ray.corpus.page_scan import FINE, TOO_DEEP, TOO_MANY
from hare_ray.corpus.page_tags import BIT
from hare_ray.corpus.pages import Pages

PAGES = Pages(100)


def blocks(html):
    """Text of every block of a page."""
    assert PAGES.scan(html.encode()) == FINE
    room = PAGES.room
    return [room.text[b[pt.START] : b[pt.END]].tobytes().decode() for b in room.blocks[: room.state[pt.BLOCKS]]]


def whole(html):
    """Everything on a page, rendered."""
    count = len(blocks(html))
    out = np.empty(2 * len(html.encode()) + 100, np.uint8)
    return out[: render(PAGES.room, np.ones(count, bool), out)].tobytes().decode()


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p>One<p>Two</p>three", ["One", "Two", "three"]),
        ("<div>a<span>b</span> c\n\t d</div>", ["ab c d"]),
        ("one<br>two<br><br>three", ["one\ntwo", "three"]),
        ("<ul><li>a<li>b<ul><li>c</ul><li>d</ul>", ["a", "b", "c", "d"]),
        ("<table><tr><td>a<td>b<tr><th>c</table>", ["a", "b", "c"]),
        ("<p>x &lt;b&gt; &amp;amp; &eacute;&copy &#8364; &#x41; &#150; &nosuch; AT&T &notit;</p>",
         ["x <b> &amp; \u00e9\u00a9 \u20ac A \u2013 &nosuch; AT&T \u00acit;"]),
        ("a&nbsp;b&shy;c\u200bd\ufeff\u3000e", ["a bcd e"]),
        ("<p>a<!-- b <p> --> c<!doctype x><?php y ?> d</p>", ["a c d"]),
        ("one<br/>two<hr/>three</br>four<p/>five", ["one\ntwo", "three\nfour", "five"]),
        ("<svg/>a<math/>b<!-- c --!> d<!--> e<!----> f", ["ab d e f"]),
        ("<script>'<p>no</p>'</script><style>p{}</style><p>yes<textarea>no</textarea></p>", ["yes"]),
        ("<select><option>no</select><svg><text>no</text></svg><template><p>no</p></template>yes", ["yes"]),
        ("<svg><text>no<p>yes</svg><svg><foreignObject><p>no</p></foreignObject></svg>", ["yes"]),
        ("<title>no</title><noscript>maybe</noscript>", ["maybe"]),
        ("a < b > c <3 </ d>", ["a < b > c <3"]),
        ("<P CLASS=x>A</P><DIV>B</dIv>", ["A", "B"]),
        ("<a href='x>y'>link</a><img alt=no>", ["link"]),
        ("", []),
        ("<p> \n </p>", []),
        ("<", ["<"]),
    ],
)  # fmt: skip
def test_blocks_are_what_a_browser_shows_between_breaks(html, expected):
    assert blocks(html) == expected


def test_preformatted_text_keeps_its_lines_and_indentation():
    code = "def f(x):\n    if x &lt; 1:\n        return 2"
    assert blocks(f"<p>See</p><pre>\n{code}\n</pre><p>end</p>") == ["See", code.replace("&lt;", "<"), "end"]


def test_rendering_of_lists_tables_and_paragraphs():
    html = "<h1>T</h1><p>One</p><p>Two</p><ul><li>a</li><li>b</li></ul><table><tr><th>x<th>y<tr><td>1<td>2</table>"
    assert whole(html) == "T\n\nOne\n\nTwo\n\n- a\n- b\n\nx | y\n1 | 2"


@pytest.mark.parametrize(
    "formula",
    [
        "<math><semantics><mi>x</mi><annotation encoding='application/x-tex'>x^2</annotation></semantics></math>",
        "<math alttext='x^2'><mi>x</mi><mn>2</mn></math>",
        "<script type='math/tex'>x^2</script>",
        "<img class='latex' alt='x^2' src=a.png>",
    ],
)
def test_formulas_come_out_as_tex(formula):
    assert blocks(f"<p>Let {formula} be</p>") == ["Let $x^2$ be"]


def test_mathml_without_tex_keeps_its_symbols():
    assert blocks("<p>Let <math><mi>x</mi><mo>=</mo><mn>2</mn></math></p>") == ["Let x=2"]


def signs(html):
    """Per block the names of the elements around it that mean something, and whether all of it is a link."""
    blocks(html)
    room = PAGES.room
    rows = room.blocks[: room.state[pt.BLOCKS]]
    return [
        ({name for name, bit in BIT.items() if row[pt.SIGNS] & bit}, row[pt.LINK_BYTES] == row[pt.END] - row[pt.START])
        for row in rows
    ]


def test_elements_around_a_block_are_known_also_where_end_tags_are_missing():
    html = (
        "<nav><a href=/>Home</a></nav><main><article><p>One<p>Two<div hidden>three</div></article>"
        "<div role=navigation>four</div></main><footer><a href=x>five<div>six</div></footer>seven"
    )
    assert signs(html) == [
        ({"nav"}, True), ({"main", "article", "paragraph"}, False), ({"main", "article", "paragraph"}, False),
        ({"main", "article", "hidden"}, False), ({"main", "nav"}, False), ({"footer"}, True), ({"footer"}, True),
        (set(), False),
    ]  # fmt: skip


def test_stray_end_tags_close_nothing():
    assert signs("<article><p>a</span></table></b>b</p></article>") == [({"article", "paragraph"}, False)]


@pytest.mark.parametrize(
    ("html", "fine"),
    [
        ("<div>" * 101, False),
        ("<div>" * 99, True),
        ("<div></div>" * 1000, True),
        ("<p>" * 1000 + "<li>" * 1000 + "<img><br>" * 500, True),
        ("<table>" + "<tr><td>x" * 500, True),
        ("<div><b></div>" * 300, True),
        ("<div>" * 100_000, False),
        ("<b>" * 100_000, False),
        ("</div>" * 100_000, True),
        ("<a href=x>" * 50 + "</a>" * 100_000, True),
    ],
)
def test_depth_is_bounded(html, fine):
    assert PAGES.scan(html.encode()) == (FINE if fine else TOO_DEEP)


def test_pieces_of_text_are_bounded():
    assert PAGES.scan(b"<p>x" * (pt.MAX_BLOCKS + 10)) == TOO_MANY
    assert PAGES.scan(b"<p>x" * 1000) == FINE


@pytest.mark.parametrize(
    "piece",
    [
        *("<math>", "<math><annotation", "<math><annotation encoding=tex>x", "<a href='", "<!--", "<script>", "</"),
        *("&#", "&", "<svg><p>", "<li><ul>", "<td><table>", "<p><b><i>", "<title>", "<a " + "b=c " * 50),
    ],
)
def test_no_page_of_a_megabyte_takes_long(piece):
    page = piece.encode() * (1_000_000 // len(piece))
    status = PAGES.scan(page)
    assert status in (FINE, TOO_DEEP, TOO_MANY)
    if status == FINE:
        assert len(PAGES.read(page).text.decode()) <= len(page)


@pytest.mark.parametrize(
    "piece", ["<ul><li>This is a sentence of item {}, and it is not short.</ul>", "<ol><li><p>Go to step {}</ol>"]
)
def test_nothing_is_lost_of_many_small_lists(piece):
    html = "<main>" + "".join(piece.format(number) for number in range(400))
    text = PAGES.read(html.encode()).text.decode()
    assert text.count("- ") > 350
    assert text.split()[-1] == html.removesuffix("</ul>").removesuffix("</ol>").split()[-1]


TAGS = st.sampled_from(
    [
        *("<p>", "</p>", "<div>", "</div>", "<span>", "</span>", "<b>", "</b>", "<ul>", "<li>", "</li>", "</ul>"),
        *("<table>", "<tr>", "<td>", "</td>", "</table>", "<a href=x>", "</a>", "<br>", "<pre>", "</pre>", "<h1>"),
        *("</h1>", "word", "an&amp;d", "\n", "&eacute;", "<!--x-->", "<script>x</script>", "1<2", "<br/>", "<hr/>"),
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(TAGS, max_size=40).map("".join))
def test_words_are_those_of_a_full_parser(html):
    full = extract_plain_text(html, preserve_formatting=False, alt_texts=False, noscript=True)
    mine = " ".join(blocks(html))
    assert "".join(sorted(re.sub(r"\s", "", mine))) == "".join(sorted(re.sub(r"\s", "", full)))


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("<>/=&;#x'\"!-? apdivtrmh\x00\n\u00e9\u4e2d\u200b"), max_size=120))
def test_any_page_gives_valid_text(html):
    text = PAGES.read(html.encode()).text.decode()
    assert "\x00" not in text and "\u200b" not in text


def test_a_forest_sums_the_leaves_that_its_features_lead_to():
    forest = Forest(
        np.array([0, 3], np.int32), np.array([1, 0, 0, 0], np.int16),
        np.array([0.5, np.inf, np.inf, np.inf], np.float32), np.array([1, 1, 2, 3], np.int32),
        np.array([0, -2, 3, 1], np.float32),
    )  # fmt: skip
    out = np.empty(3, np.float32)
    predict(forest, np.array([[9, 0.5], [9, 0.6], [9, 0]], np.float32), out)
    assert out == pytest.approx(1 / (1 + np.exp([1.0, -4, 1])), rel=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.integers(1, 30)), min_size=1, max_size=7))
def test_what_stays_has_the_highest_expected_f1_of_all_choices(drawn):
    p = np.array([share for share, _ in drawn], np.float32)
    words = np.array([count for _, count in drawn])
    blocks("".join(f"<p>b{number}</p>" for number in range(len(p))))
    PAGES.describe(pm.load().evidence)
    desk = PAGES.desk
    desk.stats[: len(p), 0] = words
    keep = np.empty(len(p), bool)
    choose(desk, p, keep)

    def expected(mask):
        return 2 * (p * words)[mask].sum() / (words[mask].sum() + (p * words).sum())

    masks = [np.array([number >> bit & 1 for bit in range(len(p))], bool) for number in range(1, 2 ** len(p))]
    assert expected(keep) == pytest.approx(max(map(expected, masks)), rel=1e-5)


def test_what_a_page_shows_twice_stays_once():
    said = "<p>The museum opened a new wing in the spring, and many visitors came to see it.</p>"
    html = f"<article>{said * 3}<p>The director was pleased with the turnout, he said.</p></article>"
    page = PAGES.read(html.encode())
    assert page.text.count(b"opened a new wing") == 1
    assert b"director" in page.text


def test_gold_words_are_found_where_they_stand_in_a_row():
    words = np.array([0, 9, 0, 1, 2, 8, 3], np.int32)
    assert aligned(words, np.array([0, 1, 2, 3], np.int32)).tolist() == [False, False, True, True, True, False, True]


def test_shares_of_blocks_in_the_gold_text():
    assert shares(["Home", "A cat sat.", "on the mat", "Login"], "A cat sat on the mat").tolist() == [0, 1, 1, 0]
    assert shares([], "x").tolist() == []
    assert f1(bag("a b"), bag("b c")) == 0.5
    assert f1(bag(""), bag("")) == 1
