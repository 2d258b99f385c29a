"""The engine of one machine: worker processes decode, this one embeds."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial

from index.commit import Batch
from index.decoded import decode_partition
from index.engines.base import Job
from index.sources import Partition
from index.workers import default_workers, ordered_map


class LocalEngine:
    """Embeds only what has no vector yet; holds `rows_a_part` vectors and a few partitions."""

    def __call__(self, todo: Sequence[Partition], job: Job) -> Generator[Batch, None, None]:
        """Decode and embed partitions in their order."""
        batch = Batch()
        decode_one = partial(decode_partition, decoder=job.quarantine.decoder)
        workers = default_workers() if job.workers is None else job.workers
        for decoded in ordered_map(decode_one, todo, min(workers, len(todo)), job.quarantine):
            ids = [row["id"] for row in decoded.images]
            known = job.known(ids) | batch.ids
            fresh = [i for i, key in enumerate(ids) if key not in known]
            if fresh:
                batch.add_vectors([ids[i] for i in fresh], job.embedder(decoded.pixels[fresh]))
            batch.add_facts(decoded)
            job.advance(decoded.partition.count)
            if batch.rows >= job.rows_a_part or batch.facts >= 4 * job.rows_a_part:
                yield batch
                batch = Batch()
        if batch.facts or batch.partitions:
            yield batch
