"""What ends a training: one line, and the last good checkpoint stays."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from distill.failures import check_weights, is_out_of_memory
from distill.methods.base import Batch, Losses
from distill.methods.kd import KD
from index.errors import KdcurateError

from .helpers import tiny
from .training import make, run, same


class Greedy(KD):
    """KD that wants an exabyte at its sixth step."""

    name: ClassVar[str] = "greedy"
    of_numpy: ClassVar[bool] = False
    steps = 0

    def loss(self, batch: Batch) -> Losses:
        self.steps += 1
        if self.steps == 6:
            np.empty(2**60, np.uint8) if self.of_numpy else torch.empty(2**60, dtype=torch.uint8)
        return super().loss(batch)


class GreedyOfNumPy(Greedy):
    of_numpy: ClassVar[bool] = True


@pytest.mark.parametrize("kind", [Greedy, GreedyOfNumPy])
def test_memory_that_is_not_there_is_one_line(tmp_path: Path, kind: type[Greedy]) -> None:
    wanted = r"out of memory: lower --batch-size \(now 4\) or raise --accumulate \(now 1\); .*last"
    with pytest.raises(KdcurateError, match=wanted):
        run(tmp_path / "run", kind(tiny(0), tiny(1)))
    kept = torch.load(tmp_path / "run" / "checkpoint" / "last.pt", weights_only=True)
    assert kept["step"] == 3
    resumed = run(tmp_path / "run", make("kd"))  # with memory enough
    assert same(resumed, run(tmp_path / "whole", make("kd")))


class Steep(KD):
    """KD whose sixth step has a finite loss and a gradient that is no number."""

    name: ClassVar[str] = "steep"
    steps = 0

    def loss(self, batch: Batch) -> Losses:
        self.steps += 1
        found = Losses.of(super().loss(batch))
        if self.steps == 6:
            found.total.register_hook(lambda gradient: gradient * math.inf)
        return found


def test_weights_that_are_no_numbers_leave_the_last_good_checkpoint(tmp_path: Path) -> None:
    wanted = r"weights of student\..* are no longer finite at step 6: lower --lr; .*last\.pt"
    with pytest.raises(KdcurateError, match=wanted):
        run(tmp_path / "run", Steep(tiny(0), tiny(1)))
    kept = torch.load(tmp_path / "run" / "checkpoint" / "last.pt", weights_only=True)
    assert kept["step"] == 3
    assert same(run(tmp_path / "run", make("kd")), run(tmp_path / "whole", make("kd")))


def test_what_is_not_trained_may_be_anything(tmp_path: Path) -> None:
    layer = nn.Linear(2, 2)
    layer.bias.data.fill_(float("nan"))
    layer.bias.requires_grad_(False)
    check_weights(layer, 1, tmp_path)
    check_weights(nn.ReLU(), 1, tmp_path)
    layer.bias.requires_grad_(True)
    with pytest.raises(KdcurateError, match="weights of bias .* step 1: lower"):
        check_weights(layer, 1, tmp_path)


def test_what_is_out_of_memory_and_what_is_not() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))
    assert is_out_of_memory(RuntimeError("CUDA error: out of memory"))
    assert is_out_of_memory(
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
    )
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(OSError("out of memory"))


def test_any_other_error_stays_what_it_is(tmp_path: Path) -> None:
    class Broken(KD):
        name: ClassVar[str] = "broken"

        def loss(self, batch: Batch) -> Losses:
            raise RuntimeError("a mistake")

    with pytest.raises(RuntimeError, match="a mistake"):
        run(tmp_path, Broken(tiny(0), tiny(1)))
