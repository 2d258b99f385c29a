"""A step of gradient descent: gradients of all parts of a batch, their mean, the new weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from distill.ema import Ema
from distill.methods import Batch, Losses, Method
from distill.options import TrainOptions
from distill.processes import Processes


class Descent:
    """Trains a method's parameters with SGD, and those it keeps back with its own optimiser.

    A batch comes in equal parts, `--accumulate` of them in each process: the mean of their mean
    losses is the mean over the batch. All processes end a step with the same state.
    """

    def __init__(self, method: Method, options: TrainOptions, processes: Processes) -> None:
        self._method = method
        self._options = options
        self._processes = processes
        self.optimizers = _optimizers(method, options)
        self._trained = [one for one in method.parameters() if one.requires_grad]
        self.ema = Ema(method.student, options.ema) if options.ema else None

    def backward(self, batch: Batch) -> Losses:
        """Add the gradient of one part of the step; return its losses."""
        with self._processes.autocast():
            losses = Losses.of(self._method.loss(batch))
        (losses.total / self._options.accumulate).backward()  # type: ignore[no-untyped-call]
        return losses

    def step(self, parts: Sequence[dict[str, Tensor]], rate: float, done: int) -> dict[str, float]:
        """Take the step whose parts have these losses; return their means.

        Args:
            parts: the scalars of what `backward` returned.
            rate: of the run's SGD.
            done: the steps taken with this one.
        """
        losses = {name: _mean([part[name] for part in parts]) for name in parts[0]}
        self._average(list(losses.values()))
        if self._options.clip_norm:
            losses["gradient"] = nn.utils.clip_grad_norm_(self._trained, self._options.clip_norm)
        for group in self.optimizers[0].param_groups:
            group["lr"] = rate
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if self.ema:
            self.ema.update(self._method.student, done)
        # All at once: each value on its own would wait for an accelerator.
        return dict(zip(losses, torch.stack(list(losses.values())).tolist(), strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds of it, the method's own state apart."""
        state: dict[str, Any] = {"optimizers": [one.state_dict() for one in self.optimizers]}
        return {**state, "ema": self.ema.weights} if self.ema else state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        for optimizer, stored in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(stored)
        if self.ema:
            self.ema.load(state["ema"])

    def _average(self, losses: list[Tensor]) -> None:
        """Make gradients, losses and BatchNorm's running statistics those of all processes.

        A parameter that no process has a gradient for is left without one, so that weight decay
        leaves it alone as it does in one process.
        """
        if self._processes.count == 1:
            return
        found = torch.tensor([float(one.grad is not None) for one in self._trained])
        for one in self._trained:
            one.grad = torch.zeros_like(one) if one.grad is None else one.grad
        found = found.to(self._processes.device)
        gradients = [one.grad for one in self._trained if one.grad is not None]
        self._processes.average([*gradients, found, *losses, *_running_statistics(self._method)])
        for one, share in zip(self._trained, found.tolist(), strict=True):
            one.grad = one.grad if share > 0 else None


def _running_statistics(method: Method) -> list[Tensor]:
    norms = [one for one in method.modules() if isinstance(one, _BatchNorm)]
    found = [value for one in norms for value in (one.running_mean, one.running_var)]
    return [value for value in found if value is not None]


def _optimizers(method: Method, options: TrainOptions) -> list[torch.optim.Optimizer]:
    """SGD for what the method trains, and the method's own for what it keeps back."""
    defaults, own = method.defaults, method.own_optimizer()
    kept = {id(one) for group in own.param_groups for one in group["params"]} if own else set()
    sgd = torch.optim.SGD(
        [one for one in method.parameters() if one.requires_grad and id(one) not in kept],
        lr=options.lr or defaults.lr,
        momentum=defaults.momentum,
        weight_decay=defaults.weight_decay,
    )
    return [sgd, own] if own else [sgd]


def _mean(values: list[Tensor]) -> Tensor:
    return values[0] if len(values) == 1 else torch.stack(values).mean()
