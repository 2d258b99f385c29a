"""The images nearest to an image, a text, or what a manifest selected."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from curate.manifest import get_manifest
from distill.networks import Card, Embedder, load_embedder
from index.catalog import Catalog
from index.cosines import pair_cosines
from index.decoding import DecodeError, decode
from index.errors import DataError, UsageError, WorkspaceError
from index.faissing import faiss_module
from index.neighbours import open_index
from index.parts import Ids
from index.vectors import Vectors, unit_norm, vectors_of

# Below, the mean vector stands for a manifest; above, one k-means centre for every so many images.
IMAGES_A_CENTRE = 256
MOST_CENTRES = 16

_CANDIDATES = 4


@dataclass(frozen=True)
class Hit:
    """An image that was found: its cosine, exact from the stored vectors, and its first uri."""

    rank: int
    image_id: int
    cosine: float
    uri: str | None


def search(
    catalog: Catalog, embedder: str, queries: Vectors, k: int, *, without: Ids | None = None
) -> list[Hit]:
    """Find the k images nearest to any of the queries (q, dim), best first.

    The index proposes 4 k and at least 64 images for each query; their order and cosines are then
    computed from the stored vectors, whatever the index had rounded. `without` are left out.

    Raises:
        WorkspaceError: there is no index, or it is damaged.
    """
    index = open_index(catalog, embedder)
    left_out = np.empty(0, np.int64) if without is None else without
    if queries.shape[1] != index.d:
        raise WorkspaceError(
            f"the query has {queries.shape[1]} components, the index {index.d}: name the "
            "embedder that the workspace was built with"
        )
    wanted = min(index.ntotal, max(64, _CANDIDATES * k) + len(left_out))
    if wanted == 0:
        return []
    queries = unit_norm(queries)
    found = np.unique(index.search(queries, wanted)[1])
    found = np.setdiff1d(found[found >= 0], left_out)
    if len(found) == 0:
        return []
    look_up = partial(vectors_of, catalog, embedder)
    query = np.tile(np.arange(len(queries)), len(found))
    pairs = pair_cosines(look_up, queries, query, np.repeat(found, len(queries)))
    cosines = pairs.reshape(len(found), -1).max(axis=1)
    order = np.lexsort((found, -cosines))[:k]
    uris = _first_uris(catalog, found[order])
    return [
        Hit(rank, key, round(float(cosine), 6), uris.get(key))
        for rank, (key, cosine) in enumerate(
            zip(found[order].tolist(), cosines[order].tolist(), strict=True), 1
        )
    ]


def choose_embedder(catalog: Catalog, named: str | None) -> tuple[str, Card]:
    """Return the key and stored card of an indexed embedder: the only one, or the one named.

    A name may be shortened as long as it stays unique.

    Raises:
        UsageError: none or several fit; lists those there are.
    """
    with catalog.read() as connection:
        found = connection.execute(
            "SELECT embedder, card FROM indexes JOIN models ON key = embedder ORDER BY 1"
        ).fetchall()
    fitting = [row for row in found if named is None or row[0].startswith(named)]
    exact = [row for row in fitting if row[0] == named] or fitting
    if len(exact) == 1:
        return exact[0][0], Card.model_validate_json(exact[0][1])
    names = ", ".join(key for key, _ in found)
    if not found:
        raise UsageError(f"{catalog.workspace} has no index yet: run build-index first")
    if named is None:
        raise UsageError(f"this workspace has several embedders: --embedder one of {names}")
    raise UsageError(f"--embedder {named!r} names no one embedder of this workspace: {names}")


def image_query(embedder: Embedder, file: Path) -> Vectors:
    """Embed an image file (1, dim), decoded as a crawl's images are.

    Raises:
        DataError: it cannot be read or is no image.
    """
    try:
        pixels = decode(file.read_bytes(), embedder.view).pixels
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error
    except DecodeError as error:
        raise DataError(f"{file}: {error}; give an image file") from None
    return embedder(np.stack([pixels]))


def text_query(card: Card, text: str, device: str) -> Vectors:
    """Embed a text (1, dim) in the space of the images.

    Raises:
        UsageError: the embedder reads images only; found out before anything is loaded.
    """
    if not card.architecture.startswith("open_clip:"):
        raise UsageError(
            f"--text needs an open_clip embedder, this is {card.architecture}: build an index "
            "with --embedder open_clip:MODEL/TAG-or-file, or search by --image or --id"
        )
    return load_embedder(card, device=device).embed_text([text])


def manifest_query(
    catalog: Catalog, embedder: str, manifest: str, seed: int
) -> tuple[Vectors, Ids]:
    """Return what stands for a manifest's selected images (q, dim), and their ids.

    Up to 511 images it is their mean vector. From there on it is one centre of spherical k-means
    (faiss.Kmeans, seeded) for every 256 images, at most 16, so that several kinds of image are
    not averaged into one that nothing looks like.

    Raises:
        UsageError: no such manifest, or it selected nothing.
    """
    get_manifest(catalog, manifest)
    with catalog.read() as connection:
        rows = connection.execute(
            "SELECT image_id FROM decisions WHERE manifest = ? AND selected ORDER BY 1", [manifest]
        ).fetchnumpy()
    ids = np.asarray(rows["image_id"], dtype=np.int64)
    if len(ids) == 0:
        raise UsageError(f"manifest {manifest!r} selected nothing: name another")
    vectors = vectors_of(catalog, embedder, ids)
    centres = min(MOST_CENTRES, len(ids) // IMAGES_A_CENTRE)
    if centres < 2:
        return vectors.mean(axis=0, keepdims=True), ids
    kmeans = faiss_module().Kmeans(vectors.shape[1], centres, seed=seed, spherical=True)
    kmeans.train(vectors)
    return kmeans.centroids, ids


def _first_uris(catalog: Catalog, ids: Ids) -> dict[int, str]:
    with catalog.read() as connection:
        rows: list[tuple[int, str]] = connection.execute(
            "SELECT image_id, min(uri) FROM locations "
            "WHERE image_id IN (SELECT unnest(?)) GROUP BY 1",
            [ids.tolist()],
        ).fetchall()
    return dict(rows)
