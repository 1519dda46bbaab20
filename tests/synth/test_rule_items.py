"""RuleItems: every item is true of its document, whichever other documents are seeds."""

import random
import re
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import xxhash

from hare_ray.priors.tasks import Form, load_forms
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Table
from hare_ray.synth.prompt import STOP, WRITTEN
from hare_ray.synth.rule_items import RULES_FILE, RuleItems
from hare_ray.synth.rule_makers import MAKERS
from hare_ray.synth.rule_words import MIN_DOCUMENTS, MIN_LETTERS, NEIGHBOURS, PartWords
from hare_ray.synth.task_forms import BLANK, SLOTS

MARK = "\u241e"


def bare(task):
    """A form that shows all that the task can show, for a test to take apart."""
    has = SLOTS[task]
    names = [*has.always.split(), *has.one_of.split()]
    return Form(task, MARK.join(f"{name}={{{name}}}" for name in names))


BARE = tuple(bare(task) for task in MAKERS)


class Documents(Table):
    writes = pa.schema([*DOCUMENT, pa.field("cluster", pa.int32())])


class Chosen(Table):
    on: Table
    writes = pa.schema([pa.field("chosen", pa.bool_()), pa.field("turn", pa.int32())])

    @property
    def base(self):
        return self.on


DOCS = Documents(label="docs")


def stage(**changes):
    fields = {"docs": DOCS, "seeds": Chosen(on=DOCS), "forms": BARE, "per_document": len(MAKERS), "min_words": 4}
    sizes = {"max_words": 30, "context_sentences": 2, "max_excerpt_words": 60, "seed": 5}
    return RuleItems(**{**fields, **sizes, **changes})


def corpus(count=60, topics=3):
    draw = random.Random(0)
    syllables = ["ba", "do", "ki", "lu", "me", "no", "ra", "su", "t\u00e9", "ve"]
    words = ["".join(draw.choices(syllables, k=draw.randrange(1, 4))) for _ in range(200)]
    rows = []
    for i in range(count):
        sentences = [" ".join(draw.choices(words, k=draw.randrange(3, 20))).capitalize() + "." for _ in range(12)]
        text = "A Heading Without End\n" + " ".join(sentences[:6]) + "\n\n" + " ".join(sentences[6:])
        title = " ".join(sentences[1].split()[:3]) if i % 2 else "Some Other Site"
        row = {"id": xxhash.xxh3_128_digest(text.encode()), "url": f"https://{i}", "file": "f", "offset": i}
        rows.append({**row, "title": title, "text": text, "cluster": i % topics})
    return rows


def made(rows, chosen=None, **changes):
    docs = pa.Table.from_pylist(rows, DOCS.schema())
    chosen = [True] * len(rows) if chosen is None else chosen
    seeds = pa.table({"chosen": pa.array(chosen, pa.bool_()), "turn": pa.array([0] * len(rows), pa.int32())})
    return stage(**changes).prepare(None)(docs, seeds)


def slots(row):
    return dict(piece.split("=", 1) for piece in row["text"].split(MARK))


def flat(text):
    return " ".join(text.split())


ROWS = corpus()
TEXTS = {row["url"]: flat(row["text"]) for row in ROWS}


@pytest.fixture(scope="module")
def items():
    found = {}
    for row in made(ROWS).to_pylist():
        found.setdefault(row["template"], []).append(row)
    return found


def text_of(row):
    return TEXTS[row["url"].split("#")[0]]


def options(row):
    found = slots(row)
    four = [found[name] for name in "abcd"]
    assert len(set(four)) == 4
    assert four["ABCD".index(found["letter"])] == four[int(found["number"]) - 1] == found["answer"]
    return found, [option for option in four if option != found["answer"]]


def test_all_kinds_are_made_and_say_where_they_come_from(items):
    assert set(items) == set(MAKERS) and min(map(len, items.values())) >= 20
    topics = {row["url"]: row["cluster"] for row in ROWS}
    for task, rows in items.items():
        for row in rows:
            url, kind = row["url"].split("#")
            assert kind == task and row["topic"] == topics[url] and row["title"] is None
            assert (row["file"], row["offset"], row["seed"], row["finish"]) == (RULES_FILE, 0, "", STOP)
    ids = [row["id"] for rows in items.values() for row in rows]
    assert len(set(ids)) == len(ids)


def test_cloze_has_one_right_word(items):
    places = Counter()
    for row in items["cloze_choice"]:
        found, wrong = options(row)
        text, answer = text_of(row), found["answer"]
        assert found["question"].count(BLANK) == 1
        assert found["question"].replace(BLANK, answer) in text
        assert answer.isascii() and answer.islower() and len(answer) >= MIN_LETTERS
        assert answer not in re.findall(r"\w+", found["question"].lower())
        assert not set(wrong) & set(re.findall(r"\w+", text.lower()))
        assert all(sum(word in other for other in TEXTS.values()) >= MIN_DOCUMENTS for word in wrong)
        assert "Heading" not in found["question"]
        places[found["letter"]] += 1
    assert min(places[letter] for letter in "ABCD") >= 3


def test_the_next_sentence_is_the_documents_and_the_others_are_not(items):
    topics = {row["url"]: row["cluster"] for row in ROWS}
    for row in items["next_sentence"]:
        found, wrong = options(row)
        assert f"{found['text']} {found['answer']}" in text_of(row)
        for sentence in wrong:
            homes = {url for url, text in TEXTS.items() if sentence in text}
            assert homes and row["url"].split("#")[0] not in homes
            assert {topics[url] for url in homes} == {row["topic"]}


