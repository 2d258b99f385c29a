"""Embedders: callables from uint8 images to vectors, all that an index needs of a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distill.networks import clip
from distill.networks.card import Card, resolve
from distill.networks.inference import map_batches
from distill.networks.input import InputSpec
from distill.networks.network import Network, load_network, network_key
from index.decoding import View
from index.errors import NetworkError

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Embedder:
    """Maps uint8 images (B, S, S, 3), resized to ``input``, to float32 vectors (B, dim).

    The network computes in ``dtype``. Several threads may call an embedder at once.
    """

    key: str
    dim: int
    input: InputSpec
    device: torch.device
    encode: Callable[[Tensor], Tensor]
    encode_text: Callable[[list[str]], Tensor] | None = None
    dtype: torch.dtype = torch.float32

    @property
    def view(self) -> View:
        """The view of an image that it wants."""
        return self.input.view()

    def __call__(self, images: npt.NDArray[np.uint8]) -> Vectors:
        """Embed one image or more; the vectors are not scaled to unit length."""
        return np.concatenate(
            map_batches(
                lambda x: _array(self.encode(x)), images, self.input, self.device, self.dtype
            )
        )

    def embed_text(self, texts: list[str]) -> Vectors:
        """Embed texts (B) in the space of the images.

        Raises:
            NetworkError: the network reads images only.
        """
        if self.encode_text is None:
            raise NetworkError(f"{self.key} cannot read text: embed with an open_clip model")
        return _array(self.encode_text(texts))


def load_embedder(
    source: str | Path | Card | Network,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Embedder:
    """Load an embedder: an open_clip image tower, or a classifier's penultimate vector.

    Args:
        source: spec, card or network; a network is changed in place.
        device: where it computes.
        dtype: of its weights, and of what passes between its layers.

    Raises:
        NetworkError: as ``load_network``.
    """
    if not isinstance(source, Network):
        card = resolve(source)
        if card.architecture.startswith("open_clip:"):
            return _clip_embedder(card, torch.device(device), dtype)
        source = load_network(card)
    return _classifier_embedder(source, torch.device(device), dtype)


def _classifier_embedder(network: Network, device: torch.device, dtype: torch.dtype) -> Embedder:
    network.to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Embedder(
        key=network.key,
        dim=network.classifier.in_features,
        input=network.card.input,
        device=device,
        encode=lambda images: network.outputs(images).penultimate,
        dtype=dtype,
    )


def _clip_embedder(card: Card, device: torch.device, dtype: torch.dtype) -> Embedder:
    name = card.architecture.removeprefix("open_clip:")
    towers: Any = clip.ClipTowers(name, card.weights, card.options)
    towers = towers.to(device, dtype, memory_format=torch.channels_last).eval()
    size = card.input.size
    with torch.inference_mode():
        dim = towers(torch.zeros(1, 3, size, size, device=device, dtype=dtype)).shape[1]
    return Embedder(network_key(card), dim, card.input, device, towers, towers.embed_text, dtype)


def _array(vectors: Tensor) -> Vectors:
    array: Vectors = vectors.float().cpu().numpy()
    return array
