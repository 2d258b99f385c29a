"""How to train, and what the machine makes of it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch

from distill.augment import AUGMENTATIONS
from distill.schedule import SCHEDULES
from index.errors import UsageError
from index.seeds import check_seed

# What a round reads: what the student said in training and, of a share, says now; or all anew.
REFRESH = ("lazy", "full")
_REPORTING = ("checkpoint_every", "log_every", "tensorboard")
_LATER = (
    "alpha_floor",
    "accumulate",
    "clip_norm",
    "ema",
    "patience",
    "hold_back",
    "compile",
    "sync_batchnorm",
    "processes",
)
_HELD_BACK = 0.05
_COUNTS = {
    "epochs",
    "max_steps",
    "batch_size",
    "checkpoint_every",
    "log_every",
    "accumulate",
    "patience",
}


@dataclass(frozen=True)
class TrainOptions:
    """How to train; what is None is the method's published default.

    ``batch_size`` counts the images of a step in all ``processes`` together. ``alpha_floor`` is the
    least share that the teacher keeps of the logits that rounds select by.
    """

    epochs: int = 240
    max_steps: int | None = None
    batch_size: int = 128
    lr: float | None = None
    schedule: str | None = None
    augment: str = "crop"
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    rounds: int = 0
    refresh: str = "lazy"
    alpha_floor: float = 0.0
    accumulate: int = 1
    clip_norm: float | None = None
    ema: float | None = None
    patience: int | None = None
    hold_back: float | None = None
    compile: bool = False
    sync_batchnorm: bool = False
    tensorboard: bool = False
    processes: int = 1
    checkpoint_every: int = 200
    log_every: int = 50

    def identity(self) -> dict[str, Any]:
        """Return what decides the result; how often a run reports and saves does not.

        An option of `_LATER` stands there where it is used: runs from before it keep their names,
        and their rounds asked the student about all images.
        """
        unused: dict[str, Any] = {name: getattr(TrainOptions, name) for name in _LATER}
        unused["refresh"] = "full" if self.rounds else self.refresh
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in _REPORTING and (name not in unused or value != unused[name])
        }

    def held_of(self, selected: int) -> int:
        """Return how many of so many images are held back for `patience`.

        Raises:
            UsageError: nothing would be left to train on.
        """
        if self.patience is None:
            return 0
        share = _HELD_BACK if self.hold_back is None else self.hold_back
        held = max(1, round(share * selected))
        if held >= selected:
            raise UsageError(
                f"--hold-back {share:.0%} of {selected} images leaves none to train on: select more"
            )
        return held

    def batch_of(self, selected: int) -> int:
        """Return how many of so many images make a batch, which all processes' parts divide.

        Raises:
            UsageError: too few to give every part one.
        """
        size = min(self.batch_size, selected)
        size -= size % self.parts
        if size < 1:
            raise UsageError(
                f"{selected} images do not go into a batch of {self.parts} parts: select more, "
                "or lower --accumulate or the number of processes"
            )
        return size

    def steps_of(self, selected: int) -> int:
        """Return how many steps a training on so many images takes.

        Raises:
            UsageError: too few images for a batch, or fewer steps than rounds.
        """
        steps = self.max_steps or self.epochs * (selected // self.batch_of(selected))
        self._check_rounds(steps)
        return steps

    @property
    def parts(self) -> int:
        """Into how many equal parts a batch is divided."""
        return self.processes * self.accumulate

    def check(self) -> None:
        """Check what does not depend on networks or images.

        Raises:
            UsageError: a value that makes no sense; the message names the option.
        """
        self._check_choices()
        self._check_numbers()
        if self.max_steps:
            self._check_rounds(self.max_steps)
        if self.refresh != TrainOptions.refresh and not self.rounds:
            raise UsageError("--refresh is for --rounds: give both, or neither")
        if self.alpha_floor and not self.rounds:
            raise UsageError("--alpha-floor is for --rounds: give both, or neither")
        if self.hold_back is not None and self.patience is None:
            raise UsageError("--hold-back is for --patience: give both, or neither")
        if self.batch_size % self.parts:
            raise UsageError(
                f"--batch-size {self.batch_size} does not divide into {self.parts} equal parts "
                f"({self.processes} processes x --accumulate {self.accumulate}): choose a multiple"
            )

    def _check_rounds(self, steps: int) -> None:
        if self.rounds > steps:
            raise UsageError(f"--rounds {self.rounds} in {steps} steps: ask for fewer")

    def _check_choices(self) -> None:
        choices: dict[str, tuple[str | None, list[str]]] = {
            "schedule": (self.schedule, list(SCHEDULES)),
            "augment": (self.augment, list(AUGMENTATIONS)),
            "refresh": (self.refresh, list(REFRESH)),
            "precision": (self.precision, ["auto", "float32", "bfloat16"]),
            "device": (self.device, ["auto", "cpu", "cuda", "mps"]),
        }
        for name, (value, known) in choices.items():
            if value is not None and value not in known:
                names = ", ".join(known)
                raise UsageError(f"--{name} is {value!r}: choose one of {names}")

    def _check_numbers(self) -> None:
        def refuse(name: str, wanted: str) -> None:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} is {getattr(self, name)}: it must {wanted}")

        given = {name: value for name, value in vars(self).items() if value is not None}
        for name in _COUNTS & given.keys():
            if given[name] < 1:
                refuse(name, "be at least 1")
        if given["rounds"] < 0:
            refuse("rounds", "not be negative")
        check_seed(self.seed)
        for name in {"lr", "clip_norm"} & given.keys():
            if not 0 < given[name] < math.inf:
                refuse(name, "be above 0")
        if not 0 <= self.alpha_floor < 1:
            refuse("alpha_floor", "be at least 0 and below 1, where the student would have no say")
        for name in {"ema", "hold_back"} & given.keys():
            if not 0 < given[name] < 1:
                refuse(name, "lie between 0 and 1")


def resolve_precision(precision: str, device: str) -> Any:
    """Return Fabric's name of a precision; `auto` takes bfloat16 where the hardware has it.

    Weights stay float32 (bf16-mixed); a step is then 1.8 times as fast on a CPU with AVX512-BF16.
    """
    if precision == "float32":
        return "32-true"
    if precision == "bfloat16":
        return "bf16-mixed"
    if device in ("auto", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if fast and device != "mps" else "32-true"
