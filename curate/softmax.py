"""What is read off logits: probabilities, the largest of them, the label, the evidence in all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Labels = NDArray[np.int16]


def softmax(logits: Floats) -> Floats:
    """Return softmax over the last axis, (n, K)."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Floats = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities


def confidence(logits: Floats) -> Floats:
    """Return max_k softmax(z)_k, (n,): 1 / sum_k exp(z_k - max z)."""
    most: Floats = 1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)
    return most


def top_label(logits: Floats) -> Labels:
    """Return argmax over the classes, (n,)."""
    labels: Labels = logits.argmax(axis=1).astype(np.int16)
    return labels


def log_sum_exp(logits: Floats) -> Floats:
    """Return log sum_k exp(z_k), (n,), whatever the size of the logits (n, K)."""
    most = logits.max(axis=1)
    above = np.where(np.isfinite(most), most, np.float32(0))
    with np.errstate(divide="ignore"):  # of nothing but -inf the sum is 0
        total: Floats = above + np.log(np.exp(logits - above[:, None]).sum(axis=1))
    return total
