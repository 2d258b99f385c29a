"""What a network in training says of images, undistorted: the pool, or what is held back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from distill.networks import InputSpec, map_batches
from distill.processes import Processes
from index.parts import half


def score_pixels(
    network: Callable[[Tensor], Tensor],
    pixels: NDArray[np.uint8],
    spec: InputSpec,
    processes: Processes,
) -> NDArray[np.float16]:
    """Logits (N, K) of pixels (N, S, S, 3), in the run's precision, by this process alone."""

    def logits(images: Tensor) -> NDArray[np.float16]:
        with processes.autocast():
            return half(network(images).float().cpu().numpy())

    return np.concatenate(map_batches(logits, pixels, spec, processes.device))


def agreement(first: NDArray[np.float16], second: NDArray[np.float16]) -> float:
    """Share of images whose largest logit, (N, K) both, is of the same class."""
    return float((first.argmax(axis=1) == second.argmax(axis=1)).mean())
