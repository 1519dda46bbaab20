import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from hare_ray import engine
from hare_ray.gather import Desk
from hare_ray.model.attention import choose
from hare_ray.model.config import shape_of
from hare_ray.model.decoder import Decoder
from hare_ray.model.export import SpecialTokens, from_hf, to_hf
from hare_ray.model.export_stage import Export, special_ids
from hare_ray.model.shape import Shape
from hare_ray.stage import Make, Source, Stage
from hare_ray.tokenizer_files import in_folder
from tests.model.packed import packed, small
from tests.model.stages import Mixed, Numbers, Phase, Trained, Words

SPECIAL = SpecialTokens(bos=1, eos=2, pad=3)


def written(decoder, folder, dtype="float32"):
    to_hf(decoder, decoder.shape, folder, dtype=dtype, context_tokens=64, special=SPECIAL)
    return folder


@pytest.mark.parametrize("tied", [True, False])
def test_transformers_loads_the_folder_and_gives_the_same_logits(tied, tmp_path):
    shape = replace(small(tied), rope_theta=500.0, norm_epsilon=1e-3)
    decoder = Decoder(shape, choose("cpu"), seed=1)
    model = AutoModelForCausalLM.from_pretrained(written(decoder, tmp_path), dtype="auto").eval()
    assert isinstance(model, MistralForCausalLM)
    assert model.dtype == torch.float32
    tokens, segments, positions = packed([[40], [40]], 40)
    torch.testing.assert_close(decoder.logits(tokens, segments, positions), model(tokens).logits, rtol=1e-4, atol=1e-5)
    config, generation = model.config, model.generation_config
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (1, 2, 3)
    assert (generation.bos_token_id, generation.eos_token_id, generation.pad_token_id) == (1, 2, 3)
    assert (config.max_position_embeddings, config.sliding_window) == (64, None)


@pytest.mark.parametrize("tied", [True, False])
def test_from_hf_gives_back_what_to_hf_wrote(tied, tmp_path):
    decoder = Decoder(replace(small(tied), rope_theta=500.0), choose("cpu"), seed=1)
    shape, state = from_hf(written(decoder, tmp_path))
    assert shape == decoder.shape
    assert state.keys() == decoder.state_dict().keys()
    assert all(torch.equal(state[name], weight) for name, weight in decoder.state_dict().items())


def test_a_head_stored_beside_the_embedding_it_is_tied_to_is_left_out(tmp_path):
    decoder = Decoder(small(tied=True), choose("cpu"), seed=1)
    path = written(decoder, tmp_path) / "model.safetensors"
    state = decoder.state_dict()
    save_file({**state, "lm_head.weight": state["model.embed_tokens.weight"].clone()}, path)
    assert from_hf(tmp_path)[1].keys() == state.keys()


def test_weights_are_cast_and_files_depend_on_the_model_alone(tmp_path):
    decoder = Decoder(small(), choose("cpu"), seed=1)
    one, other = (written(decoder, tmp_path / name, "bfloat16") for name in ("one", "other"))
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes()
    _, state = from_hf(one)
    for name, weight in decoder.state_dict().items():
        assert torch.equal(state[name], weight.bfloat16())


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_that_transformers_saved_is_read(tied, tmp_path):
    config = MistralConfig(
        vocab_size=101, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, rms_norm_eps=1e-5, sliding_window=None, tie_word_embeddings=tied,
        rope_parameters={"rope_theta": 700.0, "rope_type": "default"},
    )  # fmt: skip
    model = MistralForCausalLM(config).eval()
    model.save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    shape, state = from_hf(tmp_path)
    assert shape == replace(small(tied), rope_theta=700.0)
    decoder = Decoder(shape, choose("cpu"), seed=1)
    decoder.load_state_dict(state)
    tokens, segments, positions = packed([[40]], 40)
    torch.testing.assert_close(decoder.logits(tokens, segments, positions), model(tokens).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_llama_is_read_from_several_files_and_another_beside_them_is_not(dtype, tmp_path):
    config = LlamaConfig(
        vocab_size=101, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, rms_norm_eps=1e-5, rope_parameters={"rope_theta": 700.0, "rope_type": "default"},
    )  # fmt: skip
    LlamaForCausalLM(config).to(dtype).save_pretrained(tmp_path, max_shard_size="50KB")
    save_file({"output.weight": torch.zeros(3)}, tmp_path / "consolidated.safetensors")
    shape, state = from_hf(tmp_path)
    assert shape == replace(small(), rope_theta=700.0)
    assert {weight.dtype for weight in state.values()} == {dtype}
    decoder = Decoder(shape, choose("cpu"), seed=1)
    decoder.load_state_dict(state)
    tokens, segments, positions = packed([[40]], 40)
    expected = LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()(tokens).logits
    torch.testing.assert_close(decoder.logits(tokens, segments, positions), expected, rtol=1e-4, atol=1e-5)
    sorted(tmp_path.glob("model-*.safetensors"))[1].unlink()
    with pytest.raises(ValueError, match="has no model-00002"):
        from_hf(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model_type", "mixtral", "expected one of mistral, llama"),
        ("attention_bias", True, "attention_bias"),
        ("mlp_bias", True, "mlp_bias"),
        ("hidden_act", "gelu", "gelu"),
        ("rope_scaling", {"type": "linear", "factor": 2.0}, "linear"),
        ("sliding_window", 4096, "sliding_window"),
        ("head_dim", 32, "head_dim"),
        ("rope_parameters", {"rope_type": "yarn", "factor": 2.0}, "yarn"),
        ("partial_rotary_factor", 0.5, "all of a head"),
        ("rope_parameters", {"rope_type": "default", "partial_rotary_factor": 0.5}, "all of a head"),
        ("num_hidden_layers", 3, "9 weights do not fit"),
    ],
)
def test_a_model_that_would_not_be_the_same_here_is_refused(key, value, said, tmp_path):
    written(Decoder(small(), choose("cpu"), seed=1), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ValueError, match=said):
        from_hf(tmp_path)


