"""The methods that need no images, by name: which synthesiser, and its numbers.

Numbers that no source states are inferred, and docs/methods.md says which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from pydantic import ValidationError

from distill.datafree.adversary import Adversary
from distill.datafree.contrast import Contrast
from distill.datafree.inversion import Inversion
from distill.datafree.recipe import (
    ContrastRecipe,
    GeneratorRecipe,
    InversionRecipe,
    Recipe,
    ReplayRecipe,
)
from distill.datafree.replay import Replay
from distill.datafree.synthesiser import Synthesiser
from distill.methods import METHODS as TRAINED_ON_IMAGES
from distill.methods.base import refused_option
from index.errors import UsageError, nearest

Preset = Literal["paper", "fast"]
STEPS_AN_EPOCH = 400


@dataclass(frozen=True)
class DataFree:
    """A method: its synthesiser, the published recipe, what `fast` changes in it, its training."""

    synthesiser: type[Synthesiser]
    recipe: Recipe
    fast: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)


SMALL = {"width": 32, "batch": 128}  # of a generator, for a CPU
SHOWN_AGAIN = {"augment": "crop"}  # an image of a pool is seen many times
INVERTED = InversionRecipe(bn=10, oh=1, student_steps=400, temperature=20)
FAST_ROUNDS = {"batch": 128, "student_steps": 100}
FAST_INVERSION = {"steps": 200, **FAST_ROUNDS}
# Half of the rounds of 10 epochs: a student that sees few images for long learns them by heart.
WARMUP = {"warmup": 20}

METHODS: dict[str, DataFree] = {
    "dafl": DataFree(Adversary, GeneratorRecipe(oh=1, bal=20, act=1e-3), SMALL),
    "dfad": DataFree(Adversary, GeneratorRecipe(adv=1, divergence="l1", loss="l1"), SMALL),
    "zskt": DataFree(
        Adversary,
        GeneratorRecipe(adv=1, student_steps=10, same_noise=True, loss="attention"),
        SMALL,
    ),
    "dfq": DataFree(Adversary, GeneratorRecipe(bn=1, oh=1, adv=1, bal=20, student_steps=10), SMALL),
    "ddad": DataFree(
        Adversary, GeneratorRecipe(bn=1, oh=1, adv=1, divergence="l1", loss="l1"), SMALL
    ),
    "deepinversion": DataFree(Inversion, INVERTED, FAST_INVERSION, SHOWN_AGAIN),
    "adi": DataFree(
        Inversion,
        INVERTED.model_copy(update={"adv": 1.0, "divergence": "js"}),
        FAST_INVERSION | WARMUP,
        SHOWN_AGAIN,
    ),
    "cmi": DataFree(
        Contrast,
        ContrastRecipe(bn=1, oh=1, adv=0.5, student_steps=400, temperature=20),
        {**SMALL, "steps": 100, **FAST_ROUNDS, **WARMUP},
        SHOWN_AGAIN,
    ),
    "pre": DataFree(
        Replay,
        ReplayRecipe(oh=1, bal=20, act=1e-3, adv=1, divergence="js", loss="l1"),
        {**SMALL, "replayed": 16},
        {"batch_size": 1024},
    ),
}
ALIASES = {"di": "deepinversion"}
_TRAINING: dict[str, dict[str, Any]] = {
    "paper": {"epochs": 200, "batch_size": 256, "augment": "none"},
    "fast": {"epochs": 10, "batch_size": 128, "augment": "none"},
}


def data_free_names() -> list[str]:
    """Names of all methods that make their own images."""
    return list(METHODS)


def is_data_free(name: str) -> bool:
    """Tell whether a method makes its own images."""
    return canonical(name) in METHODS


def canonical(name: str) -> str:
    """Return the name of a method behind an alias, and however it is written: KD3, DI.

    A name that is none of kdcurate's own, as a plugin's, stays as it is.
    """
    lower = name.lower()
    known = ALIASES.get(lower, lower)
    return known if known in METHODS or known in TRAINED_ON_IMAGES else name


def find_data_free(name: str) -> DataFree:
    """Return the method of this name, or of this alias; `is_data_free` tells whether there is one.

    Raises:
        UsageError: there is none.
    """
    if not is_data_free(name):
        raise UsageError(f"no data-free method '{name}': {nearest(name, METHODS)}")
    return METHODS[canonical(name)]


def make_recipe(name: str, preset: str, options: Mapping[str, Any]) -> Recipe:
    """Return a method's recipe as published, as the preset changes it, and as the options do.

    Raises:
        UsageError: an unknown preset or option, a bad value, or no term to make images by.
    """
    _check_preset(preset)
    found = find_data_free(name)
    numbers = found.recipe.model_dump() | (dict(found.fast) if preset == "fast" else {})
    try:
        recipe = type(found.recipe).model_validate(numbers | dict(options))
    except ValidationError as error:
        raise UsageError(refused_option(name, type(found.recipe), error)) from error
    if not any(getattr(recipe, weight) for weight in recipe.weighed):
        raise UsageError(
            f"method {name} has nothing to make images by: all its weights are 0; give one of "
            f"{', '.join(recipe.weighed)} another value with --option"
        )
    return recipe


def training_of(name: str, preset: str) -> dict[str, Any]:
    """Return epochs (of 400 steps), batch size and augmentation that a method is trained with.

    Raises:
        UsageError: an unknown method or preset.
    """
    _check_preset(preset)
    own = dict(find_data_free(name).training)
    if preset == "fast":
        own.pop("batch_size", None)
    return _TRAINING[preset] | own


def _check_preset(preset: str) -> None:
    if preset not in get_args(Preset):
        raise UsageError(f"--preset is {preset!r}: choose one of {', '.join(get_args(Preset))}")
