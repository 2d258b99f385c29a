"""The training loops of two public toolkits, as their own examples run them, told when to tick.

Both draw batches from a DataLoader that transforms one image after another, train in float32 and in
PyTorch's own memory format. Neither is a dependency: an environment that has them runs this.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms

TEMPERATURE = 4.0
SGD: dict[str, Any] = {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}
Tick = Callable[[int], None]


@dataclass(frozen=True)
class Lesson:
    """Networks, images (N, 32, 32, 3) uint8 and how many steps of how many of them."""

    teacher: nn.Module
    student: nn.Module
    pixels: NDArray[np.uint8]
    steps: int
    batch: int
    workers: int
    device: str


class Cropped(Dataset[tuple[torch.Tensor, int]]):
    """What torchvision's CIFAR10 gives, in the view of both toolkits' examples."""

    def __init__(self, lesson: Lesson) -> None:
        self._pixels = lesson.pixels
        self._count = lesson.steps * lesson.batch
        crop, flip = transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()
        spread = transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
        self._view = transforms.Compose([crop, flip, transforms.ToTensor(), spread])

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        image = Image.fromarray(self._pixels[place % len(self._pixels)])
        return self._view(image), place % 10


class Ticking:
    """A loader that ticks whenever the loop comes back for more: a step is done."""

    def __init__(self, loader: DataLoader[Any], tick: Tick) -> None:
        self.dataset = loader.dataset
        self._loader = loader
        self._tick = tick

    def __iter__(self) -> Iterator[Any]:
        for batch in self._loader:
            yield batch
            self._tick(1)


def torchdistill(lesson: Lesson, tick: Tick) -> None:
    """DistillationBox with KDLoss, in the loop of its image classification example."""
    box = importlib.import_module("torchdistill.core.distillation").DistillationBox(
        *(lesson.teacher, lesson.student, {"train": Cropped(lesson)}, _config(lesson)),
        *(torch.device(lesson.device), None, False, 1),
    )
    box.teacher_model.eval()
    box.pre_epoch_process(epoch=0)
    for images, targets, supplement in box.train_data_loader:
        images, targets = images.to(lesson.device), targets.to(lesson.device)
        loss = box.forward_process(images, targets, supplement)
        box.post_forward_process(loss)
        loss.item()  # its example logs it
        tick(1)
    box.post_epoch_process()
    box.clean_modules()


def _config(lesson: Lesson) -> dict[str, Any]:
    logits = {f"{who}_module_path": "." for who in ("student", "teacher")}
    logits |= {f"{who}_module_io": "output" for who in ("student", "teacher")}
    # With alpha 0 it leaves out T^2, which the weight brings back.
    loss = {"key": "KDLoss", "kwargs": {**logits, "temperature": TEMPERATURE, "alpha": 0}}
    terms = {"kd": {"criterion": loss, "weight": TEMPERATURE**2}}
    sampler = {"class_or_func": RandomSampler, "kwargs": {}}
    loader = {"batch_size": lesson.batch, "num_workers": lesson.workers}
    return {
        "num_epochs": 1,
        "train_data_loader": {"dataset_id": "train", "sampler": sampler, "kwargs": loader},
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only"},
        "optimizer": {"key": "SGD", "kwargs": dict(SGD)},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": terms}},
    }


def kd_lib(lesson: Lesson, tick: Tick) -> None:
    """VanillaKD.train_student with its own loss; it computes gradients of the teacher as well."""
    data = Cropped(lesson)
    loader = DataLoader(data, lesson.batch, shuffle=True, num_workers=lesson.workers)
    one = DataLoader(torch.utils.data.Subset(data, [0]))  # it evaluates after the last step
    sgd = torch.optim.SGD(lesson.student.parameters(), **SGD)
    trainer = _vanilla_kd()(
        *(lesson.teacher, lesson.student, Ticking(loader, tick), one, None, sgd),
        temp=TEMPERATURE,
        distil_weight=1.0,
        device=lesson.device,
    )
    with contextlib.redirect_stdout(sys.stderr):
        trainer.train_student(epochs=1, plot_losses=False, save_model=False)


def kd_lib_frozen(lesson: Lesson, tick: Tick) -> None:
    """The same, kinder than its example: the teacher's parameters ask for no gradients."""
    lesson.teacher.requires_grad_(False)
    kd_lib(lesson, tick)


class _Absent(ModuleType):
    """Stands for a module whose names are imported but, in VanillaKD, never used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return object


def _vanilla_kd() -> Any:
    """Import VanillaKD past its neighbours for texts, which want packages of years ago."""
    for name in ("transformers", "torchtext", "torchtext.legacy", "pandas"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
        sys.modules.setdefault(name, _Absent(name))
    return importlib.import_module("KD_Lib.KD").VanillaKD


PEERS: dict[str, Callable[[Lesson, Tick], None]] = {
    "torchdistill": torchdistill,
    "KD_Lib": kd_lib,
    "KD_Lib, teacher frozen": kd_lib_frozen,
}


def missing(peer: str) -> str:
    """Say why a peer cannot run here; empty if it can."""
    try:
        if peer == "torchdistill":
            importlib.import_module("torchdistill.core.distillation")
        else:
            _vanilla_kd()
    except ImportError as error:
        return str(error)
    return ""
