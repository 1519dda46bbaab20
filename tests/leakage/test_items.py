"""EvaluationItems: cloze questions that keep their rules, whatever the layout of parts."""

import json
import random
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
import xxhash

from hare_ray.leakage.holdout import HoldOut
from hare_ray.leakage.items import BLANK, EvaluationItems
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Table


class Documents(Table):
    writes = pa.schema([*DOCUMENT, pa.field("duplicate_cluster", pa.binary(16))])


DOCS = Documents(label="docs")
SPLIT = HoldOut(docs=DOCS, share=0.5)
FIELDS = {
    "docs": DOCS,
    "split": SPLIT,
    "max_documents": 40,
    "choices": 4,
    "seed": 3,
    "min_words": 8,
    "max_words": 40,
    "context_sentences": 1,
}
STAGE = EvaluationItems(**FIELDS)


def corpus(count=150):
    draw = random.Random(0)
    syllables = ["ba", "do", "ki", "lu", "me", "no", "ra", "su", "ti", "ve"]
    words = ["".join(draw.choices(syllables, k=3)) for _ in range(300)]
    rows = []
    for i in range(count):
        sentences = [" ".join(draw.choices(words, k=draw.randrange(5, 45))) for _ in range(6)]
        text = (
            "Heading without end\n" + " ".join(s.capitalize() + "." for s in sentences) + "\nCaf\u00e9 d\u00e9j\u00e0."
        )
        key = xxhash.xxh3_128_digest(text.encode())
        rows.append(
            {
                "id": key,
                "url": f"https://{i}",
                "file": "f",
                "offset": i,
                "text": text,
                "duplicate_cluster": key,
            }
        )
    return rows


def made(folder, rows, cuts=(), stage=STAGE):
    edges = [0, *cuts, len(rows)]
    docs = [pa.Table.from_pylist(rows[a:b], DOCS.schema()) for a, b in pairwise(edges)]
    hold = SPLIT.prepare(lambda stage: Path())
    tables = {"docs": docs, SPLIT.name: [hold(part) for part in docs]}
    folder.mkdir()
    desk = SimpleNamespace(
        folder=folder,
        rows=lambda stage: [len(table) for table in tables[stage.name]],
        read=lambda stage, part, columns: tables[stage.name][part].select(columns),
        map=lambda function, items: [function(item) for item in items],
    )
    consumed = stage.make(desk)
    texts, cloze = ((folder / f"{name}.jsonl").read_text("utf-8") for name in ("bits_per_byte", "cloze"))
    held = [row for part in tables[SPLIT.name] for row in part.column("held_out").to_pylist()]
    return consumed, texts, cloze, {row["id"].hex(): row for row, h in zip(rows, held, strict=True) if h}


def test_items_come_from_held_out_documents_only(tmp_path):
    consumed, texts, cloze, held = made(tmp_path / "out", corpus())
    lines = [json.loads(line) for line in texts.splitlines()]
    assert [line["id"] for line in lines] == sorted(held)[:40]
    assert all(line["text"] == held[line["id"]]["text"] for line in lines)
    assert consumed == {"rows": 150, "held_out": len(held), "texts": 40, "questions": len(cloze.splitlines())}
    assert consumed["questions"] > 30


def test_cloze_questions_keep_the_rules(tmp_path):
    _, _, cloze, held = made(tmp_path / "out", corpus())
    for line in cloze.splitlines():
        item = json.loads(line)
        text = " ".join(held[item["id"]]["text"].split())
        answer = item["choices"][item["answer"]]
        assert item["question"].count(BLANK) == 1
        assert item["question"].replace(BLANK, answer) in text
        shown = item["question"].lower().replace(".", "").split()
        assert answer not in shown
        assert len(set(item["choices"])) == 4
        assert not {c for c in item["choices"] if c != answer} & set(text.lower().replace(".", "").split())
        assert all(choice.islower() and choice.isalpha() for choice in item["choices"])
        blanked = next(s for s in item["question"].split(". ") if BLANK in s)
        assert 8 <= len(blanked.split()) <= 40
        assert item["question"].endswith(".") and item["url"] == held[item["id"]]["url"]


def test_place_of_the_answer_says_nothing(tmp_path):
    stage = EvaluationItems(**{**FIELDS, "max_documents": 400})
    _, _, cloze, _ = made(tmp_path / "out", corpus(700), stage=stage)
    places = [json.loads(line)["answer"] for line in cloze.splitlines()]
    assert len(places) > 250
    assert all(abs(places.count(place) / len(places) - 0.25) < 0.1 for place in range(4))


def test_layout_of_parts_does_not_matter_and_the_seed_does(tmp_path):
    rows = corpus()
    expected = made(tmp_path / "one", rows)[:3]
    shuffled = random.Random(1).sample(rows, len(rows))
    assert made(tmp_path / "two", shuffled, (0, 20, 90))[:3] == expected
    other = made(tmp_path / "three", rows, stage=EvaluationItems(**{**FIELDS, "seed": 4}))
    assert other[1] == expected[1] and other[2] != expected[2]


def test_more_parts_than_tasks_and_no_parts(tmp_path):
    rows = corpus()
    cuts = list(range(1, len(rows)))
    assert made(tmp_path / "many", rows, cuts)[:3] == made(tmp_path / "one", rows)[:3]
    assert made(tmp_path / "none", [])[0] == {"rows": 0, "held_out": 0, "texts": 0, "questions": 0}


def test_documents_without_words_or_sentences_give_no_question(tmp_path):
    rows = corpus(3)
    for row, text in zip(rows, ["", "No end here", None], strict=True):
        row["text"] = text
    consumed, texts, cloze, held = made(tmp_path / "out", rows)
    assert cloze == "" and consumed["questions"] == 0
    assert len(texts.splitlines()) == sum(row["text"] == "No end here" for row in held.values())


@pytest.mark.parametrize("wrong", [{"choices": 1}, {"max_documents": 0}, {"min_words": 41}, {"min_words": 0}])
def test_meaningless_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        EvaluationItems(**{**FIELDS, **wrong})


def test_split_of_other_documents_is_refused():
    with pytest.raises(ValueError, match="base"):
        EvaluationItems(**{**FIELDS, "docs": Documents(label="other")})
