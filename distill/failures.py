"""What ends a training before its last step, said in one line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from distill.options import TrainOptions
from index.errors import KdcurateError

# Of PyTorch's allocators for CPU and MPS, and of CUDA and its libraries where they ask for memory
# beside PyTorch's: all raise a RuntimeError like any other.
_ALLOCATORS = (
    "DefaultCPUAllocator",
    "MPS backend out of memory",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
LOWER_RATE = "lower --lr"


@contextmanager
def told_if_out_of_memory(
    options: TrainOptions, checkpoint: Path, *, remedy: str | None = None
) -> Iterator[None]:
    """Say which options need less memory where there is not enough.

    Args:
        remedy: what helps beside a lower --batch-size; None is a higher --accumulate.

    Raises:
        KdcurateError: memory, or the accelerator's, is exhausted; the checkpoint is left as it is.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        other = remedy or f"raise --accumulate (now {options.accumulate})"
        raise KdcurateError(
            f"out of memory: lower --batch-size (now {options.batch_size}) or {other}; "
            f"{_last_good(checkpoint)}"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether this error, of Python, NumPy or PyTorch, means that memory is exhausted."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(name in str(error) for name in _ALLOCATORS)


def check_finite(
    loss: float, step: int, checkpoint: Path, *, whose: str = "", remedy: str = LOWER_RATE
) -> None:
    """Refuse to go on from a loss that is no number.

    Args:
        whose: loss it is, where a run has several.
        remedy: the option to change.

    Raises:
        KdcurateError: it is none; the checkpoint is left as it is.
    """
    if not math.isfinite(loss):
        name = f"the loss of the {whose}" if whose else "the loss"
        raise KdcurateError(f"{name} is {loss} at step {step}: {remedy}; {_last_good(checkpoint)}")


def check_images(images: Tensor, step: int, checkpoint: Path, *, remedy: str) -> None:
    """Refuse to go on with images that are no numbers; the device is waited for.

    Args:
        remedy: the option to change.

    Raises:
        KdcurateError: a pixel is none; the checkpoint is left as it is.
    """
    if not bool(images.isfinite().all()):
        raise KdcurateError(
            f"the images of step {step} are not finite: {remedy}; {_last_good(checkpoint)}"
        )


def check_weights(
    module: nn.Module, step: int, checkpoint: Path, *, remedy: str = LOWER_RATE
) -> None:
    """Refuse to write a checkpoint of weights that are no numbers.

    A step may end with such weights although its loss, of the weights before, was finite. All
    trained ones are read once, and the device is waited for once.

    Args:
        remedy: the option to change.

    Raises:
        KdcurateError: one is none; the checkpoint is left as it is.
    """
    trained = {name: one for name, one in module.named_parameters() if one.requires_grad}
    if not trained:
        return
    finite = torch.stack([one.isfinite().all() for one in trained.values()]).tolist()
    for name, good in zip(trained, finite, strict=True):
        if not good:
            raise KdcurateError(
                f"weights of {name} are no longer finite at step {step}: {remedy}; "
                f"{_last_good(checkpoint)}"
            )


def _last_good(checkpoint: Path) -> str:
    kept = checkpoint if checkpoint.is_file() else "not yet written"
    return f"the last good checkpoint is {kept}"
