"""What the tests of the page share: a crawl, and how to read a page."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from hare_ray import engine
from hare_ray.manifest import load_all
from hare_ray.stage import Stage
from hare_ray.store import Root
from tests.report.stages import build

NAMES = ["rivers and banks", "ovens", "courts & <judges>"]
EVIL = "</script><script>alert(1)</script>"
VOID = {"meta", "br", "input", "img", "link", "hr"}


def page(number: int, text: str, title: str = "a title", url: str | None = None) -> dict[str, str]:
    return {"url": url or f"https://example.org/{number}", "title": title, "text": text}


def pages() -> list[dict[str, str]]:
    found = []
    for number in range(60):
        words = f"topic={number % 3} quality={(number * 37 % 60) / 60:.4f} words of document {number} and more"
        found.append(page(number, words, EVIL if number == 30 else f"title {number}"))
    found += [page(100 + n, "") for n in range(4)]
    found += [page(200 + n, f"lingua fr topic=0 quality=0.1 number {n}") for n in range(9)]
    found += [page(300 + n, f"click here topic=0 quality=0.1 number {n}") for n in range(2)]
    found += [page(400 + n, found[5]["text"]) for n in range(3)]
    found += [page(500 + n, f"topic=1 quality=0.5 about item arc/test/q-{n % 2} number {n}") for n in range(3)]
    found.append(page(600, "lorem topic=0 quality=0.1", url="javascript:alert(2)"))
    return found


def recipe(crawl: Path) -> dict[str, Stage]:
    return build(crawl, NAMES, cap=8, min_quality=0.3)


def run(stages: dict[str, Stage], root: Path) -> None:
    last = ("d1", "label_clusters", "cluster_map", "stage_1_certificate")
    engine.run(*(stages[name] for name in last), root=str(root))


def crawled(folder: Path, found: list[dict[str, str]]) -> Path:
    """A crawl of one file."""
    (folder / "crawl").mkdir()
    (folder / "crawl" / "0.jsonl").write_text("\n".join(json.dumps(page) for page in found))
    return folder / "crawl"


class Reader(HTMLParser):
    """Keeps the text of elements by tag, all attributes, and whether every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        self.text += " "
        if tag == "script":
            self.scripts.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        optional = {"p", "li", "tr", "td", "th", "dt", "dd", "thead", "tbody"}
        while self.open[-1] != tag and self.open[-1] in optional:
            self.open.pop()
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif not self.open or self.open[-1] != "style":
            self.text += data


def section(html: str, name: str) -> str:
    return html.split(f'<section id="{name}">')[1].split("</section>")[0]


def plain(fragment: str) -> str:
    return " ".join(Reader(fragment).text.split())


def manifests(whole: Path) -> dict[str, Any]:
    return load_all(Root(str(whole)))


def tiles(html: str) -> dict[str, tuple[str, str]]:
    """Label -> figure and note."""
    inside = html.split('id="numbers"')[1].split("<section")[0]
    found = re.findall(r'"label">([^<]+)</span><span class="figure">([^<]+)</span><span class="note">([^<]+)<', inside)
    return {label: (figure, note) for label, figure, note in found}


def headline(html: str) -> str:
    return plain(html.split("<h1>")[1].split("</h1>")[0])
