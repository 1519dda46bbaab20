"""Hashes of ids: the ones that published orders and draws were made with, slices, and spread."""

import numpy as np
import pyarrow as pa
import xxhash

from hare_ray.best import id_hashes
from hare_ray.leakage.holdout import is_held_out
from hare_ray.mixing import halves, id_keys, mixed

IDS = pa.array([xxhash.xxh3_128_digest(str(n).encode()) for n in range(1000)], pa.binary(16))

PACKED = [3344731746835830425, 10176930707239233959]
RANKED = [5302021172970165720, 7932659827810724983]
HELD_OUT = [219, 231, 246, 399, 813, 858, 881]


def test_the_finisher_is_that_of_splitmix64():
    """The first numbers of the generator from seed 0, as its author's C code gives them."""
    state = np.arange(1, 4, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert mixed(state).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_halves_are_the_little_endian_numbers_of_an_id_and_heed_slices():
    expected = [[int.from_bytes(i[:8], "little"), int.from_bytes(i[8:], "little")] for i in IDS.to_pylist()]
    assert halves(IDS).tolist() == expected
    assert halves(IDS.slice(7, 20)).tolist() == expected[7:27]
    assert halves(IDS.slice(3, 0)).shape == halves(pa.array([], pa.binary(16))).shape == (0, 2)


def test_the_seed_and_every_further_number_change_the_keys():
    none = np.zeros(1000, np.int64)
    found = [
        id_keys(IDS, 1),
        id_keys(IDS, 2),
        id_keys(IDS, 1, none),
        id_keys(IDS, 1, none, none),
        id_keys(IDS, 1, none + 1),
    ]
    assert len(np.unique(np.concatenate(found))) == 5000
    assert all(abs(np.mean(one / 2.0**64) - 0.5) < 5 / np.sqrt(12 * 1000) for one in found)


def test_orders_and_draws_stay_what_they_were():
    """Values of the first release; other ones would move documents between training and evaluation."""
    assert id_keys(IDS, 7, np.arange(1000))[:2].tolist() == PACKED
    assert id_hashes(pa.chunked_array([IDS]))[:2].tolist() == RANKED
    assert np.flatnonzero(is_held_out(IDS, 0.01)).tolist() == HELD_OUT
