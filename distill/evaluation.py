"""How good a network is on labelled images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from distill.images import LabelledImages
from distill.networks import Network, map_batches
from index.decoding import Pixels
from index.errors import DataError


@dataclass(frozen=True)
class Evaluation:
    """Top-1 accuracy: `correct` of `n`."""

    accuracy: float
    correct: int
    n: int


def evaluate(
    network: Network, data: LabelledImages, device: torch.device | str = "cpu"
) -> Evaluation:
    """Compare predictions with labels, in float32.

    Raises:
        DataError: a label that the network has no class for.
    """
    low, high = int(data.labels.min()), int(data.labels.max())
    if low < 0 or high >= network.num_classes:
        raise DataError(
            f"labels run from {low} to {high}, the network has classes 0 to "
            f"{network.num_classes - 1}: check the label column"
        )
    predicted = predict(network, data.pixels, device).argmax(axis=1)
    correct = int((predicted == data.labels).sum())
    return Evaluation(correct / len(data.labels), correct, len(data.labels))


def predict(
    network: Network, pixels: Pixels, device: torch.device | str = "cpu"
) -> NDArray[np.float32]:
    """Return logits (N, K) of pixels (N, S, S, 3)."""
    training = network.training
    network.eval()
    rows = map_batches(
        lambda images: network(images).float().cpu(), pixels, network.card.input, device
    )
    network.train(training)
    logits: NDArray[np.float32] = torch.cat(rows).numpy()
    return logits
