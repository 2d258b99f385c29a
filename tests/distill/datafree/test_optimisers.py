"""The optimisers of a run: those that the papers name, for the student and for the images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from distill.datafree.registry import data_free_names
from distill.datafree.trainer import DataFreeTrainer
from distill.options import TrainOptions

from .small import make

STUDENT = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4, "nesterov": False}
GENERATOR = {"lr": 1e-3, "betas": (0.5, 0.999), "weight_decay": 0}
PIXELS = {"lr": 0.05, "betas": (0.9, 0.999), "weight_decay": 0}
# Beside the generator's: the VAE's of PRE, and the head's of CMI.
IMAGES: dict[str, list[dict[str, Any]]] = {"pre": [GENERATOR] * 2, "cmi": [GENERATOR] * 2}
IMAGES |= {"deepinversion": [PIXELS], "adi": [PIXELS]}


@pytest.mark.parametrize("name", data_free_names())
def test_every_optimiser_that_takes_a_step_is_the_published_one(name: str, tmp_path: Path) -> None:
    taken: dict[Optimizer, dict[str, Any]] = {}

    def note(optimizer: Optimizer, *_: object) -> None:
        (taken[optimizer],) = ({**group} for group in optimizer.param_groups)

    made = make(name, tmp_path)
    options = TrainOptions(max_steps=1, batch_size=5, augment="none", device="cpu")
    run = DataFreeTrainer(made.learner, type(made), made.recipe, options, tmp_path)
    hook = register_optimizer_step_pre_hook(note)
    try:
        run.fit()
    finally:
        hook.remove()
    expected = [*IMAGES.get(name, [GENERATOR]), STUDENT]
    kinds = [torch.optim.Adam] * (len(expected) - 1) + [torch.optim.SGD]
    assert [type(optimizer) for optimizer in taken] == kinds
    for found, numbers in zip(taken.values(), expected, strict=True):
        assert {key: found[key] for key in numbers} == numbers
