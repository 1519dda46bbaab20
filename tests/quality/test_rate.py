"""Ratings of an LLM: which documents are asked about, what an answer says, and the way from one to the other."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hare_ray.engine import run
from hare_ray.manifest import load_all
from hare_ray.priors.quality import load_rubric
from hare_ray.quality.labels import LABELLED
from hare_ray.quality.rate import (
    NO_ANSWER,
    NO_SCORE,
    SCORE_OUT_OF_RANGE,
    RatingPrompts,
    Ratings,
    drawn,
    last_score,
    rated,
)
from hare_ray.schema import DOCUMENT, LEDGER
from hare_ray.stage import Source
from hare_ray.store import Root
from hare_ray.synth.generate import Generate
from tests.frame.stages import Lines
from tests.synth.fake_openai import Asked, FakeOpenAI, Say, usual

RUBRIC = load_rubric()


def ids(count: int) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array([number.to_bytes(16, "little") for number in range(count)], pa.binary(16))])


@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
def test_about_the_share_is_drawn_of_any_ids(share):
    found = len(drawn(ids(20_000), share, "a"))
    assert abs(found - 20_000 * share) <= 5 * np.sqrt(20_000 * share * (1 - share))


def test_what_is_drawn_depends_on_the_id_and_the_salt_alone():
    whole = drawn(ids(1000), 0.2, "a")
    assert set(whole) < set(drawn(ids(1000), 0.4, "a"))
    assert set(whole) != set(drawn(ids(1000), 0.2, "b"))
    cut = [drawn(ids(1000).slice(start, 250), 0.2, "a") + start for start in range(0, 1000, 250)]
    assert np.concatenate(cut).tolist() == whole.tolist()
    chunked = pa.chunked_array([ids(1000).slice(0, 7).chunk(0), ids(1000).slice(7).chunk(0)])
    assert drawn(chunked, 0.2, "a").tolist() == whole.tolist()
    assert len(drawn(pa.chunked_array([], pa.binary(16)), 0.2, "a")) == 0


def docs(*texts: str | None) -> pa.Table:
    rows = [
        {"id": n.to_bytes(16, "little"), "url": f"https://example.org/{n}", "file": "f", "offset": n, "text": text}
        for n, text in enumerate(texts)
    ]
    return pa.Table.from_pylist(rows, DOCUMENT)


@pytest.fixture
def lines(tmp_path) -> Lines:
    (tmp_path / "in").mkdir()
    for part in range(2):
        text = "\n".join(f"Sentence {line} of part {part}. It goes on." for line in range(6))
        (tmp_path / "in" / f"{part}.txt").write_text(text)
    return Lines(files=Source(label="files", location=str(tmp_path / "in"), part_bytes=1))


def asking(lines: Lines, share: float = 1.0) -> RatingPrompts:
    return RatingPrompts(docs=lines, rubric=RUBRIC, share=share, salt="rating")


def test_a_prompt_shows_what_will_be_labelled_and_no_more(lines):
    long = "One sentence here. " * RUBRIC.max_words
    made = asking(lines).prepare(lambda stage: pytest.fail("no files"))(docs("A text.", None, " \n", long))
    assert made["url"].to_pylist() == ["https://example.org/0#rating", "https://example.org/3#rating"]
    shown = made["text"].to_pylist()
    assert shown[0] == "A text."
    assert len(shown[1].split()) <= RUBRIC.max_words < len(long.split())
    assert long.startswith(shown[1])
    assert all(text in prompt for text, prompt in zip(shown, made["prompt"].to_pylist(), strict=True))
    assert set(made["id"].to_pylist()).isdisjoint(docs("A text.")["id"].to_pylist())


def test_no_documents_make_no_prompts(lines):
    made = asking(lines).prepare(lambda stage: pytest.fail("no files"))(docs())
    assert made.num_rows == 0
    assert made.column_names == ["id", "url", "text", "prompt", "reason"]


@pytest.mark.parametrize("share", [0.0, 1.5, -1.0])
def test_a_share_that_is_none_is_refused(lines, share):
    with pytest.raises(ValueError, match=f"given share={share}, expected more than 0 and at most 1"):
        asking(lines, share)


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("Score: 3", 3), ("**Score:** 4/5", 4), ("3 points", 3), ("Score (0-5): 4", 4), ("__Score__: **2**", 2),
        ("Meets all.\nScore: 5 out of 5", 5), ("score of 2 would be low.\nScore: 3", 3), ("It is good.\n**4**", 4),
        ("Score:\n\n0", 0), ("Score: n = 3", 3), ("score is 3.5", 3.5), ("Score: 3,5", 3.5), ("Score: [1]", 1),
        ("1 point for this, 1 point for that.\nScore: 2 points", 2), ("I give it 4 out of 5.", 4), ("4", 4),
        ("Score: 4. It meets 5 criteria.", 4), ('Score: "2"', 2), ("SCORE - 1", 1),
    ],
)  # fmt: skip
def test_a_score_is_found_however_it_is_written(answer, score):
    assert last_score(answer) == (score, 5)


@pytest.mark.parametrize(
    "answer", ["", "Score: n", "no", "underscore 4", "Score: three", "It has 5 criteria", "Score:"]
)
def test_no_score_is_made_up(answer):
    assert last_score(answer) is None


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("<think>Score: 1?</think>\nScore: 4", 4), ("Score: 1? No.\n</think>\n\nScore: 4", 4),
        ("<THINK>\n2 points\n</THINK>4", 4), ("Score: 4\n<think>or Score: 2</think>", 4),
        ("<think>Score: 1</think>Score: 2<think>Score: 3</think>", 2),
    ],
)  # fmt: skip
def test_thoughts_are_no_answer(answer, score):
    assert last_score(answer) == (score, 5)


@pytest.mark.parametrize(
    "answer", ["<think>Score: 4", "<think>Score: 4</think>", "<think>a</think><think>Score: 4", "Score: 4</think>"]
)
def test_whoever_only_thinks_gives_no_score(answer):
    assert last_score(answer) is None
    assert rated(answer, "length") == (0.0, NO_SCORE, answer)


@given(
    st.text(max_size=60),
    st.integers(0, 5),
    st.sampled_from(["Score: {}", "**Score: {}**", "score:{}/5", "Score: *{}* out of 5", "- Score: {}."]),
)
def test_the_last_score_wins_whatever_was_said_before(before, score, form):
    assert last_score(f"{before}\nScore: 1\n{form.format(score)}") == (score, 5)


@given(st.text(max_size=300) | st.text("score:0123456789/ -+.,*_()points", max_size=300))
def test_any_answer_is_a_label_or_a_reason(answer):
    label, reason, detail = rated(answer, "stop")
    assert 0 <= label <= 1
    assert (reason is None) == (detail is None)
    assert reason in (None, NO_SCORE, SCORE_OUT_OF_RANGE)


@pytest.mark.parametrize(
    ("answer", "finish", "reason", "detail"),
    [
        (None, "error: HTTP 400", NO_ANSWER, "error: HTTP 400"),
        ("I cannot judge this text.", "stop", NO_SCORE, "I cannot judge this text."),
        ("x" * 500, "length", NO_SCORE, "x" * 100),
        ("Score: 6", "stop", SCORE_OUT_OF_RANGE, "6/5"),
        ("Score: -1", "stop", SCORE_OUT_OF_RANGE, "-1/5"),
        ("Score: 4/10", "stop", SCORE_OUT_OF_RANGE, "4/10"),
    ],
)
def test_what_is_no_rating_has_a_reason(answer, finish, reason, detail):
    assert rated(answer, finish) == (0.0, reason, detail)


def test_tables_of_another_kind_are_refused(lines):
    prompts = asking(lines)
    with pytest.raises(ValueError, match=r"has no column \['answer', 'finish'\]"):
        Ratings(prompts=prompts, answers=prompts)


def judge(asked: Asked) -> Say:
    """Scores by the number in the sentence; refuses one and says nothing of another."""
    number = int(asked.prompt.split("Sentence ")[1].split()[0])
    said = usual(asked)
    if number == 4:
        return Say(400)
    said.body["choices"][0]["message"]["content"] = "A reason.\n\n**Score:** " + (
        "n" if number == 5 else str(number + 2)
    )
    return said


def written(folder: Path, kind: str) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob(f"*/{kind}-*.parquet"))])


def test_documents_become_labelled_texts_through_the_service(lines, tmp_path):
    with FakeOpenAI() as server:
        server.script = judge
        prompts = asking(lines)
        answers = Generate(
            prompts=prompts, model=None, llm="fake", chat=True, max_tokens=200, temperature=0.0, top_p=1.0, seed=1,
            endpoint=server.url,
        )  # fmt: skip
        ratings = Ratings(prompts=prompts, answers=answers)
        run(ratings, root=str(tmp_path / "run"))
        assert len(server.asked) == 12
    root = Root(str(tmp_path / "run"))
    table = written(tmp_path / "run" / "ratings", "part")
    assert table.schema.names == LABELLED.names
    assert table["label"].to_pylist() == pytest.approx([0.4, 0.6, 0.8, 1.0] * 2)
    assert set(table["group"].to_pylist()) == {"llm"}
    assert table["text"].to_pylist()[0] == "Sentence 0 of part 0. It goes on."
    ledger = written(tmp_path / "run" / "ratings", "ledger")
    assert ledger.schema.names == LEDGER.names
    assert ledger["reason"].to_pylist() == [NO_ANSWER, NO_SCORE] * 2
    assert load_all(root)["ratings"]["books"]["dropped"] == {NO_ANSWER: 2, NO_SCORE: 2}
