"""Certificate: a corpus with planted items, from documents to packed rows; what is said adds up and is so."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hare_ray.engine import run
from hare_ray.leakage.benchmarks import Benchmarks
from hare_ray.leakage.certificate import Certificate, benchmarks, numbers
from hare_ray.leakage.certificate_page import LISTED, Listed, law, page
from hare_ray.leakage.decontaminate import Decontaminate
from hare_ray.leakage.hits import EXAMPLES, HITS, Found, Tally, tallied
from hare_ray.leakage.leaks import Rule
from hare_ray.leakage.shards import CheckShards
from hare_ray.priors.benchmarks import load_benchmark_forms
from hare_ray.schema import DOCUMENT, REASON
from hare_ray.stage import Files, Keep, Make, Map, PartFunction, Source, Table, stable
from hare_ray.tokens.pack import Pack
from hare_ray.tokens.tokenizer import trained
from tests.leakage.exams import QUESTION, SHORT, leak_index, unrelated, write_exam

RULE = Rule(min_hits=1, max_overlap=0.0, reworded_share=0.8)
RATE = Rule(min_hits=1, max_overlap=0.5, reworded_share=None)


class Pages(Map):
    """A document per line of a file."""

    files: Source
    writes: ClassVar[pa.Schema] = DOCUMENT

    def prepare(self, files: Files) -> PartFunction:
        def read(splits: pa.Table) -> pa.Table:
            rows = []
            for split in splits.to_pylist():
                for number, line in enumerate(Path(split["path"]).read_text().splitlines()):
                    name = f"{split['file']}:{number}"
                    rows.append(
                        {"id": name.encode().ljust(16), "url": f"https://x/{name}", "file": split["file"], "offset": 0,
                         "title": None, "text": line}
                    )  # fmt: skip
            return pa.Table.from_pylist(rows, schema=DOCUMENT).append_column(REASON, pa.nulls(len(rows), pa.string()))

        return read


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """The stages by name, and their root, all made: two corpora, their rows, a good certificate and a bad one."""
    folder = tmp_path_factory.mktemp("certified")
    for name, texts in {
        "a": [unrelated(80, 1), f"{unrelated(40, 2)} {QUESTION} {unrelated(40, 3)}", unrelated(80, 4)],
        "b": [f"Quiz: {SHORT} Sodium.", unrelated(90, 5)],
        "c": [unrelated(70, 6)],
    }.items():
        (folder / "pages").mkdir(exist_ok=True)
        (folder / "pages" / f"{name}.txt").write_text("\n".join(texts) + "\n")
    (folder / "words").mkdir()
    trained(iter([[unrelated(300, seed) for seed in range(9)]]), 340).save(str(folder / "words" / "tokenizer.json"))

    exam = Source(label="exam", location=str(write_exam(folder / "exam")))
    index = leak_index(Benchmarks(files=(exam,), tasks=(), forms=load_benchmark_forms()))
    docs = Pages(files=Source(label="pages_in", location=str(folder / "pages"), part_bytes=1))
    web = Decontaminate(label="web", docs=docs, index=index, rule=RULE)
    rate = Decontaminate(label="rate", docs=docs, index=index, rule=RATE)
    clean = Keep(label="clean", docs=docs, verdicts=(web,))
    words = Source(label="words", location=str(folder / "words"))
    packs = [
        Pack(label=f"packed_{kept.name}", docs=kept, tokenizer=words, sequence_tokens=256, token_bytes=2, seed=1)
        for kept in (clean, docs)
    ]
    good, bad = (
        CheckShards(label=f"{p.name}_check", sequences=p, tokenizer=words, index=index, rule=RULE, token_bytes=2)
        for p in packs
    )
    yes = Certificate(
        label="yes", indexes=(index,), names=("D1", "by rate", "rows"), tables=(web, rate, good), final=("rows",),
        documents=(docs,),
    )  # fmt: skip
    no = Certificate(label="no", indexes=(index,), names=("rows",), tables=(bad,), final=("rows",))
    below = Certificate(
        label="below", indexes=(index,), names=("rated",), tables=(rate,), final=("rated",), documents=(docs,)
    )
    run(yes, no, below, root=str(folder / "run"))
    return {stage.name: stage for stage in (index, docs, web, rate, good, bad, yes, no, below, *packs)}, folder / "run"


def made(stages, name: str) -> Path:
    found, root = stages
    return root / name / found[name].fingerprint[:12]


def told(stages, name: str) -> dict:
    return json.loads((made(stages, name) / "certificate.json").read_text())


def test_a_cleaned_corpus_is_certified_with_its_numbers(stages):
    says = told(stages, "yes")
    assert says["clean"] and says["final"]["leaks"] == 0 and says["final"]["corpora"] == ["rows"]
    corpora = {corpus["name"]: corpus for corpus in says["corpora"]}
    assert [corpora["D1"][key] for key in ("rows", "hits", "removed")] == [6, 2, 2]
    assert corpora["D1"]["reasons"] == {"leaked_ngram": 1, "leaked_short_item": 1}
    assert (
        corpora["D1"]["rule"]["rule"]["max_overlap"] == 0.0 and corpora["by rate"]["rule"]["rule"]["max_overlap"] == 0.5
    )
    assert corpora["rows"]["rows"] == says["final"]["rows"] > 0 and corpora["rows"]["hits"] == 0
    split = says["benchmarks"]["exam"]["test"]
    assert [split[name] for name in ("items", "checked", "exact", "joined", "unchecked")] == [3, 2, 2, 0, 1]
    assert split["methods"] == {"leak_index": {"ngram": 1, "short_exact": 1, "unchecked": 1}}
    assert split["corpora"]["D1"] == {"hits": 2, "removed": 2, "items": 2}
    assert says["indexes"]["leak_index"]["recipe"]["ngram"] == 13 and len(says["limits"]) >= 5


def test_a_hit_under_the_threshold_is_told_and_not_counted_as_removed(stages):
    corpora = {corpus["name"]: corpus for corpus in told(stages, "yes")["corpora"]}
    assert corpora["by rate"]["hits"] > corpora["by rate"]["removed"]
    assert corpora["by rate"]["below"] == corpora["by rate"]["hits"] - corpora["by rate"]["removed"]
    assert corpora["D1"]["below"] == 0


def test_the_last_look_names_the_tables_that_are_trained_on(stages):
    packed = stages[0]["packed_clean"]
    assert told(stages, "yes")["final"]["bases"] == {"packed_clean": packed.fingerprint}
    assert told(stages, "no")["final"]["bases"] != told(stages, "yes")["final"]["bases"]


def heading(text: str) -> str:
    return " ".join(re.sub("<[^>]*>", "", text.split("<h1>")[1].split("</h1>")[0]).split())


def test_the_heading_says_what_the_rules_say_and_what_stays_below_them(stages):
    says = told(stages, "yes")
    assert says["final"]["below"] == 0
    assert heading(page(says, Listed())) == "By its rules, what is trained on leaks none of 2 benchmark items"
    says["final"]["below"] = 5
    assert heading(page(says, Listed())).endswith("5 rows have something in common below the threshold")
    kept = told(stages, "below")
    assert (kept["final"]["leaks"], kept["final"]["below"]) == (1, 1)
    text = heading((made(stages, "below") / "certificate.html").read_text())
    assert "leaks benchmark items in 1 row; 1 row has something in common below the threshold" in text


@pytest.mark.parametrize(
    ("rule", "kind", "words"),
    [
        (
            RULE,
            "Decontaminate",
            ("leak is a text with at least 1 run of 13", "80 % of the weight", "Nothing that is found"),
        ),
        (
            RATE,
            "CheckShards",
            ("leak is a piece of a row", "more than 50 % of its own runs of 13", "no more than 50 % of its own."),
        ),
        (
            Rule(min_hits=3, max_overlap=0.25, reworded_share=None),
            "Decontaminate",
            ("at least 3 runs", "with only fewer than 3 runs in common or runs in common that are no more than 25 %"),
        ),
    ],
)
def test_a_rule_is_said_in_words(rule, kind, words):
    corpus = {"kind": kind, "rule": numbers({"rule": stable(rule, "rule")})}
    said = law(corpus, {"recipe": {"ngram": 13}})
    assert all(part in said for part in words)
    assert ("weight of a question" in said) == (rule.reworded_share is not None)


def test_the_limits_say_what_is_kept_what_is_joined_and_how_items_are_counted(stages):
    limits = " ".join(told(stages, "yes")["limits"])
    for words in ("with choices or answer (joined)", "counts of items are lower bounds", "half for text that a model"):
        assert words in limits


def test_every_hit_leads_to_its_document_and_url(stages):
    hits = pq.read_table(made(stages, "yes") / "hits.parquet")
    assert hits.schema.equals(HITS)
    files = sorted(path.name for path in made(stages, "yes").rglob("*"))
    assert files == ["certificate.html", "certificate.json", "hits.parquet", "unchecked.jsonl"]
    d1 = {row["item"]: row for row in hits.to_pylist() if row["corpus"] == "D1"}
    assert d1["long"]["document"] == b"a.txt:1".ljust(16).hex() and d1["long"]["url"] == "https://x/a.txt:1"
    assert d1["short"]["document"] == b"b.txt:0".ljust(16).hex()
    assert "Farmer Giles" in d1["long"]["snippet"]


def test_leaks_that_are_left_are_said_and_lead_from_the_rows_to_the_documents(stages):
    says = told(stages, "no")
    assert not says["clean"] and says["final"]["leaks"] >= 1
    hits = pq.read_table(made(stages, "no") / "hits.parquet").to_pylist()
    assert {row["document"] for row in hits} <= {b"a.txt:1".ljust(16).hex(), b"b.txt:0".ljust(16).hex()}
    assert "leaks left" in (made(stages, "no") / "certificate.html").read_text()


def test_items_that_nothing_checks_are_listed_with_the_reason(stages):
    lines = (made(stages, "yes") / "unchecked.jsonl").read_text().splitlines()
    assert [(item["id"], item["reason"]) for item in map(json.loads, lines)] == [("tiny", "too_short")]
    books = json.loads((stages[1] / "yes" / "manifest.json").read_text())["books"]
    assert books == {
        "rows": 12 + told(stages, "yes")["final"]["rows"],
        "hits": 4,
        "leaks_left": 0,
        "unchecked_items": 1,
    }


class Page(HTMLParser):
    """Elements that are open at the end, and what would be loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str | None] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_is_whole_loads_nothing_and_escapes_what_pages_say(stages):
    says = told(stages, "yes")
    says["examples"][0]["snippet"] = "<script>alert(1)</script>"
    listed = Listed()
    for number in range(LISTED + 2):
        listed.add({"index": "i", "benchmark": "b", "split": "test", "id": f"<{number}>", "reason": "too_common"})
    text = page(says, listed)
    parsed = Page()
    parsed.feed(text)
    shown = " ".join(" ".join(parsed.words).split())
    assert parsed.open == [] and parsed.loads == []
    assert "<script>alert" not in text and "<script>alert(1)</script>" in shown
    assert "and 2 more" in shown and "What this cannot promise" in shown
    assert all(limit in shown for limit in says["limits"])


