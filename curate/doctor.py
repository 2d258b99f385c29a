"""What is installed, which devices there are, and whether a workspace is whole."""

from __future__ import annotations

import os
import platform
import re
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
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
# What each optional set of packages is for; who works on kdcurate has the others.
EXTRAS = {
    "tensorboard": "distill --tensorboard: curves while it trains",
    "onnx": "export to ONNX",
    "demo": "kdcurate demo, whose data are made with it, and report --figures",
    "ray": "build-index --engine ray: many machines",
    "remote": "sources at https:// and s3://",
}


@dataclass(frozen=True)
class Extra:
    """An optional set of packages: what it is for, and what of it is missing here."""

    name: str
    purpose: str
    missing: tuple[str, ...]

    @property
    def remedy(self) -> str:
        """The command that installs it."""
        return f"pip install 'kdcurate[{self.name}]'"


def extras() -> list[Extra]:
    """Return the optional sets of packages, in the order of their names."""
    return [Extra(name, EXTRAS[name], _missing(name)) for name in sorted(EXTRAS)]


def _missing(extra: str) -> tuple[str, ...]:
    """The packages of an extra that are not installed, by the metadata of kdcurate itself."""
    wanted = [
        re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]
        for requirement in requires("kdcurate") or ()
        if re.search(rf"""extra == ['"]{re.escape(extra)}['"]""", requirement)
    ]
    return tuple(package for package in wanted if _version(package) is None)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def installation() -> dict[str, Any]:
    """Return versions and devices."""
    import torch

    found: dict[str, Any] = {"kdcurate": version("kdcurate"), "python": sys.version.split()[0]}
    for package in PACKAGES:
        found[package] = _version(package) or "not installed"
    found["platform"] = platform.platform()
    found["cores"] = os.cpu_count()
    cuda = torch.cuda.is_available()
    found["cuda"] = torch.cuda.get_device_name(0) if cuda else "none"
    found["mps"] = "there" if torch.backends.mps.is_available() else "none"
    found["device"] = "cuda" if cuda else "mps" if torch.backends.mps.is_available() else "cpu"
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
