"""The mixture: shares, caps, whole batches, and what is written down."""

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hare_ray.schema import DOCUMENT
from hare_ray.stage import Table
from hare_ray.tokens import Mixture, Pack, Tokenizer
from hare_ray.tokens.mixture import exact, filled, shares


class Packed(Table):
    writes = pa.schema([])


@dataclass
class Desk:
    """What a Mixture asks of the run: rows, books, and where books are silent the lengths of pieces."""

    folder: Path
    tables: dict[str, list[int]]
    row_tokens: dict[str, int]
    silent: bool

    def rows(self, stage):
        return self.tables[stage.name]

    def parts(self, stage):
        return len(self.tables[stage.name])

    def manifest(self, stage):
        return {"books": {} if self.silent else {"tokens": sum(self.rows(stage)) * self.row_tokens[stage.name]}}

    def read(self, stage, part, columns):
        assert columns == ["lengths"]
        pieces = [[1, self.row_tokens[stage.name] - 1]] * self.rows(stage)[part]
        return pa.table({"lengths": pa.array(pieces, pa.list_(pa.uint32()))})


def mixture(folder, available, weights, row_tokens=None, silent=False, **numbers):
    """The content of mixture.json and the books; one source per entry of `available`, its rows by part.

    `row_tokens` are those in a row of each source, all of them where it is None.
    """
    names = tuple("abc"[: len(available)])
    stage = Mixture(
        sources=tuple(Packed(label=f"pack_{name}") for name in names),
        names=names,
        weights=weights,
        **{"tokens": 1000, "sequence_tokens": 1, "max_epochs": 4.0, "batch_sequences": 1, **numbers},
    )
    tables = {f"pack_{name}": parts for name, parts in zip(names, available, strict=True)}
    held = dict(zip(tables, row_tokens or [stage.sequence_tokens] * len(names), strict=True))
    books = stage.make(Desk(folder, tables, held, silent))  # pyright: ignore[reportArgumentType]
    return json.loads((folder / "mixture.json").read_text()), books


WEIGHTS = st.lists(st.sampled_from([0.0, 0.1, 0.3, 1.0, 2.5, 46.5, 1e-5]), min_size=1, max_size=5)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**12), WEIGHTS)
def test_shares_are_within_one_of_exact_and_add_up(total, weights):
    weights = [exact(weight) for weight in weights]
    got = shares(total, weights) if sum(weights) else None
    if got is not None:
        assert sum(got) == total
        for count, weight in zip(got, weights, strict=True):
            assert abs(count - total * weight / sum(weights)) < 1
            assert count == 0 or weight


@settings(max_examples=300, deadline=None)
@given(WEIGHTS, st.data())
def test_filling_keeps_under_the_caps_and_is_in_proportion_above_them(weights, data):
    weights = [exact(weight) for weight in weights]
    caps = [data.draw(st.integers(0, 1000)) for _ in weights]
    most = sum(cap for cap, weight in zip(caps, weights, strict=True) if weight)
    total = data.draw(st.integers(0, most))
    got = filled(total, weights, caps)
    assert sum(got) == total
    assert all(0 <= count <= cap for count, cap in zip(got, caps, strict=True))
    assert all(count == 0 for count, weight in zip(got, weights, strict=True) if not weight)
    # Water level: count / weight is one for all that are below their cap, and no higher for those at it.
    levels = [
        (Fraction(count - 1) / weight, Fraction(count + 1) / weight, count < cap)
        for count, cap, weight in zip(got, caps, weights, strict=True)
        if weight
    ]
    for low, _, _ in levels:
        assert all(low < high for _, high, below in levels if below)


def test_plenty_gives_the_weights(tmp_path):
    got, books = mixture(tmp_path, [[500, 0, 500], [1000]], (3.0, 1.0), batch_sequences=8)
    assert books == {"available": 2000, "available_tokens": 2000, "sequences": 1000, "tokens": 1000}
    assert {key: got[key] for key in got if key != "sources"} == {
        "sequence_tokens": 1,
        "batch_sequences": 8,
        "planned_sequences": 1000,
        "planned_tokens": 1000,
        "sequences": 1000,
        "tokens": 1000,
    }
    assert got["sources"][0] == {
        "name": "a",
        "table": "pack_a",
        "weight": 0.75,
        "planned": 750,
        "planned_tokens": 750,
        "actual": 750,
        "available": 1000,
        "available_tokens": 1000,
        "epochs": 0.75,
        "tokens": 750,
    }


@pytest.mark.parametrize("silent", [False, True])
def test_shares_are_of_tokens_without_padding(tmp_path, silent):
    # Equal weights: 100,000 tokens each, in rows of 100 and of 50 that are 100 long.
    got, books = mixture(
        tmp_path, [[3000], [1000, 4000]], (1.0, 1.0), row_tokens=(100, 50), silent=silent, tokens=200_000,
        sequence_tokens=100,
    )  # fmt: skip
    assert [source["actual"] for source in got["sources"]] == [1000, 2000]
    assert [source["tokens"] for source in got["sources"]] == [100_000, 100_000]
    assert [source["available_tokens"] for source in got["sources"]] == [300_000, 250_000]
    assert (got["planned_sequences"], got["planned_tokens"], got["tokens"]) == (3000, 200_000, 200_000)
    assert books["available_tokens"] == 550_000


