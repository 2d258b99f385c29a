"""One pass of a network over the images it has not scored yet: logits and BatchNorm moments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog, insert, literal, one
from index.decoding import Pixels, View
from index.files import locked, remove_leftovers
from index.parts import next_number, record_part, write_part
from index.progress import Progress, Silent
from index.reading import read_images

ROWS_A_PART = 65_536
UNSCORED = "SELECT id FROM images WHERE id NOT IN (SELECT image_id FROM scores WHERE model = {})"


@dataclass(frozen=True)
class Scorer:
    """A network as scoring sees it.

    `forward` maps (n, size, size, 3) uint8 pixels to float16 logits (n, K) and raw per-layer
    shift (n, L), or None for a network without BatchNorm.
    """

    key: str
    view: View
    forward: Callable[[Pixels], tuple[NDArray[np.float16], NDArray[np.float16] | None]]


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
    progress: Progress | None = None,
) -> int:
    """Score what is not scored yet and return how many images that were.

    Each finished part is committed at once, so an interrupted pass goes on from there.
    """
    with locked(catalog.workspace / ".score.lock", "another process scores this workspace"):
        missing = unscored_count(catalog, scorer.key)
        if missing == 0:
            return 0
        for kind in ("logits", "moments"):
            remove_leftovers(catalog.workspace / kind / scorer.key)
        store = _Store(catalog, scorer.key, rows_a_part)
        only = UNSCORED.format(literal(scorer.key))
        with (progress or Silent()).step(f"Scoring {scorer.key}", missing, "images") as advance:
            for ids, pixels in read_images(catalog, scorer.view, only=only, workers=workers):
                store.add(ids, *scorer.forward(pixels))
                advance(len(ids))
            store.flush()
    return missing


class _Store:
    """Collects rows to parts and commits them."""

    def __init__(self, catalog: Catalog, model: str, rows_a_part: int) -> None:
        self._catalog = catalog
        self._model = model
        self._rows_a_part = rows_a_part
        self._ids: list[NDArray[np.int64]] = []
        self._logits: list[NDArray[np.float16]] = []
        self._moments: list[NDArray[np.float16]] = []

    def add(
        self,
        ids: NDArray[np.int64],
        logits: NDArray[np.float16],
        moments: NDArray[np.float16] | None,
    ) -> None:
        self._ids.append(ids)
        self._logits.append(logits)
        if moments is not None:
            self._moments.append(moments)
        if sum(map(len, self._ids)) >= self._rows_a_part:
            self.flush()

    def flush(self) -> None:
        if not self._ids:
            return
        ids, logits = np.concatenate(self._ids), np.concatenate(self._logits)
        workspace: Path = self._catalog.workspace
        with self._catalog.read() as connection:
            number = next_number(connection, f"logits/{self._model}")
        parts = [write_part(workspace, f"logits/{self._model}", number, ids, logits)]
        if self._moments:
            moments = np.concatenate(self._moments)
            parts.append(write_part(workspace, f"moments/{self._model}", number, ids, moments))
        label, confidence = _prediction(logits)
        scores = {
            "image_id": ids,
            "model": self._model,
            "pseudo_label": label,
            "confidence": confidence,
            "part": number,
            "row": np.arange(len(ids), dtype=np.int32),
        }
        with self._catalog.write() as connection:
            for part in parts:
                record_part(connection, part)
            insert(connection, "scores", scores)
        self._ids, self._logits, self._moments = [], [], []


def _prediction(logits: NDArray[np.float16]) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    values = logits.astype(np.float32)
    shifted = np.exp(values - values.max(axis=1, keepdims=True))
    return values.argmax(axis=1).astype(np.int16), 1.0 / shifted.sum(axis=1)
