"""What the catalog says of every image that a model scored, in the order of its logits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from curate.signals import signal_join
from index.catalog import Catalog, literal
from index.errors import WorkspaceError

Columns = dict[str, NDArray[Any]]
SCORES = ("part", "row", "pseudo_label", "confidence")


class Facts:
    """Columns of a teacher's images: joined once, on disk, and read a part at a time.

    `image_id`, then the columns of `scores` as the teacher has them; with the prefix `student_`
    as a student has them; and the signals by name.
    """

    def __init__(
        self,
        catalog: Catalog,
        folder: Path,
        teacher: str,
        student: str | None,
        signals: Mapping[str, str | None],
    ) -> None:
        """Write the join to a file in the scratch folder `folder`.

        `signals` says of each what it was fitted on, see `curate.fitted.fitted_on`.
        """
        self._student = student
        self._file = folder / "facts.parquet"
        # In the file they are numbered: for DuckDB columns of one name but for case are the same.
        self._names = {f"v{number}": name for number, name in enumerate(sorted(signals))}
        joined = {
            alias: signal_join(name, teacher, signals[name], alias)
            for alias, name in self._names.items()
        }
        parameters = {key: value for *_, bound in joined.values() for key, value in bound.items()}
        catalog.write_parquet(_query(teacher, student, joined), self._file, parameters)

    def batches(self, connection: duckdb.DuckDBPyConnection, most: int) -> Iterator[Columns]:
        """Yield every image once, at most so many at a time and all of one part.

        `connection` reads the file; between two batches it is free for anything.
        """
        file = literal(self._file)
        parts = connection.execute(
            f"SELECT DISTINCT part FROM read_parquet({file}) ORDER BY 1"
        ).fetchall()
        for number in parts:
            columns = connection.execute(
                f'FROM read_parquet({file}) WHERE part = ? ORDER BY "row"', number
            ).fetchnumpy()
            columns = {self._names.get(name, name): one for name, one in columns.items()}
            for start in range(0, len(columns["image_id"]), most):
                yield {name: one[start : start + most] for name, one in columns.items()}

    def check(self, columns: Columns) -> None:
        """Check that no image lacks anything.

        Raises:
            WorkspaceError: one has no score of the student, or not every signal.
        """
        for name, values in columns.items():
            if np.ma.is_masked(values):
                if name.startswith("student_"):
                    raise WorkspaceError(
                        f"{self._student} has not scored every image: run select again"
                    )
                raise WorkspaceError(f"not every image has its {name}: run the same command again")


def of_student(columns: Columns) -> Columns:
    """Return the columns of `scores` as the student has them, under their own names."""
    theirs = {name: columns[f"student_{name}"] for name in SCORES if f"student_{name}" in columns}
    return theirs | {"image_id": columns["image_id"]}


def _query(
    teacher: str, student: str | None, joined: Mapping[str, tuple[str, str, Mapping[str, str]]]
) -> str:
    """A file that is in order of parts is read a part at a time without reading all of it."""
    columns = ["s.image_id", *(f's."{name}"' for name in SCORES)]
    joins = []
    if student is not None:
        columns += [f't."{name}" AS "student_{name}"' for name in SCORES]
        joins.append(
            f"LEFT JOIN scores t ON t.image_id = s.image_id AND t.model = {literal(student)}"
        )
    for alias, (value, join, _) in joined.items():
        columns.append(f"{value} AS {alias}")
        joins.append(join)
    return (
        f"SELECT {', '.join(columns)} FROM scores s {' '.join(joins)} "
        f'WHERE s.model = {literal(teacher)} ORDER BY s.part, s."row"'
    )
