"""What is installed, which devices there are, and whether a workspace is whole."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from index.catalog import Catalog
from index.errors import KdcurateError
from index.neighbours import open_index
from index.parts import Part, damaged_parts

PACKAGES = (
    *("torch", "torchvision", "faiss-cpu", "open_clip_torch", "timm", "pillow", "typer", "duckdb"),
    *("lightning-fabric", "numpy", "safetensors", "scikit-learn", "matplotlib"),
)


def installation() -> dict[str, Any]:
    """Return versions and devices."""
    import torch

    found: dict[str, Any] = {"kdcurate": version("kdcurate"), "python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    found["platform"] = platform.platform()
    found["cores"] = os.cpu_count()
    cuda = torch.cuda.is_available()
    found["cuda"] = torch.cuda.get_device_name(0) if cuda else "none"
    return found


def workspace_problems(workspace: Path) -> list[str]:
    """Return what is wrong with a workspace, each with the command that mends it."""
    catalog = Catalog(workspace)
    try:
        with catalog.read() as connection:
            rows = connection.execute(
                "SELECT store, part, rows, width, bytes, sha256 FROM parts ORDER BY ALL"
            ).fetchall()
            embedders = connection.execute("SELECT embedder FROM indexes").fetchall()
            twice = connection.execute(
                "SELECT manifest FROM decisions GROUP BY manifest "
                "HAVING count(*) <> count(DISTINCT image_id)"
            ).fetchall()
    except KdcurateError as error:
        return [str(error)]
    problems = [
        f"{path} is missing or damaged: restore it from a copy, or start a new workspace"
        for path in damaged_parts(workspace, [Part(*row) for row in rows])
    ]
    for (embedder,) in embedders:
        try:
            open_index(catalog, embedder)
        except KdcurateError as error:
            problems.append(str(error))
    problems += [f"manifest {name} decides an image twice: please report this" for (name,) in twice]
    return problems
