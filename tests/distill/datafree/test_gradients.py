"""Every weighted term of every method moves the images, and the generator that makes them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from distill.datafree.adversary import Adversary
from distill.datafree.contrast import Contrast
from distill.datafree.generator import pixel_range
from distill.datafree.learner import make_learner
from distill.datafree.registry import data_free_names, find_data_free, make_recipe
from distill.datafree.replay import Replay
from distill.datafree.synthesiser import Moment, Synthesiser, frozen
from distill.networks import Card, InputSpec, Network

from ..helpers import TinyNet, noise, tiny
from .small import CPU, all_terms, small


def make(name: str, folder: Path) -> Synthesiser:
    recipe = make_recipe(name, "paper", small(name))
    twin = tiny(0)
    with torch.no_grad():  # of the teacher's mind, but less sure: what cmi learns by
        twin.classifier.weight.mul_(0.5)
    learner = make_learner(recipe, tiny(0), twin)
    return find_data_free(name).synthesiser(learner, recipe, CPU, folder)


@pytest.mark.parametrize("name", data_free_names())
def test_every_term_has_a_slope_at_the_images(name: str, tmp_path: Path) -> None:
    made = make(name, tmp_path)
    images = noise(6, 3, 8, 8, seed=3).requires_grad_()
    with frozen(made.learner):
        found = all_terms(made, images)
        slopes = {
            term: torch.autograd.grad(value, images, retain_graph=True)[0]
            for term, value in found.items()
        }
    assert found.keys() == {one for one in made.recipe.weighed if getattr(made.recipe, one)}
    assert all(float(slope.abs().max()) > 0 for slope in slopes.values()), slopes.keys()


@pytest.mark.parametrize("name", ["dafl", "dfad", "zskt", "dfq", "ddad", "pre", "cmi"])
def test_all_of_the_generator_learns(name: str, tmp_path: Path) -> None:
    made = make(name, tmp_path)
    if isinstance(made, Contrast):
        generator = made._painter()
    else:
        assert isinstance(made, Adversary)
        generator = made.generator
    code = noise(6, 4).requires_grad_()
    with frozen(made.learner):
        torch.stack(list(made.terms(generator(code)).values())).sum().backward()  # type: ignore[no-untyped-call]
    assert code.grad is not None and float(code.grad.abs().max()) > 0
    assert all(one.grad is not None for one in generator.parameters())
    assert all(one.grad is None for one in (*made.learner.parameters(), *made.teacher.parameters()))


@pytest.mark.parametrize("size", [28, 32, 64])
@pytest.mark.parametrize("name", ["dafl", "pre"])
def test_what_each_generator_makes_is_in_the_teachers_range(
    name: str, size: int, tmp_path: Path
) -> None:
    """The usual one's, and with them what the VAE of PRE replays."""
    spec = InputSpec(size=size, mean=(0.1, 0.5, 0.9), std=(0.3, 0.2, 0.05))
    card = Card(architecture="tests:net", input=spec)
    teacher, student = (Network(TinyNet(4), card).eval() for _ in range(2))
    recipe = make_recipe(name, "paper", small(name))
    learner = make_learner(recipe, teacher, student)
    made = find_data_free(name).synthesiser(learner, recipe, CPU, tmp_path)
    made.prepare(Moment(0, 0))
    images = made.images(3, Moment(0, 0))
    assert images.shape == (3 + 2 * isinstance(made, Replay), 3, size, size)
    least, largest = pixel_range(spec)
    assert bool((images >= least - 1e-4).all() and (images <= largest + 1e-4).all())
