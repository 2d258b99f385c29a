"""What `build-index --dry-run` prints: what would be built, and how long it would take."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from index.catalog import Catalog
    from index.choice import IndexSettings
    from index.embedder import Embedder
    from index.listing import Listing
    from index.sources import SourceOptions

_PROBE_IMAGES = 256


def plan_build(
    catalog: Catalog,
    todo: Listing,
    network: Embedder,
    options: SourceOptions,
    settings: IndexSettings,
) -> dict[str, Any]:
    """Say what a build would do: measured on its first images, what all of them will take."""
    from index.neighbours import choose_index
    from index.vectors import live_count

    images = todo.images
    stored = live_count(catalog, network.key) if catalog.exists() else 0
    choice = choose_index(stored + images, network.dim, settings)
    plan: dict[str, Any] = {
        "workspace": str(catalog.workspace),
        "embedder": network.key,
        "index": choice.factory,
        "index_reason": choice.reason,
        "partitions": len(todo),
        "images": images,
        "disk_mb": round(images * (network.dim * 6 + 400) / 1e6, 1),
        "ram_mb": round((images * network.dim * 4 + 64 * 512 * network.view.size**2 * 3) / 1e6, 1),
    }
    return plan | (_rates(todo, network, options) if images else {})


def _rates(todo: Listing, network: Embedder, options: SourceOptions) -> dict[str, Any]:
    """Measure how fast the first partition is decoded, in one other process, and embedded here."""
    from index.decoding import Decoder
    from index.probe import timed_decoding

    decoded, seconds = timed_decoding(todo, Decoder(network.view, options.formats))
    began = time.monotonic()
    if probe := len(pixels := decoded.pixels[:_PROBE_IMAGES]):
        network(pixels)
    decode_rate = len(decoded.pixels) / max(seconds, 1e-9)
    embed_rate = probe / max(time.monotonic() - began, 1e-9)
    slower = max(min(decode_rate, embed_rate), 1e-9)
    return {
        "decode_images_per_s": round(decode_rate),
        "embed_images_per_s": round(embed_rate),
        "eta_s": round(todo.images / slower, 1),
    }