@pytest.mark.parametrize("kind", ["mistral", "llama"])
def test_what_a_config_leaves_out_is_as_in_transformers(kind, tmp_path):
    """But sizes: nobody means those of a 7 B model by leaving them out."""
    from transformers import AutoConfig

    sizes = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 96, "vocab_size": 260}
    config = {"model_type": kind, "num_attention_heads": 16, "sliding_window": None, **sizes}
    (tmp_path / "config.json").write_text(json.dumps(config))
    theirs = AutoConfig.from_pretrained(tmp_path)
    shape = shape_of(config, "here")
    assert shape.kv_heads == theirs.num_key_value_heads
    assert shape.norm_epsilon == theirs.rms_norm_eps
    assert shape.rope_theta == theirs.rope_parameters["rope_theta"]
    assert shape.tied == theirs.tie_word_embeddings
    with pytest.raises(ValueError, match="without vocab_size"):
        shape_of({name: value for name, value in config.items() if name != "vocab_size"}, "here")
    del config["sliding_window"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    if getattr(AutoConfig.from_pretrained(tmp_path), "sliding_window", None) is not None:
        with pytest.raises(ValueError, match="given sliding_window=4096"):
            shape_of(config, "here")


def test_frequencies_that_older_files_hold_are_left_out(tmp_path):
    decoder = Decoder(small(), choose("cpu"), seed=1)
    written(decoder, tmp_path)
    path = tmp_path / "model.safetensors"
    turns = {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.ones(8) for layer in range(2)}
    save_file({**load_file(path), **turns}, path, metadata={"format": "pt"})
    _, state = from_hf(tmp_path)
    assert state.keys() == decoder.state_dict().keys()


def test_weights_of_another_shape_are_refused(tmp_path):
    decoder = Decoder(small(tied=True), choose("cpu"), seed=1)
    with pytest.raises(ValueError, match=r"lm_head\.weight"):
        to_hf(decoder, small(tied=False), tmp_path, dtype="float32", context_tokens=64, special=SPECIAL)
    with pytest.raises(ValueError, match="float8"):
        to_hf(decoder, decoder.shape, tmp_path, dtype="float8", context_tokens=64, special=SPECIAL)


SHAPE = Shape(layers=2, hidden=64, heads=2, kv_heads=1, mlp_hidden=96, vocabulary=260, tied=True)


def exported(tmp_path, root="run"):
    crawl = tmp_path / "crawl"
    crawl.mkdir(exist_ok=True)
    (crawl / "a.txt").write_text("one")
    source = Source(label="crawl", location=str(crawl))
    table = Numbers(label="packed_web", files=source)
    tokenizer = Words(docs=Numbers(label="tokenizer_text", files=source), size=260)
    mixture = Mixed(label="blend", tables=(table,), weights=(0.5, 2.0), phases=(Phase(7), Phase(5)))
    trained = Trained(label="stage_1", mixture=mixture, tokenizer=tokenizer, shape=SHAPE, seed=1, learning_rate=3e-4)
    export = Export(trained=trained, tokenizer=tokenizer, dtype="bfloat16", context_tokens=64)
    engine.run(export, root=str(tmp_path / root))
    return trained, tmp_path / root / "export" / export.fingerprint[:12]


def test_the_stage_makes_a_folder_that_loads_and_writes_text(tmp_path):
    trained, folder = exported(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    ids = tokenizer("A hare", return_tensors="pt").input_ids
    assert tokenizer.decode(ids[0]) == "A hare"
    expected = Decoder(SHAPE, choose("cpu"), trained.seed)
    found = expected.bfloat16().logits(ids, torch.zeros_like(ids), torch.arange(ids.shape[1])[None])
    torch.testing.assert_close(found, model(ids).logits, rtol=0.05, atol=0.02)
    assert model.generate(ids, max_new_tokens=3, min_new_tokens=3).shape[1] == ids.shape[1] + 3


def test_the_card_says_what_the_manifests_say_and_no_more(tmp_path):
    trained, folder = exported(tmp_path)
    card = (folder / "README.md").read_text()
    front, text = card.removeprefix("---\n").split("---\n", 1)
    assert front == (
        "library_name: transformers\npipeline_tag: text-generation\ntags:\n- hare\n- mistral\n- small-language-model\n"
    )
    for line in (
        f"| parameters | {SHAPE.parameters:,} |",
        "| context tokens | 64 |",
        "| source | rows | sequences read |",
        "| packed_web | 1 | 7 |",
        "| steps | 12 |",
        "| final loss | 4.60517 |",
        "| learning rate | 0.0003 |",
        "| mlp hidden | 96 |",
        "| blend.weights | 0.5, 2 |",
        "| blend.phases.2.steps | 5 |",
        f"| fingerprint | {trained.fingerprint} |",
    ):
        assert line in text.splitlines()
    assert "mfu" not in text
    assert "seconds" not in text  # equal models are equal folders
    assert "None" not in text
    assert "tokenizer_text" not in text


def test_two_runs_write_the_same_bytes(tmp_path):
    one, other = (exported(tmp_path, root)[1] for root in ("one", "other"))
    names = sorted(path.name for path in one.iterdir())
    assert names == [
        "README.md", "config.json", "generation_config.json", "model.safetensors", "special_tokens_map.json",
        "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path):
    words = in_folder(exported(tmp_path)[1])
    assert special_ids(words, 260) == {"bos_token": 1, "eos_token": 2, "pad_token": 3}
    with pytest.raises(ValueError, match="ids up to 259"):
        special_ids(words, 259)


class Folder(Make):
    """The tokenizer without the files beside it, as a Source of a person's folder may be; or a Unigram."""

    given: Stage
    unigram: bool

    def make(self, desk: Desk) -> dict[str, int]:
        told = json.loads((desk.files(self.given) / "tokenizer.json").read_text())
        if self.unigram:
            vocabulary = [[token, -1.0] for token in told["model"]["vocab"]]
            told["model"] = {"type": "Unigram", "vocab": vocabulary, "unk_id": 0, "byte_fallback": False}
        (desk.folder / "tokenizer.json").write_text(json.dumps(told))
        return {}


@pytest.mark.parametrize("unigram", [False, True])
def test_a_folder_with_tokenizer_json_alone_is_exported_whole(unigram, tmp_path):
    (tmp_path / "a.txt").write_text("one")
    table = Numbers(files=Source(location=str(tmp_path / "a.txt"), label="crawl"))
    tokenizer = Folder(given=Words(docs=table, size=260), unigram=unigram)
    mixture = Mixed(tables=(table,), weights=(1.0,), phases=())
    trained = Trained(mixture=mixture, tokenizer=tokenizer, shape=SHAPE, seed=1, learning_rate=1.0)
    export = Export(trained=trained, tokenizer=tokenizer, dtype="bfloat16", context_tokens=64)
    engine.run(export, root=str(tmp_path / "run"))
    folder = tmp_path / "run" / "export" / export.fingerprint[:12]
    loaded, config = AutoTokenizer.from_pretrained(folder), json.loads((folder / "config.json").read_text())
    named = [loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id]
    assert named == [1, 2, 3] == [config[f"{name}_token_id"] for name in ("bos", "eos", "pad")]
    assert len(loaded("A hare").input_ids) == 6


def test_an_export_that_cannot_be_is_refused_when_built():
    tokenizer = Words(docs=Numbers(files=Source(location="nowhere")), size=260)
    with pytest.raises(ValueError, match="float8"):
        Export(trained=tokenizer, tokenizer=tokenizer, dtype="float8", context_tokens=64)
    with pytest.raises(ValueError, match="context_tokens=0"):
        Export(trained=tokenizer, tokenizer=tokenizer, dtype="float32", context_tokens=0)
