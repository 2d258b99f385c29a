"""What ends a training before its last step, said in one line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from distill.options import TrainOptions
from index.errors import KdcurateError

# Of PyTorch's allocators for CPU and MPS, which raise a RuntimeError like any other.
_ALLOCATORS = ("DefaultCPUAllocator", "MPS backend out of memory", "CUDA out of memory")


@contextmanager
def told_if_out_of_memory(options: TrainOptions, checkpoint: Path) -> Iterator[None]:
    """Say which options need less memory where there is not enough.

    Raises:
        KdcurateError: memory, or the accelerator's, is exhausted; the checkpoint is left as it is.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        again = f"lower --batch-size (now {options.batch_size}) or raise --accumulate (now "
        raise KdcurateError(
            f"out of memory: {again}{options.accumulate}); {_last_good(checkpoint)}"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether this error, of Python, NumPy or PyTorch, means that memory is exhausted."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(name in str(error) for name in _ALLOCATORS)


def check_finite(loss: float, step: int, checkpoint: Path) -> None:
    """Refuse to go on from a loss that is no number.

    Raises:
        KdcurateError: it is none; the checkpoint is left as it is.
    """
    if not math.isfinite(loss):
        raise KdcurateError(
            f"the loss is {loss} at step {step}: lower --lr; {_last_good(checkpoint)}"
        )


def _last_good(checkpoint: Path) -> str:
    kept = checkpoint if checkpoint.is_file() else "not yet written"
    return f"the last good checkpoint is {kept}"
