"""What a selection is made with."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from curate.budget import check_budget
from curate.diversity import METHODS, NONE, Method
from curate.filters import Filters
from curate.fitted import fitted_names
from curate.manifest import Manifest
from curate.metadata import check_metadata, is_metadata
from curate.quotas import BALANCES
from curate.signals import check_reference
from curate.strategies import Rank, Settings, Strategy, is_seeded, make_strategy
from index.catalog import Catalog
from index.duplicates import check_bits, check_cosine
from index.errors import UsageError
from index.files import scratch

DOMAIN = "domain"
WEIGHTS = ("none", DOMAIN)
# A few images that are far likelier in the reference than in the pool shall not be all of the loss.
LEAST_WEIGHT, MOST_WEIGHT = 0.1, 10.0


@dataclass(frozen=True)
class SelectOptions:
    """What a selection is made with; stored in the manifest as its options.

    `reference` is the key of the pool's reference set, and `logits` how those that it reads are
    kept, where that is less than all of them: both follow from the pool, whatever is given here.
    """

    strategy: str
    rank: str | None = None
    budget: int | str | None = None
    balance: str | None = None
    diversity: str | None = None
    per_class: int | None = None
    alpha: float | None = None
    seed: int = 0
    near_duplicates: float | None = None
    perceptual: int | None = None
    reverse: bool = False
    min_size: int | None = None
    max_aspect: float | None = None
    max_pixels: int | None = None
    max_copies: int | None = None
    where: str | None = None
    reference: str | None = None
    weights: str | None = None
    logits: str | None = None

    @property
    def filters(self) -> Filters:
        """What an image must be like to be eligible."""
        return Filters(self.min_size, self.max_aspect, self.max_pixels, self.max_copies, self.where)

    @property
    def weighed_by(self) -> tuple[str, ...]:
        """The signals that the weights are made of."""
        return (DOMAIN,) if self.weights == DOMAIN else ()

    @property
    def signals(self) -> set[str]:
        """The signals that strategy and weights need."""
        return {*self.make_strategy().needs, *self.weighed_by}

    def check(self) -> None:
        """Check what does not depend on the pool.

        Raises:
            UsageError: a value that makes no sense; the message names the option.
        """
        self.make_strategy()
        if self.budget is not None:
            check_budget(self.budget)
        if self.per_class is not None and self.per_class < 1:
            raise UsageError(f"--per-class is {self.per_class}: it must be at least 1")
        self._check_composition()
        if self.weights not in (None, *WEIGHTS):
            raise UsageError(f"--weights is {self.weights!r}: choose one of {', '.join(WEIGHTS)}")
        if self.near_duplicates is not None:
            check_cosine(self.near_duplicates, "--near-duplicates")
        if self.perceptual is not None:
            check_bits(self.perceptual, "--perceptual")
        self.filters.check()

    def check_given(self, *, student: bool, reference: bool, index: bool) -> None:
        """Check that there are the networks, images and vectors that these options need.

        Raises:
            UsageError: one of them is not; the message names the option that it needs.
        """
        strategy = self.make_strategy()
        if strategy.needs_student and not student:
            otherwise = ", or --alpha 1" if hasattr(strategy, "alpha") else ""
            raise UsageError(f"{self.strategy} needs a student: give --student CARD{otherwise}")
        check_reference(self.strategy, strategy.needs, given=reference)
        check_reference(f"--weights {self.weights}", self.weighed_by, given=reference)
        if self.near_duplicates is not None and not index:
            raise UsageError("--near-duplicates needs an index: run build-index with an embedder")
        if self.method is not None and not index:
            raise UsageError(
                f"--diversity {self.diversity} needs an index: run build-index with an embedder"
            )

    def check_crawl(self, catalog: Catalog, timeout_s: float | None = None) -> int | None:
        """Check that what came with the crawl is what these options read of it.

        Returns the number of images that `where` is true of; None where it was not given. What is
        evaluated in `timeout_s` here takes as long again when the pool is filtered by it.

        Raises:
            UsageError, QueryLimitError: see `curate.filters.Filters.count_matching`, and
                `curate.metadata`.
        """
        matching = self.filters.count_matching(catalog, timeout_s)
        if any(map(is_metadata, self.signals)):
            with scratch(catalog.workspace, "check") as folder:
                filtered = folder / "filtered.parquet"
                self.filters.write_parquet(catalog, filtered)
                check_metadata(catalog, self.signals, filtered=filtered)
        return matching

    def _check_composition(self) -> None:
        if self.balance is not None and self.balance not in BALANCES:
            raise UsageError(f"--balance is {self.balance!r}: choose one of {', '.join(BALANCES)}")
        if self.balance not in (None, "none") and self.budget is None:
            raise UsageError(f"--balance {self.balance} shares a budget: give --budget")
        if self.diversity not in (None, NONE, *METHODS):
            choices = ", ".join((NONE, *METHODS))
            raise UsageError(f"--diversity is {self.diversity!r}: choose one of {choices}")
        if self.method is not None and self.budget is None and self.per_class is None:
            raise UsageError(
                f"--diversity {self.diversity} picks some of each class: say how many, with "
                "--budget or --per-class"
            )

    @property
    def method(self) -> Method | None:
        """How diverse images are picked; None where the best scores are taken."""
        return METHODS.get(self.diversity or NONE)

    def make_strategy(self) -> Strategy:
        """Make the strategy: `rank` of its expression, every other of its name.

        Raises:
            UsageError: see `curate.strategies.make_strategy`, or only one half of a rank is given.
        """
        settings = Settings(self.seed, self.alpha)
        if (self.rank is not None) != (self.strategy == Rank.name):
            raise UsageError("--rank EXPRESSION is a strategy of its own: leave --strategy out")
        if self.rank is not None:
            return Rank(self.rank, settings)
        return make_strategy(self.strategy, settings)

    @property
    def seeded(self) -> bool:
        """Tell whether another seed may choose other images."""
        return is_seeded(self.make_strategy()) or self.diversity == "clusters"

    @property
    def reads_vectors(self) -> bool:
        """Tell whether the decisions depend on the vectors of an embedder."""
        fitted = self.signals.intersection(fitted_names())
        return self.near_duplicates is not None or self.method is not None or bool(fitted)

    @classmethod
    def of(cls, manifest: Manifest) -> SelectOptions:
        """Return the options that a manifest was selected with, as they were given."""
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in manifest.options.items() if name in known})

    def as_json(self) -> dict[str, Any]:
        """Return the options that were given, for the manifest's row; an alpha of 0 is one."""
        return {
            name: value
            for name, value in vars(self).items()
            if value is not None and value is not False
        }
