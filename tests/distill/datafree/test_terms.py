"""Every term of the images' loss, against NumPy in float64."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from distill.datafree import terms
from distill.datafree.replay import vae_terms
from distill.moments import batch_moments, bn_distance

from ..helpers import noise, tiny

Floats = npt.NDArray[np.float64]
B, K = 7, 5
TEACHER, STUDENT = 3 * noise(B, K, seed=1), 3 * noise(B, K, seed=2)
Z_T, Z_S = TEACHER.double().numpy(), STUDENT.double().numpy()


def softmax(logits: Floats) -> Floats:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def kl(p: Floats, q: Floats) -> Floats:
    return np.asarray((p * np.log(p / q)).sum(axis=1))


def test_one_hot() -> None:
    p = softmax(Z_T)
    expected = -np.log(p[np.arange(B), Z_T.argmax(1)]).mean()
    assert float(terms.one_hot(TEACHER)) == pytest.approx(expected, rel=1e-5)


def test_balance() -> None:
    mean = softmax(Z_T).mean(axis=0)
    assert float(terms.balance(TEACHER)) == pytest.approx((mean * np.log(mean)).sum(), rel=1e-5)


def test_balance_is_least_where_every_class_is_as_frequent() -> None:
    sure = 100 * torch.eye(K)
    assert float(terms.balance(sure)) == pytest.approx(-math.log(K), rel=1e-5)
    one_class = sure[:1].repeat(K, 1).requires_grad_()
    lost = terms.balance(one_class)
    lost.backward()  # type: ignore[no-untyped-call]
    assert float(lost.detach()) == pytest.approx(0, abs=1e-5)
    assert one_class.grad is not None and bool(one_class.grad.isfinite().all())


def test_activation() -> None:
    vectors = noise(B, 9)
    expected = -np.abs(vectors.double().numpy()).mean()
    assert float(terms.activation(vectors)) == pytest.approx(expected, rel=1e-5)


def test_divergences() -> None:
    p, q = softmax(Z_T), softmax(Z_S)
    np.testing.assert_allclose(terms.kl_divergence(TEACHER, STUDENT), kl(p, q), rtol=1e-4)
    l1 = np.abs(Z_T - Z_S).mean(axis=1)
    np.testing.assert_allclose(terms.l1_distance(TEACHER, STUDENT), l1, rtol=1e-5)
    p, q = softmax(Z_T / 3), softmax(Z_S / 3)
    js = (kl(p, (p + q) / 2) + kl(q, (p + q) / 2)) / 2
    np.testing.assert_allclose(terms.js_divergence(TEACHER, STUDENT), js, rtol=1e-4)


def test_of_two_certain_opposites_the_js_divergence_is_ln_2() -> None:
    first, second = torch.tensor([[900.0, 0.0]]), torch.tensor([[0.0, 900.0]])
    assert float(terms.js_divergence(first, second)) == pytest.approx(math.log(2), rel=1e-5)


@pytest.mark.parametrize("name", sorted(terms.DIVERGENCES))
def test_the_adversarial_term_is_zero_of_the_teacher_itself_and_else_negative(name: str) -> None:
    """As when the teacher is passed for the student, by mistake."""
    assert float(terms.adversarial(TEACHER, TEACHER, name)) == pytest.approx(0, abs=1e-6)
    expected = -float(terms.DIVERGENCES[name](TEACHER, STUDENT).double().mean())
    assert expected < -0.01
    assert float(terms.adversarial(TEACHER, STUDENT, name)) == pytest.approx(expected, rel=1e-5)


def test_of_images_on_which_the_two_disagree_nothing_is_asked() -> None:
    student = STUDENT.clone()
    student[:3] = torch.roll(TEACHER[:3], 1, dims=1)
    student[3:] = TEACHER[3:] * 0.5
    agree = TEACHER.argmax(1) == student.argmax(1)
    assert agree.tolist() == [False] * 3 + [True] * 4
    found = kl(softmax(Z_T), softmax(student.double().numpy()))
    expected = -(agree.double().numpy() * found).mean()
    assert float(terms.agreed_divergence(TEACHER, student)) == pytest.approx(expected, rel=1e-4)


def test_total_variation() -> None:
    images = noise(2, 3, 4, 5)
    x = images.double().numpy()
    expected = np.sqrt(((x[:, :, 1:] - x[:, :, :-1]) ** 2).sum())
    expected += np.sqrt(((x[:, :, :, 1:] - x[:, :, :, :-1]) ** 2).sum())
    assert float(terms.total_variation(images)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("count", [0, 6])
def test_info_nce(count: int) -> None:
    first, second, negatives = noise(4, 8, seed=3), noise(4, 8, seed=4), noise(count, 8, seed=5)
    u, v = first.double().numpy(), np.concatenate([second, negatives]).astype(np.float64)
    u, v = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (u, v))
    p = softmax(u @ v.T / 0.2)
    expected = -np.log(p[np.arange(4), np.arange(4)]).mean()
    found = terms.info_nce(first, second, negatives, 0.2)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_the_distance_of_batch_statistics() -> None:
    layer = nn.BatchNorm2d(3)
    layer.running_mean, layer.running_var = torch.tensor([1.0, 0, -1]), torch.tensor([2.0, 1, 0.5])
    maps = noise(4, 3, 5, 6).requires_grad_()
    x = maps.detach().double().numpy()
    mean = x.mean(axis=(0, 2, 3)) - layer.running_mean.double().numpy()
    variance = x.var(axis=(0, 2, 3)) - layer.running_var.double().numpy()
    expected = np.sqrt((mean**2).sum()) + np.sqrt((variance**2).sum())
    found = bn_distance(batch_moments(maps), layer)
    assert float(found.detach()) == pytest.approx(expected, rel=1e-5)
    found.backward()  # type: ignore[no-untyped-call]
    exact = maps.detach().double().requires_grad_()
    gaps = (
        exact.mean((0, 2, 3)) - layer.running_mean.double(),
        exact.var((0, 2, 3), correction=0) - layer.running_var.double(),
    )
    (gaps[0].norm() + gaps[1].norm()).backward()
    assert maps.grad is not None and exact.grad is not None
    np.testing.assert_allclose(maps.grad.numpy(), exact.grad.numpy(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_batch_moments_pass_the_gradients_of_each(dtype: torch.dtype) -> None:
    maps = (5 + noise(4, 3, 5, 6)).to(dtype).contiguous(memory_format=torch.channels_last)
    weights = noise(2, 3, seed=7)
    found = batch_moments(maps.requires_grad_())
    (weights[0] * found.mean + weights[1] * found.variance).sum().backward()
    x, slopes = maps.detach().double(), weights.double().view(2, 1, 3, 1, 1)
    expected = (slopes[0] + 2 * slopes[1] * (x - x.mean((0, 2, 3), keepdim=True))) / (4 * 5 * 6)
    assert maps.grad is not None and maps.grad.dtype == dtype
    close = 1e-4 if dtype == torch.float32 else 2**-8  # of a float that is rounded once
    np.testing.assert_allclose(maps.grad.double().numpy(), expected.numpy(), rtol=close, atol=1e-7)


def test_what_the_vae_of_pre_learns_by() -> None:
    teacher = tiny()
    images, decoded = noise(4, 3, 8, 8, seed=1), noise(4, 3, 8, 8, seed=2)
    mean, spread = noise(4, 6, seed=3), noise(4, 6, seed=4)
    found = vae_terms(teacher, images, decoded, mean, spread, 0.5)
    with torch.no_grad():
        logits = [teacher(one).double().numpy() for one in (images, decoded)]
    mu, log_variance = mean.double().numpy(), spread.double().numpy()
    kld = -0.5 * (1 + log_variance - mu**2 - np.exp(log_variance)).sum(axis=1).mean()
    expected = {
        "images": np.abs(images.double().numpy() - decoded.double().numpy()).mean(),
        "logits": np.abs(logits[0] - logits[1]).mean(),
        "kld": 0.5 * kld,
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert float(found[name].detach()) == pytest.approx(value, rel=1e-4)
