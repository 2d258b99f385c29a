"""Small real images, an embedder without a network, and what a workspace holds."""

from __future__ import annotations

import io
import os
import resource
import signal
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from index.build import Summary, build_index
from index.catalog import Catalog
from index.decoding import Decoded, Decoder, Pixels, View
from index.faissing import faiss_module
from index.neighbours import open_index
from index.progress import Advance
from index.vectors import live_vectors

PROJECT = Path(__file__).resolve().parent.parent.parent


class Quadrants:
    """Embeds an image as the mean colours of its four quarters: dim 12, worked out by hand."""

    key = "quadrants"
    dim = 12
    view = View(8)

    def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
        quarters = pixels.reshape(len(pixels), 2, 4, 2, 4, 3).mean(axis=(2, 4))
        return (quarters.reshape(len(pixels), 12) / 255).astype(np.float32)


def noise(seed: int, size: int = 8) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(256, size=(size, size, 3), dtype=np.uint8)


def encode(pixels: NDArray[Any] | Image.Image, format: str = "PNG", **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def png(seed: int, size: int = 8) -> bytes:
    return encode(noise(seed, size))


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as shard:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            shard.addfile(header, io.BytesIO(data))
    return path


def write_shards(folder: Path, shards: int = 4, images: int = 3) -> Path:
    """Shards of different images, a damaged one and a copy of an earlier one each."""
    for shard in range(shards):
        members = {f"{i}.png": png(100 * shard + i) for i in range(images)}
        members |= {"damaged.png": png(100 * shard)[:40], "copy.png": png(0)}
        write_tar(folder / f"{shard:05d}.tar", members)
    return folder


def build(
    workspace: Path, *sources: Path, workers: int = 0, rows_a_part: int = 4, **options: Any
) -> Summary:
    names = [str(source) for source in sources]
    return build_index(
        workspace, names, Quadrants(), workers=workers, rows_a_part=rows_a_part, **options
    )


def rows(workspace: Path, query: str) -> list[tuple[Any, ...]]:
    with Catalog(workspace).read() as connection:
        return connection.execute(query).fetchall()


def failures(workspace: Path) -> dict[str, str]:
    """Reasons by the last piece of the uri."""
    found = rows(workspace, "SELECT uri, reason FROM failures")
    assert len({uri for uri, _ in found}) == len(found)
    return {uri.rpartition("/")[2]: reason for uri, reason in found}


def content(workspace: Path, embedder: str = Quadrants.key) -> dict[str, Any]:
    """Everything that may not depend on workers or interruptions."""
    catalog = Catalog(workspace)
    vectors = {
        int(key): vector.tobytes()
        for ids, stored in live_vectors(catalog, embedder)
        for key, vector in zip(ids, stored, strict=True)
    }
    index = open_index(catalog, embedder)
    return {
        "images": rows(workspace, "SELECT * EXCLUDE (added_at) FROM images ORDER BY id"),
        "locations": rows(workspace, "SELECT * FROM locations ORDER BY uri"),
        "failures": rows(workspace, "SELECT * FROM failures ORDER BY uri"),
        "vector ids": rows(workspace, "SELECT image_id, embedder FROM vectors ORDER BY 1"),
        "partitions": rows(workspace, "SELECT key, embedder FROM partitions ORDER BY 1"),
        "vectors": dict(sorted(vectors.items())),
        "indexed": dict(sorted(indexed(index).items())),
        "ntotal": index.ntotal,
        "leftovers": [str(path) for path in workspace.rglob("*.tmp")],
    }


def indexed(index: Any) -> dict[int, bytes]:
    """The vectors that an index holds, by image id."""
    ids = faiss_module().vector_to_array(index.id_map)
    return {int(key): index.index.reconstruct(row).tobytes() for row, key in enumerate(ids)}


class SmallDisk:
    """Progress that, once a step of this name begins, lets no file grow beyond 100 bytes."""

    def __init__(self, step: str) -> None:
        self._step = step

    @contextmanager
    def step(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:  # noqa: ARG002
        if name == self._step:
            fill_disk()
        yield lambda _: None

    def say(self, message: str) -> None: ...


def fill_disk() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))


def on_rename(number: int, act: Any, *, after: bool) -> None:
    """Call `act` before the n-th rename of this process, or just after it."""
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event == "os.rename":
            seen += 1
        # The folder is opened, to be fsynced, as soon as the rename is through.
        folder = event == "open" and os.path.isdir(arguments[0])
        if seen == number and (folder if after else event == "os.rename"):
            act()

    sys.addaudithook(hook)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Fragile(Decoder):
    """Crashes or hangs on content that says so, as a library in C may."""

    def __call__(self, data: bytes) -> Decoded:
        for mark, number in (b"SEGV", signal.SIGSEGV), (b"KILL", signal.SIGKILL):
            if data.startswith(mark):
                os.kill(os.getpid(), number)
        if data.startswith(b"EXIT"):
            os._exit(3)
        if data.startswith(b"HANG"):
            time.sleep(600)
        return super().__call__(data)


def die_if_odd(task: int) -> int:
    """A decoder that crashes on some input."""
    if task % 2:
        die()
    return task


def ramp(start: int) -> NDArray[np.int64]:
    """As many numbers as are worth shared memory."""
    return np.arange(start, start + 50_000)


def ramps(start: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two results in one."""
    return ramp(start), ramp(start + 1)


class Patient:
    """Rescues by negation; a task may take a second."""

    def patience_s(self, task: int) -> float:  # noqa: ARG002
        return 1.0

    def __call__(self, task: int) -> int:
        return -task


def die_or_hang(task: int) -> int:
    if task % 10 == 3:
        die()
    if task % 10 == 7:
        time.sleep(600)
    return task


def squared(task: int) -> int:
    return task * task
