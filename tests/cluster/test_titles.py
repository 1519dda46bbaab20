"""Titles of topics from an LLM's answers: through the engine, the real Generate and a server that speaks its format."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hare_ray.cluster.titles import TitlePrompts, Titles, cleaned
from hare_ray.engine import run
from hare_ray.priors.titles import TopicTitle, topic_title
from hare_ray.synth.generate import Generate
from tests.cluster.titled import EMPTY, LAKE, OVEN, TEXTS, prompts
from tests.synth.fake_openai import Asked, FakeOpenAI, Say, usual


@pytest.fixture
def server():
    with FakeOpenAI() as fake:
        yield fake


def stages(folder: Path, server: FakeOpenAI) -> Titles:
    asked = prompts(folder)
    answers = Generate(
        prompts=asked, model=None, llm="fake", chat=True, max_tokens=20, temperature=0.0, top_p=1.0, seed=1,
        endpoint=server.url,
    )  # fmt: skip
    return Titles(labels=asked.labels, prompts=asked, answers=answers)


def labels_of(root: Path, name: str) -> dict[int, dict]:
    (file,) = (root / name).glob("*/labels.json")
    return {label["cluster"]: label for label in json.loads(file.read_text())}


def test_every_topic_is_asked_about_once_and_gets_the_title_that_is_answered(server, tmp_path):
    def answer(asked: Asked) -> Say:
        text = '**Title: "Life at the lake."**' if "heron" in asked.prompt else "Baking bread"
        if "topic 3" in asked.prompt:
            text = "I'm sorry, but these documents hold nothing but numbers, so that there is no title to give."
        said = usual(asked)
        said.body["choices"][0]["message"]["content"] = text
        return said

    server.script = answer
    stage = stages(tmp_path / "in", server)
    made = run(stage, root=str(tmp_path / "run"))
    assert len(server.asked) == 3
    before, after = (labels_of(tmp_path / "run", name) for name in ("label_clusters", "titles"))
    assert {topic: label.get("title") for topic, label in after.items()} == {
        LAKE: "Life at the lake", OVEN: "Baking bread", EMPTY: None,
    }  # fmt: skip
    assert {topic: {k: v for k, v in label.items() if k != "title"} for topic, label in after.items()} == before
    assert made["titles"]["books"] == {"topics": 3, "asked": 3, "titled": 2, "without_title": 1}


def test_a_prompt_shows_words_and_nearest_documents_and_comes_from_the_nearest(server, tmp_path):
    stage = stages(tmp_path / "in", server)
    root = tmp_path / "run"
    run(stage.prompts, root=str(root))
    files = sorted((root / "title_prompts").glob("*/*.parquet"))
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    labels = labels_of(root, "label_clusters")
    assert {row["topic"]: row["url"] for row in rows} == {t: f"https://example.org/{10 * t + 3}" for t in TEXTS}
    assert len({row["id"] for row in rows}) == 3
    by_topic = {row["topic"]: row["prompt"] for row in rows}
    assert f"Keywords: {labels[OVEN]['label']}\n" in by_topic[OVEN]
    assert "- about 3\n- about 2\n" in by_topic[OVEN]


def test_documents_without_a_title_show_how_they_begin_and_their_braces_mean_nothing(server, tmp_path):
    stage = stages(tmp_path / "in", server).prompts
    assert isinstance(stage, TitlePrompts)
    label = {"label": "flour", "titles": [None, "A  title"], "openings": ["flour and {words}", "text"]}
    assert "Keywords: flour\n" in stage.prompt(label)
    assert "- flour and {words}\n- A title\n" in stage.prompt(label)


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        ("Steam locomotives", "Steam locomotives"),
        ("  \n## *Steam Locomotives.*\nThey all run on rails.", "Steam Locomotives"),
        ("The title is: \u201cSteam locomotives\u201d", "Steam locomotives"),
        ("Topic-based learning", "Topic-based learning"),
        ("C++ (programming)", "C++ (programming)"),
        ("Here is a title:\nSteam locomotives", "Steam locomotives"),
        ("Here is the title: Gardening", "Gardening"),
        ("Here\u2019s a title: *Gardening*", "Gardening"),
        ("Sure! Here is a suitable title:\n\n**Gardening**", "Gardening"),
        ("**Title:**\nGardening", "Gardening"),
        ("The topic's title is: Gardening", "Gardening"),
        ("1. Gardening\n2. Plants", "Gardening"),
        ("2) **Title:** Gardening", "Gardening"),
        ("**Title**: Gardening", "Gardening"),
        ("- Gardening", "Gardening"),
        ("3D printing", "3D printing"),
        ("1984. A novel", "1984. A novel"),
        ("Surely you're joking", "Surely you're joking"),
        ("Here be dragons: old maps", "Here be dragons: old maps"),
        ("<think>\nHmm, keywords.\n</think>\n\nGardening", "Gardening"),
        ("<think></think>Gardening", "Gardening"),
        ("The user asks for a title.\n</think>\nGardening", "Gardening"),
        ("<think>\nHmm", ""),
        ("<think>\nHmm\n</think>\n", ""),
        ("<think>One</think>\n<think>\nTwo", ""),
        ("<title>Gardening</title>", ""),
        ("Gardening<|im_end|>", ""),
        ("Here are some keywords:", ""),
        ("Title: None", ""),
        ("one two three four five six seven eight", "one two three four five six seven eight"),
        ("one two three four five six seven eight nine", ""),
        ("Sorry, no title", ""),
        ("I cannot give a title", ""),
        ("N/A", ""),
        ("12345", ""),
        ("x" * 101, ""),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_answers_become_titles_or_none(answer, title):
    assert cleaned(answer, whole=True) == title


def test_an_answer_that_was_cut_off_gives_a_title_only_if_its_first_line_is_whole():
    assert cleaned("Steam locomot", whole=False) == ""
    assert cleaned("Steam locomotives\nThey all r", whole=False) == "Steam locomotives"
    assert cleaned("Here is a title:\nSteam locomot", whole=False) == ""
    assert cleaned("<think>\nHmm, a title such as\nSteam locomot", whole=False) == ""


def test_the_prior_has_both_slots_and_one_without_is_refused(server, tmp_path):
    assert topic_title().count("{words}") == topic_title().count("{titles}") == 1
    with pytest.raises(ValueError, match=r"without \{titles\}"):
        TopicTitle(text="name {words}")
    asked = stages(tmp_path / "in", server).prompts
    assert isinstance(asked, TitlePrompts)
    with pytest.raises(ValueError, match=r"without \{words\}"):
        TitlePrompts(docs=asked.docs, clusters=asked.clusters, labels=asked.labels, template="{titles}")


def test_answers_to_other_prompts_are_refused(server, tmp_path):
    one, other = stages(tmp_path / "a", server), stages(tmp_path / "b", server)
    with pytest.raises(ValueError, match="answers to these prompts"):
        Titles(labels=one.labels, prompts=one.prompts, answers=other.answers)
