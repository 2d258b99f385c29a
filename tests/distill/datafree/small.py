"""Recipes that cost next to nothing, what makes images by them, and what a network is shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distill.datafree.inversion import Inversion
from distill.datafree.learner import make_learner
from distill.datafree.registry import find_data_free, make_recipe
from distill.datafree.synthesiser import Compute, Synthesiser, Terms
from distill.datafree.trainer import DataFreeTrainer
from distill.networks import Network
from distill.options import TrainOptions
from index.progress import Silent

from ..helpers import tiny

CPU = Compute(torch.device("cpu"), nullcontext)


def small(name: str, **more: Any) -> dict[str, Any]:
    """Options that make any method cost next to nothing."""
    known = type(find_data_free(name).recipe).model_fields
    usual = {"batch": 6, "steps": 3, "width": 3, "latent": 4, "replayed": 2, "remembered": 8}
    usual |= {"bank": 8, "embedding": 5}
    return {key: value for key, value in usual.items() if key in known} | more


def make(name: str, folder: Path, student: Network | None = None, **more: Any) -> Synthesiser:
    """A method's synthesiser, small, with random networks; `more` are options."""
    recipe = make_recipe(name, "paper", small(name, **more))
    learner = make_learner(recipe, tiny(0), student or tiny(1))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return find_data_free(name).synthesiser(learner, recipe, CPU, folder)


def all_terms(made: Synthesiser, images: Tensor) -> Terms:
    """Every weighted term of images, with what else weighs the pixels of an inversion."""
    found = made.terms(images)
    return found | made._priors(images) if isinstance(made, Inversion) else found


@contextmanager
def shown_to(network: Network) -> Iterator[list[Tensor]]:
    """Note the batches that a network is shown meanwhile."""
    seen: list[Tensor] = []
    hook = network.module.register_forward_pre_hook(
        lambda _, given: seen.append(given[0].detach().clone())
    )
    try:
        yield seen
    finally:
        hook.remove()


def trainer(name: str, folder: Path, progress: Silent | None = None, **given: Any) -> Any:
    more = {"student_steps": 3} if name in ("deepinversion", "adi", "cmi") else {}
    recipe = make_recipe(name, "paper", small(name, **(more | given.pop("recipe", {}))))
    usual = {"max_steps": 8, "batch_size": 5, "augment": "none", "device": "cpu"}
    usual |= {"precision": "float32", "checkpoint_every": 2, "log_every": 3}
    options = TrainOptions(**{**usual, **given})
    learner = make_learner(recipe, tiny(0), tiny(1))
    kind = find_data_free(name).synthesiser
    return DataFreeTrainer(learner, kind, recipe, options, folder, progress=progress)
