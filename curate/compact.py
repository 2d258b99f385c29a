"""Logits in fewer bytes: all of them, the 32 largest and the weight of the rest, or none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.softmax import Floats, log_sum_exp
from index.errors import UsageError
from index.parts import Arrays, Rows

MODES = ("none", "top32", "full")  # the poorest first
KEPT = 32
ALLOWS = {
    "full": "every strategy",
    "top32": "exact: random, msp, dfnd, kd3 with --alpha 1, max_logit, margin, energy, and by "
    "estimates; approximate, with the rest of the mass spread evenly over the other classes: "
    "entropy, gen, agreement, disagreement, kd3 with --alpha below 1, plugins",
    "none": "only random, msp, dfnd, kd3 with --alpha 1, and by the teacher's own estimates; no "
    "agreement with a student, no rounds",
}


def check_mode(mode: str, classes: int) -> None:
    """Check that logits of K classes can be kept in this way.

    Raises:
        UsageError: no such way, or the 32 largest would be all.
    """
    if mode not in MODES:
        raise UsageError(f"--logits is {mode!r}: choose one of {', '.join(reversed(MODES))}")
    if mode == "top32" and classes <= KEPT:
        raise UsageError(
            f"--logits top32 keeps {KEPT} of more classes, and this network has {classes}: "
            "leave it out"
        )


def bytes_an_image(mode: str, classes: int) -> int:
    """Return what a part holds of an image, its id included."""
    return 8 + {"full": 2 * classes, "top32": 2 * (KEPT + 2) + 2 * KEPT, "none": 0}[mode]


def packed(logits: Rows, mode: str) -> Arrays:
    """Return the arrays that a part holds of logits (n, K): those of `top32` are

    rows (n, 34) float16: the 32 largest, descending, of equal ones that of the smaller class first;
        then t and u, where t + u is log sum exp of all others to some 22 bits;
    classes (n, 32) int16: the classes of the 32 largest.
    """
    if mode == "none":
        return {}
    if mode == "full":
        return {"rows": logits}
    classes = _largest(logits)
    rest = logits.astype(np.float32)
    np.put_along_axis(rest, classes, -np.inf, axis=1)
    tail = log_sum_exp(rest)
    limit = np.finfo(np.float16).max
    coarse = np.clip(tail, -limit, limit).astype(np.float16)
    fine = (tail - coarse).astype(np.float16)
    kept = np.take_along_axis(logits, classes, axis=1)
    rows = np.concatenate([kept, coarse[:, None], fine[:, None]], axis=1)
    return {"rows": rows, "classes": classes.astype(np.int16)}


def unpacked(arrays: Arrays, classes: int) -> Floats:
    """Return logits (n, K) of the arrays of a part, or of the same rows of each.

    Of `top32` the others all have the one value that makes up their mass: the softmax of the 32,
    log sum exp and what else depends on these alone are exact but for rounding.
    """
    rows = np.asarray(arrays["rows"], np.float32)
    if "classes" not in arrays:
        return rows
    kept = rows[:, :KEPT]
    even = rows[:, KEPT] + rows[:, KEPT + 1] - np.float32(np.log(classes - KEPT))
    # Never above the 32: rounding must not give an image another label.
    even = np.minimum(even, np.nextafter(kept[:, -1], np.float32(-np.inf)))
    logits: Floats = np.repeat(even[:, None], classes, axis=1)
    np.put_along_axis(logits, np.asarray(arrays["classes"], np.int64), kept, axis=1)
    return logits


def mode_of(names: frozenset[str]) -> str:
    """Tell from the names of a part's arrays how logits are kept in it."""
    if "rows" not in names:
        return "none"
    return "top32" if "classes" in names else "full"


def _largest(logits: Rows) -> NDArray[np.int64]:
    """Classes (n, 32) of the largest, in order.

    A float16 and its class make one integer, so that none are equal: which of equal logits are kept
    depends on their classes alone.
    """
    bits = (logits + np.float16(0)).view(np.int16)  # -0 becomes 0
    ordered = np.where(bits < 0, bits ^ np.int16(0x7FFF), bits).astype(np.int32)
    keys = (ordered << 16) + (0x7FFF - np.arange(logits.shape[1], dtype=np.int32))
    most = np.partition(keys, -KEPT, axis=1)[:, -KEPT:]
    return (0x7FFF - (np.sort(most, axis=1)[:, ::-1] & 0xFFFF)).astype(np.int64)
