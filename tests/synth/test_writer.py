"""What --llm may say."""

import json

import pytest

from hare_ray.stage import Make, Source
from hare_ray.synth.writer import writer


class Trained(Make):
    """Stands for the model of stage 1."""


HERE = Trained()


def test_nothing_said_is_the_model_trained_here_which_continues_texts():
    found = writer("", HERE)
    assert (found.model, found.llm, found.endpoint, found.chat) == (HERE, "", "", False)


def test_an_endpoint_and_the_model_there():
    found = writer("http://host:8000/v1#Qwen/Qwen3-8B", HERE)
    assert (found.model, found.llm, found.endpoint, found.chat) == (None, "Qwen/Qwen3-8B", "http://host:8000/v1", True)


def test_a_name_on_the_hub():
    found = writer("mistralai/Mixtral-8x7B-Instruct-v0.1", HERE)
    assert (found.model, found.llm, found.chat) == (None, "mistralai/Mixtral-8x7B-Instruct-v0.1", True)


@pytest.mark.parametrize("template", [None, "tokenizer_config.json", "chat_template.jinja"])
def test_a_folder_is_asked_as_a_chat_where_it_says_how(tmp_path, template):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text("{}")
    if template is not None:
        (tmp_path / template).write_text(json.dumps({"chat_template": "{{ messages }}"}))
    found = writer(str(tmp_path), HERE)
    assert isinstance(found.model, Source)
    assert found.chat == (template is not None)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("http://host:8000/v1", "names no model"),
        ("/nowhere/model", "is not a folder"),
        ("./model", "is not a folder"),
        ("s3://bucket/model", "is not a folder"),
        ("   ", "is not a folder"),
    ],
)
def test_what_stands_for_no_writer_is_refused_with_the_cure(asked, told):
    with pytest.raises(ValueError, match=told):
        writer(asked, HERE)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no config\.json"):
        writer(str(tmp_path), HERE)
