"""The pool that a selection reads, a batch at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.fitted import stored_fitted
from curate.logits import Logits, StoredLogits
from curate.shift import stored_estimates
from curate.signals import gather_signals
from curate.strategies.agreement import agreement
from curate.strategies.base import Batch, Floats, softmax
from index.catalog import Catalog
from index.parts import Ids


@dataclass(frozen=True)
class Pool:
    """What a selection reads: the pool as teacher, student, and embedder see it.

    `student_logits` overrides the stored logits of `student`: a round's student is scored in
    memory. `only` (ascending ids) leaves out what else is in the workspace, `decided_by` what a
    manifest did not decide. `reference` is the key of the set that estimates are fitted to. Nothing
    that came with the crawl is here, so no selection can read it.
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

    def batches(self, needs: Collection[str]) -> Iterator[tuple[Batch, dict[str, Floats]]]:
        """Yield every image once: what a strategy with these `needs` sees, and the components.

        Components are what the ledger says of an image whatever the strategy: the confidence of
        teacher and student, their agreement, and every stored estimate of the teacher, of those by
        a reference only the pool's own.
        """
        student = self.student_logits
        if student is None and self.student is not None:
            student = StoredLogits(self.catalog, self.student)
        estimates = [
            *stored_estimates(self.catalog, self.teacher),
            *stored_fitted(self.catalog, self.teacher, self.reference),
        ]
        for ids, teacher in StoredLogits(self.catalog, self.teacher).batches():
            if self.only is not None:
                here = np.isin(ids, self.only)
                ids, teacher = ids[here], teacher[here]
            signals = gather_signals(
                self.catalog, self.teacher, {*estimates, *needs}, ids, self.reference
            )
            batch = Batch(
                ids,
                teacher,
                student.gather(ids) if student else None,
                {name: signals[name] for name in needs},
            )
            yield batch, _confidence(batch) | {name: signals[name] for name in estimates}


def _confidence(batch: Batch) -> dict[str, Floats]:
    teacher = softmax(batch.teacher)
    components: dict[str, Floats] = {"teacher_confidence": teacher.max(axis=1)}
    if batch.student is not None:
        student = softmax(batch.student)
        components["student_confidence"] = student.max(axis=1)
        components["agreement"] = agreement(teacher, student)
    return components
