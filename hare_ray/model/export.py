# ruff: noqa: TID253 - torch is what this module is about
"""To and from the files of Hugging Face: config.json, generation_config.json, model.safetensors.

The decoder's parameters have the names of MistralForCausalLM, so export is a copy in another type. The files are
written here, not by transformers: their bytes then depend on the model alone, not on the version installed.
`rope_theta` and `torch_dtype` are there under the names that old readers (llama.cpp, transformers 4) and new ones
know. There is no sliding window.

Read are Mistrals and Llamas (`hare_ray.model.config`): in one file or several with an index, in any type.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hare_ray.model.config import CONFIG, shape_of
from hare_ray.model.shape import Shape

GENERATION, WEIGHTS = "generation_config.json", "model.safetensors"

DTYPES = ("bfloat16", "float16", "float32")

INDEX = "model.safetensors.index.json"
"""Which file holds which weight, where there are several."""

HEAD = "lm_head.weight"

FOLLOWS = ".rotary_emb.inv_freq"
"""How names end of tensors in older files of Llama that follow from the configuration."""

INITIALIZER_RANGE = 0.02
"""What transformers would draw new weights with: its own default, and nothing about these."""


@dataclass(frozen=True)
class SpecialTokens:
    """Ids that readers of the model must know; None: there is none."""

    bos: int | None
    eos: int | None
    pad: int | None


def to_hf(
    weights: nn.Module | Mapping[str, Tensor],
    shape: Shape,
    folder: Path,
    *,
    dtype: str,
    context_tokens: int,
    special: SpecialTokens,
) -> None:
    """Write a decoder, or its state dict, as a folder that transformers, vLLM and lm-eval load.

    vLLM on CPU wants heads at least 32 wide; on GPUs, and in the others, any width goes.
    """
    if dtype not in DTYPES:
        raise ValueError(f"given dtype={dtype!r}, expected one of {DTYPES}")
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    check_state(state, shape)
    folder.mkdir(parents=True, exist_ok=True)
    copy = {name: state[name].detach().to("cpu", getattr(torch, dtype)).contiguous() for name in sorted(state)}
    save_file(copy, folder / WEIGHTS, metadata={"format": "pt"})
    ids = {f"{name}_token_id": number for name, number in asdict(special).items()}
    _write(folder / CONFIG, {**_config(shape, context_tokens), **ids, "dtype": dtype, "torch_dtype": dtype})
    _write(folder / GENERATION, {name: number for name, number in ids.items() if number is not None})


def _config(shape: Shape, context_tokens: int) -> dict[str, Any]:
    return {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.mlp_hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.tied,
        "max_position_embeddings": context_tokens,
        "sliding_window": None,
        "rope_theta": shape.rope_theta,
        "rope_parameters": {"rope_theta": shape.rope_theta, "rope_type": "default"},
        "rms_norm_eps": shape.norm_epsilon,
        "initializer_range": INITIALIZER_RANGE,
        "attention_dropout": 0.0,
        "use_cache": True,
    }


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def from_hf(folder: Path) -> tuple[Shape, dict[str, Tensor]]:
    """Shape and weights of a Mistral or Llama in a folder, as they are stored there."""
    shape = shape_of(json.loads((folder / CONFIG).read_text(encoding="utf-8")), str(folder))
    state = _tensors(folder)
    if shape.tied:
        state.pop(HEAD, None)
    check_state(state, shape)
    return shape, state


def _tensors(folder: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for path in _files(folder):
        with safe_open(path, "pt") as file:
            names = [name for name in file.keys() if not name.endswith(FOLLOWS)]  # noqa: SIM118
            state.update({name: file.get_tensor(name) for name in names})
    return dict(sorted(state.items()))


def _files(folder: Path) -> list[Path]:
    if (folder / INDEX).exists():
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        files = [folder / name for name in sorted(set(index["weight_map"].values()))]
    else:
        files = [folder / WEIGHTS]
    missing = [path.name for path in files if not path.exists()]
    if missing:
        raise ValueError(f"{folder} has no {', '.join(missing)}; expected the whole model: download it again")
    return files


def check_state(state: Mapping[str, Tensor], shape: Shape) -> None:
    """Refuse weights that are not exactly those of the shape."""
    expected = expected_sizes(shape)
    got = {name: tuple(weight.shape) for name, weight in state.items()}
    wrong = sorted(name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name))
    if wrong:
        lines = ", ".join(
            f"{name}: given {got.get(name, 'none')}, expected {expected.get(name, 'none')}" for name in wrong[:5]
        )
        raise ValueError(f"{len(wrong)} weights do not fit {shape}: {lines}; give the shape that they are of")


def expected_sizes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Name and size of every weight."""
    hidden, kv_hidden, wide = shape.hidden, shape.kv_heads * shape.head_dim, shape.mlp_hidden
    layer = {
        "input_layernorm": (hidden,),
        "mlp.down_proj": (hidden, wide),
        "mlp.gate_proj": (wide, hidden),
        "mlp.up_proj": (wide, hidden),
        "post_attention_layernorm": (hidden,),
        "self_attn.k_proj": (kv_hidden, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.v_proj": (kv_hidden, hidden),
    }
    sizes: dict[str, tuple[int, ...]] = {
        f"model.layers.{number}.{name}.weight": size for number in range(shape.layers) for name, size in layer.items()
    }
    sizes["model.embed_tokens.weight"] = (shape.vocabulary, hidden)
    sizes["model.norm.weight"] = (hidden,)
    if not shape.tied:
        sizes[HEAD] = (shape.vocabulary, hidden)
    return sizes
