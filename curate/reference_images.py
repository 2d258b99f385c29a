"""From the sources of a reference set to its vectors and logits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from curate.references import (
    Reference,
    known_reference,
    reference_key,
    relist_reference,
    store_reference,
)
from distill.networks import Card, Embedder, Network, load_embedder, map_batches
from distill.networks.precision import named
from index import sources
from index.catalog import Catalog
from index.contents import Location
from index.decoded import DecodedPartition
from index.decoding import Decoder, Pixels, View
from index.errors import DataError, NetworkError
from index.models import recorded_precision
from index.parts import Ids, Rows, half
from index.progress import Progress, Silent
from index.quarantine import Quarantine, decode_partitions
from index.reading import read_locations
from index.vectors import live_count, mixed
from index.workers import default_workers

MOST_IMAGES = 10_000
# Fewer say little of a distribution; 100 are ten a class of ten.
FEW_IMAGES = 100


def load_reference(
    catalog: Catalog,
    source_names: Sequence[str],
    embedder_card: Card,
    teacher: Network,
    device: str = "cpu",
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    most: int = MOST_IMAGES,
) -> Reference:
    """Decode sources as `build-index` does, embed and score them, and store the result.

    Of more than `most` images those are taken whose mixed ids are smallest, whatever their order.
    Sources that did not change since are not read again. Nothing of it enters the pool.

    Raises:
        DataError: a source that cannot be read, or no image in all of them.
        NetworkError: the embedder is no longer the one that the index was built with.
    """
    progress = progress or Silent()
    sources.check(source_names)
    embedder = _load_embedder(catalog, embedder_card, device)
    networks = (embedder.key, teacher.key)
    listing = _listing(source_names, most)
    known = known_reference(catalog, networks, listing=listing)
    if known is not None:
        return known
    found = find_images(source_names, embedder.view, workers, most, progress)
    lasting = None if found.transient else listing
    key = reference_key(found.ids, *networks)
    known = known_reference(catalog, networks, key=key)
    if known is not None:
        relist_reference(catalog, key, source_names, lasting)
        return known
    rows = _compute(found, embedder, teacher, device, workers, progress)
    return store_reference(catalog, source_names, lasting, networks, found.ids, *rows)


@dataclass
class Found:
    """The images of a reference, by id, with one place of each; and what could not be read."""

    locations: dict[int, Location] = field(default_factory=dict)
    seen: int = 0
    broken: int = 0
    transient: bool = False
    reason: str = "they hold none"

    @property
    def ids(self) -> Ids:
        """Their ids (r,), ascending."""
        return np.sort(np.fromiter(self.locations, np.int64, len(self.locations)))

    def add(self, decoded: DecodedPartition, most: int) -> None:
        """Add what a partition holds, and keep the `most` images whose mixed ids are smallest."""
        places = [Location(*(p[name] for name in Location._fields)) for p in decoded.locations]
        self.locations = {place.image_id: place for place in places} | self.locations
        if len(self.locations) > most:
            ids = self.ids
            smallest = ids[np.argsort(mixed(ids, 0), kind="stable")[:most]]
            self.locations = {key: self.locations[key] for key in smallest.tolist()}
        self.seen += len(decoded.images)
        for failure in decoded.failures:
            self.broken += 1
            self.transient |= failure["transient"]
            self.reason = f"{failure['uri']}: {failure['reason']}"

    def tell(self, progress: Progress, most: int) -> None:
        """Say what is not in it."""
        if self.broken:
            progress.say(f"reference: {self.broken:,} files cannot be read, such as {self.reason}")
        if len(self.locations) < FEW_IMAGES:
            progress.say(
                f"reference: only {len(self.locations)} images: estimates by so few are rough, "
                f"give {FEW_IMAGES} or more"
            )
        if self.seen > most:
            progress.say(
                f"reference: {len(self.locations):,} of {self.seen:,} images, drawn by their ids, "
                "stand for all"
            )


def find_images(
    source_names: Sequence[str], view: View, workers: int | None, most: int, progress: Progress
) -> Found:
    """Find what decodes in these sources: at most `most` images, those of the smallest mixed ids.

    An image that crashes or hangs its decoder is one of those that do not decode.

    Raises:
        DataError: a source that cannot be read, or no image in all of them.
    """
    workers = default_workers() if workers is None else workers
    found = Found()
    with progress.step("Reading the reference", None, "images") as advance:
        parts = sources.partitions(source_names)
        for decoded in decode_partitions(parts, Quarantine(Decoder(view)), workers):
            found.add(decoded, most)
            advance(len(decoded.images) + len(decoded.failures))
    if not found.locations:
        raise DataError(
            f"no image of --reference {', '.join(source_names)} can be read ({found.reason}): "
            "give images that the teacher could have been trained on"
        )
    found.tell(progress, most)
    return found


def _load_embedder(catalog: Catalog, card: Card, device: str) -> Embedder:
    """Load it in the precision that the pool's vectors are in."""
    embedder = load_embedder(card, device=device)
    if live_count(catalog, embedder.key) == 0:
        raise NetworkError(
            f"{card.weights or card.architecture} is not what the index was built with, it is now "
            f"{embedder.key}: put the weights back, or build into another workspace"
        )
    recorded = recorded_precision(catalog, embedder.key)
    if recorded is None or named(recorded).dtype == embedder.dtype:
        return embedder
    return load_embedder(card, device=device, dtype=named(recorded).dtype)


def _listing(source_names: Sequence[str], most: int) -> str:
    digest = hashlib.sha256(f"{most}\n".encode())
    for partition in sources.partitions(source_names):
        digest.update(f"{partition.key}\n".encode())
    return digest.hexdigest()[:32]


def _compute(
    found: Found,
    embedder: Embedder,
    teacher: Network,
    device: str,
    workers: int | None,
    progress: Progress,
) -> tuple[Rows, Rows]:
    """Return vectors (r, D) and logits (r, K) in the order of the ids."""
    teacher.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def one_batch(images: torch.Tensor) -> Rows:
        return half(teacher(images).float().cpu().numpy())

    def logits(pixels: Pixels) -> Rows:
        return np.concatenate(map_batches(one_batch, pixels, teacher.card.input, device))

    def rows(step: str, view: View, compute: Callable[[Pixels], Rows]) -> Rows:
        # Front to back in their containers.
        places = sorted(found.locations.values(), key=lambda at: (at.container, at.position))
        ids, computed = [], []
        with progress.step(step, len(places), "images") as advance:
            for here, pixels in read_locations(places, view, workers=workers):
                ids.append(here)
                computed.append(compute(pixels))
                advance(len(here))
        return np.concatenate(computed)[np.argsort(np.concatenate(ids))]

    vectors = rows("Embedding the reference", embedder.view, lambda x: half(embedder(x)))
    return vectors, rows("Scoring the reference", teacher.card.input.view(), logits)
