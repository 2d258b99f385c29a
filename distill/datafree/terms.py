"""The terms of the loss that images are made by; which of them count is a recipe's business.

z_t and z_s are logits (B, K) of the teacher and the student for images that are to be made, and
every term is a scalar with a gradient to those images.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.methods.kd import soft_divergence

JS_TEMPERATURE = 3.0


def one_hot(teacher: Tensor) -> Tensor:
    """CE(z_t, argmax z_t): the teacher is to be sure of a class (DAFL, Chen et al., 2019)."""
    return F.cross_entropy(teacher.float(), teacher.argmax(1))


def balance(teacher: Tensor) -> Tensor:
    """sum_k pbar_k log pbar_k, pbar the batch's mean of softmax(z_t): -ln K where classes balance.

    The negative information entropy of DAFL (Chen et al., 2019).
    """
    mean = teacher.float().softmax(1).mean(0)
    return (mean * mean.clamp_min(torch.finfo(mean.dtype).tiny).log()).sum()


def activation(penultimate: Tensor) -> Tensor:
    """-mean |h_t| of the teacher's penultimate vectors (B, D) (DAFL, Chen et al., 2019)."""
    return -penultimate.float().abs().mean()


def kl_divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(softmax(z_t) || softmax(z_s)) in nats, one value an image: (B,)."""
    return soft_divergence(teacher, student, 1.0)


def l1_distance(teacher: Tensor, student: Tensor) -> Tensor:
    """Mean over classes of |z_t - z_s|, one value an image: (B,) (DFAD, Fang et al., 2019)."""
    return (teacher.float() - student.float()).abs().mean(1)


def js_divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """(KL(p_t || m) + KL(p_s || m)) / 2 in nats, m = (p_t + p_s) / 2, p = softmax(z / 3): (B,).

    What Adaptive DeepInversion (Yin et al., CVPR 2020) lets teacher and student compete by.
    """
    logs = [F.log_softmax(one.float() / JS_TEMPERATURE, dim=1) for one in (teacher, student)]
    middle = torch.logsumexp(torch.stack(logs), dim=0) - math.log(2)
    halves = [F.kl_div(middle, one, reduction="none", log_target=True).sum(1) for one in logs]
    return (halves[0] + halves[1]) / 2


Divergence = Callable[[Tensor, Tensor], Tensor]
# D of the adversarial term; the teacher's logits come first.
DIVERGENCES: dict[str, Divergence] = {"kl": kl_divergence, "l1": l1_distance, "js": js_divergence}


def adversarial(teacher: Tensor, student: Tensor, divergence: str) -> Tensor:
    """-D(z_t, z_s), mean over the batch: images are sought on which the student still differs."""
    return -DIVERGENCES[divergence](teacher, student).mean()


def agreed_divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """-mean 1[argmax z_t = argmax z_s] KL(p_t || p_s) (CMI, Fang et al., IJCAI 2021).

    Where the student already errs there is enough to learn; only what it gets right may be harder.
    """
    agree = (teacher.argmax(1) == student.argmax(1)).float()
    return -(agree * kl_divergence(teacher, student)).mean()


def total_variation(images: Tensor) -> Tensor:
    """L2 norms of the differences to the right and to the lower neighbour, of all (B, C, H, W)."""
    across, down = images.diff(dim=3), images.diff(dim=2)
    return torch.stack([across.norm(), down.norm()]).sum()


def info_nce(first: Tensor, second: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """-log of the share of exp(cos / temperature) that view (B, D) gives its own other view.

    Among the other views of the whole batch and the negatives (N, D), N may be 0. Mean over the
    batch (van den Oord et al., 2018; CMI, Fang et al., IJCAI 2021).
    """
    views = F.normalize(first.float(), dim=1)
    others = F.normalize(torch.cat([second, negatives]).float(), dim=1)
    own = torch.arange(len(views), device=views.device)
    return F.cross_entropy(views @ others.T / temperature, own)
