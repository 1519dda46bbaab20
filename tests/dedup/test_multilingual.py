"""Copies that differ in wrapping, case, punctuation and Unicode form are one text in every script; others are not."""

import gzip
import json
import os
import re
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hare_ray.dedup.minhash import band_keys, similarity
from hare_ray.dedup.signature import Signature
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Table


class Documents(Table):
    writes = DOCUMENT


BANDS, ROWS = 14, 8
SIGNATURE = Signature(docs=Documents(label="docs"), ngram=5, unit="word", bands=BANDS, rows=ROWS, seed=1)
SIGN = SIGNATURE.prepare(lambda stage: Path())

SENTENCES = {
    "Latin": "Stra\u00dfe, fa\u00e7ade and \u0130stanbul: it\u2019s a well-known \ufb01le!",
    "Vietnamese": "Ti\u1ebfng Vi\u1ec7t c\u00f3 s\u00e1u thanh \u0111i\u1ec7u.",
    "Cyrillic": "\u0421\u044a\u0435\u0448\u044c \u0436\u0435 \u0435\u0449\u0451 \u044d\u0442\u0438\u0445 "
    "\u043c\u044f\u0433\u043a\u0438\u0445 \u0431\u0443\u043b\u043e\u043a, \u0439\u043e\u0434!",
    "Greek": "\u039f \u03ac\u03bd\u03b5\u03bc\u03bf\u03c2 \u03ba\u03b1\u03b9 \u03bf \u03ae\u03bb\u03b9\u03bf\u03c2.",
    "Arabic": "\u0627\u0644\u0644\u0651\u064f\u063a\u064e\u0629 \u0627\u0644\u0639\u0631\u0628\u064a\u0629\u060c "
    "\u0622\u062f\u0627\u0628\u061f",
    "Hindi": "\u0939\u093f\u0928\u094d\u0926\u0940 \u092e\u0947\u0902 \u0932\u093f\u0916\u093e \u0939\u0941\u0906 "
    "\u0935\u093e\u0915\u094d\u092f\u0964",
    "Chinese": "\u4eca\u5929\u5929\u6c14\u5f88\u597d\uff0c\u6211\u4eec\u53bb\u516c\u56ed\u6563\u6b65\u3002",
    "Japanese": "\u6771\u4eac\u3067\u304c\u3093\u3070\u308b\u30d7\u30ed\u30b0\u30e9\u30de\u30fc\u3002",
    "Thai": "\u0e27\u0e31\u0e19\u0e19\u0e35\u0e49\u0e2d\u0e32\u0e01\u0e32\u0e28\u0e14\u0e35\u0e21\u0e32\u0e01",
    "Korean": "\uc624\ub298\uc740 \ub0a0\uc528\uac00 \uc544\uc8fc \uc88b\uc2b5\ub2c8\ub2e4.",
}
"""With what is awkward of each: expansions, final sigma, tashkeel, conjuncts, voiced kana, syllables."""


_UNSPACED = re.compile(r"(?<=[\u0e01-\u0e2e\u3041-\u30fa\u4e00-\u9fff])(?=[\u0e01-\u0e2e\u3041-\u30fa\u4e00-\u9fff])")
"""Between two letters of Thai, kana or Han."""


def rewrapped(text):
    """Line breaks at every space, or between characters of scripts that have none."""
    return "\r\n\t".join(text.split(" ")) if " " in text else _UNSPACED.sub("\n", text)


def repunctuated(text):
    def instead(char):
        if char in "'\u2018\u2019":
            return "\u02bc"
        return " \u2014 " if unicodedata.category(char)[0] == "P" else char

    return "\u201e" + "".join(map(instead, text)) + "\u2026\u201d"


EDITS = {
    "rewrapped": rewrapped,
    "upper case": str.upper,
    "lower case": str.lower,
    "repunctuated": repunctuated,
    "NFC": lambda text: unicodedata.normalize("NFC", text),
    "NFD": lambda text: unicodedata.normalize("NFD", text),
}


