"""Estimates of how far each image is from what the teacher was trained on; none needs that data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from curate.tables import WHICH_IMAGES
from index.catalog import Catalog, insert, literal, one
from index.database import connect
from index.errors import WorkspaceError
from index.files import scratch
from index.parts import Ids, Part, list_parts, read_live

Floats = NDArray[np.float32]

# Why a network may lack an estimate, for the refusal. `distill.moments` and `distill.rowspace`
# have the formulas.
ESTIMATES = {
    "bn_shift": "it has no BatchNorm layer",
    "bn_kl": "it has no BatchNorm layer",
    "null_space": "it has as many classes as penultimate features, or more",
    "classifier_angle": "it was scored by another version",
}
# Raw values of these are per layer, of unlike scales, so each is set against the pool's; of the
# others there is one an image.
PER_LAYER = ("bn_shift", "bn_kl")


def shift_store(model: str, estimator: str) -> str:
    """Name the store of an estimate's raw values."""
    return f"shifts/{model}/{estimator}"


def update_shifts(catalog: Catalog, model: str) -> list[str]:
    """Bring the stored estimates of every image up to date; return those that the model has.

    Raw values per BatchNorm layer are z-scored over the pool, and the layers' z-scores averaged:
    0 is the pool's middle, below 0 is closer to the teacher's training data. The others are
    stored as they are.

    Raises:
        WorkspaceError: a part file is damaged, or a build forgot images meanwhile.
    """
    return [name for name in ESTIMATES if _update(catalog, model, name)]


def stored_estimates(catalog: Catalog, model: str) -> list[str]:
    """Return the estimates that the catalog has of a model, but for those that are fitted."""
    with catalog.read() as connection:
        rows = connection.execute(
            "SELECT DISTINCT estimator FROM shifts WHERE model = ? ORDER BY 1", [model]
        ).fetchall()
    return [name for (name,) in rows if name in ESTIMATES]


def store_estimate(
    catalog: Catalog,
    model: str,
    estimator: str,
    values: Iterable[tuple[Ids, Floats]],
    reference: str | None = None,
) -> None:
    """Replace a stored estimate by the values (n,) of images (n,), a batch at a time.

    They wait in a file of the workspace until there are all: memory does not grow with the pool.
    """
    with scratch(catalog.workspace, "shift") as folder:
        file = folder / "values.parquet"
        with connect(folder / "values.duckdb") as table:
            table.execute("CREATE TABLE shifted (image_id BIGINT, value FLOAT)")
            for ids, value in values:
                insert(table, "shifted", {"image_id": ids, "value": value})
            table.execute(f"COPY shifted TO {literal(file)} (FORMAT parquet)")
        key = [model, estimator, reference]
        with catalog.write() as connection:
            connection.execute(
                "DELETE FROM shifts WHERE model = ? AND estimator = ? "
                "AND reference IS NOT DISTINCT FROM ?",
                key,
            )
            connection.execute(
                "INSERT INTO shifts (model, estimator, reference, image_id, value) "
                "SELECT ?, ?, ?, image_id, value FROM read_parquet(?)",
                [*key, str(file)],
            )


def _update(catalog: Catalog, model: str, estimator: str) -> bool:
    with catalog.read() as connection:
        parts = list_parts(connection, shift_store(model, estimator))
        # As many would not do: what a build forgot while an estimate was made stands in it, and
        # as many other images may have come since.
        stored = one(
            connection,
            f"SELECT {WHICH_IMAGES} FROM shifts WHERE model = ? AND estimator = ?",
            [model, estimator],
        )
        scored = one(connection, f"SELECT {WHICH_IMAGES} FROM scores WHERE model = ?", [model])
    if not parts or scored is None or scored[0] == 0:
        return False
    if stored != scored:
        store_estimate(catalog, model, estimator, _values(catalog, parts, estimator))
    return True


def _values(catalog: Catalog, parts: list[Part], estimator: str) -> Iterator[tuple[Ids, Floats]]:
    if estimator not in PER_LAYER:
        for part in parts:
            ids, raw = read_live(catalog, part)
            yield ids, raw[:, 0].astype(np.float32)
        return
    count, mean, deviation = _layer_statistics(catalog, parts)
    for part in parts:
        ids, raw = read_live(catalog, part)
        count -= len(ids)
        yield ids, mean_z_score(raw.astype(np.float64), mean, deviation)
    if count:  # the next command would take these for the z-scores of the pool that is left
        raise WorkspaceError(
            "images were removed while this command ran: run the same command again"
        )


def mean_z_score(
    raw: NDArray[np.float64], mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the mean over layers of (raw - mean) / deviation: raw (n, L), statistics (L,)."""
    scale = np.where(deviation > 0, deviation, 1.0)
    average: NDArray[np.float64] = ((raw - mean) / scale).mean(axis=1)
    return average.astype(np.float32)


def _layer_statistics(
    catalog: Catalog, parts: list[Part]
) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """Number of images, and mean and standard deviation (L,) over them, by Chan's merging."""
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
    return count, mean, np.sqrt(squares / count)
