"""What a shell offers when TAB is pressed, beyond commands and options."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from index.errors import KdcurateError

_PATIENCE_S = 0.5  # of a person at a prompt, where another process holds the catalog


def manifest_names(context: typer.Context, incomplete: str) -> list[str]:
    """Return the manifests of the workspace that is typed, latest first; none where it has none."""
    return _names(context, incomplete, "SELECT name FROM manifests ORDER BY created_at DESC, name")


def run_names(context: typer.Context, incomplete: str) -> list[str]:
    """Return the finished runs of the workspace that is typed, latest first."""
    return _names(context, incomplete, "SELECT name FROM runs ORDER BY finished_at DESC, name")


def _names(context: typer.Context, incomplete: str, query: str) -> list[str]:
    from index.catalog import Catalog

    typed = context.params.get("workspace") or os.environ.get("KDCURATE_WORKSPACE", "workspace")
    try:
        with Catalog(Path(typed)).read(_PATIENCE_S) as connection:
            rows = connection.execute(query).fetchall()
            return [name for (name,) in rows if name.startswith(incomplete)]
    except KdcurateError:
        return []
