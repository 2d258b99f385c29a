"""What a round of images is made by: pixels that are optimised, and crops that are contrasted."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from distill.datafree.contrast import Contrast
from distill.datafree.generator import pixel_range
from distill.datafree.rounds import Rounds
from distill.datafree.synthesiser import Moment, Synthesiser, frozen

from ..helpers import TINY, noise, tiny
from .small import make, shown_to

STILL = 1e-30  # a rate that changes no pixel


def made_round(made: Synthesiser, seed: int = 0) -> tuple[Tensor, dict[str, float]]:
    """A round's images, as they are before they become bytes, and their last terms."""
    assert isinstance(made, Rounds)
    with frozen(made.learner):
        return made.make(torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["deepinversion", "adi", "cmi"])
def test_classes_are_asked_for_at_random_and_not_those_the_teacher_sees(
    name: str, tmp_path: Path
) -> None:
    """Of a teacher that always sees the last, the loss says how often the others were asked."""
    asked = []
    for seed in (0, 1):
        made = make(name, tmp_path, batch=60, steps=1, oh=1)
        with torch.no_grad():
            made.teacher.classifier.weight.zero_()
            made.teacher.classifier.bias.copy_(torch.tensor([0.0, 990.0, 1000.0]))
        total = round(60 * made_round(made, seed)[1]["oh"])  # a thousand for the first, else ten
        first, second = total // 1000, total % 1000 // 10
        assert total % 10 == 0 and min(first, second, 60 - first - second) >= 10
        asked.append((first, second))
    assert asked[0] != asked[1]


# Pixels


def test_the_priors_of_an_inversion_are_norms(tmp_path: Path) -> None:
    """sqrt(sum dx^2) + sqrt(sum dy^2), and sqrt(sum x^2), of all the images at once."""
    given = {"tv": 0.5, "l2": 0.25, "jitter": 0, "pixel_lr": STILL, "steps": 1}
    images, found = made_round(make("deepinversion", tmp_path, **given))
    x = images.double().numpy()
    across, down = (np.sqrt((np.diff(x, axis=axis) ** 2).sum()) for axis in (3, 2))
    assert found["tv"] == pytest.approx(0.5 * (across + down), rel=1e-5)
    assert found["l2"] == pytest.approx(0.25 * np.sqrt((x**2).sum()), rel=1e-5)


def test_each_pixel_goes_down_its_slope_at_the_rate_of_the_recipe(tmp_path: Path) -> None:
    """Adam's first step is by its rate, whatever the slope; both priors' is written out here."""
    given = {"jitter": 0, "steps": 1, "oh": 0, "bn": 0, "tv": 1, "l2": 1}
    before, _ = made_round(make("deepinversion", tmp_path, **given, pixel_lr=STILL))
    after, _ = made_round(make("deepinversion", tmp_path, **given, pixel_lr=0.01))
    x = before.double().requires_grad_()
    across, down = x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]
    loss = torch.stack([one.square().sum().sqrt() for one in (across, down, x)]).sum()
    (slope,) = torch.autograd.grad(loss, x)
    expected = (before - 0.01 * slope.sign().float()).clamp(*pixel_range(TINY))
    steep = slope.abs() > 1e-4
    assert float(steep.float().mean()) > 0.95
    torch.testing.assert_close(after[steep], expected[steep], rtol=0, atol=1e-5)


@pytest.mark.parametrize("jitter", [0, 2])
def test_an_inversion_shows_its_images_at_every_shift_of_the_jitter(
    jitter: int, tmp_path: Path
) -> None:
    made = make("deepinversion", tmp_path, steps=200, jitter=jitter, pixel_lr=STILL)
    with shown_to(made.teacher) as seen:
        images, _ = made_round(made)
    rolled = {by: images.roll(by, (2, 3)) for by in product(range(-3, 4), repeat=2)}
    shifts = [by for shown in seen for by, other in rolled.items() if torch.equal(shown, other)]
    assert len(shifts) == len(seen) == 200
    assert set(shifts) == set(product(range(-jitter, jitter + 1), repeat=2))


def test_optimised_pixels_stay_what_an_image_can_be(tmp_path: Path) -> None:
    """Steps as large as this leave the range at both ends, and are clipped there at once."""
    made = make("deepinversion", tmp_path, pixel_lr=0.5, steps=5, jitter=0)
    with shown_to(made.teacher) as seen:
        images, _ = made_round(made)
    least, largest = pixel_range(TINY)
    for shown in (*seen, images):
        assert bool((shown >= least).all() and (shown <= largest).all())
        assert bool((shown == least).any() and (shown == largest).any())


