"""The engine of one machine: worker processes decode, threads of this one embed."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.commit import Batch
from index.decoded import DecodedPartition
from index.engines.base import Job, Partitions
from index.quarantine import decode_partitions
from index.workers import default_workers

# While one partition is embedded the next is there too: no core waits for the last slice of the
# one before, nor for a commit.
_AT_ONCE = 2


@dataclass(frozen=True)
class _Embedding:
    """A partition whose new images, `ids`, are being embedded."""

    decoded: DecodedPartition
    ids: list[int]
    vectors: Future[NDArray[np.float32]] | None


class LocalEngine:
    """Embeds only what has no vector yet; holds `rows_a_part` vectors and a few partitions."""

    def __call__(self, todo: Partitions, job: Job) -> Generator[Batch, None, None]:
        """Decode and embed partitions in their order."""
        batch = Batch()
        underway: deque[_Embedding] = deque()
        threads = ThreadPoolExecutor(_AT_ONCE, "embedding")
        try:
            workers = default_workers() if job.workers is None else job.workers
            work = decode_partitions(todo, job.quarantine, min(workers, len(todo)))
            with closing(work) as partitions:
                for decoded in partitions:
                    elsewhere = batch.ids.union(*(one.ids for one in underway))
                    underway.append(_begin(decoded, job, elsewhere, threads))
                    if len(underway) > _AT_ONCE:
                        _finish(underway.popleft(), job, batch)
                    if batch.rows >= job.rows_a_part or batch.facts >= 4 * job.rows_a_part:
                        yield batch
                        batch = Batch()
            while underway:
                _finish(underway.popleft(), job, batch)
        finally:  # after an interruption, nothing here is worth waiting for
            threads.shutdown(wait=False, cancel_futures=True)
        if batch.facts or batch.partitions:
            yield batch


def _begin(
    decoded: DecodedPartition, job: Job, elsewhere: set[int], threads: ThreadPoolExecutor
) -> _Embedding:
    """Begin to embed what neither has its vector yet nor will get it `elsewhere`."""
    ids = [row["id"] for row in decoded.images]
    known = job.known(ids) | elsewhere
    fresh = [i for i, key in enumerate(ids) if key not in known]
    if not fresh:
        return _Embedding(decoded, [], None)
    pixels = decoded.pixels if len(fresh) == len(ids) else decoded.pixels[fresh]
    vectors = threads.submit(job.embedder, pixels)
    return _Embedding(decoded, [ids[i] for i in fresh], vectors)


def _finish(done: _Embedding, job: Job, batch: Batch) -> None:
    if done.vectors is not None:
        batch.add_vectors(done.ids, done.vectors.result())
    batch.add_facts(done.decoded)
    job.advance(done.decoded.partition.count)
