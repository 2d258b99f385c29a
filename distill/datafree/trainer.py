"""The one loop of all methods that make their own images: images, then a step of the student.

As in `distill.trainer`, a step is a function of (state, seed, step number), so that a resumed run
ends with the bits of an undisturbed one.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from distill.augment import AUGMENTATIONS
from distill.checkpoint import checkpoint_path, load_checkpoint, resuming
from distill.datafree.learner import STUDENT
from distill.datafree.purposes import Purpose
from distill.datafree.recipe import Recipe
from distill.datafree.registry import STEPS_AN_EPOCH
from distill.datafree.synthesiser import Compute, Moment, Synthesiser
from distill.draws import Draws
from distill.failures import check_finite, check_images, check_weights
from distill.methods import Batch, Losses, Method
from distill.metrics import MetricsLog
from distill.networks import Network
from distill.options import TrainOptions
from distill.processes import Processes, join
from distill.saving import Saving
from index.decoding import Pixels
from index.progress import Progress, Silent


def total_steps(options: TrainOptions) -> int:
    """Return the student's steps in a run with these options; an epoch is 400."""
    return options.max_steps or options.epochs * STEPS_AN_EPOCH


class DataFreeTrainer:
    """Trains a student on images that a synthesiser makes for it.

    Args:
        learner: the student's loss.
        synthesiser: the kind of what makes the images.
        recipe: its numbers.
        options: of the training.
        folder: of the run.
        identity: what else makes the run that run.
        progress: is told of steps.
        processes: the one that the run has joined, with its device and precision.
    """

    def __init__(
        self,
        learner: Method,
        synthesiser: type[Synthesiser],
        recipe: Recipe,
        options: TrainOptions,
        folder: Path,
        *,
        identity: dict[str, Any] | None = None,
        progress: Progress | None = None,
        processes: Processes | None = None,
    ) -> None:
        options.check()
        self._options = options
        self._folder = folder
        self._identity = {**options.identity(), **(identity or {})}
        self._progress = progress or Silent()
        self._began = time.monotonic()
        self._made = dict[str, float]()  # what the images' last step measured
        self.total_steps = total_steps(options)
        folder.mkdir(parents=True, exist_ok=True)
        self._metrics = MetricsLog(folder / "metrics.jsonl", options.log_every)
        self._processes = processes or join(options.device, options.precision)
        self._saving = Saving(folder, options, self._state, self._processes, self._progress)
        learner.check_part(options.batch_size)
        self._learner = learner
        learner.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimizer = torch.optim.SGD(
            [one for one in learner.parameters() if one.requires_grad],
            lr=options.lr or STUDENT.lr,
            momentum=STUDENT.momentum,
            weight_decay=STUDENT.weight_decay,
        )
        compute = Compute(self.device, self._processes.autocast)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            self._synthesiser = synthesiser(learner, recipe, compute, folder)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self._processes.device

    @property
    def checkpoint_path(self) -> Path:
        """Where the run's checkpoint lies."""
        return checkpoint_path(self._folder)

    @property
    def synthesiser(self) -> Synthesiser:
        """What makes the images."""
        return self._synthesiser

    def fit(self) -> tuple[int, float]:
        """Train to the last step, from the checkpoint if there is one.

        Returns:
            Steps, and seconds in all processes.

        Raises:
            WorkspaceError: the checkpoint is of a run with other options or of another version, or
                its images are gone.
            KdcurateError: a loss or a weight is no longer finite; the last checkpoint stays.
        """
        self._began = time.monotonic()
        step = self._resume()
        self._learner.train()
        self._synthesiser.train()
        self._make_ahead(step)
        with (
            self._progress.step("Training", self.total_steps, "steps") as advance,
            self._saving.steps(self.total_steps),
        ):
            advance(step)
            while step < self.total_steps:
                self._prepare(step)
                losses = self._take_step(step)
                step += 1
                self._record(step, losses)
                advance(1)
        return step, time.monotonic() - self._began

    def deployed(self) -> Network:
        """Return the student as it is now, as one network in eval mode."""
        network: Network = self._learner.deployed()
        return network.eval()

    def samples(self, count: int) -> Iterator[Pixels]:
        """Yield images (B, S, S, 3) uint8, `count` in all, as those of steps after the last."""
        # The next step at which a turn of the generator begins.
        turn = self._synthesiser.recipe.student_steps
        moment = Moment(-(-self.total_steps // turn) * turn, self._options.seed)
        for images in self._synthesiser.samples(count, moment):
            pixels: Pixels = images.numpy()
            yield pixels

    def _make_ahead(self, step: int) -> None:
        """Let all images be made that need not wait for the student, a checkpoint a round."""
        rounds = self._synthesiser.ahead(self.total_steps)
        if not rounds:
            return
        with self._progress.step("Making images", len(rounds), "rounds") as advance:
            for due in rounds:
                self._make(Moment(due, self._options.seed), step)
                self._saving.write(step)
                advance(1)

    def _prepare(self, step: int) -> None:
        moment = Moment(step, self._options.seed)
        if not self._synthesiser.is_slow(moment):
            self._make(moment, step)
            return
        if self._saving.step < step:
            self._saving.write(step)
        with self._saving.heard():
            self._make(moment, step)
        self._saving.write(step)

    def _make(self, moment: Moment, step: int) -> None:
        """Let images, or their generator, take the turn of a moment, after so many steps."""
        torch.manual_seed(moment.generator(Purpose.LEARN).initial_seed())
        made = self._synthesiser.prepare(moment)
        if not made:
            return
        check_finite(
            made["total"], step, self.checkpoint_path, whose="images", remedy=self._lower_rate
        )
        self._made = {f"images_{name}": value for name, value in made.items()}

    def _take_step(self, step: int) -> dict[str, float]:
        moment = Moment(step, self._options.seed)
        torch.manual_seed(moment.generator(Purpose.LEARN).initial_seed())
        images = self._synthesiser.images(self._options.batch_size, moment)
        generator = moment.generator(Purpose.AUGMENT)
        batch = Batch(
            AUGMENTATIONS[self._options.augment](images, Draws(generator)),
            torch.ones(len(images), device=self.device),
            epoch=1 + step // STEPS_AN_EPOCH,
            generator=generator,
        )
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate(step)
        with self._processes.autocast():
            losses = Losses.of(self._learner.loss(batch))
        losses.total.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        values = {name: value.item() for name, value in losses.scalars().items()}
        if not math.isfinite(values["total"]):  # of a student that was shown what is no image?
            check_images(images, step, self.checkpoint_path, remedy=self._lower_rate)
        check_finite(values["total"], step, self.checkpoint_path, whose="student")
        return values

    @property
    def _lower_rate(self) -> str:
        """What helps where the images' loss grows beyond all bounds."""
        rate = self._synthesiser.rate
        return f"lower --option {rate}= (now {getattr(self._synthesiser.recipe, rate):g})"

    def _learning_rate(self, step: int) -> float:
        given = self._options.lr, self._options.schedule
        return STUDENT.rate(step / self.total_steps, *given)

    def _record(self, step: int, losses: dict[str, float]) -> None:
        last = step == self.total_steps
        values = {**losses, **self._made, "lr": self._learning_rate(step - 1)}
        self._metrics.add(step, values, last=last)
        self._saving.after(step, last=last)

    def _state(self, step: int) -> dict[str, Any]:
        check_weights(self._learner, step, self.checkpoint_path)
        check_weights(self._synthesiser, step, self.checkpoint_path, remedy=self._lower_rate)
        return {
            "learner": self._learner.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "synthesiser": self._synthesiser.state(),
            "made": self._made,
            "step": step,
            "seconds": time.monotonic() - self._began,
            "metrics": self._metrics.unwritten,
            "options": json.dumps(self._identity),
        }

    def _resume(self) -> int:
        state = load_checkpoint(self.checkpoint_path, self._identity)
        if state is None:
            self._synthesiser.restore(None)
            self._metrics.rewind(0)
            return 0
        with resuming(self.checkpoint_path):
            self._learner.load_state_dict(state["learner"])
            self._optimizer.load_state_dict(state["optimizer"])
            self._synthesiser.restore(state["synthesiser"])
            self._made = dict(state["made"])
        step = self._saving.step = int(state["step"])
        self._began -= state["seconds"]
        self._metrics.rewind(step, state["metrics"])
        self._progress.say(f"resuming at step {step} of {self.total_steps}")
        return step
