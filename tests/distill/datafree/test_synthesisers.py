"""What makes images: where gradients go, and what is left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from distill.datafree import terms
from distill.datafree.adversary import Adversary
from distill.datafree.generator import pixel_range
from distill.datafree.inversion import Inversion
from distill.datafree.learner import L1, make_learner
from distill.datafree.purposes import Purpose
from distill.datafree.registry import data_free_names, find_data_free, make_recipe
from distill.datafree.replay import Replay
from distill.datafree.rounds import Rounds
from distill.datafree.synthesiser import Moment, frozen
from distill.methods.at import AT
from distill.methods.kd import KD
from index.errors import MethodError

from ..helpers import TINY, Mlp, batch, network, noise, tiny
from .small import CPU, all_terms, make, small

ADVERSARIAL = ("dfad", "zskt", "dfq", "ddad", "adi", "cmi", "pre")


def weights(module: torch.nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", data_free_names())
def test_making_images_leaves_no_trace_in_teacher_and_student(name: str, tmp_path: Path) -> None:
    made = make(name, tmp_path)
    made.learner.train()
    teacher, student, own = weights(made.teacher), weights(made.learner), weights(made)
    modes = [part.training for part in made.learner.modules()]
    assert made.prepare(Moment(1200, 0))["total"] != 0
    assert same(teacher, weights(made.teacher)) and same(student, weights(made.learner))
    assert all(one.grad is None for one in made.learner.parameters())
    assert all(one.grad is None and not one.requires_grad for one in made.teacher.parameters())
    assert [part.training for part in made.learner.modules()] == modes
    assert not any(part._forward_pre_hooks for part in made.teacher.modules())
    assert all(one.requires_grad for one in made.learner.parameters())
    if own:
        assert name == "deepinversion" or name == "adi" or not same(own, weights(made))


@pytest.mark.parametrize("name", data_free_names())
def test_images_are_in_the_teachers_range_and_without_gradient(name: str, tmp_path: Path) -> None:
    made = make(name, tmp_path)
    made.prepare(Moment(0, 0))
    images = made.images(5, Moment(0, 0))
    assert images.shape == (7 if name == "pre" else 5, 3, 8, 8) and not images.requires_grad
    assert torch.cat(list(made.samples(5, Moment(0, 0)))).shape == (5, 8, 8, 3)
    if isinstance(made, Rounds):  # before they become bytes, which are in range anyhow
        with frozen(made.learner):
            images, _ = made.make(torch.Generator())
    least, largest = pixel_range(TINY)
    assert bool((images >= least - 1e-5).all() and (images <= largest + 1e-5).all())


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_the_adversarial_term_asks_the_student(name: str, tmp_path: Path) -> None:
    """It would be 0 if the teacher took the student's place."""
    images, teacher = noise(6, 3, 8, 8, seed=3), tiny(0)
    # A student of the teacher's mind for CMI, but less sure.
    student = tiny(0 if name == "cmi" else 1)
    with torch.no_grad():
        student.classifier.weight.mul_(0.5)
        student.classifier.bias.mul_(0.5)
        z_t, z_s = teacher(images), student(images)
    made = make(name, tmp_path, student, act=0, bal=0, oh=0)
    with frozen(made.learner):
        found = made.terms(images)["adv"]
    if name == "cmi":
        expected = 0.5 * terms.agreed_divergence(z_t, z_s)
    else:
        expected = terms.adversarial(z_t, z_s, made.recipe.divergence)
    assert float(expected) < -1e-4
    torch.testing.assert_close(found, expected)
    twin = make(name, tmp_path, tiny(0))
    with frozen(twin.learner):
        assert abs(float(twin.terms(images)["adv"])) < 1e-6


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_the_adversarial_gradient_reaches_the_images_through_the_student(
    name: str, tmp_path: Path
) -> None:
    """The slope at each pixel is that of both networks' logits, the formula written again."""
    images, student = noise(6, 3, 8, 8, seed=3), tiny(0 if name == "cmi" else 1)
    with torch.no_grad():
        student.classifier.weight.mul_(0.5)
    made = make(name, tmp_path, student, act=0, bal=0, oh=0)
    x = images.clone().requires_grad_()
    with frozen(made.learner):
        (slope,) = torch.autograd.grad(made.terms(x)["adv"], x)
    y = images.double().requires_grad_()
    z_t, z_s = tiny(0).double()(y), student.double().eval()(y)
    (expected,) = torch.autograd.grad(formula(name, z_t, z_s), y)
    torch.testing.assert_close(slope.double(), expected, rtol=1e-3, atol=1e-7)
    assert float(slope.abs().max()) > 1e-6


