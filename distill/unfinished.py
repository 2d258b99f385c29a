"""What an unfinished run says of itself in its folder, and which of them train on a manifest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index.errors import WorkspaceError


@dataclass(frozen=True)
class Begun:
    """What a run was begun as: the name of its manifest, if it has one, and all that decides it."""

    manifest: str | None
    options: dict[str, Any]


def begun_path(folder: Path) -> Path:
    """Return where the run in `folder` says, from its first moment, what it is."""
    return folder / "begun.json"


def read_begun(folder: Path) -> Begun | None:
    """Return what the run in `folder` was begun as, or None where it does not say.

    Raises:
        WorkspaceError: the file is damaged.
    """
    path = begun_path(folder)
    if not path.is_file():
        return None
    try:
        stored = json.loads(path.read_text())
        return Begun(stored["manifest"], dict(stored["options"]))
    except (ValueError, KeyError, TypeError) as error:
        raise WorkspaceError(
            f"{path} is damaged: delete it when run {folder.name} does not train"
        ) from error


def unfinished_runs(workspace: Path, manifest: str, content_hash: str) -> list[str]:
    """Return the names of the runs that train on a manifest and have no result yet.

    Raises:
        WorkspaceError: what an unfinished run wrote of itself is damaged.
    """
    return [
        folder.name
        for folder in sorted((workspace / "runs").glob("*"))
        if folder.is_dir()
        and not (folder / "result.json").is_file()
        and _trains_on(folder, manifest, content_hash)
    ]


def _trains_on(folder: Path, manifest: str, content_hash: str) -> bool:
    begun = read_begun(folder)
    if begun is None:
        return _checkpointed_hash(folder) == content_hash
    return (begun.manifest, begun.options.get("manifest")) == (manifest, content_hash)


def _checkpointed_hash(folder: Path) -> str | None:
    """A run that an earlier version began says it in its checkpoint alone, and by hash."""
    path = folder / "checkpoint" / "last.pt"
    if not path.is_file():
        return None
    from distill.checkpoint import checkpoint_options  # it loads torch

    return checkpoint_options(path).get("manifest")
