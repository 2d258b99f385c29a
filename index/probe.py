"""Some pixels of a crawl, to measure a network on before the work begins."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from index import sources
from index.decoding import Decoder, Pixels, View
from index.quarantine import Quarantine, decode_partitions
from index.sources import SourceOptions

_MOST_PARTITIONS = 8


def first_pixels(
    source_names: Sequence[str], options: SourceOptions, view: View, count: int
) -> Pixels | None:
    """Decode up to `count` images, in another process; None where the first slices hold none.

    Lists no more of the sources than that takes.
    """
    quarantine = Quarantine(Decoder(view, options.formats))
    first = islice(sources.partitions(source_names, options), _MOST_PARTITIONS)
    for decoded in decode_partitions(first, quarantine, 1):
        if len(decoded.pixels):
            return decoded.pixels[:count]
    return None