def formula(name: str, z_t: Tensor, z_s: Tensor) -> Tensor:
    """-D as the papers have it, weighted, of logits in float64."""

    def kl(p: Tensor, q: Tensor) -> Tensor:
        return (p * (p / q).log()).sum(1)

    if name in ("dfad", "ddad"):
        return -(z_t - z_s).abs().mean()
    if name in ("adi", "pre"):
        p, q = (z_t / 3).softmax(1), (z_s / 3).softmax(1)
        return -(kl(p, (p + q) / 2) + kl(q, (p + q) / 2)).mean() / 2
    divergence = kl(z_t.softmax(1), z_s.softmax(1))
    agree = (z_t.argmax(1) == z_s.argmax(1)).double()
    return -(0.5 * agree * divergence).mean() if name == "cmi" else -divergence.mean()


@pytest.mark.parametrize("name", data_free_names())
def test_terms_carry_the_weights_of_the_recipe(name: str, tmp_path: Path) -> None:
    images, twin = noise(6, 3, 8, 8, seed=3), tiny(0)
    with torch.no_grad():  # of the teacher's mind, or cmi asks nothing
        twin.classifier.weight.mul_(0.5)
    weighed = make_recipe(name, "paper", {}).weighed
    numbers = {term: 2.0 + place for place, term in enumerate(weighed)}
    single, found = (
        all_terms(make(name, tmp_path, twin, **given), images)
        for given in (dict.fromkeys(weighed, 1.0), numbers)
    )
    assert found.keys() == single.keys() == numbers.keys()
    for term, factor in numbers.items():
        assert abs(float(single[term].detach())) > 1e-4
        torch.testing.assert_close(found[term], factor * single[term])


def test_terms_are_of_what_the_teacher_says(tmp_path: Path) -> None:
    images = noise(6, 3, 8, 8, seed=3)
    found = make("dfq", tmp_path, bal=1, act=1).terms(images)
    outputs = tiny(0).outputs(images)
    torch.testing.assert_close(found["oh"], terms.one_hot(outputs.logits))
    torch.testing.assert_close(found["bal"], terms.balance(outputs.logits))
    torch.testing.assert_close(found["act"], terms.activation(outputs.penultimate))


def test_statistics_are_compared_at_the_input_of_every_layer(tmp_path: Path) -> None:
    images, teacher = noise(6, 3, 8, 8, seed=3), tiny(0)
    found = make("dfq", tmp_path).terms(images)["bn"]
    layer = teacher.module.get_submodule("bn")
    with torch.no_grad():
        maps = teacher.module.get_submodule("conv")(images).double().numpy()
    gaps = (
        maps.mean((0, 2, 3)) - np.asarray(layer.running_mean, np.float64),
        maps.var((0, 2, 3)) - np.asarray(layer.running_var, np.float64),
    )
    assert float(found.detach()) == pytest.approx(sum(map(np.linalg.norm, gaps)), rel=1e-5)


def test_a_teacher_without_statistics_is_refused_with_who_would_do(tmp_path: Path) -> None:
    for name in ("dfq", "ddad", "deepinversion", "adi", "cmi"):
        recipe = make_recipe(name, "paper", small(name))
        learner = make_learner(recipe, network(Mlp(3)), network(Mlp(3)))
        with pytest.raises(
            MethodError, match="tests:net has no BatchNorm.*bn=0.*use dafl, dfad or pre"
        ):
            find_data_free(name).synthesiser(learner, recipe, CPU, tmp_path)
    recipe = make_recipe("dafl", "paper", small("dafl"))
    made = Adversary(make_learner(recipe, network(Mlp(3)), tiny(1)), recipe, CPU, tmp_path)
    assert made.prepare(Moment(0, 0)).keys() == {"total", "oh", "bal", "act"}


