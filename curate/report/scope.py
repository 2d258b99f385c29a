"""Which manifests and runs a report is about."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.manifest import get_manifest
from curate.report.options import MOST_MANIFESTS, MOST_RUNS, ReportOptions
from curate.tables import rows_of
from index.catalog import Catalog
from index.errors import UsageError, nearest


@dataclass(frozen=True)
class ManifestFacts:
    """A manifest as the report speaks of it; `classes` are empty where the teacher names none."""

    name: str
    strategy: str
    teacher: str
    student: str | None
    embedder: str | None
    reference: str | None
    pool: int
    eligible: int
    selected: int
    content_hash: str
    classes: list[str]

    def class_name(self, label: int) -> str:
        """Name a class as the teacher's card does, or by its number."""
        return self.classes[label] if label < len(self.classes) else f"class {label}"


@dataclass(frozen=True)
class RunFacts:
    """A finished run; `evaluated_on` is the labelled data that its accuracy is of."""

    name: str
    manifest: str
    method: str
    teacher: str
    student: str
    steps: int
    rounds: int
    accuracy: float | None
    seconds: float
    selected: int | None
    evaluated_on: str | None
    folder: Path


@dataclass(frozen=True)
class Scope:
    """What the report is about, and what of the workspace it leaves out."""

    manifests: list[ManifestFacts]
    runs: list[RunFacts]
    left_out: list[str]


def find_scope(catalog: Catalog, options: ReportOptions) -> Scope:
    """Find the manifests and runs of a report.

    Raises:
        UsageError: there is no manifest, no manifest or run of a name, or too many are named.
    """
    names, more = _chosen(_manifests(catalog), options.manifests, "--manifest", MOST_MANIFESTS)
    if not names:
        raise UsageError(
            f"{catalog.workspace} has no manifest to report on: make one with `kdcurate select`"
        )
    runs, more_runs = _chosen(_runs(catalog), options.runs, "--run", MOST_RUNS)
    left_out = [
        f"{count} older {what}: name them with {flag}"
        for count, what, flag in ((more, "manifests", "--manifest"), (more_runs, "runs", "--run"))
        if count
    ]
    return Scope(_manifest_facts(catalog, names), _run_facts(catalog, runs), left_out)


def _chosen(there: list[str], asked: Sequence[str], flag: str, most: int) -> tuple[list[str], int]:
    """Return the names asked for, or the newest, oldest first; and how many are left out."""
    if len(asked) > most:
        raise UsageError(f"{flag} names {len(asked)}: a report shows {most} at most")
    if asked:
        return list(dict.fromkeys(asked)), 0
    return there[-most:], max(0, len(there) - most)


def _manifests(catalog: Catalog) -> list[str]:
    """All that are no round of a run: those are shown with their run."""
    query = (
        "SELECT name FROM manifests WHERE name NOT IN (SELECT manifest FROM rounds) "
        "ORDER BY created_at, name"
    )
    with catalog.read() as connection:
        return [name for (name,) in connection.execute(query).fetchall()]


def _runs(catalog: Catalog) -> list[str]:
    with catalog.read() as connection:
        found = connection.execute("SELECT name FROM runs ORDER BY finished_at, name").fetchall()
    return [name for (name,) in found]


def _manifest_facts(catalog: Catalog, names: list[str]) -> list[ManifestFacts]:
    return [_one_manifest(catalog, name) for name in names]


def _one_manifest(catalog: Catalog, name: str) -> ManifestFacts:
    found = get_manifest(catalog, name)
    with catalog.read() as connection:
        known = connection.execute(
            "SELECT classes FROM models WHERE key = ?", [found.teacher]
        ).fetchone()
    reference = found.options.get("reference")
    return ManifestFacts(
        name=found.name,
        strategy=found.strategy,
        teacher=found.teacher,
        student=found.student,
        embedder=found.embedder,
        reference=reference if isinstance(reference, str) else None,
        pool=found.pool,
        eligible=found.eligible,
        selected=found.selected,
        content_hash=found.content_hash,
        classes=list(known[0]) if known and known[0] else [],
    )


_RUNS = """
SELECT r.name, r.manifest, r.method, r.teacher, r.student, r.steps, r.accuracy, r.seconds,
       m.selected, (SELECT count(*) FROM rounds d WHERE d.run = r.name) AS rounds
FROM runs r LEFT JOIN manifests m ON m.name = r.manifest WHERE r.name = ?
"""


def _run_facts(catalog: Catalog, names: list[str]) -> list[RunFacts]:
    there = _runs(catalog)
    found = []
    for name in names:
        if name not in there:
            said = nearest(name, there) if there else "train one with `kdcurate distill`"
            raise UsageError(f"no finished run is called {name!r}: {said}")
        with catalog.read() as connection:
            (row,) = rows_of(connection, _RUNS, [name])
        folder = catalog.workspace / "runs" / name
        found.append(RunFacts(**row, evaluated_on=_evaluated_on(folder), folder=folder))
    return found


def _evaluated_on(folder: Path) -> str | None:
    try:
        stored: dict[str, Any] = json.loads((folder / "result.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None  # the catalog has the accuracy; of what, only this file says
    said = stored.get("evaluated_on")
    return said if isinstance(said, str) else None
