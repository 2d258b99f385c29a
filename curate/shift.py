"""Estimates of how far each image is from what the teacher was trained on."""

from __future__ import annotations

import duckdb
import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog, insert, literal, one
from index.files import scratch
from index.parts import Part, list_parts, read_live

BN_SHIFT = "bn_shift"


def update_bn_shift(catalog: Catalog, model: str) -> bool:
    """Bring the stored bn_shift of every image up to date; needs no original data.

    The raw shift of each BatchNorm layer, the mean over channels of |mu - mu^| / sigma^ +
    |log(sigma / sigma^)|, is z-scored over the pool, and the layers' z-scores are averaged: 0 is
    the pool's middle, below 0 is closer to the teacher's training data.

    Returns:
        False for a network without BatchNorm layers, which has no such estimate.
    """
    with catalog.read() as connection:
        parts = list_parts(connection, f"moments/{model}")
        stored = one(
            connection,
            "SELECT count(*) FROM shifts WHERE model = ? AND estimator = ?",
            [model, BN_SHIFT],
        )
        scored = one(connection, "SELECT count(*) FROM scores WHERE model = ?", [model])
    if not parts or scored == (0,):
        return False
    if stored == scored:
        return True
    statistics = _layer_statistics(catalog, parts)
    with scratch(catalog.workspace, "shift") as folder:
        values = folder / "values.parquet"
        with duckdb.connect(folder / "values.duckdb") as table:
            table.execute("CREATE TABLE shifted (image_id BIGINT, value FLOAT)")
            for part in parts:
                ids, raw = read_live(catalog, part)
                shifted = mean_z_score(raw.astype(np.float64), *statistics)
                insert(table, "shifted", {"image_id": ids, "value": shifted})
            table.execute(f"COPY shifted TO {literal(values)} (FORMAT parquet)")
        with catalog.write() as connection:
            connection.execute(
                "DELETE FROM shifts WHERE model = ? AND estimator = ?", [model, BN_SHIFT]
            )
            connection.execute(
                "INSERT INTO shifts SELECT image_id, ?, ?, value FROM read_parquet(?)",
                [model, BN_SHIFT, str(values)],
            )
    return True


def mean_z_score(
    raw: NDArray[np.float64], mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the mean over layers of (raw - mean) / deviation: raw (n, L), statistics (L,)."""
    scale = np.where(deviation > 0, deviation, 1.0)
    average: NDArray[np.float64] = ((raw - mean) / scale).mean(axis=1)
    return average.astype(np.float32)


def _layer_statistics(
    catalog: Catalog, parts: list[Part]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation (L,) over all parts, by Chan's merging of moments."""
    count = 0
    mean = np.zeros(parts[0].width)
    squares = np.zeros(parts[0].width)
    for part in parts:
        raw = read_live(catalog, part)[1].astype(np.float64)
        if len(raw) == 0:
            continue
        part_mean = raw.mean(axis=0)
        delta = part_mean - mean
        merged = count + len(raw)
        squares += ((raw - part_mean) ** 2).sum(axis=0) + delta**2 * count * len(raw) / merged
        mean += delta * len(raw) / merged
        count = merged
    return mean, np.sqrt(squares / count)
