"""Runs on the small workspace, and what can be read of them afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from distill.networks import load_network
from distill.options import TrainOptions
from distill.reselection import Reselect, RoundStart
from distill.run import MakeReselect, RunOptions, RunResult, distill
from distill.selection import Selection, read_selection
from index.catalog import Catalog
from index.progress import Advance

from .workspaces import IMAGES, SELECTED, TEACHER, add_manifest, save_noise

TRAIN = TrainOptions(
    max_steps=4, batch_size=4, lr=0.05, device="cpu", precision="float32", log_every=2
)


class Heard:
    """Notes what a run says and which steps it takes."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.advanced: dict[str, list[int]] = {}

    @contextmanager
    def step(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:
        yield self.advanced.setdefault(name, []).append

    def say(self, message: str) -> None:
        self.said.append(message)


def run(catalog: Catalog, card: Path, **given: Any) -> RunResult:
    parts = {name: given.pop(name) for name in ("progress", "make_reselect") if name in given}
    options = replace(asked(card), **given)
    return distill(catalog, options, teacher=load_network(options.teacher), **parts)


def asked(card: Path) -> RunOptions:
    return RunOptions(
        manifest="first",
        teacher=str(card),
        student=TEACHER,
        method="kd3",
        train=TRAIN,
        method_options={},
        workers=0,
    )


def rows(catalog: Catalog, query: str, *values: object) -> list[tuple[Any, ...]]:
    with catalog.read() as connection:
        return connection.execute(query, list(values)).fetchall()


def tensors(result: RunResult) -> dict[str, Tensor]:
    return load_file(Path(result.student).with_suffix(".safetensors"))


def metadata(result: RunResult) -> dict[str, str]:
    with safe_open(Path(result.student).with_suffix(".safetensors"), "pt") as file:
        found: dict[str, str] = json.loads(file.metadata()["provenance"])
        return found


def same(first: RunResult, second: RunResult) -> bool:
    one, other = tensors(first), tensors(second)
    assert one.keys() == other.keys()
    return all(torch.equal(one[key], other[key]) for key in one)


def labelled(folder: Path, *labels: str) -> str:
    """Write a noisy image of each class named."""
    for seed, label in enumerate(labels):
        save_noise(folder / label / f"{seed}.png", seed)
    return str(folder)


def is_stored(catalog: Catalog, name: str) -> bool:
    with catalog.read() as connection:
        found = connection.execute("SELECT 1 FROM manifests WHERE name = ?", [name]).fetchall()
    return len(found) == 1


def shrinking(catalog: Catalog) -> MakeReselect:
    """Rounds that take ever fewer images, each with a manifest in the catalog."""

    def make(run: str, ids: NDArray[np.int64]) -> Reselect:
        assert len(ids) == IMAGES

        def reselect(start: RoundStart) -> Selection:
            name = f"{run}/{start.round}"
            if not (start.resumed and is_stored(catalog, name)):
                assert start.student_logits().shape == (IMAGES, 3)
                add_manifest(catalog, name, f"hash-of-{start.round}", SELECTED - start.round)
            return read_selection(catalog, name)

        return reselect

    return make
