"""What does not fit is refused before a worker starts: tokenizers, first weights, a warm-up longer than the text."""

import json

import pytest

from hare_ray.engine import run
from hare_ray.gather import Desk
from hare_ray.model.config import shape_of
from hare_ray.stage import Make, Stage
from hare_ray.train.schedule import Schedule
from tests.model.stages import Words
from tests.train.stages import BATCH, SHAPE, T, Toy, corpus, trained

CONFIG = {
    "model_type": "mistral", "sliding_window": None, "num_hidden_layers": 2, "hidden_size": 32,
    "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 64, "vocab_size": 260,
    "tie_word_embeddings": True, "rms_norm_eps": SHAPE.norm_epsilon, "rope_theta": SHAPE.rope_theta,
}  # fmt: skip


class Told(Toy):
    """A table that says how many ids it holds, or with what it was made."""

    vocabulary: int = 0
    tokenizer: Stage | None = None


class Folder(Make):
    """A file of some name."""

    docs: Toy
    file: str
    text: str

    def make(self, desk: Desk) -> dict[str, int]:
        (desk.folder / self.file).write_text(self.text)
        return {}


def told(tmp_path, **fields):
    toy = corpus(tmp_path / "toy")
    return Told(label="told", files=toy.files, rows=toy.rows, **fields)


def test_a_tokenizer_that_tells_a_larger_vocabulary_is_refused_when_built(tmp_path):
    with pytest.raises(ValueError, match=r"vocabulary=261, expected at most the 260 of the shape"):
        trained(told(tmp_path, vocabulary=261), steps=2)
    assert trained(told(tmp_path, vocabulary=260), steps=2)


def test_one_tokenizer_for_sources_and_all_training(tmp_path):
    toy = corpus(tmp_path / "toy")
    mine, other = (Words(docs=toy, size=size, label="words") for size in (260, 259))
    again = Words(docs=toy, size=260)  # another object, the same recipe
    made = told(tmp_path, tokenizer=mine)
    assert trained(made, steps=2, tokenizer=again)
    with pytest.raises(ValueError, match="give both the same: an id must mean the same word"):
        trained(made, steps=2, tokenizer=other)
    first = trained(toy, steps=4, tokenizer=mine)
    assert trained(toy, steps=4, before=first, label="second", tokenizer=again)
    with pytest.raises(ValueError, match="give both the same: an id must mean the same word"):
        trained(toy, steps=4, before=first, label="second", tokenizer=other)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"model": {"vocab": {"a": 0, "b": 260}}}, "ids up to 260, the model has 260 embeddings"),
        ({"model": {"vocab": [["a", 0.5]]}, "added_tokens": [{"content": "b", "id": 300}]}, "ids up to 300"),
        (None, r"without tokenizer\.json, expected one"),
    ],
)
def test_a_tokenizer_with_ids_that_the_model_lacks_or_none_that_can_be_read(words, said, tmp_path):
    toy = corpus(tmp_path / "toy")
    file = "tokenizer.model" if words is None else "tokenizer.json"
    tokenizer = Folder(docs=toy, file=file, text=json.dumps(words))
    with pytest.raises(ValueError, match=said):
        run(trained(toy, steps=2, tokenizer=tokenizer), root=str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (CONFIG | {"intermediate_size": 96}, "mlp_hidden=96.*give both the same shape"),
        (CONFIG | {"model_type": "gpt2"}, "a model of type 'gpt2'"),
    ],
)
def test_a_start_of_another_shape_is_refused_before_its_weights_are_read(config, said, tmp_path):
    toy = corpus(tmp_path / "toy")
    start = Folder(label="theirs", docs=toy, file="config.json", text=json.dumps(config))
    with pytest.raises(ValueError, match=said):
        run(trained(toy, steps=2, start=start), root=str(tmp_path / "run"))


def test_the_configuration_tells_the_shape():
    assert shape_of(CONFIG, "here") == SHAPE


@pytest.mark.parametrize(("part", "whole"), [((0.0, 1.0), 3), ((0.0, 0.5), 6)])
def test_a_warm_up_longer_than_the_text_is_refused(part, whole, tmp_path):
    toy = corpus(tmp_path / "toy")
    schedule = Schedule(whole * BATCH * T + 1, 0.0, part=part)
    with pytest.raises(ValueError, match=f"expected at most the {whole * BATCH * T:,} that there are"):
        run(trained(toy, steps=3, schedule=schedule), root=str(tmp_path / "run"))
