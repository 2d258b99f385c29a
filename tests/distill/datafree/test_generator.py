"""Generators: their maps, their range, and the way back to bytes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from distill.datafree.generator import Generator, pixel_range, start_of, to_bytes
from distill.networks import InputSpec, normalise
from index.errors import MethodError

from ..helpers import noise

ODD = {"mean": (0.1, 0.5, 0.9), "std": (0.3, 0.2, 0.05)}


@pytest.mark.parametrize(
    ("size", "doublings", "start"), [(8, 2, 2), (28, 2, 7), (32, 2, 8), (64, 3, 8), (224, 5, 7)]
)
def test_maps_are_doubled_from_eight_pixels_or_fewer(size: int, doublings: int, start: int) -> None:
    assert start_of(size) == (doublings, start)


@pytest.mark.parametrize("size", [30, 36, 100])
def test_a_size_that_cannot_be_doubled_to_is_refused(size: int) -> None:
    with pytest.raises(MethodError, match=f"teacher's {size} pixels.*use deepinversion"):
        start_of(size)


def test_the_generator_of_32_pixels_is_the_published_one() -> None:
    generator = Generator(InputSpec(size=32), latent=100, width=64)
    assert generator.linear.weight.shape == (128 * 8 * 8, 100)
    convolutions = [part for part in generator.modules() if isinstance(part, nn.Conv2d)]
    shapes = [(part.in_channels, part.out_channels) for part in convolutions]
    assert shapes == [(128, 128), (128, 64), (64, 3)]


@pytest.mark.parametrize("size", [28, 32, 64])
def test_images_are_what_bytes_can_be_when_normalised(size: int) -> None:
    """Whatever the weights: at the largest, both ends of every channel's range are reached."""
    spec = InputSpec(size=size, **ODD)
    generator = Generator(spec, latent=6, width=4)
    last = generator.body[-1]
    assert isinstance(last, nn.Conv2d)
    with torch.no_grad():
        last.weight.mul_(1000)
        images = generator(noise(5, 6))
    assert images.shape == (5, 3, size, size) and images.dtype == torch.float32
    least, largest = pixel_range(spec)
    for channel in range(3):
        values = images[:, channel]
        expected = [(end - ODD["mean"][channel]) / ODD["std"][channel] for end in (0, 1)]
        assert [float(values.min()), float(values.max())] == pytest.approx(expected, abs=1e-5)
        assert [float(least[0, channel]), float(largest[0, channel])] == pytest.approx(expected)


def test_bytes_become_images_and_bytes_again() -> None:
    spec = InputSpec(size=4, **ODD)
    pixels = torch.randint(256, (3, 4, 4, 3), generator=torch.Generator().manual_seed(0))
    images = normalise(pixels.to(torch.uint8), spec)
    assert torch.equal(to_bytes(images, spec), pixels.to(torch.uint8))
    assert to_bytes(images * 1e6, spec).unique().tolist() == [0, 255]
