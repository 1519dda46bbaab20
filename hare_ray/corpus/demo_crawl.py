"""DemoCrawl: a crawl that any machine can make, without a network, out of the documentation it has installed.

The docstrings of Python's standard library and of the given packages become the pages of documentation
sites, with navigation, breadcrumbs, cookie banners and footers around them. As in a real crawl there are

    mirror      pages that another host shows in another frame: near-duplicates
    copy        pages under a second URL, byte for byte
    index       pages that are mostly links
    redirect, missing, binary    answers that hold no page
    authors     lists of people with their e-mail addresses (invented ones)

and some pages are served in Latin-1. Everything else is an article. Which modules are taken, and what goes
where, is decided by hashes: the same fields and installed versions give the same bytes. Out come `files`
WARC files, one gzip member per record.

Why real documentation and not generated sentences: filters, deduplication and topics only show what they do
on text that people wrote.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from hare_ray.corpus.demo_answers import ANSWERS, Answer, Crawl
from hare_ray.corpus.demo_source import Article, Candidate, articles, candidates, stable_hash
from hare_ray.stage import Make

if TYPE_CHECKING:
    from hare_ray.gather import Desk

SHARES = {
    "mirror": 0.04,
    "copy": 0.005,
    "index": 0.03,
    "redirect": 0.015,
    "missing": 0.015,
    "binary": 0.015,
    "authors": 0.01,
}
MAX_AUTHORS = 3
GZIP_LEVEL = 6


def _counts(pages: int) -> dict[str, int]:
    counts = {kind: round(pages * share) for kind, share in SHARES.items()}
    counts["authors"] = min(counts["authors"], MAX_AUTHORS)
    return {**counts, "article": pages - sum(counts.values())}


def _collect(found: list[Candidate], wanted: int) -> tuple[Crawl, int]:
    """Articles of as many modules as it takes, and how many that were."""
    taken: list[Article] = []
    modules = 0
    for candidate in found:
        if len(taken) >= wanted:
            break
        pages = articles(candidate)
        modules += bool(pages)
        taken.extend(pages)
    if len(taken) < wanted:
        raise ValueError(
            f"the packages hold {len(taken)} documented modules, classes and functions, and {wanted} are "
            "wanted; name more packages, or ask for fewer pages"
        )
    names: dict[str, set[str]] = {}
    for candidate in found:
        names.setdefault(candidate.package, set()).add(candidate.name)
    for article in taken:
        names[article.package].add(article.entry.name)
    return Crawl(taken[:wanted], {package: sorted(own) for package, own in names.items()}), modules


def _record(kind: str, url: str, media: str, block: bytes) -> bytes:
    """One WARC record as a gzip member; its date stands still, for the bytes to stay the same."""
    number = f"{stable_hash('record', kind, url):016x}{stable_hash('id', kind, url):016x}"
    uuid = "-".join(number[a:b] for a, b in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32)))
    target = f"WARC-Target-URI: {url}\r\n" if kind == "response" else ""
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{uuid}>\r\n"
        f"WARC-Date: 2025-01-01T00:00:00Z\r\n{target}"
        f"Content-Type: {media}\r\nContent-Length: {len(block)}\r\n\r\n"
    )
    return gzip.compress(head.encode() + block + b"\r\n\r\n", GZIP_LEVEL, mtime=0)


def _response(answer: Answer) -> bytes:
    headers = (*answer.headers, ("Content-Length", str(len(answer.body))))
    head = f"HTTP/1.1 {answer.status}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers) + "\r\n"
    return _record("response", answer.url, "application/http; msgtype=response", head.encode() + answer.body)


class DemoCrawl(Make):
    """WARC files of documentation pages."""

    pages: int
    """Responses in all, of every kind."""
    files: int
    packages: tuple[tuple[str, str], ...]
    """Names (of a distribution or an importable package) and versions; "python" is the standard library."""

    code: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Refuse a crawl without pages, files or packages."""
        if not (1 <= self.files <= self.pages and self.packages):
            raise ValueError(
                f"{self.pages} pages in {self.files} files from {len(self.packages)} packages; expected "
                "at least one package, one file, and no more files than pages"
            )

    def make(self, desk: Desk) -> dict[str, int]:
        """Write crawl-00000.warc.gz and so on."""
        counts = _counts(self.pages)
        crawl, modules = _collect(candidates(self.packages), counts["article"])
        plan = [(kind, number) for kind in ANSWERS for number in range(counts[kind])]
        plan.sort(key=lambda item: (stable_hash("order", *item), item))
        for file in range(self.files):
            name = f"crawl-{file:05d}.warc.gz"
            with (desk.folder / name).open("wb") as out:
                out.write(_record("warcinfo", name, "application/warc-fields", b"software: hare_ray DemoCrawl\r\n"))
                out.writelines(_responses(crawl, plan[file :: self.files]))
        return {"modules": modules, "pages": len(plan)}


def _responses(crawl: Crawl, plan: list[tuple[str, int]]) -> Iterator[bytes]:
    return (_response(ANSWERS[kind](crawl, number)) for kind, number in plan)
