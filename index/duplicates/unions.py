"""Union-find over arrays: connected groups in one int64 per member, without a loop in Python."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from index.parts import Ids

Positions = NDArray[np.int64]


class Unions:
    """Groups of the members 0 to n - 1, each named by its smallest member.

    The result does not depend on the order of the joins.
    """

    def __init__(self, count: int) -> None:
        """Begin with every member alone."""
        self._parent = np.arange(count)  # never above its member, so there are no cycles

    def join(self, a: Positions, b: Positions) -> None:
        """Put a[i] and b[i] (m,) into one group, for every i."""
        while len(a):
            a, b = self._find(a), self._find(b)
            apart = a != b
            a, b = a[apart], b[apart]
            # Every root that met a smaller one now points at the smallest it met.
            np.minimum.at(self._parent, np.maximum(a, b), np.minimum(a, b))

    def roots(self) -> Positions:
        """Return the smallest member of each member's group, (n,)."""
        while True:
            shorter = self._parent[self._parent]
            if np.array_equal(shorter, self._parent):
                return self._parent
            self._parent = shorter

    def groups(self, ids: Ids) -> tuple[Ids, Ids]:
        """Name the groups of two or more, where member i is the image ids[i], ascending.

        Returns:
            the ids (m,) of their images, ascending, and their groups (m,): its smallest id.
        """
        root = self.roots()
        shared = np.bincount(root, minlength=len(root))[root] > 1
        return ids[shared], ids[root[shared]]

    def _find(self, members: Positions) -> Positions:
        root = self._parent[members]
        while not np.array_equal(root, above := self._parent[root]):
            root = above
        self._parent[members] = root
        return root
