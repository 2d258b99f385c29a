"""One pass of a network over the images it has not scored yet: logits and raw shifts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from curate.compact import packed
from curate.shift import shift_store
from curate.softmax import confidence, top_label
from index.catalog import Catalog, insert, literal, one
from index.decoding import Pixels, View
from index.files import locked, remove_leftovers
from index.parts import Arrays, Ids, Rows, next_number, record_part, write_arrays
from index.progress import Progress, Silent
from index.reading import read_images

ROWS_A_PART = 65_536
UNSCORED = "SELECT id FROM images WHERE id NOT IN (SELECT image_id FROM scores WHERE model = {})"


@dataclass(frozen=True)
class Scorer:
    """A network as scoring sees it.

    `forward` maps (n, size, size, 3) uint8 pixels to float16 logits (n, K) and, by estimate, the
    raw shifts (n, L) of those that the network has; see `curate.shift`.
    """

    key: str
    view: View
    forward: Callable[[Pixels], tuple[Rows, Mapping[str, Rows]]]


def unscored_count(catalog: Catalog, model: str) -> int:
    """Count the images that a model has not scored."""
    with catalog.read() as connection:
        row = one(
            connection,
            "SELECT (SELECT count(*) FROM images) - (SELECT count(*) FROM scores WHERE model = ?)",
            [model],
        )
    return int(row[0]) if row else 0


def score_pool(
    catalog: Catalog,
    scorer: Scorer,
    *,
    workers: int | None = None,
    rows_a_part: int = ROWS_A_PART,
    logits: str = "full",
    progress: Progress | None = None,
) -> int:
    """Score what is not scored yet and return how many images that were.

    Each finished part is committed at once, so an interrupted pass goes on from there. How the
    `logits` are kept says `curate.compact`; all parts of a model keep them alike.
    """
    if unscored_count(catalog, scorer.key) == 0:  # so that selections and trainings go side by side
        return 0
    with locked(catalog.workspace / ".score.lock", "another process scores this workspace"):
        missing = unscored_count(catalog, scorer.key)  # another may have scored some meanwhile
        shifts = catalog.workspace / "shifts" / scorer.key
        for folder in (catalog.workspace / "logits" / scorer.key, *shifts.glob("*")):
            remove_leftovers(folder)
        store = _Store(catalog, scorer.key, rows_a_part, logits)
        only = UNSCORED.format(literal(scorer.key))
        with (progress or Silent()).step(f"Scoring {scorer.key}", missing, "images") as advance:
            for ids, pixels in read_images(catalog, scorer.view, only=only, workers=workers):
                store.add(ids, *scorer.forward(pixels))
                advance(len(ids))
            store.flush()
    return missing


class _Store:
    """Collects rows to parts and commits them."""

    def __init__(self, catalog: Catalog, model: str, rows_a_part: int, mode: str) -> None:
        self._catalog = catalog
        self._model = model
        self._logits = f"logits/{model}"
        self._rows_a_part = rows_a_part
        self._mode = mode
        self._widths: dict[str, int] = {}
        self._facts: list[Arrays] = []
        self._arrays: dict[str, list[Arrays]] = {}

    def add(self, ids: Ids, logits: Rows, shifts: Mapping[str, Rows]) -> None:
        values = logits.astype(np.float32)
        self._facts.append(
            {
                "image_id": ids,
                "pseudo_label": top_label(values),
                "confidence": confidence(values),
            }
        )
        stores = {self._logits: logits}
        stores |= {shift_store(self._model, name): raw for name, raw in shifts.items()}
        for store, rows in stores.items():
            mode = self._mode if store == self._logits else "full"
            self._widths[store] = rows.shape[1]
            self._arrays.setdefault(store, []).append(packed(rows, mode))
        if sum(len(facts["image_id"]) for facts in self._facts) >= self._rows_a_part:
            self.flush()

    def flush(self) -> None:
        if not self._facts:
            return
        with self._catalog.read() as connection:
            number = next_number(connection, self._logits)
        facts, workspace = _joined(self._facts), self._catalog.workspace
        ids = facts["image_id"]
        parts = [
            write_arrays(workspace, store, number, ids, _joined(batches), self._widths[store])
            for store, batches in self._arrays.items()
        ]
        rows = np.arange(len(ids), dtype=np.int32)
        scores = {**facts, "model": self._model, "part": number, "row": rows}
        with self._catalog.write() as connection:
            for part in parts:
                record_part(connection, part)
            insert(connection, "scores", scores)
        self._facts, self._arrays = [], {}


def _joined(batches: list[Arrays]) -> Arrays:
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
