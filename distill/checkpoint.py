"""Checkpoints of a run: whole or absent, and refused where the run's options differ."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from index.errors import WorkspaceError
from index.files import atomic_path

# Of the time between two checkpoints that are due by the clock, writing one may take this share.
SHARE = 0.02
LONGEST_S = 60.0
# How PyTorch begins to tell that names or shapes of a module's state are others.
_UNFIT = "Error(s) in loading state_dict"


class Pace:
    """When a checkpoint is due: every so many steps and, where steps are slow, once a minute.

    One that takes long to write, a fiftieth of that and more, is due by the clock less often. Of
    several processes only the one that writes goes by its clock.
    """

    def __init__(self, steps: int, *, writes: bool = True) -> None:
        self._steps = steps
        self._next = time.monotonic() + LONGEST_S if writes else math.inf

    def due(self, step: int) -> bool:
        """Tell whether to write one after this step, counted from 1."""
        return step % self._steps == 0 or time.monotonic() >= self._next

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Notice how long one takes to write."""
        began = time.monotonic()
        yield
        now = time.monotonic()
        if self._next < math.inf:
            self._next = now + max(LONGEST_S, (now - began) / SHARE)


def checkpoint_path(folder: Path) -> Path:
    """Return where the checkpoint of the run in `folder` lies."""
    return folder / "checkpoint" / "last.pt"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; the previous one stays until this one is on disk."""
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def load_checkpoint(path: Path, options: dict[str, Any]) -> dict[str, Any] | None:
    """Read a checkpoint, or return None where there is none.

    Raises:
        WorkspaceError: it is damaged, or of a run with other options; names the first that differs.
    """
    if not path.is_file():
        return None
    state, stored = _read(path)
    check_options(path, stored, options)
    return state


@contextmanager
def resuming(path: Path) -> Iterator[None]:
    """Say in one line that what a checkpoint holds does not fit what is to go on from it.

    Raises:
        WorkspaceError: a value is missing, or one has another shape, as another version wrote it.
    """
    try:
        yield
    except (RuntimeError, ValueError, LookupError, TypeError) as error:
        # Of a device that failed, or of memory that ran out, the checkpoint is not to blame.
        if isinstance(error, RuntimeError) and not str(error).startswith(_UNFIT):
            raise
        raise WorkspaceError(
            f"{path} is of another version of kdcurate: delete it to train anew"
        ) from error


def checkpoint_options(path: Path) -> dict[str, Any]:
    """Return the options of the run whose checkpoint this is.

    Raises:
        WorkspaceError: it is damaged.
    """
    return _read(path)[1]


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state, json.loads(state["options"])
    except Exception as error:
        raise WorkspaceError(f"{path} is damaged: delete it to train anew") from error


def check_options(path: Path, stored: dict[str, Any], options: dict[str, Any]) -> None:
    """Refuse to go on with, or to report, a run of other options than those asked for.

    Raises:
        WorkspaceError: names the first option that differs.
    """
    stored, wanted = _flat(stored), _flat(json.loads(json.dumps(options)))
    for name in sorted(stored.keys() | wanted.keys()):
        if stored.get(name) != wanted.get(name):
            raise WorkspaceError(
                f"{path} is of a run with {name} = {stored.get(name)!r}, not "
                f"{wanted.get(name)!r}: give this run another --run name"
            )


def _flat(options: dict[str, Any]) -> dict[str, Any]:
    """Name a method's own options as --option does, so that the one that differs is told alone."""
    given = options.get("method_options") or {}
    own = {f"--option {name}": value for name, value in given.items()}
    return {**{name: one for name, one in options.items() if name != "method_options"}, **own}
