import subprocess
import sys

import pytest

from hare_ray.model.presets import PRESETS


@pytest.mark.parametrize(
    ("name", "weights", "near"),
    [
        ("tiny", 3.1e6, 0.02),
        ("60m", 60e6, 0.03),
        ("250m", 0.25e9, 0.02),
        ("1b", 1.1231e9, 1e-4),
        ("pangu-1b-pro", 1.002e9, 2e-3),  # 21 layers of 12.31 d^2, and twice 48,000 d
    ],
)
def test_presets_have_the_size_they_are_named_after(name, weights, near):
    assert PRESETS[name].parameters == pytest.approx(weights, rel=near)


def test_every_head_is_wide_enough_and_every_axis_fits_float8():
    for name, shape in PRESETS.items():
        assert shape.head_dim >= 32, name
        kv_hidden = shape.kv_heads * shape.head_dim
        assert all(size % 16 == 0 for size in (shape.hidden, kv_hidden, shape.mlp_hidden, shape.vocabulary)), name


def test_pangu_has_the_width_of_its_heads_and_mlp_from_the_paper():
    shape = PRESETS["pangu-1b-pro"]
    assert shape.head_dim == 128
    assert shape.mlp_hidden / shape.hidden == pytest.approx(2.77, abs=0.005)
    assert shape.embedding_share < 0.2


def test_a_preset_loads_no_torch():
    program = "import sys, hare_ray.model.presets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
