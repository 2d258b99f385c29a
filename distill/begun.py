"""begun.json: what a run is, written when it begins, so that its manifest is not deleted."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from distill.checkpoint import check_options, checkpoint_path
from distill.selection import no_manifest
from distill.unfinished import Begun, begun_path, read_begun
from index.catalog import Catalog, one
from index.errors import UsageError
from index.files import atomic_path


def write_begun(
    catalog: Catalog, folder: Path, manifest: str | None, identity: dict[str, Any]
) -> None:
    """Write into a run's folder which manifest it trains on, and what makes it that run.

    Raises:
        UsageError: the manifest was deleted after this run had read it.
        WorkspaceError: what is to be gone on from was begun with other options.
    """
    path = begun_path(folder)
    if checkpoint_path(folder).is_file():
        before = read_begun(folder)
        if before is None:
            return  # an earlier version began it: its checkpoint says the same
        check_options(path, before.options, identity)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(asdict(Begun(manifest, identity)), indent=2) + "\n")
    if manifest is not None:
        _check_stored(catalog, manifest, identity["manifest"])


def forget_begun(folder: Path) -> None:
    """Let go of the manifest where a run has ended and left nothing to go on from."""
    if not checkpoint_path(folder).is_file():
        begun_path(folder).unlink(missing_ok=True)


def _check_stored(catalog: Catalog, manifest: str, content_hash: str) -> None:
    """A deletion that did not see the run has ended before the catalog can be read here.

    It looks for runs while it has the catalog open for writing.
    """
    with catalog.read() as connection:
        query = "SELECT content_hash FROM manifests WHERE name = ?"
        row = one(connection, query, [manifest])
        if row is None:
            raise no_manifest(connection, manifest)
    if row[0] != content_hash:
        raise UsageError(f"manifest {manifest!r} was made anew meanwhile: repeat the command")
