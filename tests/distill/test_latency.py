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

    def __init__(self, *pauses_s: float) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)
        self.pauses_s = pauses_s

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.pauses_s[len(self.seen)])
        self.seen.append((x.shape, self.training, torch.get_num_threads()))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def test_the_least_of_single_images_in_eval_mode_on_one_core() -> None:
    Slow.seen.clear()
    pauses = (0.0, 1.0, 1.0, *[0.01] * (LEAST - 3), 1.0)  # the first is not counted
    module, threads = Slow(*pauses).train(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert 10 <= cpu_latency_ms(module, 8, budget_s=0) < 1000
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
