"""Some pixels of a crawl, to measure a network on before the work begins."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import islice

from index import sources
from index.decoded import decode_partition
from index.decoding import Decoder, Pixels, View
from index.quarantine import Quarantine
from index.sources import SourceOptions
from index.workers import ordered_map

_MOST_PARTITIONS = 8


def first_pixels(
    source_names: Sequence[str], options: SourceOptions, view: View, count: int
) -> Pixels | None:
    """Decode up to `count` images, in another process; None where the first slices hold none.

    Lists no more of the sources than that takes.
    """
    quarantine = Quarantine(Decoder(view, options.formats))
    decode_one = partial(decode_partition, decoder=quarantine.decoder)
    first = islice(sources.partitions(source_names, options), _MOST_PARTITIONS)
    for decoded in ordered_map(decode_one, first, 1, quarantine):
        if len(decoded.pixels):
            return decoded.pixels[:count]
    return None
