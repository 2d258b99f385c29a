"""A small crawl, networks that fit it, and the catalog's rows as Python values."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from curate.pool import Pool
from distill.networks import InputSpec, Network, load_network, normalise, save_student
from index.build import Summary, build_index
from index.catalog import Catalog
from index.decoding import Pixels, View

PROJECT = Path(__file__).resolve().parents[2]
SIZE = 16
CLASSES = ["ant", "bee", "cat", "dog"]
PICTURES, COPIES, NEAR, BROKEN = 72, 3, 4, 2
IMAGES = PICTURES + NEAR
# Options of commands that decode and compute in the process of the test.
QUIET = ("--workers", 0, "--device", "cpu")


@dataclass(frozen=True)
class Outcome:
    """How a command ended: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Mean:
    """An embedder without a network: the mean colour of each quarter, 12 values."""

    key: str = "mean"
    dim: int = 12
    view: View = View(SIZE)

    def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
        half = SIZE // 2
        corners = pixels.reshape(len(pixels), 2, half, 2, half, 3).mean((2, 4))
        vectors: NDArray[np.float32] = corners.reshape(len(pixels), 12).astype(np.float32) - 128
        return vectors


def pixels_of(seed: int) -> NDArray[np.uint8]:
    """Soft blobs of colour with some noise, another picture for another seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(256, size=(4, 4, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC), dtype=int)
    noisy = smooth + rng.integers(-12, 13, size=smooth.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def crawl_files() -> dict[str, bytes]:
    """Files of the crawl by name: pictures, exact copies, near-copies, and broken ones."""
    files = {f"picture-{n:02d}.png": png(pixels_of(n)) for n in range(PICTURES)}
    for n in range(COPIES):
        files[f"copy-{n}.png"] = files[f"picture-{n:02d}.png"]
    for n in range(NEAR):
        pixels = pixels_of(10 + n).copy()
        pixels[0, 0, 0] ^= 1
        files[f"near-{n}.png"] = png(pixels)
    files["empty.png"] = b""
    files["page.jpg"] = b"<!DOCTYPE html><title>404</title>"
    return files


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def write_parquet(path: Path, columns: str, rows: Iterable[Sequence[Any]]) -> Path:
    """Write rows with the SQL columns, such as 'image BLOB, label INTEGER'."""
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t ({columns})")
        places = ", ".join("?" * (columns.count(",") + 1))
        connection.executemany(f"INSERT INTO t VALUES ({places})", list(rows))
        connection.execute(f"COPY t TO '{path}' (FORMAT parquet)")
    return path


def write_network(folder: Path, name: str, seed: int, architecture: str = "cifar:resnet8") -> Path:
    """Write a network that spreads the crawl's pictures over four classes; return its card."""
    spec = InputSpec(size=SIZE, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    network = load_network(architecture, num_classes=4, input=spec, seed=seed, allow_random=True)
    _calibrate(network, seed)
    network.card = network.card.model_copy(update={"classes": CLASSES})
    folder.mkdir(parents=True, exist_ok=True)
    return save_student(network, folder, provenance={}, name=name)


def _calibrate(network: Network, seed: int) -> None:
    pictures = np.stack([pixels_of(n) for n in range(PICTURES)])
    images = normalise(torch.from_numpy(pictures), network.card.input)
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    with torch.no_grad():
        for layer in norms:
            layer.momentum = 1.0
        network.train()(images)
        hidden = network.eval().outputs(images).penultimate
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(network.classifier.weight.shape, generator=generator)
        logits = (hidden - hidden.mean(0)) @ weight.T
        weight = 2 * weight / logits.std(0)[:, None]
        network.classifier.weight.copy_(weight)
        network.classifier.bias.copy_(-hidden.mean(0) @ weight.T)


def build(workspace: Path, sources: Sequence[Path], *, rows_a_part: int = 8192) -> Summary:
    names = [str(source) for source in sources]
    return build_index(workspace, names, Mean(), workers=0, rows_a_part=rows_a_part)


def query(workspace: Path, text: str, *parameters: object) -> list[tuple[Any, ...]]:
    with Catalog(workspace).read() as connection:
        return connection.execute(text, list(parameters)).fetchall()


def doubtful_picture(scored: Pool) -> Path:
    """Return a picture of whose class the teacher is not sure."""
    found = query(
        scored.catalog.workspace,
        "SELECT uri FROM scores JOIN locations USING (image_id) "
        "WHERE model = ? AND confidence < 0.9 ORDER BY uri LIMIT 1",
        scored.teacher,
    )
    return Path(found[0][0])


def one_line(err: str) -> bool:
    """Tell whether what was said is one line, and no traceback."""
    return err.count("\n") == 1 and "Traceback" not in err
