"""HoldOut: the share, stability, and copies on one side."""

import pyarrow as pa
import pytest
import xxhash

from hare_ray.leakage.holdout import HoldOut
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Table


class Documents(Table):
    writes = DOCUMENT


DOCS = Documents()


def held(clusters, share):
    stage = HoldOut(docs=DOCS, share=share)
    table = stage.prepare(lambda stage: None)(pa.table({"duplicate_cluster": pa.array(clusters, pa.binary(16))}))
    assert table.schema == stage.schema()
    rows = table.to_pylist()
    assert all(row["reason"] == ("held_out" if row["held_out"] else None) for row in rows)
    return [row["held_out"] for row in rows]


def ids(count):
    return [xxhash.xxh3_128_digest(str(i).encode()) for i in range(count)]


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5])
def test_share_is_kept_also_where_ids_are_small(share):
    count = 40_000
    smallest = sorted(ids(4 * count))[:count]  # As the smallest ids of large clusters are.
    error = 4 * (share * (1 - share) / count) ** 0.5
    assert sum(held(smallest, share)) / count == pytest.approx(share, abs=error)


def test_copies_and_order_and_larger_shares():
    clusters = ids(500)
    small, large = held(clusters, 0.2), held(clusters, 0.4)
    assert held(clusters[::-1], 0.2) == small[::-1]
    assert held([c for c in clusters for _ in range(3)], 0.2) == [h for h in small for _ in range(3)]
    assert all(b for a, b in zip(small, large, strict=True) if a)


def test_chunks_and_slices_make_no_difference():
    array = pa.array(ids(100), pa.binary(16))
    stage = HoldOut(docs=DOCS, share=0.3)
    hold = stage.prepare(lambda stage: None)
    whole = hold(pa.table({"duplicate_cluster": array}))
    cut = hold(pa.table({"duplicate_cluster": pa.chunked_array([array[:7], array[7:60], array[60:]])}))
    assert cut.equals(whole)
    assert hold(pa.table({"duplicate_cluster": array[40:]})).equals(whole.slice(40))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5])
def test_share_that_leaves_one_side_empty_is_refused(share):
    with pytest.raises(ValueError, match="share"):
        HoldOut(docs=DOCS, share=share)
