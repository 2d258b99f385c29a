"""Some pixels of a crawl, and how long they take, to measure on before the work begins."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import chain, islice

from index import sources
from index.decoded import DecodedPartition
from index.decoding import Decoder, Pixels, View
from index.quarantine import Quarantine, decode_partitions
from index.sources import Partition, SourceOptions

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


def timed_decoding(
    partitions: Iterable[Partition], decoder: Decoder
) -> tuple[DecodedPartition, float]:
    """Decode the first partition, in another process; also return how many seconds that took.

    An image that crashes its decoder is a failure, as it is in a build.
    """
    nothing = Partition("", "files", "", (), 0)  # done once the process is there
    tasks = chain([nothing], islice(partitions, 1))
    with closing(decode_partitions(tasks, Quarantine(decoder), 1)) as done:
        next(done)
        began = time.monotonic()
        return next(done), time.monotonic() - began
