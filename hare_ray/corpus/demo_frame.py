"""Page frames: what a web page has around its content, and an extractor must take away again.

Three sites, as they were built in three decades: `classic` (a side bar of floats), `modern` (header, nav,
main, aside, footer, a consent banner) and `table` (a layout table, no semantic elements).
"""

from __future__ import annotations

from html import escape
from typing import NamedTuple

SITES = ("classic", "modern", "table")
HOME = {
    "classic": "https://docs.example.org",
    "modern": "https://reference.example.com",
    "table": "http://manual.example.net",
}
TOP_LINKS = ("Home", "Install", "User guide", "Reference", "Examples", "Community", "Blog", "Download")
FOOT_LINKS = (
    "About",
    "Contact",
    "Privacy policy",
    "Terms of use",
    "Imprint",
    "Accessibility",
    "Sitemap",
    "Report a bug",
)
COOKIES = (
    "We use cookies and similar technologies to improve your experience, to measure traffic and to remember "
    "your settings. By clicking Accept all you agree to the storing of cookies on your device."
)
NEWSLETTER = "Subscribe to our newsletter and never miss a release. No spam, unsubscribe at any time."


class Page(NamedTuple):
    """Content and where it stands."""

    package: str
    version: str
    title: str
    url: str
    content: str
    links: tuple[str, ...]
    """Names of neighbouring pages."""


def _link(page: Page, name: str) -> str:
    return f'<a href="{escape(name)}.html">{escape(name.removeprefix(page.package + "."))}</a>'


def _list(page: Page, names: tuple[str, ...]) -> str:
    return "<ul>" + "".join(f"<li>{_link(page, name)}</li>" for name in names) + "</ul>"


def _menu(links: tuple[str, ...]) -> str:
    return "".join(f'<li><a href="/{escape(link.lower().replace(" ", "-"))}">{escape(link)}</a></li>' for link in links)


def _crumbs(page: Page) -> str:
    parts = page.title.split(".")
    links = [_link(page, ".".join(parts[: i + 1])) for i in range(len(parts) - 1)]
    return " &raquo; ".join([f'<a href="/">{escape(page.package)} {escape(page.version)}</a>', *links])


def _neighbours(page: Page) -> str:
    before, after = page.links[0], page.links[-1]
    back = f'<a rel="prev" href="{escape(before)}.html">Previous</a>'
    return f'{back} | <a rel="next" href="{escape(after)}.html">Next</a>'


def _head(page: Page, charset: str, extra: str) -> str:
    title = f"{escape(page.title)} &mdash; {escape(page.package)} {escape(page.version)} documentation"
    return (
        f'<head><meta charset="{charset}"><title>{title}</title>'
        f'<link rel="canonical" href="{escape(page.url)}">'
        f'<link rel="stylesheet" href="/_static/site.css">{extra}</head>'
    )


def _classic(page: Page, charset: str) -> str:
    script = "<script>var OPTIONS = {URL_ROOT: './', COLLAPSE_INDEX: false};</script>"
    return f"""<!DOCTYPE html>
<html lang="en">{_head(page, charset, script)}<body>
<div class="related" role="navigation"><h3>Navigation</h3><ul><li><a href="genindex.html">index</a></li>
<li><a href="py-modindex.html">modules</a></li></ul>{_neighbours(page)} {_crumbs(page)}</div>
<div class="document"><div class="documentwrapper"><div class="bodywrapper"><div class="body" role="main">
{page.content}
</div></div></div>
<div class="sphinxsidebar" role="navigation"><h3>Table of contents</h3>{_list(page, page.links)}
<h3>This page</h3><ul><li><a href="/bugs">Report a bug</a></li>
<li><a href="_sources/index.txt">Show source</a></li></ul>
<form class="search" action="search.html"><input type="text" name="q">
<input type="submit" value="Go"></form></div></div>
<div class="footer">&copy; Copyright, the {escape(page.package)} developers. Last updated with version
{escape(page.version)}. Created with a documentation generator.</div>
</body></html>
"""


def _modern(page: Page, charset: str) -> str:
    style = "<style>.banner{position:fixed;bottom:0}.card{border-radius:4px}</style>"
    return f"""<!doctype html>
<html lang="en">{_head(page, charset, style)}<body>
<a class="skip-link" href="#main">Skip to main content</a>
<header class="site-header"><a class="logo" href="/">{escape(page.package)}</a>
<nav><ul>{_menu(TOP_LINKS)}</ul></nav>
<form role="search"><input type="search" placeholder="Search the docs"><button>Search</button></form></header>
<div class="layout"><aside class="sidebar"><nav aria-label="Section navigation"><p>Section navigation</p>
{_list(page, page.links)}</nav></aside>
<main id="main"><nav class="breadcrumb" aria-label="Breadcrumb">{_crumbs(page)}</nav>
<article>
{page.content}
</article><div class="prev-next">{_neighbours(page)}</div></main>
<aside class="secondary"><p>On this page</p><ul><li><a href="#">Back to top</a></li></ul>
<div class="newsletter"><p>{NEWSLETTER}</p></div></aside></div>
<div class="cookie-consent banner" role="dialog"><p>{COOKIES}</p>
<button>Accept all</button><button>Reject</button></div>
<footer class="site-footer"><ul>{_menu(FOOT_LINKS)}</ul><p>\u00a9 The {escape(page.package)} team. All rights
reserved.</p></footer><script src="/_static/app.js"></script></body></html>
"""


def _table(page: Page, charset: str) -> str:
    cells = " | ".join(f'<a href="/{link.lower().replace(" ", "")}.htm">{link}</a>' for link in TOP_LINKS)
    return f"""<html>{_head(page, charset, "")}<body bgcolor="#ffffff" link="#0000cc">
<table width="100%" cellpadding="4"><tr><td colspan="2" bgcolor="#dddddd">
<font size="2">{cells}</font></td></tr>
<tr><td width="180" valign="top"><b>{escape(page.package)} {escape(page.version)}</b><br><font size="2">
{"<br>".join(_link(page, name) for name in page.links)}</font></td>
<td valign="top"><font size="1">You are here: {_crumbs(page)}</font><hr>
{page.content}
<hr><font size="1">{_neighbours(page)}</font></td></tr>
<tr><td colspan="2"><center><font size="1">Copyright \u00a9 the {escape(page.package)} authors. Mirrored with
permission. Webmaster: please report broken links.</font></center></td></tr></table></body></html>
"""


FRAMES = {"classic": _classic, "modern": _modern, "table": _table}


def framed(page: Page, site: str, charset: str) -> bytes:
    """The whole page, in `charset`; characters it lacks become references."""
    return FRAMES[site](page, charset).encode(charset, "xmlcharrefreplace")
