"""result.json: how a finished run ended, for when the same command is typed again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from distill.checkpoint import check_options
from distill.datafree.keeping import list_path
from index.files import atomic_path


@dataclass(frozen=True)
class RunResult:
    """A finished run: its name, the student's card, its accuracy on `evaluated_on`.

    `images` is the list of the `kept` images that its method made.
    """

    run: str
    student: str
    accuracy: float | None
    steps: int
    seconds: float
    evaluated_on: str | None = None
    images: str | None = None
    kept: int = 0

    def told(self) -> dict[str, Any]:
        """Return what a person is told: of images that the method made only where it kept some."""
        facts = asdict(self)
        kept = facts.pop("kept")
        return facts | {"kept": f"{kept:,} of the images that it made"} if kept else facts


def write_result(folder: Path, done: RunResult, identity: dict[str, Any]) -> None:
    """Write how a run ended, and what makes it that run."""
    with atomic_path(folder / "result.json") as temporary:
        temporary.write_text(json.dumps({**asdict(done), "options": identity}, indent=2) + "\n")


def read_result(folder: Path, identity: dict[str, Any]) -> RunResult | None:
    """Return how a run ended, or None where it has not.

    Its paths are those that the folder has now, wherever the workspace was when it ended.

    Raises:
        WorkspaceError: it was begun with other options.
    """
    path = folder / "result.json"
    if not path.is_file():
        return None
    stored = json.loads(path.read_text())
    check_options(path, stored.pop("options"), identity)
    found = RunResult(**stored)
    images = str(list_path(folder.parents[1], folder.name)) if found.images else None
    return replace(found, student=str(folder / Path(found.student).name), images=images)
