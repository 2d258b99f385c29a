"""The engine of a Ray cluster: Ray Data streams partitions through decoders into embedders.

Three stages: actors decode, each in a child process that a bad image may crash; actors embed,
one a core or a GPU; tasks write parts of the usual size into the workspace, for the driver to
number and commit. Pixels travel in Ray's object store, whose backpressure bounds them; a partition
is done when its part is committed, so whatever is killed is done again.
"""

from __future__ import annotations

import pickle
import socket
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from index.commit import Batch
from index.decoded import DecodedPartition, decode_partition
from index.embedder import Embedder, Loader
from index.engines.base import Job, Partitions
from index.engines.cluster import joined, plain_errors, require_ray
from index.errors import ClusterError, NetworkError, UsageError
from index.files import scratch
from index.parts import write_part
from index.quarantine import Quarantine
from index.sources import Partition
from index.sources.places import is_url
from index.workers import Pool

_TOGETHER = 512  # images that travel in one block: 77 MB of 224-pixel views
_BUNDLES_AT_ONCE = 4096  # of which one pipeline is made: the names of two million files
# A decoder and an embedder share a core, so that even one core holds both.
_DECODER_CPUS, _EMBEDDER_CPUS = 0.25, 0.75
Row = dict[str, Any]


@dataclass(frozen=True)
class RayEngine:
    """Embeds on all nodes of a cluster, or on the cores of this machine where there is none.

    All nodes have to see the workspace, the sources and the embedder's weights under the same
    paths. An image that has its vector already is embedded again if its partition changed.

    Args:
        load: loads the embedder in another process.
        device: cpu, cuda, mps, or auto: cuda where the cluster has it.

    Raises:
        UsageError: Ray is not installed.
    """

    load: Loader
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse to begin without Ray."""
        require_ray()

    def __call__(self, todo: Partitions, job: Job) -> Generator[Batch, None, None]:
        """Decode and embed partitions; the batches come in the order of the partitions.

        Raises:
            UsageError: no process to work in, or a device that no node has.
            ClusterError: the cluster fails, or a node does not see the workspace or a source.
        """
        if job.workers == 0:
            raise UsageError("--workers 0 decodes in this process: --engine ray needs 1 or more")
        if not len(todo):
            return
        workspace = job.workspace.absolute()  # workers start in another directory
        with joined(), scratch(workspace, "ray") as folder, plain_errors():
            bundles = _bundles(todo, min(_TOGETHER, job.rows_a_part))
            while some := list(islice(bundles, _BUNDLES_AT_ONCE)):
                for row in self._rows(some, job, folder):
                    batch: Batch = pickle.loads(row["batch"])
                    job.advance(sum(done["entries"] for done in batch.partitions))
                    yield batch

    def _rows(self, some: list[list[Partition]], job: Job, folder: Path) -> Iterator[Row]:
        import ray
        from ray.data import ActorPoolStrategy

        has = ray.cluster_resources()
        device = self._device(int(has.get("GPU", 0)))
        together = min(_TOGETHER, job.rows_a_part)
        bundles = [{"bundle": pickle.dumps(bundle)} for bundle in some]
        most = min(int(has.get("CPU", 1)), len(bundles))  # more would only wait for a core
        workers = most if job.workers is None else min(job.workers, most)
        embedders, decoder_cpus, shares = workers, _DECODER_CPUS, {"num_cpus": _EMBEDDER_CPUS}
        if device == "cuda":
            embedders, decoder_cpus = min(workers, int(has["GPU"])), 1.0
            shares = {"num_cpus": 0, "num_gpus": 1}
        data = ray.data.from_items(bundles, override_num_blocks=len(bundles))
        data.context.enable_progress_bars = False
        data.context.execution_options.preserve_order = True
        data.context.raise_original_map_exception = True
        # Nobody can say how long a queue for a core of a busy cluster, or a large network, takes.
        data.context.execution_no_progress_timeout_s = -1
        decoded = data.map(
            _Decode,
            fn_constructor_args=(job.quarantine,),
            compute=ActorPoolStrategy(size=workers),
            num_cpus=decoder_cpus,
        )
        embedded = decoded.map(
            _Embed,
            fn_constructor_args=(partial(self.load, device=device), job.embedder.key, folder),
            compute=ActorPoolStrategy(size=embedders),
            **shares,
        )
        written = embedded.map_batches(
            partial(_write, folder=folder),
            batch_size=max(1, job.rows_a_part // together),
            num_cpus=0,
        )
        yield from written.iter_rows()

    def _device(self, gpus: int) -> str:
        if self.device == "auto":
            return "cuda" if gpus else "cpu"
        if self.device == "cuda" and not gpus:
            raise UsageError("--device cuda: no node of the Ray cluster has a GPU")
        return self.device


def _bundles(todo: Partitions, together: int) -> Iterator[list[Partition]]:
    """Put neighbouring small partitions together, as far as they have so many entries at most."""
    bundle: list[Partition] = []
    for part in todo:
        if bundle and sum(one.count for one in bundle) + part.count > together:
            yield bundle
            bundle = []
        bundle.append(part)
    yield bundle


class _Decode:
    """Decodes bundles of partitions: pixels (n, size, size, 3), and what is known of them."""

    def __init__(self, quarantine: Quarantine) -> None:
        function = partial(decode_partition, decoder=quarantine.decoder)
        self._pool = Pool(function, 1, quarantine)

    def __call__(self, row: Row) -> Row:
        decoded = [self._decode(part) for part in pickle.loads(row["bundle"])]
        facts = [DecodedPartition(d.partition, d.images, d.locations, d.failures) for d in decoded]
        pixels = np.concatenate([d.pixels for d in decoded])
        return {"facts": pickle.dumps(facts), "pixels": pixels}

    def _decode(self, part: Partition) -> DecodedPartition:
        if not is_url(part.container):
            _must_see(Path(part.container))
        return self._pool.result(self._pool.submit(part))


class _Embed:
    """Embeds bundles into batches that are not written yet."""

    def __init__(self, load: Any, key: str, folder: Path) -> None:
        self._load = load
        self._key = key
        self._folder = folder

    def __call__(self, row: Row) -> Row:
        facts: list[DecodedPartition] = pickle.loads(row["facts"])
        batch = Batch()
        first: dict[int, int] = {}  # position of the first of equal contents
        for place, key in enumerate(image["id"] for one in facts for image in one.images):
            first.setdefault(key, place)
        if first:
            fresh = list(first.values())
            pixels = row["pixels"]
            pixels = pixels[fresh] if len(fresh) < len(pixels) else pixels
            batch.add_vectors(list(first), self._embedder(pixels))
        for one in facts:
            batch.add_facts(one)
        return {"batch": pickle.dumps(batch)}

    @cached_property
    def _embedder(self) -> Embedder:
        _must_see(self._folder)
        embedder: Embedder = self._load()
        if embedder.key != self._key:
            raise NetworkError(
                f"node {socket.gethostname()} loads {embedder.key} in place of {self._key}: give "
                "all nodes the same weights"
            )
        return embedder


def _write(rows: dict[str, Any], folder: Path) -> dict[str, list[bytes]]:
    """Write the vectors of some batches into one part, under a name that no other task uses."""
    batch = Batch()
    for pickled in rows["batch"]:
        batch.extend(pickle.loads(pickled))
    if batch.rows:
        _must_see(folder)
        workspace = folder.parent.parent
        store = folder.relative_to(workspace) / uuid4().hex
        batch.part = write_part(workspace, store.as_posix(), 0, *batch.stacked())
    return {"batch": [pickle.dumps(batch)]}


def _must_see(path: Path) -> None:
    """The folder of a build has a name of its own: where it is seen, the workspace is shared."""
    if not path.exists():
        raise ClusterError(
            f"node {socket.gethostname()} does not see {path}: the workspace and the sources have "
            "to lie on a file system that all nodes share, under the same path"
        )
