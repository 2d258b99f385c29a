"""Where logits come from: stored parts, or an array of the student in training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog
from index.errors import WorkspaceError
from index.parts import Ids, Part, list_parts, places, read_live, read_part

Floats = NDArray[np.float32]


class Logits(Protocol):
    """Logits of one model over the pool."""

    def gather(self, ids: Ids) -> Floats:
        """Return (n, K) logits of the images `ids`, in their order."""
        ...


class ArrayLogits:
    """Logits held in memory, as a round's student has them."""

    def __init__(self, ids: Ids, rows: NDArray[np.float16]) -> None:
        """Take ids (N,), ascending, and rows (N, K)."""
        self._ids = ids
        self._rows = rows

    def gather(self, ids: Ids) -> Floats:
        """Look the ids up by bisection."""
        return self._rows[places(self._ids, ids)].astype(np.float32)


class StoredLogits:
    """Logits in the workspace, read part by part."""

    def __init__(self, catalog: Catalog, model: str) -> None:
        """List the parts of a model's logits."""
        self._catalog = catalog
        self._model = model
        with catalog.read() as connection:
            self._parts = {p.part: p for p in list_parts(connection, f"logits/{model}")}
        self._read = lru_cache(maxsize=2)(self._read_rows)

    def batches(self) -> Iterator[tuple[Ids, Floats]]:
        """Yield ids (n,) and logits (n, K) of the images that are still there, a part at a time."""
        for part in self._parts.values():
            ids, rows = read_live(self._catalog, part)
            if len(ids):
                yield ids, rows.astype(np.float32)

    def gather(self, ids: Ids) -> Floats:
        """Find each id's part and row in the catalog; see `at`.

        Raises:
            WorkspaceError: an image has not been scored by this model.
        """
        wanted = {"image_id": ids, "place": np.arange(len(ids))}
        with self._catalog.read() as connection:
            connection.register("wanted", wanted)
            found = connection.execute(
                "SELECT s.* FROM wanted w JOIN scores s USING (image_id) "
                "WHERE s.model = ? ORDER BY w.place",
                [self._model],
            ).fetchnumpy()
        if len(found["part"]) != len(ids):
            raise WorkspaceError(f"{self._model} has not scored every image: run select again")
        return self.at(found)

    def at(self, scores: Mapping[str, NDArray[Any]]) -> Floats:
        """Return logits (n, K) of these columns of `scores`, in their order.

        A part is read once for all of a batch; usually one part holds it whole.
        """
        parts, rows = scores["part"], scores["row"]
        width = next(iter(self._parts.values())).width
        gathered = np.empty((len(parts), width), dtype=np.float32)
        for number in np.unique(parts):
            here = parts == number
            gathered[here] = self._read(int(number))[rows[here]]
        return gathered

    def _read_rows(self, number: int) -> NDArray[np.float16]:
        part: Part = self._parts[number]
        return read_part(self._catalog.workspace, part)[1]
