"""The maps of a report: whose features, and which manifest colours them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from curate.report.balance import Agreement, tally
from curate.report.embedding import Panel, draw_points, panel, tsne
from curate.report.features import Features, Reader, of_student, of_teacher, teacher_labels
from curate.report.ledger import read_entries
from curate.report.options import MOST_MAPS, ReportOptions
from curate.report.originals import Originals
from curate.report.scope import ManifestFacts, RunFacts, Scope
from curate.tables import rows_of
from index.catalog import Catalog
from index.errors import KdcurateError
from index.parts import Ids
from index.progress import Progress


@dataclass
class Maps:
    """Panels by teacher and by student, what students say of the mapped images, and what failed.

    `original_labels` are the labels of the originals by teacher.
    """

    teachers: list[Panel] = field(default_factory=list)
    students: list[Panel] = field(default_factory=list)
    agreements: list[Agreement] = field(default_factory=list)
    original_labels: dict[str, list[int]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def draw_maps(
    catalog: Catalog,
    scope: Scope,
    readable: set[int],
    originals: Originals | None,
    options: ReportOptions,
    progress: Progress,
) -> Maps:
    """Map the images of a report that are still readable, for each teacher and student.

    Raises:
        NetworkError: there are originals, and a teacher cannot be loaded to label them.
    """
    drawn = [image for image in draw_points(catalog, scope.manifests).tolist() if image in readable]
    reader = Reader(catalog, np.array(drawn, np.int64), originals, options.device, options.workers)
    maps = Maps()
    total = len({one.teacher for one in scope.manifests}) + min(len(scope.runs), MOST_MAPS)
    with progress.step("Mapping features", total, "maps") as advance:
        for mine in _by_teacher(scope.manifests):
            _map_teacher(reader, mine, options.seed, maps)
            advance(1)
        for run in scope.runs[-MOST_MAPS:]:
            _map_student(reader, scope, run, options.seed, maps)
            advance(1)
    if len(scope.runs) > MOST_MAPS:
        maps.remarks.append(f"of {len(scope.runs)} students the newest {MOST_MAPS} are mapped")
    return maps


def _by_teacher(manifests: Sequence[ManifestFacts]) -> Iterator[list[ManifestFacts]]:
    for teacher in dict.fromkeys(one.teacher for one in manifests):
        yield [one for one in manifests if one.teacher == teacher]


def _map_teacher(reader: Reader, mine: list[ManifestFacts], seed: int, maps: Maps) -> None:
    """All manifests of a teacher share one map: only the colours differ."""
    found, remark = of_teacher(reader, mine[0])
    if found is None:
        maps.remarks.append(remark)
        return
    if found.original_labels is not None:
        maps.original_labels[mine[0].teacher] = found.original_labels.tolist()
    positions = tsne(found, seed)
    if positions is None:
        maps.remarks.append(f"{len(found.ids)} images are too few for a map")
        return
    for one in mine:
        decided = _decisions(reader.catalog, one.name, found.ids)
        original = _original_ids(reader, found)
        maps.teachers.append(panel(one.name, found, positions, decided, original, remark))


def _map_student(reader: Reader, scope: Scope, run: RunFacts, seed: int, maps: Maps) -> None:
    try:
        found = of_student(reader, run)
    except KdcurateError as error:
        gone = not (run.folder / "student.toml").is_file()
        said = "its files are gone" if gone else str(error)
        maps.remarks.append(f"the student of {run.name} is not mapped: {said}")
        return
    _agree(reader.catalog, scope, run, found, maps)
    positions = tsne(found, seed)
    if positions is None:
        return  # said of the teacher's map
    taken, remark = _last_selection(reader.catalog, run)
    decided = _decisions(reader.catalog, taken, found.ids)
    original = _original_ids(reader, found)
    maps.students.append(panel(run.name, found, positions, decided, original, remark))


def _agree(catalog: Catalog, scope: Scope, run: RunFacts, found: Features, maps: Maps) -> None:
    named = next((one for one in scope.manifests if one.teacher == run.teacher), None)
    labels = teacher_labels(catalog, run.teacher, found.ids.tolist())
    if named is None or found.labels is None or not labels:
        return
    pairs = [
        (labels[image], said)
        for image, said in zip(found.ids.tolist(), found.labels.tolist(), strict=True)
        if image in labels
    ]
    of_teacher, of_student = np.array(pairs, dtype=np.int64).T
    of = f"the student of {run.name} beside {run.teacher}: {len(pairs):,} images of the map"
    maps.agreements.append(tally(of, named, of_teacher, of_student))


def _last_selection(catalog: Catalog, run: RunFacts) -> tuple[str, str]:
    """Return the manifest that a run learned from last, and a remark where it is a round's."""
    query = "SELECT manifest, round FROM rounds WHERE run = ? ORDER BY round DESC LIMIT 1"
    with catalog.read() as connection:
        rows = list(rows_of(connection, query, [run.name]))
    if not rows:
        return run.manifest, f"taken and left by {run.manifest}"
    return rows[0]["manifest"], f"taken and left in round {rows[0]['round']}, its last"


def _decisions(catalog: Catalog, manifest: str, ids: Ids) -> dict[int, bool]:
    entries = read_entries(catalog, manifest, ids.tolist())
    return {entry.image_id: entry.selected for entry in entries}


def _original_ids(reader: Reader, found: Features) -> Ids:
    if reader.originals is None or len(found.originals) == 0:
        return np.empty(0, np.int64)
    return reader.originals.ids
