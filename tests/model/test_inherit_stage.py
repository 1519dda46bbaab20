import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from hare_ray import engine
from hare_ray.gather import Desk
from hare_ray.model.attention import choose
from hare_ray.model.decoder import Decoder
from hare_ray.model.export import SpecialTokens, from_hf, to_hf
from hare_ray.model.inherit_sample import mean_loss, rows_of
from hare_ray.model.inherit_stage import Inherit, MaskLearning, special_of
from hare_ray.schema import REASON
from hare_ray.stage import Files, Make, Map, PartFunction, Source
from tests.model.inheritance import LARGE, SMALL, chosen, sample, trained, widened

T = 44


def table(rows: int) -> pa.Table:
    """The rows of `sample` as a packing stage writes them."""
    tokens = torch.cat([one.tokens_BT for one in sample(-(-rows // 4), seed=5)])[:rows].numpy().astype("<u2")
    packed = pa.array([row.tobytes() for row in tokens], pa.binary(2 * T))
    return pa.table({"tokens": packed, "lengths": pa.array([[20, 20]] * rows, pa.list_(pa.uint32()))})


class Rows(Map):
    """Packed rows."""

    files: Source
    rows: int
    derives: ClassVar[bool] = True
    writes: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("tokens", pa.binary(2 * T), nullable=False),
            pa.field("lengths", pa.list_(pa.uint32()), nullable=False),
        ]
    )

    def prepare(self, files: Files) -> PartFunction:
        def made(splits: pa.Table) -> pa.Table:
            found = table(self.rows).cast(self.writes)
            return found.append_column(REASON, pa.nulls(self.rows, REASON.type))

        return made


class Words(Make):
    """A table from old words to new ones: the upper half of them, in front."""

    vocabulary: int

    def make(self, desk: Desk) -> dict[str, int]:
        new = np.arange(self.vocabulary, dtype=np.int32) - self.vocabulary // 2
        np.save(desk.folder / "remap.npy", np.maximum(new, -1))
        return {}


def written(decoder: Decoder, folder: Path) -> Source:
    special = SpecialTokens(bos=1, eos=30, pad=None)
    to_hf(decoder, decoder.shape, folder, dtype="float32", context_tokens=64, special=special)
    return Source(label="parent", location=str(folder))


def sampled(folder: Path, rows: int = 12) -> Rows:
    folder.mkdir(exist_ok=True)
    (folder / "a.txt").write_text("x")
    return Rows(files=Source(label="text", location=str(folder)), rows=rows)


def made(stage: Inherit, root: Path) -> Path:
    engine.run(stage, root=str(root))
    return root / stage.name / stage.fingerprint[:12]


@pytest.fixture(scope="module")
def parent() -> Decoder:
    return widened(trained(SMALL), LARGE, chosen(SMALL, LARGE, seed=4), (0, 2, 4))


def test_the_folder_loads_in_transformers_with_the_loss_of_the_parent(parent, tmp_path):
    given = {"sample": sampled(tmp_path / "text"), "sequences": 8, "sequence_tokens": T}
    source = written(parent, tmp_path / "large")
    stage = Inherit(parent=source, shape=SMALL, layers="skip_loss", neurons="taylor", seed=1, **given)
    folder = made(stage, tmp_path / "run")
    account = json.loads((folder / "inherit.json").read_text())
    assert account["losses"]["inherited"] == pytest.approx(account["losses"]["parent"], rel=1e-5)
    assert account["losses"]["random"] == pytest.approx(math.log(40), abs=0.1)
    assert account["layers"] == [0, 2, 4]
    assert account["parameters"] == {"parent": LARGE.parameters, "inherited": SMALL.parameters}
    shape, state = from_hf(folder)
    assert shape == SMALL
    child = Decoder(shape, choose("cpu"), seed=9)
    child.load_state_dict(state)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
    assert model.dtype == torch.float32
    assert (model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id) == (1, 30, None)
    assert model.config.max_position_embeddings == 64
    ids = torch.arange(40)[None]
    expected = parent.logits(ids, torch.zeros_like(ids), torch.arange(40)[None])
    torch.testing.assert_close(model(ids).logits, expected, rtol=1e-4, atol=1e-4)
    again = made(stage, tmp_path / "again")
    for path in folder.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()


def test_a_parent_with_other_words_is_remapped_first(tmp_path):
    decoder = trained(SMALL)
    source, words = written(decoder, tmp_path / "large"), Words(vocabulary=40)
    shape = replace(SMALL, vocabulary=24)
    stage = Inherit(parent=source, shape=shape, layers="middle", neurons="l2", seed=1, remap=words)
    folder = made(stage, tmp_path / "run")
    state = from_hf(folder)[1]
    assert torch.equal(state["model.embed_tokens.weight"][:20], decoder.model.embed_tokens.weight[20:])
    config = json.loads((folder / "config.json").read_text())
    assert (config["bos_token_id"], config["eos_token_id"]) == (None, 10)
    assert set(json.loads((folder / "inherit.json").read_text())["losses"].values()) == {None}
    with pytest.raises(ValueError, match="vocabulary=24, expected the parent's 40"):
        made(Inherit(parent=source, shape=shape, layers="middle", neurons="l2", seed=1), tmp_path / "other")


def test_a_llama_is_a_parent(tmp_path):
    config = LlamaConfig(
        vocab_size=40, hidden_size=32, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, rms_norm_eps=1e-5, tie_word_embeddings=False, max_position_embeddings=64,
        rope_parameters={"rope_theta": 10_000.0, "rope_type": "default"}, eos_token_id=[2, 3],
    )  # fmt: skip
    torch.manual_seed(1)
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(tmp_path / "llama")
    source = Source(label="parent", location=str(tmp_path / "llama"))
    stage = Inherit(parent=source, shape=SMALL, layers="middle", neurons="l1", seed=1)
    child = AutoModelForCausalLM.from_pretrained(made(stage, tmp_path / "run"), dtype="auto").eval()
    assert child.config.eos_token_id == 2
    ids = torch.arange(40)[None]
    torch.testing.assert_close(child(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-5)


def test_a_sample_is_read_as_it_was_packed(tmp_path):
    found, expected = rows_of(table(8), T, 40), sample(2, seed=5)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.tokens_BT, other.tokens_BT)
        assert torch.equal(one.segments_BT, other.segments_BT)
        inside = other.segments_BT >= 0
        assert torch.equal(one.positions_BT[inside], other.positions_BT[inside])
    assert mean_loss(trained(SMALL), found) == pytest.approx(mean_loss(trained(SMALL), expected))
    with pytest.raises(ValueError, match="sequence_tokens=40 for rows of 88 bytes"):
        rows_of(table(4), 40, 40)
    with pytest.raises(ValueError, match="holds the id 39, expected ids under 30"):
        rows_of(table(8), T, 30)
    given = {"sample": sampled(tmp_path / "text"), "sequences": 13, "sequence_tokens": T}
    source = written(trained(SMALL), tmp_path / "large")
    with pytest.raises(ValueError, match="given 13 sequences, expected at most the 12 in 1 parts"):
        made(Inherit(parent=source, shape=SMALL, layers="middle", neurons="l1", seed=1, **given), tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layers": "odd"}, "layers='odd', expected one of"),
        ({"neurons": "l3"}, "neurons='l3', expected one of"),
        ({"layers": "skip_loss"}, r"no sample, expected packed rows, because \['skip_loss'\]"),
        ({"neurons": "mask", "mask": MaskLearning(steps=1, learning_rate=0.1)}, "no sample"),
        ({"mask": MaskLearning(steps=1, learning_rate=0.1)}, "expected a MaskLearning with 'mask' only"),
        ({"sample": Rows(files=Source(location="nowhere"), rows=1)}, "sequences=0, sequence_tokens=0"),
    ],
)
def test_ways_that_do_not_exist_or_lack_what_they_need_are_refused(change, said):
    given = {"parent": Source(location="nowhere"), "shape": SMALL, "layers": "middle", "neurons": "l2", "seed": 1}
    with pytest.raises(ValueError, match=said):
        Inherit(**{**given, **change})
    with pytest.raises(ValueError, match="steps=0"):
        MaskLearning(steps=0, learning_rate=0.1)


def test_building_one_imports_nothing_heavy():
    code = (
        "import sys; from hare_ray.model.inherit_stage import Inherit; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'safetensors', 'ray')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_special_ids_that_mean_none_are_none():
    config = {"vocab_size": 4, "bos_token_id": 1, "eos_token_id": [2, 3], "pad_token_id": -1}
    assert special_of(config, None) == SpecialTokens(1, 2, None)
    assert special_of(config, np.array([0, -1, 1, 2])) == SpecialTokens(None, 1, None)
    assert special_of({**config, "eos_token_id": 4}, np.array([0, 1, 2, 3])) == SpecialTokens(1, None, None)
