"""Classes before and after: how many images each has, and where teacher and student agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.report.options import MOST_BARS
from curate.report.scope import ManifestFacts
from curate.tables import rows_of
from index.catalog import Catalog


@dataclass(frozen=True)
class ClassCount:
    """Images of one pseudo-label in the pool, and those of them that were taken."""

    label: int
    name: str
    pool: int
    selected: int


@dataclass(frozen=True)
class Balance:
    """The largest classes of a manifest by label, and the rest of them as one."""

    manifest: ManifestFacts
    classes: list[ClassCount]
    others: ClassCount | None


@dataclass(frozen=True)
class Agreement:
    """Images by teacher's label (rows) and student's (columns), of `images` in all.

    `of` says who the student is and which images were counted; `counts` is (k, k) over `labels`,
    the classes that are most often said; `agree` counts all classes.
    """

    of: str
    labels: list[int]
    names: list[str]
    counts: list[list[int]]
    agree: int
    images: int


_BALANCE = """
SELECT pseudo_label AS label, count(*) AS pool, count(*) FILTER (selected) AS selected
FROM decisions WHERE manifest = ? GROUP BY label ORDER BY pool DESC, label
"""
_AGREEMENT = """
SELECT teacher_label, student_label, count(*) AS images FROM agreement WHERE manifest = ?
GROUP BY ALL
"""


def read_balance(catalog: Catalog, manifest: ManifestFacts) -> Balance:
    """Count each class before and after; memory grows with the number of classes."""
    with catalog.read() as connection:
        rows = [
            ClassCount(name=manifest.class_name(row["label"]), **row)
            for row in rows_of(connection, _BALANCE, [manifest.name])
        ]
    shown, rest = sorted(rows[:MOST_BARS], key=lambda row: row.label), rows[MOST_BARS:]
    others = None
    if rest:
        pool, selected = sum(r.pool for r in rest), sum(r.selected for r in rest)
        others = ClassCount(-1, f"{len(rest)} other classes", pool, selected)
    return Balance(manifest, shown, others)


def read_agreement(catalog: Catalog, manifest: ManifestFacts) -> Agreement | None:
    """Count what teacher and student say of the pool; None without a student's stored scores."""
    with catalog.read() as connection:
        rows = connection.execute(_AGREEMENT, [manifest.name]).fetchall()
    if not rows:
        return None
    triples = np.array(rows, dtype=np.int64)
    of = f"{manifest.student} beside {manifest.teacher}: all images of the pool ({manifest.name})"
    return tally(of, manifest, triples[:, 0], triples[:, 1], triples[:, 2])


def tally(
    of: str,
    manifest: ManifestFacts,
    teacher: NDArray[np.int64],
    student: NDArray[np.int64],
    images: NDArray[np.int64] | None = None,
) -> Agreement:
    """Count pairs of labels (n,), of `images` each, and keep the classes most often said."""
    weights = np.ones(len(teacher), np.int64) if images is None else images
    said = np.bincount(teacher, weights) if len(teacher) else np.zeros(1)
    kept = sorted(np.argsort(-said, kind="stable")[:MOST_BARS].tolist())
    kept = [label for label in kept if said[label] > 0]
    counts = _matrix(kept, teacher, student, weights)
    agree = int(weights[teacher == student].sum())
    names = [manifest.class_name(label) for label in kept]
    return Agreement(of, kept, names, counts, agree, int(weights.sum()))


def _matrix(
    kept: Sequence[int],
    teacher: NDArray[np.int64],
    student: NDArray[np.int64],
    weights: NDArray[np.int64],
) -> list[list[int]]:
    return [
        [int(weights[(teacher == row) & (student == column)].sum()) for column in kept]
        for row in kept
    ]
