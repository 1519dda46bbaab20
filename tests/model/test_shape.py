import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.model.shape import Shape, mfu, peak_flops

HARE = Shape(layers=22, hidden=2048, heads=32, kv_heads=8, mlp_hidden=5632, vocabulary=32_000, tied=False)
TINY_LLAMA = Shape(layers=22, hidden=2048, heads=32, kv_heads=4, mlp_hidden=5632, vocabulary=32_000, tied=False)


def test_hare_has_the_published_number_of_weights():
    assert HARE.parameters / 1e9 == pytest.approx(1.1231, abs=5e-5)
    assert HARE.matmul_parameters / 1e9 == pytest.approx(1.0575, abs=1e-4)
    assert TINY_LLAMA.parameters / 1e9 == pytest.approx(1.1000, abs=1e-4)


@pytest.mark.parametrize(
    ("vocabulary", "layers", "share"), [(48_000, 20, 0.179), (8_000, 24, 0.0297), (100_000, 15, 0.3819)]
)
def test_the_share_of_the_embedding_is_that_of_table_1(vocabulary, layers, share):
    """Of arXiv 2402.02791, where depth makes up for the vocabulary; it does not say by how many layers."""
    shape = Shape(layers, hidden=1792, heads=14, kv_heads=14, mlp_hidden=4964, vocabulary=vocabulary, tied=False)
    assert shape.embedding_share == pytest.approx(share, rel=0.03)
    assert replace(shape, tied=True).embedding_share < shape.embedding_share


def test_flops_of_a_token_in_the_convention_of_palm_and_truly():
    assert HARE.flops_per_token(2048) / 1e9 == pytest.approx(7.452, abs=1e-3)
    assert HARE.flops_per_token(4096) / 1e9 == pytest.approx(8.560, abs=1e-3)
    assert HARE.true_flops([2048]) / 2048 / 1e9 == pytest.approx(6.899, abs=1e-3)
    assert HARE.true_flops([4096, 4096]) / 8192 / 1e9 == pytest.approx(7.452, abs=1e-3)


def test_tinyllama_on_an_a100_has_the_mfu_it_claims():
    share = mfu(24_000, TINY_LLAMA.flops_per_token(2048), "NVIDIA A100-SXM4-40GB")
    assert share == pytest.approx(0.563, abs=5e-4)


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A100-PCIE-40GB", 312e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA H800", 989e12),
        ("NVIDIA H20", 148e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA A10", 125e12),
        ("NVIDIA A10G", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("cpu", None),
    ],
)
def test_a_peak_is_known_by_whole_words_or_not_at_all(device, peak):
    assert peak_flops(device) == peak
    assert (mfu(1.0, 1.0, device) is None) == (peak is None)


@settings(max_examples=30)
@given(st.lists(st.integers(1, 500), min_size=1, max_size=8))
def test_documents_cost_less_than_one_sequence_of_their_length(lengths):
    shape = Shape(layers=2, hidden=64, heads=4, kv_heads=2, mlp_hidden=128, vocabulary=100, tied=True)
    whole = sum(lengths)
    assert shape.true_flops(lengths) <= shape.true_flops([whole]) < whole * shape.flops_per_token(whole)


def test_a_tied_head_saves_the_embedding_and_no_work():
    tied = Shape(layers=2, hidden=64, heads=4, kv_heads=2, mlp_hidden=128, vocabulary=100, tied=True)
    untied = Shape(layers=2, hidden=64, heads=4, kv_heads=2, mlp_hidden=128, vocabulary=100, tied=False)
    assert untied.parameters - tied.parameters == 100 * 64
    assert untied.flops_per_token(32) == tied.flops_per_token(32)


@pytest.mark.parametrize(
    "wrong",
    [
        {"heads": 5},
        {"kv_heads": 3},
        {"hidden": 12, "heads": 4, "kv_heads": 2},
        {"layers": 0},
        {"rope_theta": 0.0},
    ],
)
def test_shapes_that_cannot_be_built_are_refused(wrong):
    fields = {"layers": 2, "hidden": 64, "heads": 4, "kv_heads": 2, "mlp_hidden": 128, "vocabulary": 100, "tied": True}
    Shape(**fields)
    with pytest.raises(ValueError, match="given"):
        Shape(**{**fields, **wrong})


def test_a_recipe_with_a_model_loads_no_torch():
    program = (
        "import sys, hare_ray.model.shape, hare_ray.model.export_stage; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'safetensors', 'ray')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