def test_order_is_that_of_the_document(items):
    for row in items["ordering"]:
        found = slots(row)
        shown = [line.split(". ", 1)[1] for line in found["items"].split("\n")]
        right = [shown[int(number) - 1] for number in found["order"].split(", ")]
        assert right != shown and " ".join(right) == found["ordered"] and found["ordered"] in text_of(row)


def test_titles_are_of_the_text_and_openings_begin_it(items):
    titles = {row["url"]: row["title"] for row in ROWS}
    for row in (*items["title"], *items["opening"]):
        found = slots(row)
        assert found["title"] == titles[row["url"].split("#")[0]] != "Some Other Site"
        assert flat(found["text"]) in text_of(row) and len(found["text"].split()) <= 60
        assert found["text"].endswith(".") and "Heading" not in found["text"]


def test_a_completion_gives_the_first_sentence_that_serves(items):
    for row in items["completion"]:
        found = slots(row)
        whole = f"{found['beginning']} {found['rest']}"
        assert whole in text_of(row) and 4 <= len(whole.split()) <= 30 and whole.endswith(".")
        before = text_of(row)[: text_of(row).index(whole)].replace("A Heading Without End", "")
        assert all(len(sentence.split()) < 4 for sentence in before.split("."))


def test_occurrence_is_told_rightly_and_both_ways(items):
    verdicts = Counter()
    for row in items["occurrence"]:
        found = slots(row)
        assert (found["sentence"] in flat(found["text"])) == (found["verdict"] == "Yes")
        assert any(found["sentence"] in text for text in TEXTS.values())
        verdicts[found["verdict"]] += 1
    assert min(verdicts["Yes"], verdicts["No"]) >= 10


def test_only_seeds_give_items_and_each_the_same_alone():
    everything = {row["id"]: row for row in made(ROWS, per_document=2).to_pylist()}
    some = made(ROWS, [i % 5 == 0 for i in range(len(ROWS))], per_document=2).to_pylist()
    assert {row["url"].split("#")[0] for row in some} == {f"https://{i}" for i in range(0, len(ROWS), 5)}
    assert all(everything[row["id"]] == row for row in some)
    assert max(Counter(row["url"].split("#")[0] for row in some).values()) == 2


def test_another_seed_makes_other_items():
    assert made(ROWS, seed=6)["text"].to_pylist() != made(ROWS)["text"].to_pylist()


def test_documents_without_sentences_titles_topics_or_company_give_what_they_can():
    odd = [{**ROWS[0], "text": text, "title": None, "cluster": None} for text in (None, "", "no capital. here", "Ab.")]
    assert len(made(odd)) == 0
    assert {row["template"] for row in made([{**ROWS[1], "cluster": None}]).to_pylist()} <= {
        "ordering", "title", "opening", "completion", "occurrence",
    }  # fmt: skip
    assert made([]).schema.names == [*WRITTEN.names, "reason"]


def test_copies_of_a_document_are_not_elsewhere():
    copies = [{**ROWS[1], "id": bytes([i]) * 16} for i in range(20)]
    found = made(copies).to_pylist()
    assert {"completion", "occurrence"} <= {row["template"] for row in found}
    assert not {"next_sentence", "cloze_choice"} & {row["template"] for row in found}
    assert {slots(row)["verdict"] for row in found if row["template"] == "occurrence"} == {"Yes"}


def test_the_priors_forms_write_them():
    texts = made(ROWS, forms=load_forms())["text"].to_pylist()
    assert len(texts) > 200 and not any(re.search(r"\{\w+\}", text) for text in texts)


def test_candidate_words_are_counted_by_document_and_neighbours_are_as_frequent():
    texts = [row["text"] + (" unheard unheard" if row is ROWS[3] else "") for row in ROWS]
    words = PartWords(pa.chunked_array([texts[:7], [None], texts[7:]], pa.large_string()), 1)
    plain = [set(re.findall(r"(?<!\w)[a-z]{4,}(?!\w)", text)) for text in texts]
    expected = Counter(word for document in plain for word in document)
    expected = {word: count for word, count in expected.items() if count >= MIN_DOCUMENTS}
    got = {}
    for number in np.flatnonzero(words.plain):
        rank = int(words.ranks(words.words.hashes[number : number + 1])[0])
        if rank >= 0:
            got[words.spelled(int(number))] = int(words.counts[rank])
    assert got == expected and len(got) > 50 and "unheard" not in got
    assert (np.diff(words.counts) >= 0).all()
    word = int(np.flatnonzero(words.plain)[0])
    rank = int(words.ranks(words.words.hashes[word : word + 1])[0])
    near = words.near(word, 0, 3, b"key")
    around = words.counts[max(0, rank - NEIGHBOURS) : rank + NEIGHBOURS + 1]
    assert all(around.min() <= expected[other] <= around.max() for other in near)


def test_wrong_numbers_and_other_documents_are_refused():
    for wrong in ({"per_document": 0}, {"per_document": 9}, {"min_words": 31}, {"max_excerpt_words": 20}):
        with pytest.raises(ValueError, match="expected"):
            stage(**wrong)
    with pytest.raises(ValueError, match="no form"):
        stage(forms=BARE[1:])
    with pytest.raises(ValueError, match="base"):
        stage(seeds=Chosen(on=Documents(label="others")))
