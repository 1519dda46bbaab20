"""Diversity against the written-out formulas, known answers and limits, over any layout in parts."""

import json
import math
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.stage import Annotate, Table
from hare_ray.synth.diversity import DIVERSITY_FILE, Diversity
from hare_ray.synth.diversity_measures import compression, distinct, evenness, openings, overlap, self_bleu, similarity
from hare_ray.synth.prompt import PROMPT, WRITTEN
from hare_ray.text import words_of


class Prompts(Table):
    writes = PROMPT


class Texts(Table):
    writes = WRITTEN


class Vectors(Annotate):
    docs: Table
    writes = pa.schema([pa.field("embedding", pa.list_(pa.float16(), 3))])


PROMPTS, TEXTS = Prompts(), Texts()


def folded(texts):
    return words_of(pa.array(texts, pa.large_string()), places=False)


def grams(tokens, n):
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def bleu(hypothesis, references):
    """As NLTK's sentence_bleu with method 1, which Texygen's self-BLEU calls, written out."""
    logs = 0.0
    for n in range(1, 5):
        own = grams(hypothesis, n)
        most = {gram: max(grams(reference, n)[gram] for reference in references) for gram in own}
        matches = sum(min(count, most[gram]) for gram, count in own.items())
        if n == 1 and matches == 0:
            return 0.0
        logs += math.log((matches or 0.1) / max(1, len(hypothesis) - n + 1)) / 4
    length = min((abs(len(reference) - len(hypothesis)), len(reference)) for reference in references)[1]
    brevity = 1.0 if length <= len(hypothesis) else math.exp(1 - length / len(hypothesis))
    return brevity * math.exp(logs)


TOKENS = st.lists(st.sampled_from("abcdef"), max_size=14)


@given(st.lists(TOKENS, min_size=2, max_size=7))
@settings(max_examples=60, deadline=None)  # the first call compiles
def test_self_bleu_is_that_of_every_text_against_all_others(texts):
    expected = [bleu(text, texts[:i] + texts[i + 1 :]) for i, text in enumerate(texts)]
    assert self_bleu(folded([" ".join(text) for text in texts])) == pytest.approx(np.mean(expected), abs=1e-12)


def test_self_bleu_by_hand():
    """Two of three are the same; the third shares 3 of 5 words, 2 of 4 pairs, 1 of 3 triples, no four in a row."""
    texts = ["the cat sat on mats", "the cat sat on mats", "the cat sat by trees"]
    third = (3 / 5 * 2 / 4 * 1 / 3 * 0.1 / 2) ** 0.25
    assert self_bleu(folded(texts)) == pytest.approx((1 + 1 + third) / 3)
    assert self_bleu(folded(["a b", "c d"])) == 0
    assert self_bleu(folded(["one"])) is self_bleu(folded([])) is None


