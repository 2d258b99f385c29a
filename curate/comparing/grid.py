"""The grid of a comparison: methods x selections x seeds, all else being equal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from curate.options import SelectOptions
from distill.datafree.registry import is_data_free
from distill.methods import find_method
from distill.networks.card import resolve
from distill.networks.network import network_key
from distill.options import TrainOptions
from index.errors import UsageError

BASELINE = "random"
OWN_IMAGES = "own images"


@dataclass(frozen=True)
class Selection:
    """How the images of a row are chosen: by a strategy of this grid's, or as a manifest says.

    `listens` tells whether rounds can re-select it as a student learns.
    """

    name: str
    is_manifest: bool
    listens: bool


@dataclass(frozen=True)
class Row:
    """One row of the table: a method, its images (None: the method makes its own), its rounds."""

    method: str
    selection: Selection | None
    rounds: int = 0

    @property
    def chosen_by(self) -> str:
        """How its images are chosen, in words."""
        return self.selection.name if self.selection else OWN_IMAGES

    @property
    def label(self) -> str:
        """The row in words."""
        how = f", {self.rounds} rounds" if self.rounds else ""
        return f"{self.method} on {self.chosen_by}{how}"


@dataclass(frozen=True)
class Grid:
    """What is compared, on what terms.

    Args:
        teacher, student: cards or specs; the student is the same in every row.
        methods: names of distillation methods.
        strategies: names of strategies; each selects with `select`.
        manifests: names of manifests that are there already.
        seeds: each row is trained with the seeds 0 to seeds - 1.
        select: budget, balance and so on of every strategy; its strategy and seed do not count.
        train: of every training; its seed and rounds do not count.
        evaluate_on: labelled data for the accuracy after the last step.
        rounds: where above 0, a second row for every selection that listens to a student.
        method_options: options by the name of their method.
        reference: sources of the reference images, for strategies that need some.
        preset: of the methods that make their own images.
        name: of the comparison in the catalog.
    """

    teacher: str
    student: str
    methods: tuple[str, ...]
    select: SelectOptions
    train: TrainOptions
    evaluate_on: str
    strategies: tuple[str, ...] = ()
    manifests: tuple[str, ...] = ()
    seeds: int = 1
    rounds: int = 0
    method_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reference: tuple[str, ...] = ()
    preset: str | None = None
    name: str | None = None
    workers: int | None = None
    cache_budget_gib: float = 4.0

    @property
    def own_images(self) -> frozenset[str]:
        """Those of the methods that make their own images: one row each, whatever is selected."""
        return frozenset(filter(is_data_free, self.methods))

    def check(self, *, index: bool = True) -> None:
        """Check what depends on neither workspace nor networks; `index`: whether there is one.

        Raises:
            UsageError: nothing to compare, something twice, or an option that makes no sense.
        """
        if self.seeds < 1:
            raise UsageError(f"--seeds is {self.seeds}: it must be at least 1")
        if self.rounds < 0:
            raise UsageError(f"--rounds is {self.rounds}: it must not be negative")
        for option in ("methods", "strategies", "manifests"):
            names = getattr(self, option)
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise UsageError(f"--{option} names {twice!r} twice: leave one out")
        if not self.methods:
            raise UsageError("--methods is empty: name at least one, as kd,kd3")
        self._check_methods()
        self.train.check()
        for strategy in self.strategies:
            options = self.selecting(strategy, 0)
            options.check()
            if options.make_strategy().needs_student:
                raise UsageError(
                    f"{strategy} listens to a student that is trained already: select with it, and "
                    "name the manifest in --manifests"
                )
            options.check_given(student=False, reference=bool(self.reference), index=index)

    def selecting(self, strategy: str, seed: int) -> SelectOptions:
        """Return what a strategy selects with; the seed is that of a row only where it matters."""
        options = replace(self.select, strategy=strategy, rank=None, seed=0)
        return replace(options, seed=seed) if options.seeded else options

    def rows(self, selections: list[Selection]) -> list[Row]:
        """Return the rows: every method with every selection, and again with rounds."""
        rows: list[Row] = []
        for method in self.methods:
            if method in self.own_images:
                rows.append(Row(method, None))
                continue
            for selection in selections:
                rows.append(Row(method, selection))
                if self.rounds and selection.listens:
                    rows.append(Row(method, selection, self.rounds))
        return rows

    def comparison(self) -> str:
        """Return its name: that of the same comparison with more rows or seeds is the same."""
        if self.name:
            return self.name
        common = {
            "teacher": network_key(resolve(self.teacher)),
            "student": self.student,
            "select": replace(self.select, strategy=BASELINE, rank=None, seed=0).as_json(),
            "train": replace(self.train, seed=0, rounds=0).identity(),
            "method_options": {name: dict(one) for name, one in self.method_options.items()},
            "reference": self.reference,
            "evaluate_on": self.evaluate_on,
            **({"preset": self.preset} if self.preset else {}),
        }
        digest = hashlib.sha256(json.dumps(common, sort_keys=True).encode()).hexdigest()
        return f"compare-{digest[:8]}"

    def _check_methods(self) -> None:
        for method in self.methods:
            if method not in self.own_images:
                find_method(method)
        for method in self.method_options:
            if method not in self.methods:
                raise UsageError(f"--option is for {method}, and --methods has none of that name")
        if not (self.strategies or self.manifests or self.own_images.issuperset(self.methods)):
            raise UsageError("nothing to train on: give --strategies or --manifests")


def selection_digest(teacher: str, options: SelectOptions, reference: tuple[str, ...]) -> str:
    """Return eight digits of what a selection is made with, for the name of its manifest."""
    made_with = {**asdict(options), "teacher": teacher, "reference": reference}
    text = json.dumps(made_with, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
