"""Rows with a reason leave a table, and the bytes of the others stay where they are."""

import pyarrow as pa
import pytest

from hare_ray.work import parted

ROWS = [
    ("a", b"first", None),
    ("b", None, "redirect"),
    ("c", b"", None),
    ("d", b"second", None),
    ("e", None, "redirect"),
    ("f", None, None),
]


def table(rows):
    names = ("url", "payload", "reason")
    types = (pa.string(), pa.large_binary(), pa.string())
    return pa.table(
        [pa.array([row[n] for row in rows], kind) for n, kind in enumerate(types)],
        names=names,
    )


def memory(got):
    """Where the bytes of the payloads lie."""
    return got["payload"].chunk(0).buffers()[2].address


@pytest.mark.parametrize("whole", [table(ROWS), table([("z", b"before", None), *ROWS]).slice(1), table(ROWS[:1])])
def test_unread_payloads_leave_without_a_copy_of_the_others(whole):
    live, lost = parted(whole)
    live.validate(full=True)
    kept = [row for row in whole.to_pylist() if row["reason"] is None]
    assert live.to_pylist() == kept
    assert lost.to_pylist() == [
        {"url": row["url"], "reason": row["reason"]} for row in whole.to_pylist() if row["reason"]
    ]
    assert memory(live) == memory(whole)


@pytest.mark.parametrize(
    "whole",
    [
        table([("a", b"kept", None), ("b", b"dropped", "refused"), ("c", b"kept", None)]),
        table([("b", b"dropped", "refused")]),
        table([]),
        pa.concat_tables([table(ROWS), table(ROWS)]),
    ],
)
def test_any_other_table_is_filtered(whole):
    live, lost = parted(whole)
    live.validate(full=True)
    assert live.to_pylist() == [row for row in whole.to_pylist() if row["reason"] is None]
    assert len(live) + len(lost) == len(whole)
