"""What a report is made of, and how much of it is shown at most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# The page holds samples, never the pool, so that its size and the memory it takes are bounded.
MOST_MANIFESTS, MOST_RUNS = 6, 8
MOST_ROWS = 3_000  # of the ledger, all manifests together
MOST_CLASSES, IMAGES_A_CELL = 12, 8  # in grids
MOST_BARS = 20  # classes in charts and matrices
MOST_GROUPS, IMAGES_A_GROUP = 12, 6  # of near-duplicates
MOST_POINTS, MOST_ORIGINALS = 1_500, 500  # in a map; the originals are among the points
MOST_MAPS = 4  # students whose features are mapped
THUMBNAIL_SIDE = 80
THUMBNAIL_BUDGET = 8_000_000  # bytes of all thumbnails, before base64 makes 4 of 3
MOST_BYTES = 14_000_000  # of the page: thumbnails get what the rest leaves


@dataclass(frozen=True)
class ReportOptions:
    """Which manifests and runs, by name; empty: all that are no rounds, the newest first.

    `reference` names sources of original images; `figures` a folder for the plots as PNG.
    """

    output: Path
    manifests: Sequence[str] = ()
    runs: Sequence[str] = ()
    reference: Sequence[str] = ()
    figures: Path | None = None
    seed: int = 0
    device: str = "cpu"
    workers: int | None = None
