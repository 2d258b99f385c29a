"""Maps: t-SNE of features, where near points are images that a network finds alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.report.features import Features
from curate.report.options import MOST_ORIGINALS, MOST_POINTS
from curate.report.scope import ManifestFacts
from curate.tables import rows_of
from index.catalog import Catalog
from index.parts import Ids

_LEAST = 12  # points; of fewer a map says nothing
_PERPLEXITY = 30.0
_COMPONENTS = 50  # t-SNE looks at these principal components
ORIGINAL, SELECTED, LEFT = "original", "selected", "left"


@dataclass(frozen=True)
class Panel:
    """A map with points of three groups: ids and positions (n, 2), in [0, 1].

    The same positions may be shown in several panels, once for each manifest.
    """

    title: str
    space: str
    remark: str
    groups: dict[str, tuple[list[int], NDArray[np.float64]]]

    @property
    def points(self) -> int:
        """Number of points."""
        return sum(len(ids) for ids, _ in self.groups.values())


_DRAWN = """
SELECT selected, min(image_id, {each}) AS ids FROM decisions
WHERE manifest = ? GROUP BY selected
"""


def draw_points(catalog: Catalog, manifests: list[ManifestFacts]) -> Ids:
    """Draw the pool's images of the maps: of each manifest as many taken as left; ascending."""
    most = MOST_POINTS - MOST_ORIGINALS
    query = _DRAWN.format(each=max(1, most // (2 * len(manifests))))
    drawn: set[int] = set()
    with catalog.read() as connection:
        there = "SELECT image_id FROM locations WHERE image_id IN (SELECT unnest(?::BIGINT[]))"
        for manifest in manifests:
            for row in rows_of(connection, query, [manifest.name]):
                drawn.update(row["ids"])
        found = connection.execute(there, [sorted(drawn)]).fetchall()
    return np.array(sorted({image for (image,) in found}), dtype=np.int64)


def tsne(features: Features, seed: int) -> NDArray[np.float64] | None:
    """Place pool images, then originals, on a plane: (n + r, 2) in [0, 1]; None if too few.

    t-SNE (van der Maaten and Hinton, 2008) of unit-norm features, from their principal components.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    rows = np.concatenate([features.pool, features.originals]).astype(np.float64)
    if len(rows) < _LEAST:
        return None
    width = min(_COMPONENTS, *rows.shape)
    reduced = PCA(width, svd_solver="full").fit_transform(rows)
    perplexity = min(_PERPLEXITY, (len(rows) - 1) / 3)
    placed = TSNE(
        perplexity=perplexity, init="pca" if width > 1 else "random", random_state=seed
    ).fit_transform(reduced)
    low, high = placed.min(axis=0), placed.max(axis=0)
    scaled: NDArray[np.float64] = (placed - low) / np.maximum(high - low, 1e-9)
    return scaled


def panel(
    title: str,
    features: Features,
    positions: NDArray[np.float64],
    decisions: dict[int, bool],
    original_ids: Ids,
    remark: str = "",
) -> Panel:
    """Colour positions by what a manifest decided; images that it did not decide are left out."""
    pool, others = positions[: len(features.ids)], positions[len(features.ids) :]
    groups = {ORIGINAL: (original_ids.tolist(), others)}
    for name, wanted in ((LEFT, False), (SELECTED, True)):
        here = [i for i, key in enumerate(features.ids.tolist()) if decisions.get(key) is wanted]
        groups[name] = (features.ids[here].tolist(), pool[here])
    return Panel(title, features.space, remark, groups)
