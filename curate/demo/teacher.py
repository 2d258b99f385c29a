"""The demo's teacher: trained on real handwritten digits, as a user's was on data now gone."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.labelled import load_labelled
from distill.networks import InputSpec, Network, load_network, normalise, save_student
from distill.schedule import onecycle
from index.progress import Progress

ARCHITECTURE = "cifar:resnet14"
STEPS, BATCH, PEAK = 400, 64, 0.1
_PLAIN = 0.4


def train_teacher(data: Path, folder: Path, side: int, progress: Progress) -> Path:
    """Train on a labelled Parquet file of white digits on black; return the teacher's card.

    Cross-entropy, one-cycle SGD, seeded. A production teacher is trained on varied views, and only
    then does its confidence say something of images that it was not made for: so is this one.
    """
    spec = InputSpec(size=side, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    labelled = load_labelled(str(data), spec.view())
    network = load_network(ARCHITECTURE, num_classes=10, input=spec, allow_random=True).train()
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.SGD(
        network.parameters(), lr=PEAK, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    pixels, labels = torch.from_numpy(labelled.pixels), torch.from_numpy(labelled.labels)
    with progress.step("Training the teacher", STEPS, "steps") as advance:
        for step in range(STEPS):
            chosen = torch.randint(len(labels), (BATCH,), generator=generator)
            optimiser.param_groups[0]["lr"] = PEAK * onecycle(step / STEPS)
            ink = (normalise(pixels[chosen], spec)[:, :1] + 1) / 2
            images = 2 * coloured(bent(ink, generator), generator) - 1
            loss = F.cross_entropy(network(images), labels[chosen])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            advance(1)
    return save_student(_named(network), folder, provenance={}, name="teacher")


def bent(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Scale, turn, shear and move each mask (B, 1, S, S) a little."""
    count = len(ink)
    draw = torch.rand(5, count, generator=generator)
    scale, turn, shear = 1 / (0.55 + 0.6 * draw[0]), 0.5 * (draw[1] - 0.5), 0.4 * (draw[2] - 0.5)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = scale * turn.cos(), shear - scale * turn.sin()
    theta[:, 1, 0], theta[:, 1, 1] = scale * turn.sin(), scale * turn.cos()
    theta[:, :, 2] = 0.3 * (draw[3:].T - 0.5)
    grid = F.affine_grid(theta, list(ink.shape), align_corners=False)
    return F.grid_sample(ink, grid, align_corners=False)


def coloured(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Lay masks (B, 1, S, S) as one colour on another, four in ten white on black: (B, 3, S, S)."""
    count, _, height, width = ink.shape
    front, ground = torch.rand(2, count, 3, 1, 1, generator=generator)
    plain = torch.rand(count, 1, 1, 1, generator=generator) < _PLAIN
    front, ground = front.masked_fill(plain, 1.0), ground.masked_fill(plain, 0.0)
    noise = torch.randn(count, 3, height, width, generator=generator)
    strength = 0.05 * torch.rand(count, 1, 1, 1, generator=generator)
    images: Tensor = ground + (front - ground) * ink + strength * noise
    return images.clamp(0, 1)


def _named(network: Network) -> Network:
    """Name the classes, so that queries can speak of them."""
    network.card = network.card.model_copy(update={"classes": [str(digit) for digit in range(10)]})
    return network.eval()