def signed(texts):
    rows = [
        {"id": n.to_bytes(16, "big"), "url": "u", "file": "f", "offset": n, "text": text}
        for n, text in enumerate(texts)
    ]
    return SIGN(pa.Table.from_pylist(rows, DOCUMENT))


def exact(texts):
    return signed(texts).column("exact").to_pylist()


@pytest.mark.parametrize("edit", EDITS)
def test_edited_copies_are_exact_duplicates_in_every_script(edit):
    before, after = exact(SENTENCES.values()), exact([EDITS[edit](text) for text in SENTENCES.values()])
    assert dict(zip(SENTENCES, after, strict=True)) == dict(zip(SENTENCES, before, strict=True))


def test_other_sentences_differ():
    changed = [text[:-3] + text[-2:] for text in SENTENCES.values()]
    assert len(set(exact([*SENTENCES.values(), *changed]))) == 2 * len(SENTENCES)


def test_text_without_spaces_is_many_words():
    counts = dict(zip(SENTENCES, signed(SENTENCES.values()).column("words").to_pylist(), strict=True))
    assert counts["Chinese"] == 13 and counts["Japanese"] == 13 and counts["Thai"] >= 15
    assert counts["Korean"] == 4 and counts["Hindi"] == 5


def test_a_thousand_short_documents_stay_a_thousand():
    texts = [f"red {a} blue {b}" for a in range(40) for b in range(25)]
    rows = signed(texts)
    assert rows.column("words").to_pylist() == [4] * 1000
    assert len(set(rows.column("exact").to_pylist())) == 1000
    keys = band_keys(sketches(rows), BANDS, ROWS)
    assert len(np.unique(keys)) == keys.size


def sketches(rows):
    return np.array([np.frombuffer(sketch, np.uint8) for sketch in rows.column("sketch").to_pylist()])


CHINESE = (
    "\u957f\u6c5f\u662f\u4e9a\u6d32\u7b2c\u4e00\u957f\u6cb3\u548c\u4e16\u754c\u7b2c\u4e09\u957f\u6cb3\uff0c\u4e5f\u662f"
    "\u4e16\u754c\u4e0a\u5b8c\u5168\u5728\u4e00\u56fd\u5883\u5185\u7684\u6700\u957f\u6cb3\u6d41\u3002\u5b83\u53d1\u6e90"
    "\u4e8e\u9752\u85cf\u9ad8\u539f\uff0c\u5e72\u6d41\u6d41\u7ecf\u5341\u4e00\u4e2a\u7701\u7ea7\u884c\u653f\u533a\uff0c"
    "\u5728\u4e0a\u6d77\u5e02\u6c47\u5165\u4e1c\u6d77\uff0c\u5168\u957f\u516d\u5343\u591a\u516c\u91cc\u3002"
)


@pytest.mark.parametrize("place", [3, 30, 60])
def test_one_more_character_in_chinese_text_is_a_near_duplicate(place):
    rows = signed([CHINESE, CHINESE[:place] + "\u5f88" + CHINESE[place:]])
    first, second = rows.column("exact").to_pylist()
    assert first != second
    keys = band_keys(sketches(rows), BANDS, ROWS)
    assert set(keys[0]) & set(keys[1])
    shingles = rows.column("words").to_pylist()[0] - 4
    jaccard = (shingles - 4) / (shingles + 5)
    one, two = sketches(rows)
    assert similarity(one[None], two[None], BANDS * ROWS)[0] == pytest.approx(jaccard, abs=4 * (0.1 / 112) ** 0.5)


@pytest.mark.parametrize("edit", EDITS)
def test_real_sentences_in_two_hundred_languages(edit):
    if "HARE_DATA" not in os.environ:
        pytest.skip("HARE_DATA is not set: no FLORES sentences")
    with gzip.open(Path(os.environ["HARE_DATA"]) / "text/flores200_dev.jsonl.gz", "rt") as file:
        rows = [row for row in map(json.loads, file) if row["i"] < 25]
    before, after = (exact([change(row["text"]) for row in rows]) for change in (str, EDITS[edit]))
    assert [rows[n]["lang"] for n in range(len(rows)) if after[n] != before[n]] == []
    assert len(set(before)) >= 0.999 * len({row["text"] for row in rows})
