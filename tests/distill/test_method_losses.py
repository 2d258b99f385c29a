"""The formulas of the methods, against NumPy in float64 and values worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.methods import Batch, Method, find_method
from distill.methods.at import attention_gap
from distill.methods.crd import CRD, nce
from distill.methods.dfnd import DFND, noise_matrix, noisy_loss
from distill.methods.dist import correlation
from distill.methods.dkd import decoupled
from distill.methods.fitnet import FitNet
from distill.methods.kd import soft_divergence
from distill.methods.memory import Memory
from distill.networks.stages import run_stages
from index.errors import MethodError, UsageError

from .helpers import batch, network, noise, tiny
from .networks import Stacked

Array = npt.NDArray[np.float64]
WEIGHTS = torch.tensor([1.0, 0.5, 0.0, 2.0])


@pytest.fixture(autouse=True)
def same_weights() -> None:
    """Networks begin with the same weights, whatever ran before."""
    torch.manual_seed(0)


def numpy(tensor: Tensor) -> Array:
    result: Array = tensor.detach().double().numpy()
    return result


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    result: Array = powers / powers.sum(1, keepdims=True)
    return result


def mean(values: Array) -> float:
    """Weighted as the methods do."""
    return float((numpy(WEIGHTS) * values).mean())


def make(name: str, options: dict[str, Any] | None = None, **student: int) -> Method:
    method = find_method(name)(tiny(0), tiny(1, **student), options or {}).eval()
    method.prepare(12)
    return method


def found(method: Method, images: Tensor, **moment: Any) -> dict[str, float]:
    given = batch(images, WEIGHTS)
    losses = method.loss(Batch(given.images, given.weights, given.places, **moment))
    return {name: value.item() for name, value in losses.scalars().items()}


def logits(method: Method, images: Tensor) -> tuple[Array, Array]:
    return numpy(method.teacher(images)), numpy(method.student_logits(images))


def hard(z_t: Array, z_s: Array) -> Array:
    result: Array = -np.log(softmax(z_s)[np.arange(len(z_s)), z_t.argmax(1)])
    return result


def kl(z_t: Array, z_s: Array, heat: float = 4) -> Array:
    p, q = softmax(z_t / heat), softmax(z_s / heat)
    result: Array = heat**2 * (p * np.log(p / q)).sum(1)
    return result


# DFND


def test_the_noise_matrix_by_hand() -> None:
    confusions = torch.tensor([[0.0, np.log(3)], [0.0, 0.0], [np.log(4), 0.0]])
    expected = [[0.9, 0.025, 0.075], [0.05, 0.9, 0.05], [0.08, 0.02, 0.9]]
    np.testing.assert_allclose(numpy(noise_matrix(confusions, 0.9)), expected, rtol=1e-6)


def test_the_noisy_loss_against_numpy() -> None:
    z, noise_of = noise(5, 4), noise_matrix(noise(4, 3, seed=1), 0.8)
    labels = torch.tensor([0, 3, 1, 2, 3])
    seen = softmax(numpy(z)) @ numpy(noise_of)
    expected = -np.log(seen[np.arange(5), labels.numpy()])
    np.testing.assert_allclose(numpy(noisy_loss(z, noise_of, labels)), expected, rtol=1e-5)


def test_a_student_far_from_its_label_has_a_finite_noisy_loss() -> None:
    z = torch.tensor([[200.0, 0.0, -200.0]])
    loss = noisy_loss(z, noise_matrix(torch.zeros(3, 2), 0.9), torch.tensor([2]))
    assert loss.item() == pytest.approx(-np.log(0.05), rel=1e-5)


def test_dfnd_total_against_numpy() -> None:
    method, images = make("dfnd", {"accuracy": 0.8}), noise(4, 3, 8, 8)
    assert isinstance(method, DFND)
    with torch.no_grad():
        method.confusions.copy_(noise(3, 2, seed=5))
    z_t, z_s = logits(method, images)
    seen = softmax(z_s) @ numpy(noise_matrix(method.confusions, 0.8))
    noisy = -np.log(seen[np.arange(4), z_t.argmax(1)])
    assert found(method, images)["total"] == pytest.approx(mean(kl(z_t, z_s) + noisy), rel=1e-4)


def test_dfnd_learns_nothing_of_a_perfect_teacher() -> None:
    with pytest.raises(UsageError, match="accuracy"):
        make("dfnd", {"accuracy": 1})


# DKD


def test_the_decoupled_parts_against_numpy() -> None:
    teacher, student, labels = noise(3, 4) * 3, noise(3, 4, seed=1), torch.tensor([0, 3, 2])
    p, q = softmax(numpy(teacher) / 4), softmax(numpy(student) / 4)
    for i, c in enumerate(labels.tolist()):
        rest = [k for k in range(4) if k != c]
        target = p[i, c] * np.log(p[i, c] / q[i, c])
        target += (1 - p[i, c]) * np.log((1 - p[i, c]) / (1 - q[i, c]))
        p_rest, q_rest = p[i, rest] / p[i, rest].sum(), q[i, rest] / q[i, rest].sum()
        other = (p_rest * np.log(p_rest / q_rest)).sum()
        parts = decoupled(teacher, student, labels, 4)
        assert parts[0][i].item() == pytest.approx(16 * target, rel=1e-3)
        assert parts[1][i].item() == pytest.approx(16 * other, rel=1e-3)


def test_the_decoupled_parts_make_up_the_divergence() -> None:
    teacher, student, labels = noise(6, 5) * 2, noise(6, 5, seed=1), torch.arange(6) % 5
    target, other = decoupled(teacher, student, labels, 4)
    rest = 1 - (teacher / 4).softmax(1)[torch.arange(6), labels]
    torch.testing.assert_close(target + rest * other, soft_divergence(teacher, student, 4))


@pytest.mark.parametrize(("epoch", "share"), [(1, 0.05), (10, 0.5), (20, 1.0), (200, 1.0)])
def test_dkd_total_warms_up(epoch: int, share: float) -> None:
    method, images = make("dkd"), noise(4, 3, 8, 8)
    z_t, z_s = logits(method, images)
    parts = found(method, images, epoch=epoch)
    target, other = decoupled(
        method.teacher(images), method.student_logits(images), torch.tensor(z_t.argmax(1)), 4
    )
    warm = mean(hard(z_t, z_s) + share * (numpy(target) + 8 * numpy(other)))
    assert parts["total"] == pytest.approx(warm, rel=1e-4)


# DIST


def test_correlation_against_numpy() -> None:
    first, second, weights = noise(3, 7), noise(3, 7, seed=1), torch.arange(7.0)
    plain = [np.corrcoef(numpy(a), numpy(b))[0, 1] for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(numpy(correlation(first, second)), plain, rtol=1e-5)
    ones = correlation(first, second, torch.full((7,), 3.0))
    torch.testing.assert_close(ones, correlation(first, second))
    for row, value in enumerate(correlation(first, second, weights)):
        cov = np.cov(numpy(first[row]), numpy(second[row]), aweights=numpy(weights), ddof=0)
        assert value.item() == pytest.approx(cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1]), rel=1e-4)


def test_a_constant_row_has_no_correlation_and_a_finite_gradient() -> None:
    constant = torch.ones(1, 4, requires_grad=True)
    value = correlation(constant, noise(1, 4))
    value.sum().backward()  # type: ignore[no-untyped-call]
    assert value.item() == 0
    assert constant.grad is not None and constant.grad.isfinite().all()


def test_dist_total_against_numpy() -> None:
    method = make("dist", {"beta": 1, "gamma": 2, "temperature": 4})
    images, w = noise(4, 3, 8, 8), numpy(WEIGHTS)
    z_t, z_s = logits(method, images)
    p, q = softmax(z_t / 4), softmax(z_s / 4)
    inter = np.array([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(p, q, strict=True)])
    intra = []
    for k in range(3):
        cov = np.cov(p[:, k], q[:, k], aweights=w, ddof=0)
        intra.append(1 - cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1]))
    expected = mean(hard(z_t, z_s) + 16 * inter) + 16 * 2 * w.mean() * np.mean(intra)
    assert found(method, images)["total"] == pytest.approx(expected, rel=1e-4)


# AT and FitNet


def test_attention_by_hand() -> None:
    # Sums of squares (9, 16) and (0, 4) of norms sqrt(337) and 4; widths differ.
    student = torch.tensor([[[[3.0, 0.0]], [[0.0, 4.0]]]])
    teacher = torch.tensor([[[[0.0, 2.0]]]])
    expected = ((9 / np.sqrt(337)) ** 2 + (16 / np.sqrt(337) - 1) ** 2) / 2
    assert attention_gap(student, teacher).item() == pytest.approx(expected, rel=1e-5)
    assert attention_gap(3 * student, student).item() == pytest.approx(0, abs=1e-9)


def test_attention_of_the_larger_map_is_pooled() -> None:
    student, teacher = noise(2, 3, 8, 8), noise(2, 5, 4, 4, seed=1)
    own = (numpy(student) ** 2).sum(1).reshape(2, 4, 2, 4, 2).mean((2, 4)).reshape(2, -1)
    wanted = (numpy(teacher) ** 2).sum(1).reshape(2, -1)
    own, wanted = (q / np.linalg.norm(q, axis=1, keepdims=True) for q in (own, wanted))
    expected = ((own - wanted) ** 2).mean(1)
    np.testing.assert_allclose(numpy(attention_gap(student, teacher)), expected, rtol=1e-4)
    np.testing.assert_allclose(numpy(attention_gap(teacher, student)), expected, rtol=1e-4)


def deep(name: str, options: dict[str, Any] | None = None) -> Method:
    """A teacher of three stages, a student of two that are narrower and of another size."""
    torch.manual_seed(0)
    teacher, student = network(Stacked((6, 8, 10))), network(Stacked((4, 5), first=2))
    return find_method(name)(teacher, student, options or {}).eval()


def test_at_total_over_all_common_stages_against_numpy() -> None:
    method, images = deep("at"), noise(4, 3, 8, 8)
    z_t, z_s = logits(method, images)
    attention = np.zeros(4)
    for t, s in (("stage2", "stage1"), ("stage3", "stage2")):
        maps = [
            numpy(stage_map(net, stage, images))
            for net, stage in ((method.teacher, t), (method.student, s))
        ]
        q_t, q_s = ((one**2).sum(1).reshape(4, -1) for one in maps)
        q_t, q_s = (q / np.linalg.norm(q, axis=1, keepdims=True) for q in (q_t, q_s))
        attention += ((q_t - q_s) ** 2).mean(1)
    assert attention.min() > 1e-4
    expected = mean(kl(z_t, z_s) + 500 * attention)
    assert found(method, images)["total"] == pytest.approx(expected, rel=1e-4)


def stage_map(net: Any, path: str, images: Tensor) -> Tensor:
    kept: list[Tensor] = []
    handle = net.module.get_submodule(path).register_forward_hook(lambda *a: kept.append(a[2]))
    net(images)
    handle.remove()
    return kept[0]


@pytest.mark.parametrize(("options", "stages"), [({}, (2, 1)), ({"stage": 2}, (3, 2))])
def test_fitnet_total_against_numpy(options: dict[str, int], stages: tuple[int, int]) -> None:
    method, images = deep("fitnet", options), noise(4, 3, 8, 8)
    assert isinstance(method, FitNet)
    z_t, z_s = logits(method, images)
    target = numpy(stage_map(method.teacher, f"stage{stages[0]}", images))
    own = numpy(stage_map(method.student, f"stage{stages[1]}", images))
    widen, norm = method.regressor
    assert isinstance(widen, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    values = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    middle, var, scale, bias = (numpy(nn.init.uniform_(one))[:, None, None] for one in values)
    wide = np.einsum("oc,bchw->bohw", numpy(widen.weight)[:, :, 0, 0], own)
    guided = (wide - middle) / np.sqrt(var + norm.eps) * scale + bias
    hint = ((guided - target) ** 2).mean((1, 2, 3))
    expected = mean(kl(z_t, z_s) + 100 * hint)
    assert found(method, images)["total"] == pytest.approx(expected, rel=1e-4)


def test_a_stage_that_is_not_there_is_refused() -> None:
    with pytest.raises(MethodError, match="no stage 3, .* share 2: give --option stage=N"):
        deep("fitnet", {"stage": 3})


# SimKD


@pytest.mark.parametrize("student", [{"channels": 6}, {"stride": 1}, {"stride": 4}])
def test_simkd_total_against_numpy(student: dict[str, int]) -> None:
    method, images = make("simkd", **student), noise(4, 3, 8, 8)
    own, wanted = method.student.outputs(images), method.teacher.outputs(images)
    assert own.features is not None and wanted.features is not None
    target = numpy(wanted.features)
    if target.shape != own.features.shape:
        target = target.reshape(4, 4, 2, 2, 2, 2).mean((3, 5))
    expected = mean(((numpy(own.features) - target) ** 2).mean((1, 2, 3)))
    assert found(method, images)["total"] == pytest.approx(expected, rel=1e-4)


# CRD


def test_nce_by_hand() -> None:
    # Two others of three are valid, and c = 1/2, so that c N = 1.
    match, scores = torch.tensor([np.log(3.0)]), torch.tensor([[0.0, np.log(4.0), 9.0]])
    loss = nce(match, scores, torch.tensor([[True, True, False]]), torch.tensor(0.5))
    assert loss.item() == pytest.approx(-np.log(3 / 4) - np.log(1 / 2) - np.log(1 / 5), rel=1e-5)


def test_nce_without_others_is_zero() -> None:
    match = torch.ones(1, requires_grad=True)
    loss = nce(match, torch.ones(1, 2), torch.zeros(1, 2, dtype=torch.bool), torch.tensor(1.0))
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0 and match.grad is not None and match.grad.item() == 0


def unit(vectors: Array) -> Array:
    result: Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return result


def test_crd_total_against_numpy() -> None:
    """Of the second batch: two of its images are known, and so are two others."""
    method = make("crd", {"embedding": 6, "tau": 0.5})
    assert isinstance(method, CRD) and method.memory is not None
    before, images = noise(4, 3, 8, 8), noise(4, 3, 8, 8, seed=1)
    method.loss(Batch(before, torch.ones(4), torch.tensor([2, 3, 8, 9])))
    places = [3, 7, 2, 5]
    losses = method.loss(Batch(images, WEIGHTS, torch.tensor(places)))

    def vectors(x: Tensor) -> tuple[Array, Array]:
        t, s = method.teacher.outputs(x).penultimate, method.student.outputs(x).penultimate
        assert isinstance(method, CRD)
        return unit(numpy(method.embed_teacher(t))), unit(numpy(method.embed_student(s)))

    old, new = vectors(before), vectors(images)
    scales, contrast = [], np.zeros(4)
    for anchor, kept in ((1, 0), (0, 1)):
        first = np.exp(old[anchor] @ old[kept].T / 0.5)
        scales.append(first[~np.eye(4, dtype=bool)].mean())
        rows = {2: old[kept][0], 3: old[kept][1], 8: old[kept][2], 9: old[kept][3]}
        for i, place in enumerate(places):
            if WEIGHTS[i] > 0:
                row = rows.get(place, new[kept][i])
                rows[place] = unit((row / 2 + new[kept][i] / 2)[None])[0]
        for i, place in enumerate(places):
            others = [rows[key] for key in sorted(rows) if key != place]
            prior = scales[-1] * len(others)
            match = np.exp(new[0][i] @ new[1][i] / 0.5)
            contrast[i] -= np.log(match / (match + prior))
            for other in others:
                score = np.exp(new[anchor][i] @ other / 0.5)
                contrast[i] -= np.log(prior / (score + prior))
    np.testing.assert_allclose(numpy(method.scale), scales, rtol=1e-4)
    assert losses.terms["contrast"].item() == pytest.approx(mean(contrast), rel=1e-4)
    expected = mean(kl(*logits(method, images)) + 0.8 * contrast)
    assert losses.total.item() == pytest.approx(expected, rel=1e-4)


def test_crd_without_a_pool_is_refused() -> None:
    method = find_method("crd")(tiny(0), tiny(1), {})
    with pytest.raises(MethodError, match="needs a pool"):
        method.loss(batch(noise(2, 3, 8, 8)))


def test_the_memory_draws_what_was_seen() -> None:
    memory = Memory(100, 4, 0.5)
    vectors = F.normalize(noise(20, 4), dim=1)
    memory.update(torch.arange(0, 100, 5), vectors, -vectors)
    assert torch.equal(memory.draw(20, None), torch.arange(0, 100, 5))
    drawn = memory.draw(19, torch.Generator().manual_seed(0))
    assert len(drawn) == 19 and set(drawn.tolist()) <= set(range(0, 100, 5))
    assert torch.equal(drawn, memory.draw(19, torch.Generator().manual_seed(0)))
    torch.testing.assert_close(memory.teacher[5], vectors[1])
    torch.testing.assert_close(memory.student[5], -vectors[1])
    assert not memory.teacher[1].any()


# Maps


def test_maps_are_of_the_stages_and_logits_of_the_network() -> None:
    method, images = deep("at"), noise(2, 3, 8, 8)
    stages = getattr(method, "_of_student")  # noqa: B009
    z, maps = run_stages(method.student, stages, images)
    torch.testing.assert_close(z, method.student_logits(images))
    for stage, found_map in zip(stages, maps, strict=True):
        assert found_map.shape == (2, stage.channels, stage.side, stage.side)
