"""The one training loop. Every step is a function of (state, seed, step number).

All that is random in a step (order, augmentation, the loss's own draws, dropout) comes from
generators seeded with the run's seed and the step's number. So a checkpoint needs no generator
state, and a resumed run takes the very steps that an undisturbed one would have taken.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.batches import Batches
from distill.board import Board
from distill.checkpoint import checkpoint_path, load_checkpoint, resuming
from distill.compiling import eager, prepare_networks
from distill.descent import Descent
from distill.ema import holding
from distill.failures import check_finite, check_weights, told_if_out_of_memory
from distill.freshness import Places, RecentLogits
from distill.images import PoolImages
from distill.methods import Batch, Method
from distill.metrics import MetricsLog
from distill.networks import Network
from distill.options import TrainOptions
from distill.patience import Patience
from distill.processes import Processes, join
from distill.remembered import remember
from distill.reselection import Reselect, RoundStart
from distill.saving import Saving
from distill.scoring import agreement, score_pixels
from distill.selection import Selection
from index.progress import Progress, Silent


@dataclass(frozen=True)
class TrainResult:
    """A finished training: its steps, its seconds in all processes, and its last selection."""

    steps: int
    seconds: float
    selection: Selection


class Trainer:
    """Trains its `method` on a selection, or on one selection a round.

    Of several processes each has a trainer of its own, with the same arguments; the first one's
    files and selections are those of the run.
    """

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
        processes: Processes | None = None,
        spare_bytes: float = 2**30,
    ) -> None:
        options.check()
        self._options = options
        self._processes = processes or join(options.device, options.precision)
        self._images = images
        self._reselect = reselect
        self._identity = {**options.identity(), **(identity or {})}
        self._progress = progress or Silent()
        self._saving = Saving(folder, options, self._state, self._processes, self._progress)
        self._selected_round = -1
        self._resumed_at = 0
        self._began = time.monotonic()
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._patience = Patience(options, selection)
        self._selection = self._patience.kept(selection)
        selected = len(self._selection.ids)
        self._steps_an_epoch = selected // options.batch_of(selected)
        self.total_steps = options.steps_of(selected)
        if not (options.sync_batchnorm and options.processes > 1):
            method.check_part(options.batch_of(selected) // options.parts)
        self._metrics = _metrics(folder, options) if self._processes.first else MetricsLog(None, 1)
        method.prepare(len(images.ids))
        self.method = method.to(self._processes.device).to(memory_format=torch.channels_last)
        self._recent: RecentLogits | None = None
        if reselect is not None and options.refresh == "lazy":
            classes = method.student.num_classes
            self._recent = RecentLogits.empty(len(images.ids), classes, self.student_logits)
        prepare_networks(method, options, self._processes)
        logits = remember(method, images, options, self._processes, spare_bytes, self._progress)
        spec = method.student.card.input
        self._batches = Batches(images, spec, options, self._processes, logits)
        self._descent = Descent(method, options, self._processes)

    def fit(self) -> TrainResult:
        """Train to the last step, from the checkpoint if there is one.

        Raises:
            WorkspaceError: the checkpoint is of a run with other options, or of another version.
            KdcurateError: the loss or a weight is no longer finite, or memory is exhausted; the
                last checkpoint stays.
        """
        with told_if_out_of_memory(self._options, self.checkpoint_path):
            self._began = time.monotonic()
            step = self._resumed_at = self._resume()
            if self._is_last(step):
                self._select(step - 1, resumed=True)
            self.method.train()
            with (
                self._progress.step("Training", self.total_steps, "steps") as advance,
                self._saving.steps(self.total_steps),
            ):
                advance(step)
                while not self._is_last(step):
                    self._start_round(step)
                    losses = self._take_step(step)
                    step += 1
                    self._record(step, losses)
                    advance(1)
            self._metrics.close()
        return TrainResult(step, time.monotonic() - self._began, self._selection)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self._processes.device

    def deployed(self) -> Network:
        """Return the student to deploy as one network in eval mode, a copy.

        That is the student as it is now, its moving average, or the one of the best check.
        """
        with eager(), holding(self.method.student, self._patience.weights or self._averaged):
            return copy.deepcopy(self.method.deployed()).eval()

    @property
    def checkpoint_path(self) -> Path:
        """Where the run's checkpoint lies."""
        return checkpoint_path(self._folder)

    def student_logits(self, places: Places | None = None) -> NDArray[np.float16]:
        """Score the pool, undistorted, with the student as it is: (N, K) in id order.

        Where a moving average is deployed, it is that which is asked.

        Args:
            places: (n,) of the images to score instead of all.
        """
        pixels = self._images.pixels if places is None else self._images.pixels[places]
        return self._score(pixels, self.method.student_logits)[0]

    def _score(
        self, pixels: NDArray[np.uint8], *networks: Callable[[Tensor], Tensor]
    ) -> list[NDArray[np.float16]]:
        spec = self.method.student.card.input
        self.method.eval()
        with eager(), holding(self.method.student, self._averaged):
            found = [score_pixels(one, pixels, spec, self._processes) for one in networks]
        self.method.train()
        return found

    @property
    def _averaged(self) -> dict[str, Tensor] | None:
        return self._descent.ema.weights if self._descent.ema else None

    def _take_step(self, step: int) -> dict[str, float]:
        first, epoch = self._round_starts(step)[1], 1 + step // self._steps_an_epoch
        batches = self._batches.of_step(step, first, epoch, self._selection)
        parts = [self._learn(batch, step) for batch in batches]
        losses = self._descent.step(parts, self._learning_rate(step), step + 1)
        check_finite(losses["total"], step, self.checkpoint_path)
        return losses

    def _learn(self, batch: Batch, step: int) -> dict[str, Tensor]:
        losses = self._descent.backward(batch)
        if self._recent is not None and batch.places is not None:
            logits = None if losses.logits is None else self._processes.gather(losses.logits)
            self._recent.note(self._processes.gather(batch.places), logits, step)
        return losses.scalars()

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
            self._saving.write(step)
        with self._saving.heard():
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
        selection = self._processes.of_first(partial(self._reselect, start))
        self._selection = self._patience.kept(selection)
        self._selected_round = current

    def _learning_rate(self, step: int) -> float:
        given = self._options.lr, self._options.schedule
        return self.method.defaults.rate(step / self.total_steps, *given)

    def _is_last(self, step: int) -> bool:
        return step == self.total_steps or self._patience.stopped

    def _record(self, step: int, losses: dict[str, float]) -> None:
        ends_epoch = step % self._steps_an_epoch == 0 or step == self.total_steps
        if self._options.patience and ends_epoch:
            self._check_agreement(step)
        last = self._is_last(step)
        self._metrics.add(step, {**losses, "lr": self._learning_rate(step - 1)}, last=last)
        self._saving.after(step, last=last)

    def _check_agreement(self, step: int) -> None:
        found = self._processes.of_first(self._agreement)
        self._patience.check(found, self._averaged or self.method.student.state_dict())
        self._metrics.note(step, {"agreement": found})
        if self._patience.stopped:
            self._progress.say(
                f"stopped at step {step} of {self.total_steps}: no closer to the teacher for "
                f"{self._options.patience} checks; the student of the best, with an agreement of "
                f"{self._patience.best:.3f}, is deployed"
            )

    def _agreement(self) -> float:
        pixels = self._images.pixels[self._images.places(self._patience.held)]
        return agreement(*self._score(pixels, self.method.student_logits, self.method.teacher))

    def _state(self, step: int) -> dict[str, Any]:
        check_weights(self.method, step, self.checkpoint_path)
        return {
            "method": self.method.state_dict(),
            **self._descent.state_dict(),
            "patience": self._patience.state_dict(),
            "step": step,
            "seconds": time.monotonic() - self._began,
            "metrics": self._metrics.unwritten,
            "options": json.dumps(self._identity),
            "recent": self._recent.state() if self._recent is not None else None,
        }

    def _resume(self) -> int:
        state = load_checkpoint(self.checkpoint_path, self._identity)
        self._processes.wait()  # or the first could write the next while another reads
        if state is None:
            self._metrics.rewind(0)
            return 0
        with resuming(self.checkpoint_path):
            self.method.load_state_dict(state["method"])
            self._descent.load_state_dict(state)
            self._patience.load_state_dict(state["patience"])
            if self._recent is not None:
                self._recent.load(state["recent"])
        step = self._saving.step = int(state["step"])
        self._began -= state["seconds"]
        self._metrics.rewind(step, state["metrics"])
        self._progress.say(f"resuming at step {step} of {self.total_steps}")
        return step


def _metrics(folder: Path, options: TrainOptions) -> MetricsLog:
    board = Board(folder / "tensorboard") if options.tensorboard else None
    return MetricsLog(folder / "metrics.jsonl", options.log_every, board)
