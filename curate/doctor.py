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
from index.verify import findings

PACKAGES = (
    *("torch", "torchvision", "faiss-cpu", "open_clip_torch", "timm", "pillow", "typer", "duckdb"),
    *("lightning-fabric", "numpy", "safetensors", "scikit-learn", "matplotlib"),
    "tensorboard",
    *("onnx", "onnxruntime"),
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
        problems = [str(finding) for finding in findings(catalog)]
        with catalog.read() as connection:
            twice = connection.execute(
                "SELECT manifest FROM decisions GROUP BY manifest "
                "HAVING count(*) <> count(DISTINCT image_id)"
            ).fetchall()
    except KdcurateError as error:
        return [str(error)]
    return problems + [
        f"manifest {name} decides an image twice: please report this" for (name,) in twice
    ]


def workspace_indexes(workspace: Path) -> list[dict[str, Any]]:
    """Return of each index its kind, why, how faithful it is, how fast, and how large."""
    names = ("embedder", "factory", "vectors", "recall_at_10", "query_ms", "memory_mb", "reason")
    with Catalog(workspace).read() as connection:
        rows = connection.execute(f"SELECT {', '.join(names)} FROM indexes ORDER BY 1").fetchall()
    return [dict(zip(names, row, strict=True)) for row in rows]
