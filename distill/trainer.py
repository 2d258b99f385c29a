"""The one training loop. Every step is a function of (state, seed, step number).

All that is random in a step (order, augmentation, the loss's own draws, dropout) comes from
generators seeded with the run's seed and the step's number. So a checkpoint needs no generator
state, and a resumed run takes the very steps that an undisturbed one would have taken.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from distill.augment import AUGMENTATIONS
from distill.checkpoint import checkpoint_path, load_checkpoint, save_checkpoint
from distill.freshness import Places, RecentLogits
from distill.images import PoolImages
from distill.methods import Batch, Losses, Method
from distill.metrics import MetricsLog
from distill.networks import Network, map_batches, normalise
from distill.options import TrainOptions, resolve_precision
from distill.schedule import SCHEDULES
from distill.selection import Selection
from index.errors import KdcurateError, UsageError, WorkspaceError
from index.parts import half
from index.progress import Progress, Silent


@dataclass(frozen=True)
class RoundStart:
    """What a re-selection is told: the round from 0, its epoch from 1 of `epochs`, the student.

    `resumed` says that the run was interrupted in or at the start of this round, so its manifest
    may be there to be read: the student may no longer be the one that it was selected with, unless
    the round `begins`. `student_logits` scores the whole pool; `recent` is what the student said
    last of each image, where the run keeps it.
    """

    round: int
    epoch: float
    epochs: float
    resumed: bool
    student_logits: Callable[[], NDArray[np.float16]]
    recent: RecentLogits | None = None
    begins: bool = True


Reselect = Callable[[RoundStart], Selection]


@dataclass(frozen=True)
class TrainResult:
    """A finished training: its steps, its seconds in all processes, and its last selection."""

    steps: int
    seconds: float
    selection: Selection


class Trainer:
    """Trains a method on a selection, or on one selection a round."""

    def __init__(
        self,
        method: Method,
        images: PoolImages,
        selection: Selection,
        options: TrainOptions,
        folder: Path,
        *,
        reselect: Reselect | None = None,
        identity: dict[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> None:
        options.check()
        self._options = options
        self._images = images
        self._selection = selection
        self._reselect = reselect
        self._identity = {**options.identity(), **(identity or {})}
        self._progress = progress or Silent()
        self._selected_round = -1
        self._resumed_at = 0
        self._began = time.monotonic()
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._batch_size = min(options.batch_size, len(selection.ids))
        self._steps_an_epoch = max(1, len(selection.ids) // self._batch_size)
        self.total_steps = options.max_steps or options.epochs * self._steps_an_epoch
        if options.rounds > self.total_steps:
            raise UsageError(
                f"--rounds {options.rounds} in {self.total_steps} steps: ask for fewer"
            )
        self._metrics = MetricsLog(folder / "metrics.jsonl", options.log_every)
        self._fabric = Fabric(
            accelerator=options.device,
            devices=1,
            precision=resolve_precision(options.precision, options.device),
        )
        method.prepare(len(images.ids))
        self._recent: RecentLogits | None = None
        if reselect is not None and options.refresh == "lazy":
            classes = method.student.num_classes
            self._recent = RecentLogits.empty(len(images.ids), classes, self.student_logits)
        method.to(memory_format=torch.channels_last)
        self._method: Any
        # The first takes the run's rate and schedule, the method's own does not.
        self._method, *self._optimizers = self._fabric.setup(method, *_optimizers(method, options))
        self._method.mark_forward_method("loss")

    def fit(self) -> TrainResult:
        """Train to the last step, from the checkpoint if there is one.

        Raises:
            WorkspaceError: the checkpoint is of a run with other options.
            KdcurateError: the loss is no longer finite; the last checkpoint stays.
        """
        self._began = time.monotonic()
        step = self._resumed_at = self._resume()
        if step == self.total_steps:
            self._select(step - 1, resumed=True)
        self._method.train()
        with self._progress.step("Training", self.total_steps, "steps") as advance:
            advance(step)
            while step < self.total_steps:
                self._start_round(step)
                losses = self._take_step(step)
                step += 1
                self._record(step, losses)
                advance(1)
        return TrainResult(step, time.monotonic() - self._began, self._selection)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self._fabric.device

    def deployed(self) -> Network:
        """Return the student as it is now, as one network in eval mode."""
        network: Network = self._method.deployed()
        return network.eval()

    @property
    def checkpoint_path(self) -> Path:
        """Where the run's checkpoint lies."""
        return checkpoint_path(self._folder)

    def student_logits(self, places: Places | None = None) -> NDArray[np.float16]:
        """Score the pool, undistorted, with the student as it is: (N, K) in id order.

        Args:
            places: (n,) of the images to score instead of all.
        """
        self._method.eval()
        # Past Fabric's wrapper, which changes the module for the time of a call: several threads
        # call it here.
        method: Method = self._method.module

        def logits(images: Tensor) -> NDArray[np.float16]:
            with self._fabric.autocast():
                return half(method.student_logits(images).float().cpu().numpy())

        spec = method.student.card.input
        pixels = self._images.pixels if places is None else self._images.pixels[places]
        rows = map_batches(logits, pixels, spec, self._fabric.device)
        self._method.train()
        return np.concatenate(rows)

    def _take_step(self, step: int) -> dict[str, float]:
        seed = step_seed(self._options.seed, step)
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        batch = self._batch(step, generator)
        for group in self._optimizers[0].param_groups:
            group["lr"] = self._learning_rate(step)
        # Fabric's wrapper casts only what is called through it as `forward`, and on one device
        # a marked method is not.
        with self._fabric.autocast():
            losses = Losses.of(self._method.loss(batch))
        self._fabric.backward(losses.total)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        values = losses.values()
        if not math.isfinite(values["total"]):
            kept = self.checkpoint_path if self.checkpoint_path.is_file() else "not yet written"
            raise KdcurateError(
                f"the loss is {values['total']} at step {step}: lower --lr; the last good "
                f"checkpoint is {kept}"
            )
        if self._recent is not None:
            places, logits = self._fabric.all_gather((batch.places, losses.logits))
            self._recent.note(places, logits, step)
        return values

    def _batch(self, step: int, generator: torch.Generator) -> Batch:
        ids = self._selection.ids
        size = min(self._batch_size, len(ids))
        start = self._round_starts(step)[1]
        turn, place = divmod(step - start, max(1, len(ids) // size))
        order = np.random.default_rng((self._options.seed, start, turn)).permutation(len(ids))
        chosen = order[place * size : (place + 1) * size]
        device, places = self._fabric.device, self._images.places(ids[chosen])
        pixels = torch.from_numpy(self._images.pixels[places])
        images = normalise(pixels, self._method.student.card.input, device)
        return Batch(
            AUGMENTATIONS[self._options.augment](images, generator),
            torch.from_numpy(self._selection.weights[chosen]).to(device),
            torch.from_numpy(places).to(device),
            epoch=1 + step // self._steps_an_epoch,
            generator=generator,
        )

    def _round_starts(self, step: int) -> tuple[int, int]:
        """Return the round that a step is in and that round's first step."""
        rounds = self._options.rounds
        if rounds == 0:
            return 0, 0
        current = step * rounds // self.total_steps
        return current, -(-current * self.total_steps // rounds)

    def _start_round(self, step: int) -> None:
        current, first = self._round_starts(step)
        if self._reselect is None or self._selected_round == current:
            return
        if step == first:
            self._checkpoint(step)
        self._select(step, resumed=step == self._resumed_at > 0)

    def _select(self, step: int, *, resumed: bool) -> None:
        if self._reselect is None:
            return
        current, first = self._round_starts(step)
        epochs = self.total_steps / self._steps_an_epoch
        epoch = 1 + first / self._steps_an_epoch
        if self._recent is not None:
            self._recent.now = step
        start = RoundStart(
            current, epoch, epochs, resumed, self.student_logits, self._recent, step == first
        )
        self._selection = self._reselect(start)
        self._selected_round = current

    def _learning_rate(self, step: int) -> float:
        defaults = self._method.defaults
        schedule = SCHEDULES[self._options.schedule or defaults.schedule]
        return float((self._options.lr or defaults.lr) * schedule(step / self.total_steps))

    def _record(self, step: int, losses: dict[str, float]) -> None:
        last = step == self.total_steps
        self._metrics.add(step, {**losses, "lr": self._learning_rate(step - 1)}, last=last)
        if step % self._options.checkpoint_every == 0 or last:
            self._checkpoint(step)

    def _checkpoint(self, step: int) -> None:
        state = {
            "method": self._method.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "step": step,
            "seconds": time.monotonic() - self._began,
            "metrics": self._metrics.unwritten,
            "options": json.dumps(self._identity),
            "recent": self._recent.state() if self._recent is not None else None,
        }
        save_checkpoint(self.checkpoint_path, state)

    def _resume(self) -> int:
        state = load_checkpoint(self.checkpoint_path, self._identity)
        if state is None:
            self._metrics.rewind(0)
            return 0
        stored_optimizers = state.get("optimizers", ())
        if len(stored_optimizers) != len(self._optimizers):
            raise WorkspaceError(
                f"{self.checkpoint_path} is of another version of kdcurate: delete it to train anew"
            )
        self._method.load_state_dict(state["method"])
        for optimizer, stored in zip(self._optimizers, stored_optimizers, strict=True):
            optimizer.load_state_dict(stored)
        if self._recent is not None:
            self._recent.load(state["recent"])
        step = int(state["step"])
        self._began -= state["seconds"]
        self._metrics.rewind(step, state["metrics"])
        self._progress.say(f"resuming at step {step} of {self.total_steps}")
        return step


def step_seed(seed: int, step: int) -> int:
    """Return the seed of a step, a function of the run's seed and the step's number only."""
    digest = hashlib.sha256(f"{seed}/{step}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


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