def test_optimised_pixels_please_the_teacher_more(tmp_path: Path) -> None:
    short, long = (
        make("deepinversion", tmp_path / str(steps), steps=steps).prepare(Moment(0, 0))
        for steps in (1, 60)
    )
    assert long["bn"] < 0.7 * short["bn"] and long["total"] < short["total"]


def test_adaptive_inversion_is_told_of_the_student(tmp_path: Path) -> None:
    assert "adv" not in make("deepinversion", tmp_path / "di").prepare(Moment(1, 0))
    one, other = make("adi", tmp_path / "1", tiny(1)), make("adi", tmp_path / "2", tiny(2))
    assert one.prepare(Moment(0, 0)) == other.prepare(Moment(0, 0))  # neither has learned
    first, second = (made.prepare(Moment(400, 0)) for made in (one, other))
    assert first["adv"] < 0 and first["adv"] != second["adv"]


# CMI


def test_the_bank_keeps_the_latest_and_contrasts_with_all_of_it(tmp_path: Path) -> None:
    made = make("cmi", tmp_path, student_steps=1, bank=8)
    assert isinstance(made, Contrast)
    made.prepare(Moment(0, 0))
    first = made.bank.clone()
    assert int(made.seen) == 6 and not bool(first[6:].any()) and bool(first[:6].any(1).all())
    made.prepare(Moment(1, 0))
    assert int(made.seen) == 12
    assert torch.equal(made.bank[4:6], first[4:6]) and bool(made.bank[6:].any(1).all())
    assert not torch.equal(made.bank[:4], first[:4])


def test_the_best_batch_is_kept_whatever_came_after(tmp_path: Path) -> None:
    """With so high a rate, the loss rises after the first steps."""
    short, long = (
        make("cmi", tmp_path / str(steps), steps=steps, generator_lr=30.0, cr=0) for steps in (1, 6)
    )
    assert long.prepare(Moment(0, 0))["total"] <= short.prepare(Moment(0, 0))["total"]


def test_the_contrast_teaches_the_head_along_with_the_images(tmp_path: Path) -> None:
    made = make("cmi", tmp_path)
    assert isinstance(made, Contrast)
    before = [one.clone() for one in made.head.parameters()]
    assert made.prepare(Moment(0, 0))["cr"] > 0
    after = list(made.head.parameters())
    assert not any(torch.equal(*both) for both in zip(before, after, strict=True))
    assert "cr" not in make("cmi", tmp_path / "without", cr=0).prepare(Moment(0, 0))


def test_one_view_is_a_zoom_and_the_other_the_image_shifted(tmp_path: Path) -> None:
    """A shifted image has no other values than its own and the padding's; a resized one has."""
    made, images = make("cmi", tmp_path), noise(6, 3, 8, 8, seed=3)
    with shown_to(made.teacher) as seen:
        made.terms(images)
    assert torch.equal(seen[0], images) and len(seen) == 2
    local, whole = seen[1].chunk(2)
    assert local.shape == whole.shape == images.shape
    for image, zoomed, shifted in zip(images, local, whole, strict=True):
        own = torch.cat([image.flatten(), torch.zeros(1)])
        assert bool(torch.isin(shifted, own).all())
        assert float(torch.isin(zoomed, own).float().mean()) < 0.5


def test_the_contrast_is_that_of_both_views_and_of_the_bank(tmp_path: Path) -> None:
    """cr times InfoNCE at tau, of the teacher's vectors behind the head, in float64."""
    made = make("cmi", tmp_path, cr=0.7, tau=0.5)
    assert isinstance(made, Contrast)
    made.prepare(Moment(0, 0))
    with shown_to(made.teacher) as seen, torch.no_grad():
        found = float(made.terms(noise(6, 3, 8, 8, seed=3))["cr"])
        vectors = torch.cat([made.teacher.outputs(seen[1]).penultimate, made.bank[:6]])
        embedded = made.head.double()(vectors.double()).numpy()
    unit = embedded / np.linalg.norm(embedded, axis=1, keepdims=True)
    alike = np.exp(unit[:6] @ unit[6:].T / 0.5)  # with the 6 other views, and 6 of the bank
    assert alike.shape == (6, 12)
    expected = -np.log(np.diag(alike) / alike.sum(axis=1)).mean()
    assert found == pytest.approx(0.7 * expected, rel=1e-4)
