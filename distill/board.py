"""Curves for TensorBoard, beside the metrics in the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from index.errors import UsageError


class Board:
    """Writes what a run measures to event files below `folder`, from the first measurement on."""

    def __init__(self, folder: Path) -> None:
        """Check that TensorBoard is there.

        Raises:
            UsageError: it is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError(
                "--tensorboard needs TensorBoard: pip install 'kdcurate[tensorboard]', or leave "
                "it out: the table metrics has the same curves"
            ) from error
        self._make = SummaryWriter
        self._folder = folder
        self._writer: Any = None

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve; what a killed run wrote of this step or later is hidden."""
        if self._writer is None:
            self._writer = self._make(str(self._folder), purge_step=step)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Bring it to disk."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
