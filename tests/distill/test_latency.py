"""The time of one image: of the right module, and nothing left behind."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn

from distill.latency import LEAST, cpu_latency_ms


class Slow(nn.Module):
    """Sleeps, and notes what it was given."""

    seen: list[tuple[torch.Size, bool, int]] = []

    def __init__(self, pause_s: float) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)
        self.pause_s = pause_s

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append((x.shape, self.training, torch.get_num_threads()))
        time.sleep(self.pause_s)
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def test_the_median_of_single_images_in_eval_mode_on_one_core() -> None:
    Slow.seen.clear()
    module, threads = Slow(0.01).train(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert 10 <= cpu_latency_ms(module, 8, budget_s=0) < 100
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert Slow.seen == [(torch.Size([1, 3, 8, 8]), False, 1)] * (LEAST + 1)
    assert module.training


def test_a_failing_network_leaves_the_threads_as_they_were() -> None:
    threads = torch.get_num_threads()
    with pytest.raises(RuntimeError):
        cpu_latency_ms(nn.Conv2d(1, 1, 1), 4)
    assert torch.get_num_threads() == threads
