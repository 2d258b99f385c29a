"""What does the loop of methods without images cost beside a bare loop with the same terms?

    .venv/bin/python benchmarks/datafree_loop.py --data DATA

DFQ has the most terms. Both loops are taken in turns, and the best of each counts: noise only ever
adds to a time. The goal is 0.95 of the bare loop's steps a second.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from distill.datafree import terms
from distill.datafree.generator import Generator
from distill.datafree.learner import make_learner
from distill.datafree.recipe import GeneratorRecipe
from distill.datafree.registry import find_data_free, make_recipe
from distill.datafree.trainer import DataFreeTrainer
from distill.moments import BatchNormTaps, batch_moments, bn_distance
from distill.networks import load_network
from distill.options import TrainOptions


@dataclass(frozen=True)
class Given:
    """Card of the teacher, spec of the student."""

    teacher: Path
    student: str


def loop_rates(given: Given, steps: int, turns: int) -> tuple[float, float]:
    """Steps a second of the shared loop and of a bare one with DFQ's terms, best of `turns`."""
    best = [0.0, 0.0]
    for _ in range(turns):
        for place, loop in enumerate((shared_loop, bare_loop)):
            best[place] = max(best[place], loop(given, steps))
    return best[0], best[1]


def shared_loop(given: Given, steps: int) -> float:
    """Steps a second of `DataFreeTrainer`, less its set-up."""
    recipe, teacher, student = _parts(given)
    folder = Path(tempfile.mkdtemp())
    options = TrainOptions(max_steps=steps, batch_size=128, augment="none", **_exact(steps))
    try:
        kind = find_data_free("dfq").synthesiser
        learner = make_learner(recipe, teacher, student)
        trainer = DataFreeTrainer(learner, kind, recipe, options, folder)
        return _rate(trainer.fit, steps)
    finally:
        shutil.rmtree(folder)


def bare_loop(given: Given, steps: int) -> float:
    """Steps a second of the same arithmetic with nothing around it."""
    recipe, teacher, student = _parts(given)
    spec = teacher.card.input
    generator = Generator(spec, recipe.latent, recipe.width).to(memory_format=torch.channels_last)
    teacher.requires_grad_(False).to(memory_format=torch.channels_last)
    student.train().to(memory_format=torch.channels_last)
    taps = BatchNormTaps(teacher, bn_distance, batch_moments)
    makes = torch.optim.Adam(generator.parameters(), recipe.generator_lr, betas=(0.5, 0.999))
    learns = torch.optim.SGD(student.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)

    def make() -> None:
        student.eval().requires_grad_(False)
        images = generator(torch.randn(recipe.batch, recipe.latent))
        with taps:
            logits = teacher(images)
            loss = torch.stack(taps.latest()).sum()
        loss = loss + terms.one_hot(logits) + 20 * terms.balance(logits)
        loss = loss + terms.adversarial(logits, student(images), "kl")
        makes.zero_grad(set_to_none=True)
        loss.backward()
        makes.step()
        student.train().requires_grad_(True)

    def learn() -> None:
        with torch.no_grad():
            images = generator(torch.randn(128, recipe.latent))
            wanted = F.log_softmax(teacher(images), dim=1)
        found = F.log_softmax(student(images), dim=1)
        learns.zero_grad(set_to_none=True)
        F.kl_div(found, wanted, reduction="batchmean", log_target=True).backward()
        learns.step()

    def fit() -> None:
        for step in range(steps):
            if step % recipe.student_steps == 0:
                make()
            learn()

    return _rate(fit, steps)


def _parts(given: Given) -> Any:
    recipe = make_recipe("dfq", "fast", {})
    assert isinstance(recipe, GeneratorRecipe)
    teacher = load_network(given.teacher)
    student = load_network(
        given.student,
        num_classes=teacher.num_classes,
        input=teacher.card.input,
        allow_random=True,
    )
    return recipe, teacher, student


def _exact(steps: int) -> dict[str, Any]:
    return {"device": "cpu", "precision": "float32", "checkpoint_every": max(200, steps)}


def _rate(fit: Callable[[], object], steps: int) -> float:
    began = time.perf_counter()
    fit()
    return steps / (time.perf_counter() - began)


def main(arguments: Sequence[str] | None = None) -> None:
    """Time both loops and print their rates."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("KDCURATE_DATA"))
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args(arguments)
    if options.data is None:
        parser.error("give --data DIR, or set KDCURATE_DATA")
    given = Given(options.data / "teachers/resnet20.toml", "cifar:resnet8")
    shared, bare = loop_rates(given, options.steps, options.turns)
    print(
        f"resnet20 to cifar:resnet8, DFQ, `--preset fast`, float32, {options.steps} steps, best of "
        f"{options.turns}: the shared loop {shared:.2f} steps/s, a bare loop {bare:.2f}: "
        f"{shared / bare:.3f} of it. torch {torch.__version__}, {torch.get_num_threads()} threads."
    )


if __name__ == "__main__":
    main()
