"""The pool that a selection reads, a batch at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from curate.facts import Columns, Facts, of_student
from curate.fitted import fitted_on, stored_fitted
from curate.logits import ArrayLogits, Logits, StoredLogits
from curate.shift import stored_estimates
from curate.strategies.agreement import agreement
from curate.strategies.base import Batch, Floats, confidence, softmax
from index.catalog import Catalog
from index.parts import Ids

# Logits of a batch: few enough for a processor's cache, but a batch is never a few images only.
_VALUES_AT_ONCE, _LEAST_ROWS = 2**20, 2**12


@dataclass(frozen=True)
class Known:
    """What the catalog knows of a pool's images: facts, the teacher's logits, its estimates."""

    facts: Facts
    teacher: StoredLogits
    estimates: list[str]


@dataclass(frozen=True)
class Pool:
    """What a selection reads: the pool as teacher, student, and embedder see it.

    `student_logits` overrides the stored logits of `student`: a round's student is scored in
    memory. `only` (ascending ids) leaves out what else is in the workspace, `decided_by` what a
    manifest did not decide. `reference` is the key of the set that estimates are fitted to. Of
    what came with the crawl a selection reads the numbers that its rank names, and nothing else.
    """

    catalog: Catalog
    teacher: str
    classes: int
    preprocessing: dict[str, Any]
    student: str | None = None
    student_logits: Logits | None = None
    embedder: str | None = None
    only: Ids | None = None
    decided_by: str | None = None
    reference: str | None = None

    def known(self, needs: Collection[str], folder: Path) -> Known:
        """Gather what the catalog knows, with the signals `needs`, in the folder `folder`."""
        estimates = [
            *stored_estimates(self.catalog, self.teacher),
            *stored_fitted(self.catalog, self.teacher, self.reference, self.embedder),
        ]
        student = self.student if self.student_logits is None else None
        signals = {*estimates, *needs}
        fits = {name: fitted_on(name, self.reference, self.embedder) for name in signals}
        facts = Facts(self.catalog, folder, self.teacher, student, fits)
        return Known(facts, StoredLogits(self.catalog, self.teacher), estimates)

    def batches(
        self,
        known: Known,
        needs: Collection[str],
        connection: duckdb.DuckDBPyConnection,
        *,
        logits: bool,
    ) -> Iterator[tuple[Batch, dict[str, Floats]]]:
        """Yield every image once: what a strategy with these `needs` sees, and the components.

        Components are what the ledger says of an image whatever the strategy: the confidence of
        teacher and student, their agreement where both have logits, the age of a student's in
        training, and every stored estimate of the teacher, of those by a reference only the pool's
        own. `logits` tells whether the strategy reads them; beside a student the components do.
        `connection` reads what is known.
        """
        teacher, student = known.teacher, self._student()
        reads = logits or (student is not None and teacher.mode != "none")
        for columns in self._columns(known.facts, connection):
            ids, said = columns["image_id"], (columns["pseudo_label"], columns["confidence"])
            batch = Batch(
                ids,
                teacher.at(columns) if reads else np.empty((len(ids), 0), np.float32),
                student.at(of_student(columns)) if student and reads else None,
                {name: columns[name] for name in needs},
                said,
            )
            components = _components(batch, columns)
            if isinstance(student, ArrayLogits):
                components |= student.components(ids)
            yield batch, components | {name: columns[name] for name in known.estimates}

    def _student(self) -> Logits | None:
        """The student's logits, where there are any."""
        if self.student_logits is not None or self.student is None:
            return self.student_logits
        stored = StoredLogits(self.catalog, self.student)
        return None if stored.mode == "none" else stored

    def _columns(self, facts: Facts, connection: duckdb.DuckDBPyConnection) -> Iterator[Columns]:
        most = max(_LEAST_ROWS, _VALUES_AT_ONCE // self.classes)
        for columns in facts.batches(connection, most):
            if self.only is not None:
                here = _among(self.only, columns["image_id"])
                columns = {name: values[here] for name, values in columns.items()}
            facts.check(columns)
            yield columns


def _among(ascending: Ids, ids: Ids) -> NDArray[np.bool_]:
    found = np.searchsorted(ascending, ids)
    found[found == len(ascending)] = 0
    return ascending[found] == ids if len(ascending) else np.zeros(len(ids), bool)


def _components(batch: Batch, columns: Columns) -> dict[str, Floats]:
    components: dict[str, Floats] = {"teacher_confidence": batch.confidence}
    if "student_confidence" in columns:
        components["student_confidence"] = columns["student_confidence"]
    if batch.student is not None:
        components["student_confidence"] = confidence(batch.student)
        components["agreement"] = agreement(softmax(batch.teacher), softmax(batch.student))
    return components
