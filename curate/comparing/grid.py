"""The grid of a comparison: methods x selections x seeds, all else being equal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np

from curate.comparing.unused import check_used
from curate.fitted import needs_reference
from curate.options import SelectOptions
from distill.datafree.registry import is_data_free
from distill.images import check_cache_budget
from distill.methods import find_method
from distill.networks.card import resolve
from distill.networks.network import network_key
from distill.options import TrainOptions
from index.errors import UsageError
from index.names import check_name

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
    """One row of the table: a method, its images (None: the method makes its own), its rounds.

    `left_out` is the part that an ablation leaves out of the method.
    """

    method: str
    selection: Selection | None
    rounds: int = 0
    left_out: str | None = None

    @property
    def learned_by(self) -> str:
        """The method, and what is left out of it, in words."""
        return f"{self.method} --without {self.left_out}" if self.left_out else self.method

    @property
    def chosen_by(self) -> str:
        """How its images are chosen, in words."""
        return self.selection.name if self.selection else OWN_IMAGES

    @property
    def label(self) -> str:
        """The row in words."""
        how = f", {self.rounds} rounds" if self.rounds else ""
        return f"{self.learned_by} on {self.chosen_by}{how}"


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
        train: of every training; its seed and rounds do not count; alpha_floor in rows with rounds.
        evaluate_on: labelled data for the accuracy after the last step.
        rounds: where above 0, a second row for every selection that listens to a student.
        without: parts of a method that has parts, as kd3; a further row without each of them.
        where_timeout: seconds that `select.where` may take over all images; None: as long as it
            takes.
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
    without: tuple[str, ...] = ()
    where_timeout: float | None = None
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

    @property
    def makes_all(self) -> bool:
        """Whether every row is of a method that makes its own images."""
        return self.own_images.issuperset(self.methods)

    def check(self, *, index: bool = True) -> None:
        """Check what depends on neither workspace nor networks; `index`: whether there is one.

        Raises:
            UsageError: nothing to compare, something twice, or an option that makes no sense.
        """
        if self.seeds < 1:
            raise UsageError(f"--seeds is {self.seeds}: it must be at least 1")
        check_name("--name", self.name)
        check_cache_budget(self.cache_budget_gib)
        self._check_names()
        self._check_methods()
        replace(self.train, rounds=self.rounds).check()
        for strategy in self.strategies:
            self._check_strategy(strategy, index)
        check_used(self, BASELINE)

    def check_rows(self, rows: list[Row]) -> None:
        """Check that rounds are rows, once it is known what the manifests listen to.

        Raises:
            UsageError: --rounds is given, and no row has any.
        """
        if self.rounds and not any(row.rounds for row in rows):
            raise UsageError(
                f"--rounds {self.rounds} re-selects kd3 selections, and no row has one: name kd3 "
                "in --strategies, or leave --rounds out"
            )

    def reads_reference(self, strategy: str) -> bool:
        """Tell whether what a strategy selects depends on the reference images."""
        return any(map(needs_reference, self.selecting(strategy, 0).signals))

    def selecting(self, strategy: str, seed: int) -> SelectOptions:
        """Return what a strategy selects with; the seed is that of a row only where it matters."""
        options = replace(self.select, strategy=strategy, rank=None, seed=0)
        return replace(options, seed=seed) if options.seeded else options

    def rows(self, selections: list[Selection]) -> list[Row]:
        """Return the rows: methods, whole and less a part, with every selection and its rounds."""
        rows: list[Row] = []
        for method in self.methods:
            if method in self.own_images:
                rows.append(Row(method, None))
                continue
            for left_out, selection in product(self._left_out(method), selections):
                rows.append(Row(method, selection, left_out=left_out))
                if self.rounds and selection.listens:
                    rows.append(Row(method, selection, self.rounds, left_out))
        return rows

    def _left_out(self, method: str) -> tuple[str | None, ...]:
        """What the rows of a method leave out of it: nothing, and where it has parts, each."""
        return (None, *self.without) if has_parts(method) else (None,)

    def comparison(self) -> str:
        """Return its name: that of the same comparison with more rows or seeds is the same."""
        return self.name or f"compare-{self.terms()[:8]}"

    def terms(self) -> str:
        """Return the SHA-256 of what all rows have in common, whatever the comparison's name."""
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
        return hashlib.sha256(json.dumps(common, sort_keys=True).encode()).hexdigest()

    def _check_names(self) -> None:
        """A name stands for one row in the catalog, whether of a strategy or of a manifest."""
        for option in ("methods", "strategies", "manifests", "without"):
            names = getattr(self, option)
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise UsageError(f"--{option} names {twice!r} twice: leave one out")
        both = next((name for name in self.manifests if name in self.strategies), None)
        if both is not None:
            otherwise = " (--no-baseline leaves random out)" if both == BASELINE else ""
            raise UsageError(
                f"--manifests names {both!r}, and so is a strategy of this comparison: their rows "
                f"could not be told apart; leave one out{otherwise}, or select under another name"
            )
        if OWN_IMAGES in self.manifests:
            raise UsageError(
                f"--manifests names {OWN_IMAGES!r}, as the rows of methods that make their own are "
                "called: select under another name"
            )

    def _check_strategy(self, strategy: str, index: bool) -> None:
        options = self.selecting(strategy, 0)
        options.check()
        made = options.make_strategy()
        if made.needs_student:
            raise UsageError(
                f"{strategy} listens to a student that is trained already: select with it, and "
                "name the manifest in --manifests"
            )
        options.check_given(student=False, reference=bool(self.reference), index=index)
        bounded = options.budget is not None or options.per_class is not None
        selects = not self.makes_all
        if selects and not bounded and made.thresholds(np.ones(2, np.int64)) is None:
            otherwise = ", or --no-baseline" if strategy == BASELINE else ""
            raise UsageError(
                f"{strategy} has no thresholds and would take every image: give --budget N, which "
                f"all strategies share{otherwise}"
            )

    def _check_methods(self) -> None:
        if not self.methods:
            raise UsageError("--methods is empty: name at least one, as kd,kd3")
        if self.preset and not self.own_images:
            raise UsageError(
                f"--preset {self.preset} is for methods that make their own images, and none of "
                "--methods does: leave it out"
            )
        for method in self.methods:
            if method not in self.own_images:
                find_method(method)
        for method in self.method_options:
            if method not in self.methods:
                raise UsageError(f"--option is for {method}, and --methods has none of that name")
        self._check_without()
        if not (self.strategies or self.manifests or self.makes_all):
            raise UsageError("nothing to train on: give --strategies or --manifests")

    def _check_without(self) -> None:
        if self.without and not any(map(has_parts, set(self.methods) - self.own_images)):
            raise UsageError(
                f"--without {self.without[0]} is a part of kd3, and --methods has none of that "
                "name: name kd3 too, or leave it out"
            )
        if "dynamic" in self.without:
            raise UsageError(
                "--without dynamic: rows without rounds are just that; give --rounds N to have "
                "both side by side"
            )


def has_parts(method: str) -> bool:
    """Tell whether parts can be left out of a method that learns from images of the crawl."""
    return "without" in find_method(method).options_type.model_fields


def selection_digest(teacher: str, options: SelectOptions, reference: tuple[str, ...]) -> str:
    """Return eight digits of what a selection is made with, for the name of its manifest."""
    made_with = {**asdict(options), "teacher": teacher, "reference": reference}
    text = json.dumps(made_with, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