def test_what_a_capped_source_lacks_is_made_up_in_tokens(tmp_path):
    # b has 10,000 of its 100,000 tokens; 90,000 more come of a, in rows that hold twice as much.
    got, _ = mixture(
        tmp_path, [[3000], [200]], (1.0, 1.0), row_tokens=(100, 50), tokens=200_000, sequence_tokens=100, max_epochs=1.0
    )
    assert [source["planned"] for source in got["sources"]] == [1000, 2000]
    assert [source["actual"] for source in got["sources"]] == [1900, 200]
    assert got["tokens"] == 200_000


def test_budgets_as_weights_are_met(tmp_path):
    got, _ = mixture(
        tmp_path, [[900], [900], [900]], (46_000.0, 1_500.0, 2_500.0), row_tokens=(99, 97, 64), tokens=50_000,
        sequence_tokens=100,
    )  # fmt: skip
    for source, budget, held in zip(got["sources"], (46_000, 1_500, 2_500), (99, 97, 64), strict=True):
        assert source["planned_tokens"] == budget
        assert abs(source["tokens"] - budget) <= held


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_tokens_follow_the_weights_within_a_row_whatever_rows_hold(tmp_path, data):
    count = data.draw(st.integers(1, 3))
    weights = tuple(data.draw(st.lists(st.integers(1, 1000).map(float), min_size=count, max_size=count)))
    held = data.draw(st.lists(st.integers(1000, 2048), min_size=count, max_size=count))
    batch, tokens = data.draw(st.integers(1, 64)), data.draw(st.integers(2048 * 70, 10**9))
    got, _ = mixture(
        tmp_path, [[10**6]] * count, weights, row_tokens=held, tokens=tokens, sequence_tokens=2048,
        batch_sequences=batch,
    )  # fmt: skip
    assert got["sequences"] % batch == 0
    assert 0 <= tokens - got["tokens"] + 2048 * count <= 2048 * (batch + 2 * count)
    for source, weight, row in zip(got["sources"], weights, held, strict=True):
        share = weight / sum(weights)
        assert abs(source["tokens"] - got["tokens"] * share) <= row + 2048 * count * share


def test_what_a_capped_source_lacks_goes_to_the_others_by_weight_again_and_again(tmp_path):
    # 500, 300, 200 planned; a gives 100, so b should give 540 and has only 400: c gives the rest.
    got, _ = mixture(tmp_path, [[25], [100], [5000]], (5.0, 3.0, 2.0))
    assert [source["planned"] for source in got["sources"]] == [500, 300, 200]
    assert [source["actual"] for source in got["sources"]] == [100, 400, 500]
    assert [source["epochs"] for source in got["sources"]] == [4, 4, 0.1]


def test_a_source_without_rows_gets_nothing(tmp_path):
    got, _ = mixture(tmp_path, [[0, 0], [900]], (1.0, 1.0))
    assert [source["actual"] for source in got["sources"]] == [0, 1000]
    assert got["sources"][0]["epochs"] == 0


def test_where_all_are_capped_the_run_is_shorter_and_still_whole_batches(tmp_path):
    got, _ = mixture(tmp_path, [[10], [5]], (1.0, 1.0), max_epochs=2.5, batch_sequences=8)
    assert (got["planned_sequences"], got["sequences"]) == (1000, 32)
    assert [source["actual"] for source in got["sources"]] == [20, 12]  # Caps 25 and 12, 5 left over.


def test_total_is_whole_sequences_and_whole_batches(tmp_path):
    got, _ = mixture(tmp_path, [[1000]], (1.0,), tokens=10_239, sequence_tokens=512, batch_sequences=4)
    assert (got["planned_sequences"], got["sequences"], got["sources"][0]["tokens"]) == (16, 16, 16 * 512)


def test_a_cap_is_what_the_decimals_say(tmp_path):
    got, _ = mixture(tmp_path, [[10]], (1.0,), max_epochs=0.7)
    assert got["sequences"] == 7


@pytest.mark.parametrize("case", [{"available": [[0]]}, {"tokens": 9, "batch_sequences": 10}, {"max_epochs": 1e-5}])
def test_nothing_to_train_on_is_refused_with_the_cure(tmp_path, case):
    with pytest.raises(ValueError, match="lower batch_sequences"):
        mixture(tmp_path, weights=(1.0,), **{"available": [[100]], **case})


@pytest.mark.parametrize(
    "weights, numbers",
    [((1.0, 1.0), {}), ((-1.0,), {}), ((0.0,), {}), ((1.0,), {"tokens": 0}), ((1.0,), {"max_epochs": 0.0})],
)
def test_numbers_that_mean_nothing_are_refused(tmp_path, weights, numbers):
    with pytest.raises(ValueError, match="expected"):
        mixture(tmp_path, [[10]], weights, **numbers)


def test_sequences_of_another_length_are_refused():
    class Docs(Table):
        writes = DOCUMENT

    docs = Docs()
    tokenizer = Tokenizer(docs=docs, vocabulary=300, max_bytes=1)
    pack = Pack(docs=docs, tokenizer=tokenizer, sequence_tokens=512, token_bytes=2, seed=1)
    with pytest.raises(ValueError, match="give both the same"):
        Mixture(
            sources=(pack,), names=("a",), weights=(1.0,), tokens=1, sequence_tokens=256, max_epochs=1.0,
            batch_sequences=1,
        )  # fmt: skip
