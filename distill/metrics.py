"""metrics.jsonl: one line a measurement, cut back to the checkpoint when a run resumes."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from distill.board import Board
from index.files import atomic_path


class MetricsLog:
    """Means of what a run measures, written every so many steps; without a path they are not.

    Args:
        path: of the log.
        every: so many steps there is a mean.
        board: is told too.
    """

    def __init__(self, path: Path | None, every: int, board: Board | None = None) -> None:
        self._path = path
        self._board = board
        self._every = every
        self._sums: dict[str, float] = defaultdict(float)
        self._count = 0

    @property
    def unwritten(self) -> dict[str, Any]:
        """What is collected for the next line; a checkpoint keeps it."""
        return {"sums": dict(self._sums), "count": self._count}

    def rewind(self, step: int, unwritten: dict[str, Any] | None = None) -> None:
        """Drop what was measured after `step`, and go on from what was `unwritten` then."""
        self.forget()
        if unwritten is not None:
            self._sums.update(unwritten["sums"])
            self._count = unwritten["count"]
        if self._path is not None and self._path.is_file():
            kept = [row for row in read_metrics(self._path) if row["step"] <= step]
            with atomic_path(self._path) as temporary:
                temporary.write_text("".join(json.dumps(row) + "\n" for row in kept))

    def add(self, step: int, values: dict[str, float], *, last: bool) -> None:
        """Add the measurements of a step; `last` writes what is collected."""
        for name, value in values.items():
            self._sums[name] += value
        self._count += 1
        if step % self._every == 0 or last:
            means = {name: total / self._count for name, total in self._sums.items()}
            self.note(step, means)
            self.forget()

    def note(self, step: int, values: dict[str, float]) -> None:
        """Write a line of what was measured once, at this step."""
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
        if self._board is not None:
            self._board.add(step, values)

    def close(self) -> None:
        """Bring what was told to disk."""
        if self._board is not None:
            self._board.close()

    def forget(self) -> None:
        """Start a new mean."""
        self._sums.clear()
        self._count = 0


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a log; a last line cut off by a kill is left out."""
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows
