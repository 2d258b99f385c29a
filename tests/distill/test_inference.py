from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from distill.moments import MomentTaps, bn_shift, spatial_moments
from distill.networks import InputSpec, load_network, map_batches
from distill.networks.inference import CPU_BATCH
from distill.networks.network import Network

SPEC = InputSpec(size=8, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(5 * CPU_BATCH + 3, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def network() -> Network:
    return load_network("cifar:resnet8", num_classes=4, input=SPEC, allow_random=True)


def test_every_image_is_seen_once_in_order_and_normalised(pixels: np.ndarray) -> None:
    seen = torch.cat(map_batches(lambda images: images, pixels, SPEC)).numpy()
    by_hand = (pixels / 255 - np.array(SPEC.mean)) / np.array(SPEC.std)
    np.testing.assert_allclose(seen, by_hand.transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-5)


def test_slices_are_computed_by_other_threads_without_gradients(pixels: np.ndarray) -> None:
    def where(images: torch.Tensor) -> tuple[int, bool, int]:
        images.flatten(1) @ images.flatten(1).T  # the first operation of a thread sets its number
        return threading.get_ident(), images.requires_grad, torch.get_num_threads()

    before = torch.get_num_threads()
    found = map_batches(where, pixels, SPEC)
    assert threading.get_ident() not in {thread for thread, _, _ in found}
    assert {threads for _, _, threads in found} == {1}
    assert torch.get_num_threads() == before


def test_the_dtype_is_that_of_the_network(pixels: np.ndarray) -> None:
    found = map_batches(lambda images: images.dtype, pixels, SPEC, dtype=torch.bfloat16)
    assert set(found) == {torch.bfloat16}


def test_an_error_in_a_slice_is_raised_here(pixels: np.ndarray) -> None:
    def fail(images: torch.Tensor) -> None:
        raise ValueError(f"{len(images)} images")

    with pytest.raises(ValueError, match="images"):
        map_batches(fail, pixels, SPEC)


def test_taps_of_several_threads_do_not_mix(network: Network, pixels: np.ndarray) -> None:
    """The penultimate vectors of a slice are those of its own pass."""
    found = torch.cat(map_batches(lambda x: network.outputs(x).penultimate, pixels, SPEC))
    alone = map_batches(lambda x: x, pixels, SPEC)
    with torch.inference_mode():
        expected = torch.cat([network.outputs(images).penultimate for images in alone])
    torch.testing.assert_close(found, expected)


def test_moments_of_several_threads_do_not_mix(network: Network, pixels: np.ndarray) -> None:
    taps = MomentTaps(network)

    def shift(images: torch.Tensor) -> torch.Tensor:
        network(images)
        return taps.shifts()["bn_shift"]

    with taps:
        found = torch.cat(map_batches(shift, pixels, SPEC))
    images = torch.cat(map_batches(lambda x: x, pixels, SPEC))
    with torch.inference_mode():
        maps = network.module.get_submodule("conv1")(images)
        first = bn_shift(spatial_moments(maps), taps.layers[0])
    assert found.shape == (len(pixels), len(taps.layers))
    torch.testing.assert_close(found[:, 0], first, rtol=1e-4, atol=1e-5)
