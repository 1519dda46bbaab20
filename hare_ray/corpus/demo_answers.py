"""The answers of the servers in a demo crawl, one function per kind: article, mirror, copy, index and so on.

Each takes the crawl and a running number and gives the same answer for the same number. What a number means
is left to hashes: which article is mirrored, which page is served in Latin-1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hare_ray.corpus.demo_frame import HOME, SITES, Page, framed
from hare_ray.corpus.demo_html import content
from hare_ray.corpus.demo_source import Article, stable_hash

MIRRORS = 3
LATIN1_EVERY = 20
SIDEBAR_LINKS = 30
INDEX_LINKS = 60
AUTHORS_LINES = 40
HTML_UTF8 = "text/html; charset=utf-8"
HTML_LATIN1 = "text/html; charset=ISO-8859-1"
BINARIES = (
    (
        "application/pdf",
        "pdf",
        b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF\n",
    ),
    (
        "image/png",
        "png",
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00",
    ),
    ("application/javascript", "js", b"(function () { window.ready = true; })();\n"),
)
GIVEN = (
    "Ada",
    "Bela",
    "Chidi",
    "Dagny",
    "Emil",
    "Farah",
    "Goran",
    "Hana",
    "Ines",
    "Jun",
    "Kofi",
    "Lena",
    "Mirela",
)
FAMILY = (
    "Abara",
    "Bergstrom",
    "Castillo",
    "Dimitrov",
    "Eriksen",
    "Fujita",
    "Georgiou",
    "Hartmann",
    "Ivanova",
)
DID = (
    "documentation",
    "the build system",
    "bug fixes",
    "the parser",
    "tests",
    "translations",
    "the web site",
)
MAIL_HOSTS = ("mail.example", "post.example", "lists.example", "people.example")
"""RFC 2606 reserves the name, so nobody has these addresses; those at example.org would pass for documentation."""


class Answer(NamedTuple):
    """One response of a server."""

    url: str
    status: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Crawl(NamedTuple):
    """What the pages are made of."""

    articles: list[Article]
    names: dict[str, list[str]]
    """All page names of a package, sorted: what navigation links to."""


def _site(package: str) -> str:
    """The site of a package. The layout table is left to mirrors, for it defeats extractors."""
    return ("classic", "modern")[stable_hash("site", package) % 2]


def _window(names: list[str], middle: str) -> tuple[str, ...]:
    """Neighbours of a page in the navigation."""
    at = names.index(middle)
    start = max(0, min(at - SIDEBAR_LINKS // 2, len(names) - SIDEBAR_LINKS))
    return tuple(names[start : start + SIDEBAR_LINKS])


def _url(site: str, article: Article) -> str:
    return f"{HOME[site]}/{article.package}/{article.version}/{article.entry.name}.html"


def _page(crawl: Crawl, article: Article, url: str, note: str = "") -> Page:
    links = _window(crawl.names[article.package], article.entry.name)
    return Page(article.package, article.version, article.entry.name, url, note + content(article), links)


def _html(page: Page, site: str, latin1: bool = False) -> Answer:
    media, charset = (HTML_LATIN1, "iso-8859-1") if latin1 else (HTML_UTF8, "utf-8")
    return Answer(page.url, "200 OK", (("Content-Type", media),), framed(page, site, charset))


def _article(crawl: Crawl, number: int) -> Answer:
    article = crawl.articles[number]
    site = _site(article.package)
    url = _url(site, article)
    return _html(_page(crawl, article, url), site, stable_hash("latin1", url) % LATIN1_EVERY == 0)


def _some(crawl: Crawl, kind: str, number: int) -> Article:
    """An article for another answer to speak of; consecutive numbers give different ones."""
    return crawl.articles[(stable_hash(kind) + number) % len(crawl.articles)]


def _mirror(crawl: Crawl, number: int) -> Answer:
    article = _some(crawl, "mirror", number)
    others = [site for site in SITES if site != _site(article.package)]
    site = others[number % MIRRORS // 2]
    url = f"https://mirror{number % MIRRORS}.example.net/pub/{article.package}/{article.entry.name}.html"
    note = f'<p class="notice">This is a copy of the {article.package} documentation kept by a mirror.</p>\n'
    return _html(_page(crawl, article, url, note if number % 2 else ""), site)


def _copy(crawl: Crawl, number: int) -> Answer:
    article = _some(crawl, "copy", number)
    original = _article(crawl, crawl.articles.index(article))
    return original._replace(url=original.url + "?highlight=search")


def _index(crawl: Crawl, number: int) -> Answer:
    packages = sorted(crawl.names)
    package = packages[number % len(packages)]
    names = crawl.names[package]
    first = number // len(packages) * INDEX_LINKS % len(names)
    listed = names[first : first + INDEX_LINKS]
    items = "".join(f'<li><a href="{name}.html">{name}</a></li>' for name in listed)
    site = _site(package)
    version = next((article.version for article in crawl.articles if article.package == package), "latest")
    url = f"{HOME[site]}/{package}/{version}/genindex-{number}.html"
    title = f"Index, page {number // len(packages) + 1}"
    body = f"<h1>{title}</h1><p>All modules, classes and functions.</p><ul>{items}</ul>"
    return _html(Page(package, version, title, url, body, tuple(listed)), site)


def _redirect(crawl: Crawl, number: int) -> Answer:
    article = _some(crawl, "redirect", number)
    target = _url(_site(article.package), article)
    old = target.replace(f"/{article.version}/", "/stable/")
    return Answer(old, "301 Moved Permanently", (("Location", target), ("Content-Type", HTML_UTF8)), b"")


def _missing(crawl: Crawl, number: int) -> Answer:
    article = _some(crawl, "missing", number)
    url = _url(_site(article.package), article).replace(".html", f"-{number}.html")
    body = b"<html><title>404 Not Found</title><h1>Not Found</h1><p>There is no such page here.</p></html>"
    return Answer(url, "404 Not Found", (("Content-Type", HTML_UTF8),), body)


def _binary(crawl: Crawl, number: int) -> Answer:
    article = _some(crawl, "binary", number)
    media, ending, body = BINARIES[number % len(BINARIES)]
    url = f"{HOME[_site(article.package)]}/{article.package}/_static/{article.entry.name}-{number}.{ending}"
    return Answer(url, "200 OK", (("Content-Type", media),), body)


def _authors(crawl: Crawl, number: int) -> Answer:
    article = crawl.articles[number % len(crawl.articles)]
    lines = []
    for i in range(AUTHORS_LINES):
        pick = stable_hash("author", number, i)
        given, family = GIVEN[pick % len(GIVEN)], FAMILY[pick // 16 % len(FAMILY)]
        host = MAIL_HOSTS[pick // 1024 % len(MAIL_HOSTS)]
        done = DID[pick // 8192 % len(DID)]
        lines.append(f"<li>{given} {family} &lt;{given.lower()}.{family.lower()}@{host}&gt; worked on {done}.</li>")
    site = _site(article.package)
    url = f"{HOME[site]}/{article.package}/{article.version}/AUTHORS-{number}.html"
    intro = (
        "The following people have given their time to this project. Write to them with questions about the "
        "parts they worked on."
    )
    body = f"<h1>Authors</h1><p>{intro}</p><ul>{''.join(lines)}</ul>"
    links = _window(crawl.names[article.package], article.entry.name)
    return _html(Page(article.package, article.version, "Authors", url, body, links), site)


ANSWERS: dict[str, Callable[[Crawl, int], Answer]] = {
    "article": _article,
    "mirror": _mirror,
    "copy": _copy,
    "index": _index,
    "redirect": _redirect,
    "missing": _missing,
    "binary": _binary,
    "authors": _authors,
}
