"""The pool that a selection reads, a batch at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.facts import Facts, scores_of
from curate.logits import Logits, StoredLogits
from curate.shift import stored_estimates
from curate.strategies.agreement import agreement
from curate.strategies.base import Batch, Floats, confidence, softmax
from index.catalog import Catalog
from index.parts import Ids

# Logits of a batch: few enough for a processor's cache, but a batch is never a few images only.
_VALUES_AT_ONCE, _LEAST_ROWS = 2**20, 2**12


@dataclass(frozen=True)
class Pool:
    """What a selection reads: the pool as teacher, student, and embedder see it.

    `student_logits` overrides the stored logits of `student`: a round's student is scored in
    memory. `only` (ascending ids) leaves out what else is in the workspace, `decided_by` what a
    manifest did not decide. Nothing that came with the crawl is here, so no selection can read it.
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

    def batches(
        self, needs: Collection[str], folder: Path
    ) -> Iterator[tuple[Batch, dict[str, Floats]]]:
        """Yield every image once: what a strategy with these `needs` sees, and the components.

        Components are what the ledger says of an image whatever the strategy: the confidence of
        teacher and student, their agreement, and every stored estimate of the teacher. What the
        catalog says waits in the scratch folder `folder`.
        """
        teacher = StoredLogits(self.catalog, self.teacher)
        stored = self.student if self.student_logits is None else None
        student = StoredLogits(self.catalog, stored) if stored else None
        estimates = stored_estimates(self.catalog, self.teacher)
        facts = Facts(self.catalog, folder, self.teacher, stored, {*estimates, *needs})
        for columns in facts.batches(max(_LEAST_ROWS, _VALUES_AT_ONCE // self.classes)):
            if self.only is not None:
                here = _among(self.only, columns["image_id"])
                columns = {name: values[here] for name, values in columns.items()}
            facts.check(columns)
            ids = columns["image_id"]
            learner = student.at(scores_of(columns, "student_")) if student else None
            if self.student_logits is not None:
                learner = self.student_logits.gather(ids)
            signals = {name: columns[name] for name in needs}
            batch = Batch(ids, teacher.at(scores_of(columns)), learner, signals)
            yield batch, _components(batch) | {name: columns[name] for name in estimates}


def _among(ascending: Ids, ids: Ids) -> NDArray[np.bool_]:
    found = np.searchsorted(ascending, ids)
    found[found == len(ascending)] = 0
    return ascending[found] == ids if len(ascending) else np.zeros(len(ids), bool)


def _components(batch: Batch) -> dict[str, Floats]:
    components: dict[str, Floats] = {"teacher_confidence": batch.confidence}
    if batch.student is not None:
        components["student_confidence"] = confidence(batch.student)
        components["agreement"] = agreement(softmax(batch.teacher), softmax(batch.student))
    return components
