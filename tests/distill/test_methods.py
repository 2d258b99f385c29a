"""Distillation methods: their losses against NumPy in float64, and who learns from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from distill.methods import METHODS, Method, find_method, method_names
from distill.methods.contrast import nt_xent
from distill.methods.kd import KD, soft_divergence
from distill.methods.kd3 import KD3, gap_weight
from distill.methods.mixdistribution import mix_distribution, mix_with
from distill.methods.sharing import feature_gap, shared_net
from distill.networks import InputSpec, load_network, save_student
from distill.networks.cost import cost
from index.errors import MethodError, UsageError

from .helpers import Mlp, batch, network, noise, tiny

Array = npt.NDArray[np.float64]


@pytest.fixture(autouse=True)
def same_weights() -> None:
    """Networks begin with the same weights, whatever ran before."""
    torch.manual_seed(0)


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    result: Array = powers / powers.sum(1, keepdims=True)
    return result


def numpy(tensor: Tensor) -> Array:
    result: Array = tensor.detach().double().numpy()
    return result


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Units


def test_soft_divergence_against_numpy() -> None:
    teacher, student = noise(5, 3), noise(5, 3, seed=1)
    p, q = softmax(numpy(teacher) / 4), softmax(numpy(student) / 4)
    expected = 16 * (p * np.log(p / q)).sum(1)
    np.testing.assert_allclose(numpy(soft_divergence(teacher, student, 4)), expected, atol=1e-5)
    assert soft_divergence(teacher, teacher, 4).abs().max() < 1e-6


def test_soft_divergence_by_hand() -> None:
    # At T = 1: p = (3/4, 1/4) against q = (1/2, 1/2).
    teacher, student = torch.tensor([[np.log(3.0), 0.0]]), torch.zeros(1, 2)
    expected = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    assert soft_divergence(teacher, student, 1).item() == pytest.approx(expected)


def test_nt_xent_against_numpy() -> None:
    first, second = noise(4, 6), noise(4, 6, seed=1)
    views = np.concatenate([numpy(first), numpy(second)])
    views /= np.linalg.norm(views, axis=1, keepdims=True)
    powers = np.exp(views @ views.T / 0.3)
    np.fill_diagonal(powers, 0)
    losses = [-np.log(powers[i, (i + 4) % 8] / powers[i].sum()) for i in range(8)]
    expected = [(losses[i] + losses[i + 4]) / 2 for i in range(4)]
    np.testing.assert_allclose(numpy(nt_xent(first, second, 0.3)), expected, rtol=1e-5)


def test_nt_xent_of_one_image_is_zero() -> None:
    assert nt_xent(noise(1, 6), noise(1, 6, seed=1), 0.3).item() == pytest.approx(0)


def test_mixing_by_hand() -> None:
    images = torch.tensor([[[[1.0, 3.0]]], [[[10.0, 20.0]]]])  # means 2, 15; deviations 1, 5
    mixed = mix_with(images, torch.tensor([1, 0]), torch.tensor([0.75, 0.0]))
    # .75 (2, 1) + .25 (15, 5) = (5.25, 2); then the other image's own (2, 1).
    expected = [[3.25, 7.25], [1.0, 3.0]]
    np.testing.assert_allclose(mixed.flatten(1).numpy(), expected, rtol=1e-4)


def test_mixed_images_have_the_mixed_moments() -> None:
    images = noise(6, 3, 5, 7) * 3 + 1
    partners, shares = torch.tensor([3, 2, 5, 0, 4, 1]), torch.linspace(0, 1, 6)
    mixed = numpy(mix_with(images, partners, shares))
    x, lam = numpy(images), shares.double().numpy()[:, None]
    for moment in (lambda a: a.mean((2, 3)), lambda a: a.std((2, 3))):
        expected = lam * moment(x) + (1 - lam) * moment(x)[partners.numpy()]
        np.testing.assert_allclose(moment(mixed), expected, rtol=1e-4, atol=1e-5)


def test_mixing_with_itself_changes_nothing_even_where_flat() -> None:
    images = noise(2, 3, 4, 4)
    images[0, 0] = 5.0
    same = mix_with(images, torch.tensor([0, 1]), torch.tensor([0.3, 0.9]))
    torch.testing.assert_close(same, images)


def test_mixing_draws_from_the_generator_alone() -> None:
    images = noise(16, 3, 4, 4)
    first, again = (mix_distribution(images, generator(1)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, mix_distribution(images, generator(2)))


def test_feature_gap_and_its_weight_against_numpy() -> None:
    student, teacher = noise(3, 2, 4, 4), noise(3, 2, 8, 8, seed=1)
    pooled = numpy(teacher).reshape(3, 2, 4, 2, 4, 2).mean((3, 5))
    expected = ((numpy(student) - pooled) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(numpy(feature_gap(student, teacher)), expected, rtol=1e-5)
    z_s, z_t = noise(3, 5), noise(3, 5, seed=1)
    distance = np.linalg.norm(numpy(z_s) - numpy(z_t), axis=1)
    np.testing.assert_allclose(numpy(gap_weight(z_s, z_t)), 1 / (1 + np.exp(-distance)), rtol=1e-5)


# Whole methods


def make(name: str, options: dict[str, Any] | None = None, **student: int) -> Method:
    method = find_method(name)(tiny(0), tiny(1, **student), options or {})
    method.prepare(12)
    return method


def test_kd_total_against_numpy() -> None:
    method = make("kd", {"temperature": 2.0, "hard": 0.25})
    images, weights = noise(4, 3, 8, 8), torch.tensor([1.0, 2.0, 0.0, 1.0])
    found = method.loss(batch(images, weights))
    z_t, z_s = numpy(method.teacher(images)), numpy(method.student_logits(images))
    p, q = softmax(z_t / 2), softmax(z_s / 2)
    kl = (weights.numpy() * 4 * (p * np.log(p / q)).sum(1)).mean()
    nll = -np.log(softmax(z_s)[np.arange(4), z_t.argmax(1)])
    hard = (weights.numpy() * nll).mean()
    assert found.terms["kl"].item() == pytest.approx(kl, rel=1e-4)
    assert found.terms["hard"].item() == pytest.approx(hard, rel=1e-4)
    assert found.total.item() == pytest.approx(0.75 * kl + 0.25 * hard, rel=1e-4)


@pytest.mark.parametrize("student", [{"channels": 6}, {"stride": 1}, {"stride": 4}])
def test_kd3_feature_loss_against_numpy(student: dict[str, int]) -> None:
    method = make("kd3", **student).eval()
    images, weights = noise(4, 3, 8, 8), torch.tensor([1.0, 0.5, 0.0, 2.0])
    found = method.loss(batch(images, weights))
    own, wanted = method.student.outputs(images), method.teacher.outputs(images)
    assert own.features is not None and wanted.features is not None
    projected, target = numpy(own.features), numpy(wanted.features)
    if target.shape != projected.shape:  # the student's stride of 4 leaves 2 x 2 of 4 x 4
        target = target.reshape(4, 4, 2, 2, 2, 2).mean((3, 5))
    assert target.shape == projected.shape
    distance = np.linalg.norm(numpy(own.logits) - numpy(wanted.logits), axis=1)
    gap = ((projected - target) ** 2).mean((1, 2, 3)) / (1 + np.exp(-distance))
    assert found.terms["feature"].item() == pytest.approx((weights.numpy() * gap).mean(), rel=1e-4)
    expected = found.terms["feature"] + 0.001 * found.terms["contrast"]
    assert found.total.item() == pytest.approx(expected.item())


def test_kd3_contrasts_the_students_own_pooled_features() -> None:
    method = make("kd3", channels=6).eval()
    assert isinstance(method, KD3) and method.embed is not None
    images = noise(4, 3, 8, 8)
    found = method.loss(batch(images, seed=3)).terms["contrast"]
    vectors = [
        method.embed(shared_net(method.student).body_map(view).mean((2, 3)))
        for view in (images, mix_distribution(images, generator(3)))
    ]
    assert found.item() == pytest.approx(nt_xent(*vectors, temperature=0.3).mean().item())
    assert method.embed.weight.shape == (128, 6)


def test_kd3_without_contrast_is_the_feature_loss() -> None:
    found = make("kd3", {"contrast": 0}).loss(batch(noise(2, 3, 8, 8)))
    assert found.terms["contrast"].item() == 0
    assert torch.equal(found.total, found.terms["feature"])


def test_kd3_logits_come_from_the_teachers_classifier() -> None:
    method = make("kd3", channels=6)
    outputs = method.student.outputs(noise(2, 3, 8, 8))
    wanted = method.teacher.classifier
    torch.testing.assert_close(outputs.logits, wanted(outputs.penultimate))
    assert method.student.classifier.weight.data_ptr() != wanted.weight.data_ptr()


@pytest.mark.parametrize("name", METHODS)
def test_gradients_reach_the_student_and_not_the_teacher(name: str) -> None:
    method = make(name).train()
    frozen = {key: value.clone() for key, value in method.teacher.state_dict().items()}
    method.loss(batch(noise(4, 3, 8, 8))).total.backward()
    trained = [parameter for parameter in method.parameters() if parameter.requires_grad]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained if p.ndim > 1)
    assert all(p.grad is None and not p.requires_grad for p in method.teacher.parameters())
    assert not method.teacher.training
    for key, value in method.teacher.state_dict().items():
        assert torch.equal(value, frozen[key])
    stuck = {key for key, p in method.named_parameters() if not p.requires_grad}
    classifier = {f"student.module.classifier.{part}" for part in ("weight", "bias")}
    assert stuck == (classifier if name in ("kd3", "simkd") else set())


@pytest.mark.parametrize("name", METHODS)
def test_the_state_holds_no_teacher_but_moving_takes_it_along(name: str) -> None:
    method = make(name)
    teachers = {id(part) for part in method.teacher.modules()}
    assert not teachers & {id(part) for part in method.modules()}
    method.to(torch.float64)
    assert method.teacher.classifier.weight.dtype == torch.float64


@pytest.mark.parametrize("name", METHODS)
def test_a_weight_of_zero_silences_an_image(name: str) -> None:
    """In eval mode, for BatchNorm's statistics are of all images that are shown."""
    method = make(name).eval()
    images, weights = noise(4, 3, 8, 8).requires_grad_(), torch.tensor([1.0, 0.0, 1.0, 2.0])
    first = method.loss(batch(images, weights)).total
    (gradient,) = torch.autograd.grad(first, images)
    assert [bool(one.any()) for one in gradient] == [True, False, True, True]
    other = images.detach().clone()
    other[1] = other[1].flip(0) * 5
    if name == "kd3":  # whose draws may mix that image's moments into another's view
        method.options = method.options.model_copy(update={"contrast": 0.0})
        first = method.loss(batch(images, weights)).total
    assert method.loss(batch(other, weights)).total.item() == pytest.approx(first.item())


