"""The shape that a config.json of Hugging Face tells, without a look at the weights.

Mistrals and Llamas are this architecture; they differ in their configuration alone. Refused is what would not be the
same model here: biases, other activations, scaled rotary positions, attention that sees a window only.
"""

from __future__ import annotations

from typing import Any

from hare_ray.model.shape import Shape

CONFIG = "config.json"

LEFT_OUT: dict[str, dict[str, Any]] = {
    "mistral": {"num_key_value_heads": 8, "sliding_window": 4096, "rms_norm_eps": 1e-6},
    "llama": {"rms_norm_eps": 1e-6},
}
"""By model_type, those of this architecture: what transformers takes where a config.json is silent."""

NEEDED = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size")
"""Of these it takes a size of its own, which is hardly the one of the weights."""


def shape_of(config: dict[str, Any], place: str) -> Shape:
    """The shape of a Mistral or Llama; ValueError, which names the place, for what is none."""
    if config.get("model_type") not in LEFT_OUT:
        raise ValueError(
            f"{place}: given a model of type {config.get('model_type')!r}, expected one of {', '.join(LEFT_OUT)}; take "
            "a model of that architecture"
        )
    config = {**LEFT_OUT[config["model_type"]], **config}
    _check(config, place)
    shape = Shape(
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        heads=config["num_attention_heads"],
        kv_heads=config.get("num_key_value_heads") or config["num_attention_heads"],
        mlp_hidden=config["intermediate_size"],
        vocabulary=config["vocab_size"],
        tied=config.get("tie_word_embeddings", False),
        rope_theta=_rope_theta(config, place),
        norm_epsilon=config["rms_norm_eps"],
    )
    width = config.get("head_dim") or shape.head_dim
    if width != shape.head_dim:
        raise ValueError(
            f"{place}: given head_dim={width}, expected hidden_size / heads = {shape.head_dim}; take a model "
            "whose heads share its width out"
        )
    return shape


def _check(config: dict[str, Any], place: str) -> None:
    missing = [name for name in NEEDED if name not in config]
    if missing:
        raise ValueError(f"{place}: given a {CONFIG} without {', '.join(missing)}, expected them: download it again")
    if config.get("sliding_window") is not None:
        raise ValueError(
            f"{place}: given sliding_window={config['sliding_window']}, expected null: attention here is full; "
            "set it to null in config.json if your sequences are not longer than the window"
        )
    for name in ("attention_bias", "mlp_bias"):
        if config.get(name):
            raise ValueError(
                f"{place}: given {name}={config[name]}, expected false: no layer here has a bias; take another model"
            )
    if config.get("hidden_act", "silu") != "silu":
        raise ValueError(f"{place}: given hidden_act={config['hidden_act']!r}, expected 'silu'; take another model")


def _rope_theta(config: dict[str, Any], place: str) -> float:
    found = [config.get(name) or {} for name in ("rope_parameters", "rope_scaling")]
    for rope in found:
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            raise ValueError(
                f"{place}: given rotary positions of type {kind!r}, expected 'default'; take the model as it was "
                "before its context was stretched"
            )
    shares = [given.get("partial_rotary_factor", 1.0) for given in (config, *found)]
    if any(share != 1.0 for share in shares):
        raise ValueError(f"{place}: given partial_rotary_factor={shares}, expected 1: all of a head is turned here")
    return float(found[0].get("rope_theta", config.get("rope_theta", 10_000.0)))
