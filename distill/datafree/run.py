"""Runs of methods that make their own images: what they are asked, and how they are begun."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.checkpoint import checkpoint_path
from distill.datafree.generator import start_of
from distill.datafree.keeping import write_images
from distill.datafree.learner import STUDENT, make_learner
from distill.datafree.recipe import ContrastRecipe, GeneratorRecipe, Recipe, RoundsRecipe
from distill.datafree.registry import (
    canonical,
    data_free_names,
    find_data_free,
    is_data_free,
    make_recipe,
)
from distill.datafree.synthesiser import batch_norm_taps
from distill.datafree.trainer import DataFreeTrainer, total_steps
from distill.failures import told_if_out_of_memory
from distill.finish import Trained
from distill.methods import Method, find_method
from distill.networks import Network
from distill.options import TrainOptions
from distill.processes import Processes
from distill.record import settings
from index.errors import UsageError
from index.progress import Progress

if TYPE_CHECKING:
    from distill.run import RunOptions

_LISTENED_TO = {
    *("epochs", "max_steps", "batch_size", "lr", "schedule", "augment", "seed"),
    *("device", "precision", "checkpoint_every", "log_every"),
}


def complete(options: RunOptions) -> RunOptions:
    """Return the options with a data-free method's own name and all numbers of its recipe.

    Options of a method that trains on a manifest stay as they are.

    Raises:
        UsageError: a method without the manifest that it needs, or with what is another's.
    """
    if not is_data_free(options.method):
        return _trained_on_a_manifest(options)
    name = canonical(options.method)
    if options.manifest is not None:
        raise UsageError(f"--method {name} makes its own images: leave --manifest out")
    if options.train.processes > 1:
        raise UsageError(f"--method {name} trains in one process: start it without torchrun")
    _refuse_others(name, options)
    if "without" in options.method_options:
        raise UsageError(f"--without is kd3's: {name} has no parts to leave out")
    recipe = make_recipe(name, options.preset or "paper", options.method_options)
    given, steps = options.method_options, total_steps(options.train)
    # A whole recipe is nobody's typing: it was completed before, maybe for a run that goes on.
    if given.keys() != type(recipe).model_fields.keys():
        _refuse_unread(name, recipe, given)
        if "warmup" in given:
            _check_warmup(recipe, steps)
        else:
            recipe = recipe.fitted(steps)
    _check_kept(options.keep_images, recipe, steps)
    return replace(options, method=name, method_options=recipe.model_dump())


def make_student_method(options: RunOptions, teacher: Network, student: Network) -> Method:
    """Return what the student learns by, of completed options.

    Raises:
        MethodError: the networks do not fit the method, or it can make no images for them.
    """
    recipe = recipe_of(options)
    if isinstance(recipe, GeneratorRecipe | ContrastRecipe):
        start_of(teacher.card.input.size)  # before what would send to another generator
    if recipe.bn:
        batch_norm_taps(teacher, published=find_data_free(options.method).recipe.bn > 0)
    return make_learner(recipe, teacher, student)


def train(
    workspace: Path,
    options: RunOptions,
    teacher: Network,
    method: Method,
    folder: Path,
    identity: dict[str, Any],
    progress: Progress,
    processes: Processes,
) -> Trained:
    """Train by completed options; what images are kept are there before the result says so.

    Raises:
        KdcurateError: memory is exhausted, or a loss or a weight is no longer finite.
        MethodError: the teacher does not fit the method.
    """
    recipe = recipe_of(options)
    remedy = f"--option batch= (now {recipe.batch})"
    with told_if_out_of_memory(options.train, checkpoint_path(folder), remedy=remedy):
        trainer = DataFreeTrainer(
            method,
            find_data_free(options.method).synthesiser,
            recipe,
            options.train,
            folder,
            identity=identity,
            progress=progress,
            processes=processes,
        )
        steps, seconds = trainer.fit()
        images = _kept(workspace, options, teacher, trainer, folder.name)
    own = {**options.method_options, "preset": options.preset or "paper"}
    row = settings(options.train, own, STUDENT, str(trainer.device))
    return Trained(trainer.deployed(), trainer.device, steps, seconds, row, images=images)


def _kept(
    workspace: Path, options: RunOptions, teacher: Network, trainer: DataFreeTrainer, run: str
) -> str | None:
    """Write the images that are to be kept; return their list."""
    if not options.keep_images:
        return None
    facts = {"method": options.method, "teacher": teacher.key}
    return str(write_images(workspace, run, trainer.samples(options.keep_images), facts))


def recipe_of(options: RunOptions) -> Recipe:
    """Return the recipe that completed options hold."""
    return make_recipe(options.method, "paper", options.method_options)  # which are all of them


def _check_warmup(recipe: Recipe, steps: int) -> None:
    """Refuse a warmup that would leave no round to the adversarial term."""
    if not isinstance(recipe, RoundsRecipe) or not recipe.adv or not recipe.warmup:
        return
    if recipe.warmup >= (rounds := recipe.rounds(steps)):
        raise UsageError(
            f"--option warmup={recipe.warmup}: in {steps} steps there are {rounds} rounds, and adv "
            "counts only in those after the warmup: give less, or --option adv=0"
        )


def _refuse_unread(name: str, recipe: Recipe, given: Mapping[str, Any]) -> None:
    """Refuse options that would make another run of the same training."""
    for option in given:
        if why := recipe.why_unread(option):
            raise UsageError(f"method {name}, option '{option}': {why}")


def _check_kept(count: int, recipe: Recipe, steps: int) -> None:
    """Refuse to keep more images than there will be."""
    if count < 0:
        raise UsageError(f"--keep-images is {count}: it must not be negative")
    limit = recipe.limit(steps)
    if limit is not None and count > limit:
        raise UsageError(f"--keep-images {count}: in {steps} steps this method makes {limit}")


def _refuse_others(name: str, options: RunOptions) -> None:
    """Refuse options that this loop would not listen to: no image of it is read from a crawl."""
    train = [field.name for field in fields(TrainOptions) if field.name not in _LISTENED_TO]
    given = [one for one in train if getattr(options.train, one) != getattr(TrainOptions, one)]
    if options.cache_budget_gib != type(options).cache_budget_gib:
        given.append("cache_budget")
    for one in given:
        raise UsageError(
            f"--{one.replace('_', '-')} is for methods that train on a manifest: leave it out with "
            f"--method {name}"
        )


def _trained_on_a_manifest(options: RunOptions) -> RunOptions:
    find_method(options.method)  # or it is refused
    names = ", ".join(data_free_names())
    if options.manifest is None:
        raise UsageError(
            f"--method {options.method} trains on images of a crawl: give their --manifest, or a "
            f"method that makes its own images ({names})"
        )
    for given, name in ((options.preset, "--preset"), (options.keep_images, "--keep-images")):
        if given:
            raise UsageError(
                f"{name} is for methods that make their own images ({names}): leave "
                f"it out with --method {options.method}"
            )
    return options