def test_the_same_again_is_the_same_bytes(stages, tmp_path):
    run(stages[0]["yes"], root=str(tmp_path))
    for name in ("certificate.json", "certificate.html", "hits.parquet", "unchecked.jsonl"):
        again = tmp_path / "yes" / stages[0]["yes"].fingerprint[:12] / name
        assert again.read_bytes() == (made(stages, "yes") / name).read_bytes()


def hits_of(count: int, reason: str | None, item: str | None = "i") -> pa.Table:
    whose = {"benchmark": "b", "split": "s"} if item else {}
    row = {"corpus": "D1", **whose, "item": item, "method": "ngram", "overlap": 0.5, "reason": reason, "document": "00"}
    return pa.Table.from_pylist([row] * count, schema=HITS)


def test_sums_over_parts_keep_few_examples_and_count_all():
    tally = Tally()
    for reason in (None, "leaked_ngram", "leaked_overlap"):
        tally.add(tallied(hits_of(5, reason)))
    tally.add(tallied(hits_of(2, "leaked_overlap", item=None)))
    assert (tally.hits, tally.removed, tally.reasons) == (17, 12, {"leaked_ngram": 5, "leaked_overlap": 7})
    assert tally.found[("b", "s")].items == {"i"} and len(tally.found[("b", "s")].examples) == EXAMPLES
    assert tally.found[("", "")].documents == 2
    first = tallied(pa.concat_tables([hits_of(4, None), hits_of(1, "leaked_ngram")]))
    assert first.found[("b", "s")].examples[0]["reason"] == "leaked_ngram"


