"""Where logits come from: stored parts, or an array of the student in training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from curate.compact import mode_of, unpacked
from index.catalog import Catalog
from index.errors import UsageError, WorkspaceError
from index.parts import Arrays, Ids, array_names, list_parts, live_rows, places, read_arrays

Floats = NDArray[np.float32]


class Logits(Protocol):
    """Logits of one model over the pool."""

    def gather(self, ids: Ids) -> Floats:
        """Return (n, K) logits of the images `ids`, in their order."""
        ...

    def at(self, scores: Mapping[str, NDArray[Any]]) -> Floats:
        """Return (n, K) logits of these columns of `scores`, in their order."""
        ...


class ArrayLogits:
    """Logits held in memory, as a round's student has them."""

    def __init__(
        self, ids: Ids, rows: NDArray[np.float16], ages: NDArray[np.int32] | None = None
    ) -> None:
        """Take ids (N,), ascending, rows (N, K), and where they differ in age, their ages (N,)."""
        self._ids = ids
        self._rows = rows
        self._ages = ages

    def gather(self, ids: Ids) -> Floats:
        """Look the ids up by bisection."""
        return self._rows[places(self._ids, ids)].astype(np.float32)

    def at(self, scores: Mapping[str, NDArray[Any]]) -> Floats:
        """Look the column of ids up."""
        return self.gather(scores["image_id"])

    def components(self, ids: Ids) -> dict[str, Floats]:
        """Return what a ledger shall say of the logits of `ids` (n,): their `student_age`."""
        if self._ages is None:
            return {}
        return {"student_age": self._ages[places(self._ids, ids)].astype(np.float32)}


class StoredLogits:
    """Logits in the workspace, read part by part."""

    def __init__(self, catalog: Catalog, model: str) -> None:
        """List the parts of a model's logits."""
        self._catalog = catalog
        self._model = model
        with catalog.read() as connection:
            self._parts = {p.part: p for p in list_parts(connection, f"logits/{model}")}
        self._read = lru_cache(maxsize=2)(self._read_part)

    @property
    def exist(self) -> bool:
        """Tell whether the model has scored anything."""
        return bool(self._parts)

    @property
    def mode(self) -> str:
        """How they are kept: see `curate.compact`."""
        part = next(iter(self._parts.values()), None)
        return mode_of(array_names(self._catalog.workspace, part)) if part else "full"

    def batches(self) -> Iterator[tuple[Ids, Floats]]:
        """Yield ids (n,) and logits (n, K) of the images that are still there, a part at a time."""
        for part in self._parts.values():
            live = live_rows(self._catalog, part)
            if len(live):
                arrays = self._read(part.part)
                yield arrays["ids"][live], self._unpacked(arrays, live)

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

    def have(self, ids: Ids) -> NDArray[np.bool_]:
        """Tell which of the images `ids` (n,) this model has scored."""
        with self._catalog.read() as connection:
            connection.register("wanted", {"image_id": ids})
            found = connection.execute(
                "SELECT image_id FROM wanted JOIN scores USING (image_id) WHERE model = ?",
                [self._model],
            ).fetchnumpy()
        return np.isin(ids, np.asarray(found["image_id"], dtype=np.int64))

    def at(self, scores: Mapping[str, NDArray[Any]]) -> Floats:
        """Return logits (n, K) of these columns of `scores`, in their order.

        A part is read once for all of a batch; usually one part holds it whole.

        Raises:
            UsageError: the model was scored with `--logits none`.
        """
        parts, rows = scores["part"], scores["row"]
        numbers = np.unique(parts)
        if len(numbers) == 1:
            return self._unpacked(self._read(int(numbers[0])), rows)
        gathered = np.empty((len(parts), self._width), dtype=np.float32)
        for number in numbers:
            here = parts == number
            gathered[here] = self._unpacked(self._read(int(number)), rows[here])
        return gathered

    @property
    def _width(self) -> int:
        return next(iter(self._parts.values())).width

    def _unpacked(self, arrays: Arrays, rows: NDArray[Any]) -> Floats:
        if mode_of(frozenset(arrays)) == "none":
            raise UsageError(
                f"{self._model} was scored with --logits none, so there are none: score it with "
                "--logits full in a new workspace"
            )
        here = {name: arrays[name][rows] for name in arrays if name != "ids"}
        return unpacked(here, self._width)

    def _read_part(self, number: int) -> Arrays:
        return read_arrays(self._catalog.workspace, self._parts[number])
