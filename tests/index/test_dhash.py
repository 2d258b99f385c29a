"""The difference hash: bits worked out by hand, and what it survives."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from index.decoding import View, decode
from index.dhash import difference_hash

from .helpers import encode, noise


def hashed(grey: NDArray[np.uint8]) -> int | None:
    return difference_hash(Image.fromarray(grey).convert("RGB"))


def photo(seed: int, size: tuple[int, int] = (300, 200)) -> Image.Image:
    """Soft blobs of colour over the whole picture."""
    return Image.fromarray(noise(seed, 6)).resize(size, Image.Resampling.BICUBIC)


def apart(a: Image.Image, b: Image.Image) -> int:
    first, second = difference_hash(a), difference_hash(b)
    assert first is not None and second is not None
    return ((first ^ second) & (2**64 - 1)).bit_count()


def test_the_bits_by_hand() -> None:
    rising = np.arange(0, 180, 20)
    grey = np.stack([rising, rising[::-1]] * 4).astype(np.uint8)  # 8 rows of 9
    assert hashed(grey) == int("ff00" * 4, 16) - 2**64
    assert hashed(grey[::-1]) == int("00ff" * 4, 16)


def test_the_first_bit_is_the_highest() -> None:
    falling = np.tile(np.arange(180, 0, -20), (8, 1)).astype(np.uint8)
    assert hashed(falling) == 0
    falling[7, 8] = 250
    assert hashed(falling) == 1
    falling[0, 0] = 0
    assert hashed(falling) == 1 - 2**63


@pytest.mark.parametrize("seed", range(8))
def test_resizing_and_recompression_cost_few_bits(seed: int) -> None:
    original = photo(seed)
    stream = io.BytesIO()
    original.save(stream, "JPEG", quality=60)
    for other in (
        Image.open(stream),
        original.resize((150, 100)),
        original.resize((1200, 800)),
        original.resize((60, 80)),
    ):
        assert apart(original, other.convert("RGB")) <= 4
    assert apart(original, photo(seed + 100)) > 12


@pytest.mark.parametrize("level", [0, 128, 255])
def test_one_colour_has_no_hash(level: int) -> None:
    assert hashed(np.full((40, 30), level, np.uint8)) is None
    assert hashed(np.full((1, 1), level, np.uint8)) is None


def test_what_is_almost_one_colour_has_no_hash() -> None:
    faint = np.random.default_rng(0).integers(127, 130, size=(8, 9), dtype=np.uint8)
    assert hashed(faint) is None
    dot = np.full((80, 90), 255, np.uint8)
    dot[20:30, 20:30] = 0  # two different pages with a dot would differ in two bits or so
    assert hashed(dot) is None
    sky = np.tile(np.linspace(0, 255, 80).astype(np.uint8)[:, None], (1, 90))
    assert hashed(sky) is None


def test_a_few_clear_steps_are_enough() -> None:
    grey = np.full((8, 9), 100, np.uint8)
    grey[:, 4] = 110  # 16 steps of 10, up and down again in each row
    assert hashed(grey) == int("10" * 8, 16)
    grey[0, 4] = 100
    assert hashed(grey) is None


def test_the_hash_is_of_the_whole_upright_image_whatever_the_view() -> None:
    original = photo(3)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(original.rotate(90, expand=True), "PNG", exif=exif)
    for view in (View(8), View(32, resize=64), View(5, interpolation="nearest")):
        assert decode(turned, view, hashed=True).dhash == difference_hash(original)
    assert decode(turned, View(8)).dhash is None


def test_an_extreme_shape_is_hashed_too() -> None:
    strip = np.random.default_rng(0).integers(256, size=(1, 60_000), dtype=np.uint8)
    blocks = np.repeat(np.arange(0, 250, 28), 6_000).astype(np.uint8)[None]
    assert hashed(strip) is None  # noise that averages out
    assert hashed(blocks) == -1
