"""What a worker makes of a partition: facts, locations, failures, and pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np

from index import sources
from index.decoding import Decoded, DecodeError, Decoder, Pixels
from index.ids import content_sha256, image_id
from index.sources import Item, Partition
from index.sources.base import plain


@dataclass(frozen=True)
class DecodedPartition:
    """What a worker made of a partition; the i-th image has `pixels[i]`."""

    partition: Partition
    images: list[dict[str, Any]] = field(default_factory=list)
    locations: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    pixels: Pixels = field(default_factory=lambda: np.empty((0, 0, 0, 3), np.uint8))


@dataclass(frozen=True)
class Outcome:
    """What became of one item, whose bytes are gone by now: an image, or the reason why not.

    `image` is None also where the same content was decoded just before. `transient`: the reason
    may have passed when the partition is read again.
    """

    item: Item
    sha256: bytes = b""
    bytes: int = 0
    image: Decoded | None = None
    reason: str = ""
    transient: bool = False


def decode_partition(partition: Partition, decoder: Decoder) -> DecodedPartition:
    """Read and decode a partition; runs in a worker process.

    A content that occurs twice is decoded once; what cannot be decoded is a failure.
    """
    return gather(partition, decoder, outcomes(partition, decoder))


def outcomes(
    partition: Partition,
    decoder: Decoder,
    start: int = 0,
    guilty: Mapping[bytes, str] | None = None,
    announce: Callable[[Outcome], object] = lambda _: None,
) -> Iterator[Outcome]:
    """Decode the items of a partition from number `start` on.

    Args:
        guilty: contents, by SHA-256, that are not to be decoded, and why.
        announce: called with the outcome that is still open before an image is decoded.
    """
    seen = dict(guilty or {})  # why a content did not decode; empty where it did
    for item in islice(sources.read(partition), start, None):
        bare = replace(item, data=b"")
        if item.error:
            yield Outcome(bare, reason=item.error, transient=item.transient)
            continue
        sha256, size = content_sha256(item.data), len(item.data)
        image = None
        if sha256 not in seen:
            announce(Outcome(bare, sha256, size))
            try:
                image = decoder(item.data)
                seen[sha256] = ""
            except DecodeError as error:
                seen[sha256] = str(error)
        yield Outcome(bare, sha256, size, image, seen[sha256])


def unread(partition: Partition, reason: str, done: int, *, transient: bool) -> Outcome:
    """Return the failure that stands for everything behind the first `done` items."""
    place = f"{partition.container}#{partition.key[:8]}+{done}"
    return Outcome(Item(place, partition.container, 0, 0), reason=reason, transient=transient)


def gather(partition: Partition, decoder: Decoder, found: Iterable[Outcome]) -> DecodedPartition:
    """Put the outcomes of a partition together, in their order."""
    decoded = DecodedPartition(partition)
    pixels = blank = np.empty((max(1, partition.count), *(decoder.view.size,) * 2, 3), np.uint8)
    have: set[int] = set()
    for outcome in found:
        item, key = outcome.item, image_id(outcome.sha256)
        place = {"uri": item.uri, "container": item.container, "partition": partition.key}
        if outcome.reason:
            why = {"reason": plain(outcome.reason), "transient": outcome.transient}
            decoded.failures.append({**place, **why})
            continue
        if outcome.image is not None and key not in have:
            if len(have) == len(pixels):
                pixels = np.concatenate([pixels, blank])
            pixels[len(have)] = outcome.image.pixels
            have.add(key)
            decoded.images.append(_facts(key, outcome, outcome.image))
        decoded.locations.append(
            {
                "image_id": key,
                **place,
                "kind": item.kind or partition.kind,
                "position": item.position,
                "length": item.length,
                "metadata": sources.metadata_json(item),
            }
        )
    return DecodedPartition(
        replace(partition, entries=()),
        decoded.images,
        decoded.locations,
        decoded.failures,
        pixels[: len(have)],
    )


def _facts(key: int, outcome: Outcome, image: Decoded) -> dict[str, Any]:
    return {
        "id": key,
        "sha256": outcome.sha256,
        "bytes": outcome.bytes,
        "mode": image.mode,
        "format": image.format,
        "width": image.width,
        "height": image.height,
        "dhash": image.dhash,
    }
