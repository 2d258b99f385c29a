"""The processes that train together: one alone, or those that torchrun started."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor

from distill.options import resolve_precision
from index.errors import UsageError

Made = TypeVar("Made")
# The others wait while the first decodes, scores or evaluates; a process that dies ends the wait
# at once, for torchrun then ends all.
LONGEST_WAIT = timedelta(days=7)


class Processes:
    """One of `count` processes, of `rank` from 0, with its device; only the first writes files."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        return int(self._fabric.global_rank)

    @property
    def count(self) -> int:
        """How many train together."""
        return int(self._fabric.world_size)

    @property
    def first(self) -> bool:
        """Whether this is the one that reads and writes the catalog and the run's files."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self._fabric.device

    def autocast(self) -> AbstractContextManager[Any]:
        """Compute in the run's precision."""
        return self._fabric.autocast()

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.count > 1:
            self._fabric.barrier()

    def of_first(self, make: Callable[[], Made]) -> Made:
        """Return in all processes what the first one makes, for which the others wait."""
        if self.count == 1:
            return make()
        made: Any = make() if self.first else None
        found: Made = self._fabric.broadcast(made)
        return found

    def gather(self, tensor: Tensor) -> Tensor:
        """Return those of all processes, (count * B, ...), in all of them, by rank."""
        if self.count == 1:
            return tensor
        own = tensor.detach().contiguous()
        found = [torch.empty_like(own) for _ in range(self.count)]
        torch.distributed.all_gather(found, own)
        return torch.cat(found)

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors, alike in shape and order everywhere, by their means over processes."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([one.detach().reshape(-1).float() for one in tensors])
        mean = self._fabric.all_reduce(flat, reduce_op="mean")
        assert isinstance(mean, Tensor)
        start = 0
        for one in tensors:
            one.copy_(mean[start : start + one.numel()].view(one.shape))
            start += one.numel()


def join(device: str, precision: str) -> Processes:
    """Join the processes that torchrun started, or compute alone.

    Raises:
        UsageError: more processes than this machine has devices.
    """
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if started_by_torchrun() else 1
    world = int(os.environ["WORLD_SIZE"]) if started_by_torchrun() else 1
    number: Any = resolve_precision(precision, device)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # how it begins is no news
    if world == 1:
        return Processes(Fabric(accelerator=device, devices=1, precision=number))
    if device in ("auto", "cuda") and 0 < torch.cuda.device_count() < local:
        raise UsageError(
            f"torchrun started {local} processes and this machine has "
            f"{torch.cuda.device_count()} GPUs: start as many as there are, or --device cpu"
        )
    strategy = DDPStrategy(timeout=LONGEST_WAIT)
    nodes = world // local
    fabric = Fabric(
        accelerator=device, devices=local, num_nodes=nodes, strategy=strategy, precision=number
    )
    fabric.launch()
    return Processes(fabric)


def started_by_torchrun() -> bool:
    """Whether this process is one of torchrun's."""
    return "TORCHELASTIC_RUN_ID" in os.environ
