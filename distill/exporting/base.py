"""What an exported file takes and gives, and what every format has to offer."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distill.networks import InputSpec, Network, normalise
from index.decoding import Pixels

# What stands for an image (B, 3, S, S) at the door of a file.
FORMS = {
    "normalised": "float32 (B, 3, S, S): (x / 255 - mean) / std, as the card says",
    "unit": "float32 (B, 3, S, S) in 0..1; the file normalises",
    "uint8": "uint8 (B, 3, S, S) in 0..255; the file normalises",
}
FACTS = "kdcurate.json"
INPUT, OUTPUT = "images", "logits"
Logits = NDArray[np.float32]
Run = Callable[[Tensor], Logits]


@dataclass(frozen=True)
class Format:
    """How a network is written to a file of `suffix`, and read again to run it.

    `write` takes the module to run, the network that it is of, an input of two images, and the
    path; `read` returns what maps inputs (B, 3, S, S) to logits (B, K). `packages` are those of the
    extra `extra` that it needs; `bakes` tells whether the file can normalise.
    """

    suffix: str
    write: Callable[[nn.Module, Network, Tensor, Path], None]
    read: Callable[[Path], Run]
    packages: tuple[str, ...] = ()
    extra: str = ""
    bakes: bool = True


class Deployed(nn.Module):
    """A network from an input of some form to logits, on the CPU, in float32 and eval mode."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: Network, form: str) -> None:
        super().__init__()
        self.module = copy.deepcopy(network.module).cpu().float().eval()
        self.form = form
        top = 255.0 if form == "uint8" else 1.0
        spec = network.card.input
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1) * top)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1) * top)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, S, S) of this form to logits (B, K)."""
        if self.form != "normalised":
            images = (images.float() - self.mean) / self.std
        logits: Tensor = self.module(images)
        return logits


def as_form(pixels: Pixels, form: str, spec: InputSpec) -> Tensor:
    """Turn pixels (N, S, S, 3) into an input (N, 3, S, S) of a form."""
    images = torch.from_numpy(pixels)
    if form == "normalised":
        return normalise(images, spec).contiguous()
    channels_first = images.permute(0, 3, 1, 2).contiguous()
    return channels_first if form == "uint8" else channels_first.float() / 255


def facts(network: Network, form: str) -> str:
    """Return as JSON what a file holds: the card without paths, and what its input has to be."""
    card: dict[str, Any] = network.card.model_dump(mode="json", exclude_none=True)
    card.pop("weights", None)
    said = {"input": INPUT, "expects": FORMS[form], "form": form, "output": OUTPUT, "card": card}
    return json.dumps(said, sort_keys=True)
