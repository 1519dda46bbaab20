"""Losses of packed rows: those of each piece by itself, from either kind of folder, in any batch."""

import json
from dataclasses import asdict, replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from hare_ray.model.attention import choose
from hare_ray.model.decoder import Decoder
from hare_ray.model.export import SpecialTokens, to_hf
from hare_ray.model.shape import Shape
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Source, Table
from hare_ray.tokens.pack import packed_schema
from hare_ray.train.sequence_losses import SequenceLosses

T = 24
SHAPE = Shape(layers=2, hidden=64, heads=2, kv_heads=1, mlp_hidden=96, vocabulary=300, tied=True)
LENGTHS = [[24], [10, 9, 5], [1, 20], [1, 1, 1], [7], [12, 12], [2]]
COLUMNS = ("tokens", "lengths")


class Packed(Table):
    writes = packed_schema(T, 2)


class Texts(Table):
    writes = DOCUMENT


STAGE = SequenceLosses(
    sequences=Packed(), trained=Source(location=__file__), sequence_tokens=T, dtype="float32", batch_rows=3
)


@pytest.fixture(scope="module")
def decoder():
    return Decoder(SHAPE, choose("cpu", torch.float32), 7)


@pytest.fixture(scope="module")
def folder(decoder, tmp_path_factory):
    place = tmp_path_factory.mktemp("trained")
    save_file(decoder.state_dict(), place / "weights.safetensors")
    (place / "shape.json").write_text(json.dumps(asdict(SHAPE)))
    return place


@pytest.fixture(scope="module")
def packed():
    tokens = np.random.default_rng(1).integers(0, SHAPE.vocabulary, (len(LENGTHS), T)).astype("<u2")
    columns = [
        pa.array([one.tobytes() for one in tokens], pa.binary(2 * T)),
        pa.array(LENGTHS, pa.list_(pa.uint32())),
    ]
    return pa.table(columns, COLUMNS)


@pytest.fixture(scope="module")
def reference(decoder, packed):
    """Sum over the pieces, each alone in the model, and their targets."""
    sums, counts = [], []
    for row, lengths in zip(packed["tokens"].to_pylist(), LENGTHS, strict=True):
        tokens, total, count, at = np.frombuffer(row, "<u2").astype(np.int64), 0.0, 0, 0
        for length in lengths:
            piece = torch.from_numpy(tokens[None, at : at + length])
            with torch.no_grad():
                logits = decoder.logits(piece, torch.zeros_like(piece), torch.arange(length)[None])
            total += functional.cross_entropy(logits[0, :-1], piece[0, 1:], reduction="sum").item()
            count, at = count + length - 1, at + length
        sums.append(total)
        counts.append(count)
    return np.array(sums), np.array(counts)


def measured(folder, rows, **other):
    return replace(STAGE, **other).prepare(lambda _: folder)(rows)


def test_the_loss_of_a_row_is_that_of_its_pieces_alone(folder, packed, reference):
    sums, counts = reference
    found = measured(folder, packed)
    assert found.schema == STAGE.schema()
    np.testing.assert_array_equal(found["targets"].to_numpy(), counts)
    np.testing.assert_allclose(found["loss"].to_numpy(), sums / np.maximum(counts, 1), rtol=1e-5)


def test_a_row_without_targets_has_no_loss(folder, packed):
    found = measured(folder, packed.slice(3, 1))
    assert (found["loss"].to_pylist(), found["targets"].to_pylist()) == ([0.0], [0])


def test_batches_and_slices_do_not_change_it(folder, packed):
    whole = measured(folder, packed)["loss"].to_numpy()
    for batch_rows in (1, 100):
        np.testing.assert_allclose(measured(folder, packed, batch_rows=batch_rows)["loss"].to_numpy(), whole, rtol=1e-5)
    np.testing.assert_allclose(measured(folder, packed.slice(2, 4))["loss"].to_numpy(), whole[2:6], rtol=1e-5)
    assert len(measured(folder, packed.slice(0, 0))) == 0


def test_a_folder_of_hugging_face_gives_the_same(decoder, folder, packed, tmp_path):
    special = SpecialTokens(bos=1, eos=2, pad=3)
    to_hf(decoder, SHAPE, tmp_path, dtype="float32", context_tokens=T, special=special)
    assert measured(tmp_path, packed).equals(measured(folder, packed))


def test_bfloat16_stays_close(folder, packed):
    half, whole = (measured(folder, packed, dtype=dtype)["loss"].to_numpy() for dtype in ("bfloat16", "float32"))
    assert 0 < np.abs(half - whole).max() < 0.05


def test_a_loss_that_is_no_number_is_refused(decoder, packed, tmp_path):
    weights = decoder.state_dict() | {"model.norm.weight": torch.full((SHAPE.hidden,), torch.nan)}
    save_file(weights, tmp_path / "weights.safetensors")
    (tmp_path / "shape.json").write_text(json.dumps(asdict(SHAPE)))
    with pytest.raises(ValueError, match=r"a loss of nan in row 0 of a part, expected a number; .*dtype='float32'"):
        measured(tmp_path, packed)
    assert measured(tmp_path, packed.slice(3, 1))["loss"].to_pylist() == [0.0]  # it has no targets


def test_no_weights_are_drawn_that_are_read_then(folder, packed, monkeypatch):
    monkeypatch.setattr(Decoder, "_draw", None)
    assert len(measured(folder, packed)) == len(LENGTHS)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"dtype": "float16"}, "given dtype='float16'"),
        ({"batch_rows": 0}, "given batch_rows=0"),
        ({"sequence_tokens": T - 1}, "expected rows of 23 tokens"),
        ({"sequences": Texts()}, "give a packed table"),
    ],
)
def test_what_cannot_be_measured_is_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        replace(STAGE, **wrong)


def test_gpus_are_no_part_of_the_identity():
    on_gpus = replace(STAGE, gpus=4)
    assert (on_gpus.needs.gpus, on_gpus.needs.actors) == (1, 4)
    assert on_gpus.recipe == replace(STAGE).recipe
