"""Corruptions: their formulas, that they grow, and that they do not depend on order."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from distill.corruptions import KINDS, Corruption, parse_corruptions
from index.errors import UsageError

Pixels = NDArray[np.uint8]
PROJECT = Path(__file__).resolve().parents[2]


def pictures(count: int = 3, side: int = 32) -> Pixels:
    """Smooth colours with some detail."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 216, size=(count, 8, 8, 3), dtype=np.uint8)
    fine = [
        np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC))
        for one in coarse
    ]
    noisy = np.stack(fine).astype(int) + rng.integers(-10, 11, size=(count, side, side, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def distance(one: Pixels, other: Pixels) -> float:
    return float(np.sqrt(((one.astype(float) - other) ** 2).mean()))


@pytest.mark.parametrize("kind", KINDS)
def test_severities_grow(kind: str) -> None:
    images = pictures()
    found = [Corruption(kind, severity)(images) for severity in range(1, 6)]
    assert all(one.shape == images.shape and one.dtype == np.uint8 for one in found)
    distances = [distance(one, images) for one in found]
    assert 0 < distances[0] < distances[-1] and distances == sorted(distances)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_corrupted_alike_wherever_it_stands(kind: str) -> None:
    images, corrupt = pictures(), Corruption(kind, 3, seed=5)
    whole = corrupt(images)
    np.testing.assert_array_equal(corrupt(images[::-1].copy()), whole[::-1])
    np.testing.assert_array_equal(corrupt(images[1:2]), whole[1:2])


def test_another_seed_is_other_noise_and_the_same_jpeg() -> None:
    images = pictures()
    for kind, same in (("noise", False), ("jpeg", True)):
        one, other = Corruption(kind, 2, seed=0)(images), Corruption(kind, 2, seed=1)(images)
        assert np.array_equal(one, other) is same


def test_jpeg_is_what_an_encoder_of_that_quality_leaves() -> None:
    images = pictures(1)
    stream = io.BytesIO()
    Image.fromarray(images[0]).save(stream, "JPEG", quality=75)
    found = Corruption("jpeg", 2)
    np.testing.assert_array_equal(found(images)[0], np.asarray(Image.open(stream)))
    assert found.setting == "quality 75"


def test_noise_has_the_deviation_that_it_names() -> None:
    grey = np.full((1, 64, 64, 3), 128, np.uint8)
    found = Corruption("noise", 2)(grey).astype(float)
    assert found.std() == pytest.approx(10, rel=0.03)
    assert found.mean() == pytest.approx(128, abs=0.3)


def test_contrast_and_brightness_by_formula() -> None:
    image = pictures(1)
    x = image.astype(np.float64)
    mean = x.mean(axis=(1, 2), keepdims=True)
    expected = np.clip(np.rint(mean + 0.6 * (x - mean)), 0, 255)
    np.testing.assert_array_equal(Corruption("contrast", 2)(image), expected)
    np.testing.assert_array_equal(Corruption("brightness", 5)(image), np.minimum(x + 76, 255))


def test_blur_spreads_a_point_by_its_sigma() -> None:
    image = np.zeros((1, 65, 65, 3), np.uint8)
    image[0, 30:35, 30:35] = 255
    found = Corruption("blur", 5)(image)[0, :, :, 0].astype(float)
    place = np.arange(65) - 32
    spread = (found.sum(0) * place**2).sum() / found.sum()
    assert spread == pytest.approx((0.04 * 65) ** 2 + 2, rel=0.15)  # 2: of the square itself


def test_pixelate_leaves_blocks_of_their_mean() -> None:
    image = pictures(1)
    found = Corruption("pixelate", 5)(image)[0]
    blocks = image[0].reshape(16, 2, 16, 2, 3).mean((1, 3))
    np.testing.assert_allclose(found[::2, ::2], blocks, atol=1.01)  # rounded twice
    np.testing.assert_array_equal(found[::2, ::2], found[1::2, 1::2])


def test_what_is_asked_for_is_read() -> None:
    assert parse_corruptions([]) == []
    assert [one.severity for one in parse_corruptions(["jpeg"], seed=3)] == [1, 2, 3, 4, 5]
    assert parse_corruptions(["blur:2,noise:3", "blur:2"], 7) == [
        Corruption("blur", 2, 7),
        Corruption("noise", 3, 7),
    ]
    assert len(parse_corruptions(["all"])) == 5 * len(KINDS)
    with pytest.raises(UsageError, match="'jpg' is unknown: did you mean jpeg"):
        parse_corruptions(["jpg"])
    for wrong in ("jpeg:0", "jpeg:6", "jpeg:", "jpeg:x"):
        with pytest.raises(UsageError, match="a severity is 1, 2, 3, 4 or 5"):
            parse_corruptions([wrong])


def test_the_documented_severities_are_these() -> None:
    lines = (PROJECT / "docs/evaluate.md").read_text("utf-8").splitlines()
    for name, kind in KINDS.items():
        (line,) = [line for line in lines if line.startswith(f"| `{name}`")]
        assert [float(cell) for cell in line.strip("| ").split("|")[1:]] == list(kind.values)
