"""What networks see in the images of a map: penultimate features and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from curate.report.originals import Originals
from curate.report.scope import ManifestFacts, RunFacts
from distill.networks import Card, Network, load_network, map_batches
from index.catalog import Catalog, one
from index.decoding import Pixels
from index.duplicates import first_embedder
from index.errors import NetworkError
from index.parts import Ids
from index.reading import read_images
from index.vectors import unit_norm, vectors_of

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Features:
    """Unit-norm features of pool images (n, D) and originals (r, D), and labels (n,), (r,) of both.

    `space` says in words whose features they are. Labels are None where only vectors were read.
    """

    space: str
    ids: Ids
    pool: Floats
    originals: Floats
    labels: NDArray[np.int64] | None = None
    original_labels: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Reader:
    """Reads the images of a map through networks."""

    catalog: Catalog
    ids: Ids
    originals: Originals | None
    device: str
    workers: int | None

    def through(self, network: Network, space: str) -> Features:
        """Run the pool's images, and the originals, through a network.

        Raises:
            DataError: an image is gone or no longer what it was.
        """
        network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        view, dim = network.card.input.view(), network.classifier.in_features
        only = f"SELECT unnest({self.ids.tolist()}::BIGINT[])"
        ids, rows = [np.empty(0, np.int64)], [np.empty((0, dim + 1), np.float32)]
        for here, pixels in read_images(self.catalog, view, only=only, workers=self.workers):
            ids.append(here)
            rows.append(self._compute(network, pixels))
        order = np.argsort(np.concatenate(ids))
        pool = np.concatenate(rows)[order]
        other = np.empty((0, dim + 1), np.float32)
        if self.originals is not None:
            other = self.originals.each(view, lambda x: self._compute(network, x), self.workers)
        return Features(
            space,
            np.concatenate(ids)[order],
            unit_norm(pool[:, 1:]),
            unit_norm(other[:, 1:]),
            pool[:, 0].astype(np.int64),
            other[:, 0].astype(np.int64),
        )

    def _compute(self, network: Network, pixels: Pixels) -> Floats:
        """Return label and features (n, 1 + D) of pixels (n, S, S, 3)."""

        def one_batch(images: Tensor) -> Floats:
            outputs = network.outputs(images)
            label = outputs.logits.argmax(1, keepdim=True)
            rows: Floats = torch.cat([label, outputs.penultimate], dim=1).float().cpu().numpy()
            return rows

        return np.concatenate(map_batches(one_batch, pixels, network.card.input, self.device))


def of_teacher(reader: Reader, manifest: ManifestFacts) -> tuple[Features | None, str]:
    """Return the teacher's features of a map's images, or else the index's vectors; and a remark.

    The vectors are taken without reading an image where the index was made with the teacher and
    there are no originals; and where the teacher cannot be loaded.

    Raises:
        NetworkError: it cannot be loaded, and there are originals that only it can label.
    """
    embedder = manifest.embedder or first_embedder(reader.catalog)
    if reader.originals is None and embedder == manifest.teacher:
        return _stored(reader, embedder, f"the teacher, {embedder}"), ""
    try:
        network = load_network(card_of(reader.catalog, manifest.teacher))
    except NetworkError as error:
        if reader.originals is not None:
            raise
        if embedder is None:
            return None, f"the teacher cannot be loaded ({error}), and there is no index"
        said = f"these are the index's vectors, for the teacher cannot be loaded ({error})"
        return _stored(reader, embedder, f"the index's embedder, {embedder}"), said
    return reader.through(network, f"the teacher, {manifest.teacher}"), ""


def of_student(reader: Reader, run: RunFacts) -> Features:
    """Return a run's student's features of a map's images.

    Raises:
        NetworkError: the student cannot be loaded.
    """
    network = load_network(run.folder / "student.toml")
    return reader.through(network, f"the student of {run.name}")


def _stored(reader: Reader, embedder: str, space: str) -> Features:
    vectors = vectors_of(reader.catalog, embedder, reader.ids)
    return Features(space, reader.ids, vectors, np.empty((0, vectors.shape[1]), np.float32))


def card_of(catalog: Catalog, key: str) -> Card:
    """Return the card of a network that the catalog knows.

    Raises:
        NetworkError: it knows none of this key, or one of another version.
    """
    with catalog.read() as connection:
        row = one(connection, "SELECT card FROM models WHERE key = ?", [key])
    if row is None:
        raise NetworkError(f"the catalog knows no card of {key}")
    try:
        return Card.model_validate_json(row[0])
    except ValueError as error:
        raise NetworkError(f"the catalog's card of {key} is no card that is known here") from error


def teacher_labels(catalog: Catalog, teacher: str, ids: Sequence[int]) -> dict[int, int]:
    """Return the labels that a teacher gave these images when it scored them."""
    with catalog.read() as connection:
        found = connection.execute(
            "SELECT image_id, pseudo_label FROM scores WHERE model = ? "
            "AND image_id IN (SELECT unnest(?::BIGINT[]))",
            [teacher, list(ids)],
        ).fetchall()
    return dict(found)
