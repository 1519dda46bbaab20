"""Best-fit decreasing bin packing as a compiled kernel.

Pieces are taken from the longest to the shortest; each goes into the row with the least room that still takes it, and
opens a new row where none does. In the limit never worse than 11/9 of the optimum, and on text, where short pieces fill
what long ones leave, close to it: Ding et al. (arXiv 2404.10830) pack training documents that way.

Room is a small integer, so rows are kept in one stack per room, and the least sufficient room is found in a binary
tree over the rooms: O(log sequence_tokens) per piece, whatever the number of rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hare_ray.kernel import njit

NONE = -1


def best_fit(lengths: NDArray[np.int64], capacity: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row of every piece, rows numbered as they were opened; and the order in which the pieces were placed.

    Lengths are 1 to `capacity`. Equal lengths keep their order.
    """
    order = np.argsort(-lengths, kind="stable")
    return _place(lengths, order, capacity), order


@njit
def _place(lengths: NDArray[np.int64], order: NDArray[np.int64], capacity: int) -> NDArray[np.int64]:
    width = 1
    while width <= capacity:
        width *= 2
    tree = np.zeros(2 * width, np.bool_)  # Leaf width + r: is there a row with room r; a node: is any below it.
    top = np.full(capacity + 1, NONE, np.int64)  # The row last put on the stack of its room,
    below = np.full(len(lengths), NONE, np.int64)  # and the one under each.
    row_of = np.empty(len(lengths), np.int64)
    rows = 0
    for turn in range(len(order)):
        piece: int = order[turn]
        length = lengths[piece]
        room = _least_room(tree, width, length)
        if room == NONE:
            row, room = rows, capacity
            rows += 1
        else:
            row = top[room]
            top[room] = below[row]
            if top[room] == NONE:
                _clear(tree, width + room)
        row_of[piece] = row
        room -= length
        if room > 0:
            below[row] = top[room]
            top[room] = row
            _set(tree, width + room)
    return row_of


@njit
def _least_room(tree: NDArray[np.bool_], width: int, length: int) -> int:
    """The least room of at least `length` that a row has; NONE where no row has it."""
    node = width + length
    if tree[node]:
        return length
    while node > 1 and (node & 1 or not tree[node + 1]):
        node >>= 1
    if node <= 1:
        return NONE
    node += 1
    while node < width:
        node *= 2
        if not tree[node]:
            node += 1
    return node - width


@njit
def _set(tree: NDArray[np.bool_], node: int) -> None:
    while node and not tree[node]:
        tree[node] = True
        node >>= 1


@njit
def _clear(tree: NDArray[np.bool_], node: int) -> None:
    tree[node] = False
    node >>= 1
    while node and not (tree[2 * node] or tree[2 * node + 1]):
        tree[node] = False
        node >>= 1


@njit
def lay(
    out: NDArray[np.uint32],
    stream: NDArray[np.uint32],
    sources: NDArray[np.int64],
    targets: NDArray[np.int64],
    lengths: NDArray[np.int64],
) -> None:
    """Copy stretch after stretch of `stream` to its place in `out`; both of any integer type."""
    for piece in range(len(lengths)):
        source, target = sources[piece], targets[piece]
        for token in range(lengths[piece]):
            out[target + token] = stream[source + token]
