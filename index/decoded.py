"""What a worker makes of a partition: facts, locations, failures, and pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from index import sources
from index.decoding import DecodeError, Pixels, View, decode
from index.ids import content_sha256, image_id
from index.sources import Partition


@dataclass(frozen=True)
class DecodedPartition:
    """What a worker made of a partition; the i-th image has `pixels[i]`."""

    partition: Partition
    images: list[dict[str, Any]] = field(default_factory=list)
    locations: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    pixels: Pixels = field(default_factory=lambda: np.empty((0, 0, 0, 3), np.uint8))


def decode_partition(partition: Partition, view: View) -> DecodedPartition:
    """Read and decode a partition; runs in a worker process.

    A content that occurs twice is decoded once; what cannot be decoded is a failure.
    """
    decoded = DecodedPartition(partition)
    pixels: list[Pixels] = []
    seen: dict[int, str] = {}  # why a content did not decode; empty where it did
    for item in sources.read(partition):
        sha256 = content_sha256(item.data)
        key = image_id(sha256)
        place = {"uri": item.uri, "container": item.container}
        if reason := item.error or seen.get(key):
            decoded.failures.append({**place, "reason": reason})
            continue
        if key not in seen:
            try:
                image = decode(item.data, view, hashed=True)
            except DecodeError as error:
                decoded.failures.append({**place, "reason": str(error)})
                seen[key] = str(error)
                continue
            seen[key] = ""
            pixels.append(image.pixels)
            facts = {"format": image.format, "width": image.width, "height": image.height}
            size = len(item.data)
            facts |= {"mode": image.mode, "dhash": image.dhash}
            row = {"id": key, "sha256": sha256, "bytes": size, **facts}
            decoded.images.append(row)
        decoded.locations.append(
            {
                "image_id": key,
                **place,
                "kind": partition.kind,
                "position": item.position,
                "length": item.length,
                "metadata": sources.metadata_json(item),
            }
        )
    blank = np.empty((0, view.size, view.size, 3), np.uint8)
    return DecodedPartition(
        Partition(partition.key, partition.kind, partition.container, (), partition.count),
        decoded.images,
        decoded.locations,
        decoded.failures,
        np.stack(pixels) if pixels else blank,
    )
