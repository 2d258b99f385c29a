"""The demo teacher's data: scikit-learn's 1,797 handwritten digits, part of them held back."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from index.database import connect
from index.errors import UsageError

SIDE = 32


@dataclass(frozen=True)
class TeacherData:
    """Two Parquet files with the columns image (PNG bytes, BLOB) and label (INTEGER)."""

    train: Path
    held_back: Path


def make_teacher_data(folder: Path, *, seed: int = 0, held_back: float = 0.3) -> TeacherData:
    """Writes the digits to folder/train.parquet and folder/held_back.parquet.

    The share `held_back` of each digit's images is set aside by a seeded draw. The teacher learns
    from the first file; the second one measures teacher and student. The crawl holds neither.

    Raises:
        UsageError: scikit-learn is not installed.
    """
    images, labels = load_digits()
    test = _stratified(labels, held_back, np.random.default_rng(seed))
    folder.mkdir(parents=True, exist_ok=True)
    data = TeacherData(folder / "train.parquet", folder / "held_back.parquet")
    write_labelled(data.train, images[~test], labels[~test])
    write_labelled(data.held_back, images[test], labels[test])
    return data


def load_digits(side: int = SIDE) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Every digit as (1797, side, side, 3) uint8, white on black, and its label (1797,).

    The 8x8 originals with 17 grey levels are enlarged bicubically.

    Raises:
        UsageError: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise missing_extra("scikit-learn") from error
    digits = datasets.load_digits()
    grey = (digits.images * (255 / 16)).round().astype(np.uint8)
    enlarged = [
        Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC) for image in grey
    ]
    images = np.stack([np.asarray(image.convert("RGB")) for image in enlarged])
    return images, np.asarray(digits.target, dtype=np.int64)


def write_labelled(path: Path, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    """Writes (N, H, W, 3) images losslessly, with their (N,) labels, to a Parquet file."""
    with connect() as connection:
        connection.execute(
            "CREATE TABLE labelled AS SELECT unnest($images::BLOB[]) AS image,"
            " unnest($labels::INTEGER[]) AS label",
            {"images": [_png(image) for image in images], "labels": labels.tolist()},
        )
        connection.table("labelled").write_parquet(str(path))


def missing_extra(library: str) -> UsageError:
    """The error for a demo without its libraries: what is missing and how to get it."""
    return UsageError(f"the demo needs {library}, not installed here: pip install 'kdcurate[demo]'")


def _stratified(
    labels: NDArray[np.int64], share: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        chosen[members[: round(share * len(members))]] = True
    return chosen


def _png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
