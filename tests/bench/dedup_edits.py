"""A corpus with planted copies: real documents, and edited copies of some of them, as JSON lines.

Of every kind of edit PAIRS documents of 150 to 800 words are copied: exactly; in Title Case; without the punctuation
around words; wrapped to lines of 60 characters; with one word before; with 1, 3 and 5 % of their words replaced. Which
documents are taken, what is replaced by what, and the order of all depend on their texts alone.
"""

import gzip
import heapq
import json
import random
import re
import textwrap
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import xxhash

SETS = ("text/reuters21578_train", "text/spamassassin_set1", "text/newsgroups20_train", "text/enwiki_2014_dev")
ARTICLES = "dedup/articles_1000"
PAIRS = 200
MIN_WORDS, MAX_WORDS = 150, 800
LINE_CHARS = 60
WORD = re.compile(r"\S+")

Edit = Callable[[str, random.Random, list[str]], str]


@dataclass(frozen=True)
class Document:
    """A text and the set it comes from."""

    text: str
    source: str


@dataclass(frozen=True)
class Pair:
    """An original and its copy, as places in the corpus."""

    original: int
    copy: int
    kind: str


@dataclass(frozen=True)
class Corpus:
    """Documents in the order in which they are written, and what is known of them."""

    documents: list[Document]
    planted: list[Pair]
    articles: list[Pair]
    """Pairs that the set of articles names as copies; its other articles have none."""

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of all texts."""
        return sum(len(document.text.encode()) for document in self.documents)


def bare(word: str) -> str:
    """The word without the punctuation around it; what is inside, as in `well-known`, stays."""
    return word.strip("".join(c for c in word if unicodedata.category(c).startswith("P")))


def replaced(share: float) -> Edit:
    """Another word for a share of all words, at least one; the white space stays."""

    def edit(text: str, chance: random.Random, vocabulary: list[str]) -> str:
        spans = [match.span() for match in WORD.finditer(text)]
        chosen = sorted(chance.sample(spans, max(1, round(share * len(spans)))), reverse=True)
        for start, end in chosen:
            text = text[:start] + chance.choice(vocabulary) + text[end:]
        return text

    return edit


EDITS: dict[str, Edit] = {
    "exact": lambda text, chance, vocabulary: text,
    "title case": lambda text, chance, vocabulary: text.title(),
    "no punctuation": lambda text, chance, vocabulary: WORD.sub(lambda found: bare(found[0]), text),
    "re-wrapped": lambda text, chance, vocabulary: textwrap.fill(" ".join(text.split()), LINE_CHARS),
    "word prepended": lambda text, chance, vocabulary: f"{chance.choice(vocabulary)} {text}",
    "1 % replaced": replaced(0.01),
    "3 % replaced": replaced(0.03),
    "5 % replaced": replaced(0.05),
}


def rank(text: str, salt: str = "") -> int:
    """A place in an order that has nothing to do with the text's meaning or its file."""
    return xxhash.xxh3_64_intdigest(f"{salt}{text}".encode())


def texts_of(path: Path) -> Iterator[str]:
    """Texts of a file of JSON lines that are not empty."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            text = json.loads(line)["text"]
            if text.strip():
                yield text


def gathered(folder: Path, megabytes: float) -> list[Document]:
    """All of the smaller sets and as much Wikipedia as fills up, or a like share of each."""
    found = [Document(text, name) for name in SETS for text in texts_of(folder / f"{name}.jsonl.gz")]
    sizes: dict[str, int] = {}
    for document in found:
        sizes[document.source] = sizes.get(document.source, 0) + len(document.text.encode())
    wanted = megabytes * 1e6
    small = sum(size for name, size in sizes.items() if name != SETS[-1])
    share = {name: min(1.0, 0.5 * wanted / small) for name in SETS[:-1]}
    share[SETS[-1]] = min(1.0, (wanted - share[SETS[0]] * small) / sizes[SETS[-1]])
    # Sets are thinned by the first words of a text, so that near-copies stay together.
    return [one for one in found if rank(one.text[:80]) < share[one.source] * 2**64]


def articles(folder: Path) -> tuple[list[Document], list[tuple[int, int]]]:
    """The articles, and which of them are copies."""
    lines = (folder / f"{ARTICLES}.train").read_text(encoding="utf-8").splitlines()
    named = dict(line.split(" ", 1) for line in lines)
    places = {name: place for place, name in enumerate(named)}
    truth = (line.split() for line in (folder / f"{ARTICLES}.truth").read_text().splitlines())
    return [Document(text, ARTICLES) for text in named.values()], [(places[a], places[b]) for a, b in truth]


def planted(documents: list[Document], pairs: int) -> list[tuple[Document, int, str]]:
    """Edited copies with the places of their originals: `pairs` of each kind."""
    fit = [place for place, one in enumerate(documents) if MIN_WORDS <= len(one.text.split()) <= MAX_WORDS]
    chosen = heapq.nsmallest(pairs * len(EDITS), fit, key=lambda place: (rank(documents[place].text, "copy"), place))
    vocabulary = sorted({word for place in chosen for word in documents[place].text.split() if word.isalpha()})
    kinds = list(EDITS)
    found = []
    for number, place in enumerate(chosen):
        text, kind = documents[place].text, kinds[number % len(kinds)]
        chance = random.Random(rank(text, kind))
        found.append((Document(EDITS[kind](text, chance, vocabulary), "planted"), place, kind))
    return found


def corpus(folder: Path, megabytes: float, pairs: int = PAIRS) -> Corpus:
    """Real documents, the articles and planted copies, mixed."""
    documents = gathered(folder, megabytes)
    copies = planted(documents, pairs)
    more, known = articles(folder)
    everything = [*documents, *(copy for copy, _, _ in copies), *more]
    return mixed(everything, len(documents), [(place, kind) for _, place, kind in copies], known)


def mixed(
    everything: list[Document], first_copy: int, origins: list[tuple[int, str]], known: list[tuple[int, int]]
) -> Corpus:
    """The documents in an order of their own, so that copies lie anywhere, and the pairs in that order."""
    order = sorted(range(len(everything)), key=lambda place: (rank(everything[place].text, "order"), place))
    now = {place: number for number, place in enumerate(order)}
    pairs = [Pair(now[place], now[first_copy + copy], kind) for copy, (place, kind) in enumerate(origins)]
    first_article = first_copy + len(origins)
    named = [Pair(now[first_article + a], now[first_article + b], "article") for a, b in known]
    return Corpus([everything[place] for place in order], pairs, named)


def write(documents: list[Document], folder: Path, files: int) -> None:
    """JSON lines in files of about equal size; a document's id is its place."""
    folder.mkdir(parents=True)
    for number in range(files):
        with (folder / f"part-{number}.jsonl").open("w", encoding="utf-8") as out:
            for place in range(number, len(documents), files):
                row = {"id": str(place), "url": f"doc:{place}", "text": documents[place].text}
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