@given(st.lists(TOKENS, min_size=1, max_size=6), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_distinct_is_the_share_of_different_ngrams(texts, n):
    counts = sum((grams(text, n) for text in texts), Counter())
    expected = len(counts) / counts.total() if counts else None
    assert distinct(folded([" ".join(text) for text in texts]), n) == expected


@given(st.lists(TOKENS, max_size=6))
@settings(max_examples=60, deadline=None)
def test_overlap_is_the_mean_over_all_pairs(texts):
    own = [set(grams(text, 4)) for text in texts if len(text) >= 4]
    shares = [len(a & b) / len(a) for i, a in enumerate(own) for j, b in enumerate(own) if i != j]
    found = overlap(folded([" ".join(text) for text in texts]))
    assert found == (pytest.approx(np.mean(shares)) if shares else None)


def test_openings_that_come_again_and_texts_too_short_for_one():
    texts = ["Once upon a time there was", "once upon a time, there!", "Twice upon a time there was", "Once upon", None]
    assert openings(folded(texts)) == pytest.approx(2 / 3)
    assert openings(folded(["a b"])) is None


def test_what_is_said_again_is_packed_away():
    draw = np.random.default_rng(0)
    texts = [" ".join(map(str, draw.integers(0, 10**6, 400))) for _ in range(20)]
    once, again = compression(pa.array(texts)), compression(pa.array(texts[:1] * 20))
    assert once is not None
    assert again is not None
    assert 1.5 < once < 4 < 15 < again
    assert compression(pa.array([None, ""], pa.string())) is None


def test_similarity_and_the_effective_number_of_texts():
    axes = np.eye(3, dtype=np.float32)
    assert similarity(np.concatenate([axes, 5 * axes, np.zeros((1, 3), np.float32)])) == {
        "rows": 6, "mean_pairwise": 0.2, "nearest_mean": 1.0, "nearest_p95": 1.0, "vendi": 3.0,
    }  # fmt: skip
    same = similarity(np.ones((7, 3), np.float32))
    assert (same["vendi"], same["mean_pairwise"]) == (1.0, 1.0)
    assert similarity(axes[:1])["vendi"] is None


@pytest.mark.parametrize("rows", [2, 5, 60])
def test_similarity_is_that_of_all_pairs(rows):
    vectors = np.random.default_rng(rows).normal(size=(rows, 8)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = (unit @ unit.T).astype(np.float64)
    apart = cosines[~np.eye(rows, dtype=bool)].reshape(rows, rows - 1)
    values = np.linalg.eigvalsh(cosines / rows)
    values = values[values > 1e-9]
    found = similarity(vectors)
    assert found["mean_pairwise"] == pytest.approx(apart.mean(), abs=1e-5)
    assert found["nearest_mean"] == pytest.approx(apart.max(axis=1).mean(), abs=1e-5)
    assert found["nearest_p95"] == pytest.approx(np.quantile(apart.max(axis=1), 0.95), abs=1e-5)
    assert found["vendi"] == pytest.approx(np.exp(-(values * np.log(values)).sum()), rel=1e-4)


def test_evenness_is_one_where_all_come_equally_often():
    assert evenness(np.array([4, 4, 4])) == 1.0
    assert evenness(np.array([3, 1])) == pytest.approx(0.811278)
    assert evenness(np.array([5])) is evenness(np.array([], np.int64)) is None


@dataclass
class Desk:
    """The interface of a Make's desk, over parts in memory."""

    folder: Path
    tables: dict

    def parts(self, stage):
        return len(self.tables[stage])

    def read(self, stage, part, columns=None):
        return self.tables[stage][part].select(list(columns))

    def map(self, function, items):
        return [function(item) for item in items]


WORDS = ("sea", "wind", "ship", "rock", "light", "keeper", "storm", "night")


def rows(count):
    """Prompts, texts and vectors; template b writes one and the same text."""
    draw = np.random.default_rng(1)
    ids = [xxhash.xxh3_128_digest(str(n).encode()) for n in range(count)]
    names = ["ab"[n % 2] for n in range(count)]
    said = [" ".join(draw.choice(WORDS, 40)) if name == "a" else "the sea is wide and deep" for name in names]
    prompts = {
        "id": ids, "url": ["u"] * count, "topic": [n % 3 for n in range(count)], "template": names,
        "seed": [" ".join(draw.choice(WORDS, 9)) for _ in ids], "prompt": [f"Write of {n}" for n in range(count)],
        "variant": [("old / talk", "young / tale", None)[n % 3] for n in range(count)], "schema": [None] * count,
    }  # fmt: skip
    texts = {
        "id": ids, "url": ["u"] * count, "file": ["f"] * count, "offset": [0] * count, "title": [None] * count,
        "text": said, "topic": [0] * count, "template": names, "seed": ["s"] * count, "finish": ["stop"] * count,
        "variant": [None] * count, "tokens": [1] * count,
    }  # fmt: skip
    vectors = draw.normal(size=(count, 3)).astype(np.float16)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 3)
    return (
        pa.table(prompts, schema=PROMPT),
        pa.table(texts, schema=WRITTEN),
        pa.table([column], schema=Vectors.writes),
    )


def measure(folder, count=40, cuts=(), sample=100, embedded="texts"):
    of = {"texts": Vectors(docs=TEXTS), "prompts": Vectors(docs=PROMPTS), "": None}[embedded]
    texts = TEXTS if embedded != "prompts" else None
    stage = Diversity(prompts=PROMPTS, texts=texts, embeddings=of, sample=sample)
    edges = [0, *cuts, count]
    found = zip((PROMPTS, TEXTS, of), rows(count), strict=True)
    tables = {one: [table.slice(a, b - a) for a, b in pairwise(edges)] for one, table in found if one}
    folder.mkdir(exist_ok=True)
    books = stage.make(Desk(folder, tables))
    return json.loads((folder / DIVERSITY_FILE).read_text()), books


def test_everything_is_measured_over_all_and_for_each_template(tmp_path):
    found, books = measure(tmp_path)
    assert books == {"prompts": 40, "texts": 40}
    assert set(found) == {"sample", "combinations", "prompts", "seeds", "texts"}
    texts = found["texts"]
    assert texts["rows"] == 40
    assert texts["templates"]["b"]["self_bleu_4"] == texts["templates"]["b"]["repeated_openings"] == 1.0
    assert texts["templates"]["a"]["self_bleu_4"] < texts["self_bleu_4"] < 1
    assert texts["templates"]["b"]["distinct_4"] == 3 / 60
    assert texts["templates"]["b"]["compression_ratio"] > 5
    assert texts["similarity"]["rows"] == texts["templates"]["a"]["similarity"]["rows"] * 2 == 40
    assert found["prompts"]["similarity"] is found["seeds"]["similarity"] is None
    assert set(texts) == {*texts["templates"]["a"], "templates"}
    assert found["prompts"]["words"] == 120


def test_combinations_are_counted_over_all_prompts_and_not_the_sample(tmp_path):
    found, _ = measure(tmp_path, count=36, sample=5)
    got = found["combinations"]
    assert {name: got[name] for name in got if name != "evenness"} == {
        "prompts": 36, "topics": 3, "templates": 2, "audiences": 2, "styles": 2, "reached": 6,
    }  # fmt: skip
    assert set(got["evenness"].values()) == {1.0}
    assert found["texts"]["rows"] == found["prompts"]["rows"] == 5


@pytest.mark.parametrize("cuts", [(0, 13), (7, 7, 30), (1, 2, 39)])
def test_the_sample_does_not_depend_on_the_parts(tmp_path, cuts):
    assert measure(tmp_path / "a", sample=15) == measure(tmp_path / "b", sample=15, cuts=cuts)
    smallest = sorted(rows(40)[0]["id"].to_pylist())[:15]
    whole, _ = measure(tmp_path / "c", sample=15)
    named = Counter("ab"[n % 2] for n in range(40) if xxhash.xxh3_128_digest(str(n).encode()) in smallest)
    assert {name: one["rows"] for name, one in whole["texts"]["templates"].items()} == dict(named)


def test_vectors_follow_their_rows(tmp_path):
    prompts, _, vectors = rows(40)
    first = sorted(range(40), key=lambda n: prompts["id"][n].as_py())[:9]
    own = np.asarray(vectors["embedding"].combine_chunks().flatten(), np.float32).reshape(40, 3)[first]
    for cuts in ((), (5, 31)):
        found, _ = measure(tmp_path, sample=9, cuts=cuts, embedded="prompts")
        assert found["prompts"]["similarity"] == similarity(own)
        assert found["seeds"]["similarity"] is found["texts"] is None


def test_no_rows_are_no_trouble(tmp_path):
    found, books = measure(tmp_path, count=0)
    assert books == {"prompts": 0, "texts": 0}
    assert found["texts"]["rows"] == found["combinations"]["reached"] == 0
    assert found["texts"]["self_bleu_4"] is found["texts"]["similarity"]["vendi"] is None
    assert found["texts"]["templates"] == {}


def test_wrong_fields_are_refused():
    with pytest.raises(ValueError, match="given sample=1, expected at least 2"):
        Diversity(prompts=PROMPTS, texts=None, embeddings=None, sample=1)
    with pytest.raises(ValueError, match=r"without \['prompt'\]"):
        Diversity(prompts=TEXTS, texts=None, embeddings=None, sample=9)
    with pytest.raises(ValueError, match="expected vectors of"):
        Diversity(prompts=PROMPTS, texts=TEXTS, embeddings=Vectors(docs=PROMPTS), sample=9)
    with pytest.raises(ValueError, match=r"without \['embedding'\]"):
        Diversity(prompts=PROMPTS, texts=TEXTS, embeddings=TEXTS, sample=9)