def test_an_item_counts_as_checked_where_every_index_that_was_used_checks_it():
    coverage = {
        "one": {"b": {"s": {"items": 9, "ngram": 4, "short_exact": 2, "joined": 1, "unchecked": 2}}},
        "two": {"b": {"s": {"items": 9, "ngram": 3, "joined": 1, "unchecked": 5}, "only": {"items": 1, "ngram": 1}}},
        "unused": {"b": {"s": {"items": 9, "unchecked": 9}}},
    }
    found = benchmarks(coverage, {"one", "two"}, {"D1": Tally(found={("b", "s"): Found(3, 2, {"x"})})})
    assert found["b"]["s"]["checked"] == 4 and found["b"]["only"]["checked"] == 0
    assert [found["b"]["s"][name] for name in ("exact", "joined", "unchecked")] == [3, 1, 5]
    assert found["b"]["s"]["corpora"] == {"D1": {"hits": 3, "removed": 2, "items": 1}}


def test_of_a_recipe_the_numbers_stay_and_the_inputs_go():
    recipe = {"docs": {"stage": "f"}, "many": [{"stage": "f"}], "rule": {"class": "Rule", "n": 3}, "none": None, "x": 1}
    assert numbers(recipe) == {"rule": {"class": "Rule", "n": 3}, "x": 1}


class Documents(Table):
    writes: ClassVar[pa.Schema] = DOCUMENT


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"names": ()}, "as many different names"),
        ({"final": ("D9",)}, "expected names among"),
        ({"indexes": ()}, "one or more, each once"),
        ({"indexes": (leak_index(Make()),)}, "put that among `indexes`"),
        ({"documents": ()}, "give the base itself"),
        ({"documents": (Documents(label="others"),)}, "give the base itself"),
    ],
)
def test_certificates_that_mean_nothing_are_refused(changed, message):
    docs, index = Documents(), Make(label="index")
    table = Decontaminate(docs=docs, index=index, rule=RULE)
    given = {"indexes": (index,), "names": ("D1",), "tables": (table,), "final": (), "documents": (docs,)}
    Certificate(**given)
    with pytest.raises(ValueError, match=message):
        Certificate(**{**given, **changed})
