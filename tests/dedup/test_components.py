"""Union-find against a breadth-first search in plain Python."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.dedup.components import flatten, join, singletons


def reference(rows, edges):
    near = {row: {row} for row in range(rows)}
    for a, b in edges:
        near[a].add(b)
        near[b].add(a)
    label = [-1] * rows
    for row in range(rows):
        queue = [row] if label[row] < 0 else []
        while queue:
            reached = queue.pop()
            if label[reached] < 0:
                label[reached] = row
                queue.extend(near[reached])
    return label


def labels(rows, batches):
    parent = singletons(rows)
    for edges in batches:
        pairs = np.array(edges, np.int64).reshape(-1, 2)
        join(parent, pairs[:, 0].copy(), pairs[:, 1].copy())
    flatten(parent)
    return parent.tolist()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_equals_breadth_first_search(data):
    rows = data.draw(st.integers(1, 40))
    edges = data.draw(st.lists(st.tuples(st.integers(0, rows - 1), st.integers(0, rows - 1)), max_size=60))
    expected = reference(rows, edges)
    cut = data.draw(st.integers(0, len(edges)))
    shuffled = data.draw(st.permutations(edges))
    assert labels(rows, [edges]) == expected
    assert labels(rows, [shuffled[:cut], [(b, a) for a, b in shuffled[cut:]]]) == expected


def test_long_chain_in_the_worst_order():
    rows = 100_000
    assert set(labels(rows, [[(i, i + 1) for i in reversed(range(rows - 1))]])) == {0}
