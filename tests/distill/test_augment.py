"""Augmentation: against loops over single images, and what a crop may contain."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from distill.augment import AUGMENTATIONS, crop_flip, flip, resized_crop_flip, shift
from distill.draws import Draws

from .helpers import noise

Array = npt.NDArray[np.float32]


def draws(seed: int = 0, part: int = 0, parts: int = 1) -> Draws:
    return Draws(torch.Generator().manual_seed(seed), part, parts)


def ramps(count: int, side: int) -> Tensor:
    """Images whose channels are the column, the row, and a constant: a crop shows its place."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    image = torch.stack([columns, rows, torch.ones(side, side)]).float()
    return image.expand(count, -1, -1, -1).clone()


def crop_by_loop(images: Tensor, draws: Tensor, pad: int) -> Array:
    """Pad one image after the other with zeros and cut it at its drawn (row, column)."""
    found = []
    for image, row, column in zip(
        images.numpy(), draws[0].tolist(), draws[1].tolist(), strict=True
    ):
        padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)))
        found.append(padded[:, row : row + image.shape[1], column : column + image.shape[2]])
    return np.stack(found)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 32), (16, 24)])
def test_shift_and_crop_equal_a_loop_over_the_same_draws(height: int, width: int) -> None:
    images, pad = noise(40, 3, height, width), height // 8
    drawn = torch.Generator().manual_seed(5)
    places = torch.randint(0, 2 * pad + 1, (2, 40), generator=drawn)
    mirrored = (torch.rand(40, generator=drawn) < 0.5).numpy()
    expected = crop_by_loop(images, places, pad)
    np.testing.assert_array_equal(shift(images, draws(5)).numpy(), expected)
    expected[mirrored] = expected[mirrored][..., ::-1]
    np.testing.assert_array_equal(crop_flip(images, draws(5)).numpy(), expected)


def test_shifts_reach_every_place_and_no_other() -> None:
    found = shift(ramps(2000, 16), draws())
    centre = found[:, :2, 8, 8].int() - 8  # the pixel that came to the middle, as (x, y)
    assert set(centre[:, 0].tolist()) == set(centre[:, 1].tolist()) == {-2, -1, 0, 1, 2}
    assert torch.unique(centre, dim=0).shape[0] == 25  # x and y are drawn apart


def test_flip_mirrors_half_of_the_images_and_only_left_to_right() -> None:
    images = ramps(4000, 4)
    found = flip(images, draws())
    same, mirrored = (found == images).all((1, 2, 3)), (found == images.flip(3)).all((1, 2, 3))
    assert (same ^ mirrored).all()
    assert 0.46 < mirrored.float().mean().item() < 0.54  # five standard deviations


def test_shift_never_mirrors() -> None:
    columns = shift(ramps(200, 16), draws())[:, 0, 8, 4:12]
    assert (columns.diff(dim=1) == 1).all()


def test_a_resized_crop_stays_in_the_images_range() -> None:
    images = noise(64, 3, 16, 16)
    found = resized_crop_flip(images, draws())
    low, high = images.amin((2, 3)), images.amax((2, 3))
    assert (found.amin((2, 3)) >= low - 1e-5).all() and (found.amax((2, 3)) <= high + 1e-5).all()
    torch.testing.assert_close(
        resized_crop_flip(ramps(64, 16), draws())[:, 2], torch.ones(64, 16, 16)
    )


def test_resized_crops_cover_8_to_100_percent_at_moderate_aspects() -> None:
    found = resized_crop_flip(ramps(3000, 32), draws())
    # Between two pixels of the view lie `wide` (`high`) pixels of the image; the median is free
    # of what the border mirrors.
    wide = found[:, 0, 16].diff(dim=1).abs().median(dim=1).values
    high = found[:, 1, :, 16].diff(dim=1).abs().median(dim=1).values
    area, aspect = wide * high, wide / high
    assert 0.08 - 1e-3 <= area.min() < 0.1 and 0.9 < area.max() <= 1 + 1e-3
    assert 3 / 4 - 1e-3 <= aspect.min() < 0.8 and 1.25 < aspect.max() <= 4 / 3 + 1e-3
    assert area.mean().item() == pytest.approx(0.54, abs=0.03)


def test_resized_crops_lie_inside_the_image() -> None:
    images = ramps(500, 32)
    found = resized_crop_flip(images, draws())
    wide = found[:, 0, 16].diff(dim=1).abs().median(dim=1).values
    # Half a crop to either side of its centre: the first and the last pixel's outer edges.
    centre = (found[:, 0, 16, 15] + found[:, 0, 16, 16]) / 2
    assert (centre - 16 * wide >= -0.5 - 1e-3).all()
    assert (centre + 16 * wide <= 31.5 + 1e-3).all()


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_view_is_a_function_of_its_generator(name: str) -> None:
    images = noise(16, 3, 16, 16)
    before, augment = images.clone(), AUGMENTATIONS[name]
    first, again = augment(images, draws(1)), augment(images, draws(1))
    assert torch.equal(first, again) and first.shape == images.shape
    assert torch.equal(images, before)
    assert torch.equal(first, augment(images, draws(2))) == (name == "none")


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_image_gets_the_same_view_however_a_step_is_divided(name: str) -> None:
    images, augment = noise(12, 3, 16, 16), AUGMENTATIONS[name]
    whole = augment(images, draws(3))
    for parts in (2, 3):
        found = [
            augment(own, draws(3, part, parts)) for part, own in enumerate(images.chunk(parts))
        ]
        assert torch.equal(torch.cat(found), whole)


def test_no_augmentation_leaves_images_as_they_are() -> None:
    images = noise(3, 3, 8, 8)
    assert torch.equal(AUGMENTATIONS["none"](images, draws()), images)