# What the student learns by


def test_the_students_losses() -> None:
    pictures, (teacher, student) = noise(6, 3, 8, 8), (tiny(0), tiny(1))
    with torch.no_grad():
        z_t, z_s = teacher(pictures), student(pictures)
    l1 = make_learner(make_recipe("dfad", "paper", {}), teacher, student)
    assert isinstance(l1, L1)
    expected = np.abs(z_t.double().numpy() - z_s.double().numpy()).mean()
    assert float(l1.loss(batch(pictures)).total.detach()) == pytest.approx(expected, rel=1e-5)
    kd = make_learner(make_recipe("cmi", "paper", {}), teacher, student)
    assert isinstance(kd, KD) and kd.options.temperature == 20
    zskt = make_learner(make_recipe("zskt", "paper", {}), teacher, student)
    assert isinstance(zskt, AT)
    found = {
        name: float(one.detach()) for name, one in zskt.loss(batch(pictures)).scalars().items()
    }
    assert found["total"] == pytest.approx(found["kl"] + 250 * found["attention"], rel=1e-5)
    kl = float(terms.kl_divergence(z_t, z_s).mean())
    assert found["kl"] == pytest.approx(kl, rel=1e-4)


# Turns


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_before_it_has_learned_at_all_the_student_has_no_say(name: str, tmp_path: Path) -> None:
    first, second = (make(name, tmp_path / str(seed), tiny(seed)) for seed in (1, 2))
    assert first.prepare(Moment(0, 0)) == second.prepare(Moment(0, 0))
    assert torch.equal(first.images(6, Moment(0, 0)), second.images(6, Moment(0, 0)))


def test_the_generator_learns_once_for_so_many_steps_of_the_student(tmp_path: Path) -> None:
    made = make("dafl", tmp_path, student_steps=3)
    turns = [bool(made.prepare(Moment(step, 0))) for step in range(7)]
    assert turns == [True, False, False, True, False, False, True]
    shown = [made.images(4, Moment(step, 0)) for step in (4, 5)]
    assert not torch.equal(*shown)


def test_zskt_shows_the_student_what_the_generator_learned_on(tmp_path: Path) -> None:
    made = make("zskt", tmp_path, student_steps=3)
    assert isinstance(made, Adversary)
    learned_on = made._noise(6, Moment(3, 0), Purpose.MAKE)
    for step in (3, 4, 5):
        assert torch.equal(made._noise(4, Moment(step, 0), Purpose.SHOW), learned_on[:4])
    assert not torch.equal(made._noise(6, Moment(6, 0), Purpose.SHOW), learned_on)


def test_a_round_is_made_when_it_is_due_and_not_twice(tmp_path: Path) -> None:
    made = make("deepinversion", tmp_path, student_steps=3, most=12)
    assert isinstance(made, Inversion)
    turns = [bool(made.prepare(Moment(step, 0))) for step in (0, 0, 1, 3, 3, 6, 9)]
    assert turns == [True, False, False, True, False, False, False]  # 12 images are all
    assert (made.pool.parts, len(made.pool)) == (2, 12)


# PRE


def test_the_memory_replays_what_was_made_before(tmp_path: Path) -> None:
    made = make("pre", tmp_path, student_steps=1)
    assert isinstance(made, Replay)
    assert made.images(5, Moment(0, 0)).shape[0] == 5  # there is nothing to replay yet
    losses = made.prepare(Moment(0, 0))
    assert {"memory_images", "memory_logits", "memory_kld"} <= losses.keys()
    assert int(made.seen) == 6 and made.images(5, Moment(0, 0)).shape[0] == 7
    kept = made.latents.clone()
    made.prepare(Moment(1, 0))
    assert torch.equal(made.latents[4:6], kept[4:6])  # 8 places: the first four were the oldest
    assert not torch.equal(made.latents[:4], kept[:4])


def test_the_prior_of_the_memory_carries_its_weight(tmp_path: Path) -> None:
    once, weighted = (
        make("pre", tmp_path, kld=kld).prepare(Moment(0, 0))["memory_kld"] for kld in (1, 0.25)
    )
    assert once > 1e-4 and weighted == pytest.approx(0.25 * once, rel=1e-5)
