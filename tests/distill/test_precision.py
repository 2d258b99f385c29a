from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from distill.networks import load_embedder
from distill.networks.card import resolve
from distill.networks.precision import LEAST_COSINE, LEAST_GAIN, measure_precision, named
from index.errors import UsageError


def test_what_is_measured_is_the_least_cosine_and_decides(data_dir: Path) -> None:
    card = resolve(data_dir / "teachers" / "resnet20.toml")
    pixels = np.random.default_rng(0).integers(256, size=(40, 32, 32, 3), dtype=np.uint8)
    pixels[20:] //= 8  # dark images
    embedders = load_embedder(card), load_embedder(card, dtype=torch.bfloat16)
    measured = measure_precision(*embedders, pixels)
    exact, rough = (embedder(pixels).astype(np.float64) for embedder in embedders)
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(rough, axis=1)
    least = ((exact * rough).sum(axis=1) / norms).min()
    assert measured.cosine == pytest.approx(least, abs=2e-6)
    assert measured.gain is not None
    worth_it = least > LEAST_COSINE and measured.gain >= LEAST_GAIN
    assert measured.name == ("bfloat16" if worth_it else "float32")


def test_bfloat16_vectors_are_not_the_float32_ones(data_dir: Path) -> None:
    card = resolve(data_dir / "teachers" / "resnet20.toml")
    pixels = np.random.default_rng(1).integers(256, size=(4, 32, 32, 3), dtype=np.uint8)
    rough = load_embedder(card, dtype=torch.bfloat16)(pixels)
    assert rough.dtype == np.float32
    assert not np.array_equal(rough, load_embedder(card)(pixels))


def test_an_unknown_precision_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="'float8': choose one of auto, float32, bfloat16"):
        named("float8")
