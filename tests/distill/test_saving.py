"""Ctrl-C where several processes train: none waits for the others, and what is lost is told."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from distill.checkpoint import checkpoint_path
from distill.options import TrainOptions
from distill.saving import Saving

from .training import Said


@dataclass(frozen=True)
class OfTwo:
    """One of two processes."""

    first: bool
    count: int = 2


@pytest.mark.parametrize("first", [True, False])
def test_of_several_processes_each_obeys_at_once(tmp_path: Path, first: bool) -> None:
    progress, processes = Said(), OfTwo(first)
    made: Any = Saving(tmp_path, TrainOptions(), lambda step: {"step": step}, processes, progress)
    taken = []
    with pytest.raises(KeyboardInterrupt), made.steps(9):
        made.write(4)
        taken.append(5)
        signal.raise_signal(signal.SIGINT)
        taken.append(6)
        made.after(6, last=False)
    assert taken == [5]
    assert progress.said == (["the run goes on from step 4 of 9"] if first else [])
    assert checkpoint_path(tmp_path).is_file() == first
