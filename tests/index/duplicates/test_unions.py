"""Union-find over arrays equals a walk along the joins, whatever their order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from index.duplicates.unions import Unions


def components(count: int, edges: list[tuple[int, int]]) -> list[int]:
    """The smallest member of each node's component, by walking from node to node."""
    near: dict[int, set[int]] = {node: set() for node in range(count)}
    for a, b in edges:
        near[a].add(b)
        near[b].add(a)
    smallest: dict[int, int] = {}
    for start in range(count):
        todo = [start]
        while todo:
            node = todo.pop()
            if node not in smallest:
                smallest[node] = start
                todo += near[node]
    return [smallest[node] for node in range(count)]


@given(st.data())
def test_union_find_equals_a_walk(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 20))
    node = st.integers(0, count - 1)
    edges = data.draw(st.lists(st.tuples(node, node), max_size=30))
    batches = data.draw(st.integers(1, 5))
    expected = components(count, edges)
    for order in (edges, data.draw(st.permutations(edges))):
        unions = Unions(count)
        for batch in np.array_split(np.array(order, np.int64).reshape(-1, 2), batches):
            unions.join(batch[:, 0], batch[:, 1])
        assert unions.roots().tolist() == expected


def test_a_long_chain_is_one_group() -> None:
    unions = Unions(10_000)
    order = np.random.default_rng(0).permutation(9_999)
    unions.join(order + 1, order)
    assert set(unions.roots().tolist()) == {0}


def test_groups_are_named_by_their_smallest_id_and_leave_out_the_single() -> None:
    unions = Unions(5)
    unions.join(np.array([4, 3]), np.array([1, 0]))
    ids, groups = unions.groups(np.array([10, 20, 30, 40, 50]))
    assert (ids.tolist(), groups.tolist()) == ([10, 20, 40, 50], [10, 20, 10, 20])


def test_nothing_has_no_groups() -> None:
    ids, groups = Unions(0).groups(np.empty(0, np.int64))
    assert (len(ids), len(groups)) == (0, 0)