@pytest.mark.parametrize("name", METHODS)
def test_twice_the_weight_is_twice_the_loss(name: str) -> None:
    once, twice = (make(name).eval() for _ in range(2))
    twice.load_state_dict(once.state_dict())
    images, weights = noise(4, 3, 8, 8), torch.tensor([1.0, 0.5, 0.25, 2.0])
    found = twice.loss(batch(images, 2 * weights)).total.item()
    assert found == pytest.approx(2 * once.loss(batch(images, weights)).total.item(), rel=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_a_few_steps_lower_the_loss_and_the_student_survives_a_round_trip(
    name: str, tmp_path: Path, data_dir: Path
) -> None:
    teacher = load_network(data_dir / "teachers" / "resnet20.toml")
    student = load_network(
        "cifar:resnet8", num_classes=10, input=teacher.card.input, allow_random=True
    )
    method = find_method(name)(teacher, student, {}).train()
    method.prepare(8)
    trained = [parameter for parameter in method.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(trained, lr=0.05, momentum=0.9)
    images, losses = noise(8, 3, 32, 32), []
    for step in range(6):
        total = method.loss(batch(images, seed=step)).total
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        losses.append(total.item())
    assert losses[-1] < losses[0]
    method.eval()
    deployed = method.deployed()
    again = load_network(save_student(deployed, tmp_path, provenance={"teacher": teacher.key}))
    assert torch.equal(again(images), method.student_logits(images))
    assert again.card.classes == teacher.card.classes
    assert cost(again, 32) == cost(deployed, 32)


def test_a_deployed_kd3_student_counts_body_projector_and_classifier() -> None:
    deployed = make("kd3", channels=6).deployed()
    assert deployed.card.head is not None
    body = 3 * 6 * 9 + 2 * 6
    projector = (6 * 2 + 2 * 2 * 9 + 2 * 4) + 2 * (2 + 2 + 4)
    assert cost(deployed, 8).params == body + projector + (4 * 3 + 3)


def test_kd3_leaves_the_given_student_as_it_was() -> None:
    student = tiny(1)
    before = student(noise(1, 3, 8, 8))
    KD3(tiny(0), student, {})
    assert torch.equal(student(noise(1, 3, 8, 8)), before)


# What does not fit


def test_unknown_methods_and_options_are_refused() -> None:
    with pytest.raises(UsageError, match="did you mean kd3"):
        find_method("kd33")
    with pytest.raises(UsageError, match=r"'heat'.*temperature, hard"):
        KD(tiny(0), tiny(1), {"heat": 3})
    for value in (0, "inf", "warm"):
        with pytest.raises(UsageError, match=f"option 'temperature': .*, not '?{value}'? "):
            KD(tiny(0), tiny(1), {"temperature": value})


@pytest.mark.parametrize("name", METHODS)
def test_networks_that_do_not_fit_are_refused(name: str) -> None:
    method = find_method(name)
    with pytest.raises(MethodError, match="3 classes, the student 4"):
        method(tiny(0), tiny(1, num_classes=4), {})
    student = tiny(1)
    student.card = student.card.model_copy(update={"input": InputSpec(size=16)})
    with pytest.raises(MethodError, match="different inputs"):
        method(tiny(0), student, {})


@pytest.mark.parametrize("name", ["kd3", "simkd", "fitnet", "at"])
def test_methods_of_maps_say_which_network_has_none(name: str) -> None:
    method = find_method(name)
    with pytest.raises(MethodError, match=f"{name}.*the student tests:net has none: use .* kd"):
        method(tiny(0), network(Mlp(3)), {})
    with pytest.raises(MethodError, match=f"{name}.*the teacher tests:net has none"):
        method(network(Mlp(3)), tiny(0), {})


@pytest.mark.parametrize("name", ["kd", "dfnd", "crd", "dkd", "dist"])
def test_methods_of_vectors_take_any_network(name: str) -> None:
    method = find_method(name)(network(Mlp(3)), tiny(0), {})
    method.prepare(2)
    assert method.loss(batch(noise(2, 3, 8, 8))).total > 0


@pytest.mark.parametrize("name", ["kd3", "simkd"])
def test_a_shared_classifier_is_not_shared_again(name: str) -> None:
    with pytest.raises(MethodError, match="shared classifier already"):
        find_method(name)(tiny(0), make(name).deployed(), {})


def test_the_page_has_every_method_with_every_option() -> None:
    page = (Path(__file__).parents[2] / "docs" / "methods.md").read_text("utf-8")
    options = page.partition("## Options")[2].partition("\n## ")[0].splitlines()
    for name, method in METHODS.items():
        assert page.count(f"\n| `{name}` | ") == 3
        (row,) = [line for line in options if line.startswith(f"| `{name}`")]
        for option, field in method.options_type.model_fields.items():
            value = f" {field.default:g}" if isinstance(field.default, int | float) else ""
            assert option == "without" or f"`{option}`{value}" in row


def test_the_names_are_listed() -> None:
    assert set(method_names()[:9]) == METHODS.keys()
    assert all(method.name == name for name, method in METHODS.items())
