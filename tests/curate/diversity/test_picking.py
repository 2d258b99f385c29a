"""Picks within the quotas of a ledger, from vectors on disk: one reason for every image."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.diversity import METHODS
from curate.diversity.base import CANDIDATES_A_PICK
from curate.diversity.picking import pick_diverse
from curate.ledger import Ledger
from curate.manifest import content_hash
from curate.strategies import Scored
from index.catalog import Catalog, insert
from index.errors import WorkspaceError
from index.parts import next_number, record_part, write_part
from index.progress import Silent

CLASSES = 3


@dataclass(frozen=True)
class Image:
    id: int
    label: int
    score: float
    vector: tuple[int, ...]
    below: bool = False


@dataclass(frozen=True)
class Decided:
    hash: str
    rows: list[tuple[int, int, bool, int | None, str]]

    def selected(self, label: int) -> list[int]:
        return [key for key, of, taken, *_ in self.rows if taken and of == label]

    @property
    def reasons(self) -> dict[int, str]:
        return {key: reason for key, *_, reason in self.rows}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """One catalog for all tests: each stores its vectors for an embedder of its own."""
    return Catalog(tmp_path_factory.mktemp("ws"))


def store(catalog: Catalog, embedder: str, images: list[Image]) -> None:
    with catalog.write() as connection:
        number = next_number(connection, f"vectors/{embedder}")
        ids = np.array([image.id for image in images], np.int64)
        rows = np.array([image.vector for image in images], np.float16)
        store = f"vectors/{embedder}"
        record_part(connection, write_part(catalog.workspace, store, number, ids, rows))
        row = np.arange(len(ids))
        columns = {"image_id": ids, "embedder": embedder, "part": number, "row": row}
        insert(connection, "vectors", columns)


def decided(
    catalog: Catalog,
    images: list[Image],
    method: str,
    *,
    budget: int | None,
    balance: str = "none",
    per_class: int | None = None,
    parts: int = 1,
    at_once: int = 1000,
    embedder: str | None = None,
) -> Decided:
    with tempfile.TemporaryDirectory() as scratch:
        for part in range(parts if embedder is None else 0):
            store(catalog, Path(scratch).name, images[part::parts])
        ledger = Ledger(Path(scratch), CLASSES)
        try:
            for some in (images[::2], images[1::2]):
                score = np.array([image.score for image in some], np.float32)
                label = np.array([image.label for image in some], np.int16)
                ids = np.array([image.id for image in some], np.int64)
                ledger.add(ids, Scored(score, label), {"c": score})
            below = [image.id for image in images if image.below]
            filtered = Path(scratch) / "filtered.parquet"
            query = f"SELECT unnest({below}::BIGINT[]) AS image_id, 'filtered: x' AS filter"
            duckdb.execute(f"COPY ({query}) TO '{filtered}' (FORMAT parquet)")
            ledger.add_filtered(filtered)
            ledger.mark(None)
            ledger.share(budget, balance, per_class, every_class=True)
            one = METHODS[method]
            key = embedder or Path(scratch).name
            pick_diverse(ledger, catalog, key, one, 0, Silent(), at_once=at_once)
            ledger.settle(budget, one.reason)
            digest = content_hash(ledger.selected())
            rows = duckdb.sql(
                "SELECT image_id, pseudo_label, selected, rank, reason "
                f"FROM '{ledger.write_parquet()}' ORDER BY image_id"
            ).fetchall()
            return Decided(digest, rows)
        finally:
            ledger.close()


IMAGES = st.lists(
    st.builds(
        Image,
        id=st.integers(10, 2**62),
        label=st.integers(0, CLASSES - 1),
        score=st.sampled_from([0.125, 0.25, 0.5, 0.75]),
        vector=st.tuples(*[st.integers(-2, 2)] * 3).filter(any),
        below=st.sampled_from([False, False, False, True]),
    ),
    min_size=1,
    max_size=24,
    unique_by=lambda image: image.id,
)


@settings(max_examples=15, deadline=None)
@given(
    images=IMAGES,
    method=st.sampled_from(sorted(METHODS)),
    budget=st.integers(1, 12),
    balance=st.sampled_from(["none", "proportional", "sqrt", "full"]),
    per_class=st.none() | st.integers(1, 5),
    at_once=st.sampled_from([4, 1000]),
    data=st.data(),
)
def test_limits_are_kept_and_every_image_has_one_reason_in_any_order(
    catalog: Catalog,
    images: list[Image],
    method: str,
    budget: int,
    balance: str,
    per_class: int | None,
    at_once: int,
    data: st.DataObject,
) -> None:
    def run(some: list[Image], parts: int) -> Decided:
        return decided(
            catalog,
            some,
            method,
            budget=budget,
            balance=balance,
            per_class=per_class,
            parts=parts,
            at_once=at_once,
        )

    found = run(images, 1)
    assert [key for key, *_ in found.rows] == sorted(image.id for image in images)
    taken = [row for row in found.rows if row[2]]
    eligible = [image for image in images if not image.below]
    most = len(images) if per_class is None else per_class
    there = sum(min(most, sum(one.label == k for one in eligible)) for k in range(CLASSES))
    assert len(taken) == min(budget, there)
    assert all(len(found.selected(k)) <= most for k in range(CLASSES))
    assert sorted(rank for *_, rank, _ in taken) == list(range(1, len(taken) + 1))
    for *_, selected, rank, reason in found.rows:
        assert selected == (rank is not None) == reason.startswith("selected: ")
        assert reason and "%" not in reason
    shuffled = data.draw(st.permutations(images))
    again = run(shuffled, min(len(images), 3))
    assert again == found


def clump(label: int, count: int, start: int) -> list[Image]:
    """Alike but for two: scores fall with the id."""
    axes = [(4, 0, 0)] * (count - 2) + [(0, 4, 0), (-4, 0, 0)]
    return [Image(start + i, label, 1 - (start + i) / 100, axis) for i, axis in enumerate(axes)]


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_kind_of_reason(catalog: Catalog, method: str) -> None:
    # Of class 0, 4 of 18: candidates are the best 16. Of class 1 all 2, of class 2 none.
    images = clump(0, 18, 0) + [Image(50, 1, 0.5, (1, 0, 0)), Image(51, 1, 0.4, (1, 0, 0))]
    found = decided(catalog, images, method, budget=6, balance="full", per_class=4)
    assert found.reasons[16] == "no candidate for diversity: place 17, after the best 16"
    assert found.reasons[50] == "selected: score within the budget"
    assert len(found.selected(0)) == 4 and found.selected(1) == [50, 51]
    passed = [reason for reason in found.reasons.values() if reason.startswith("less diverse")]
    assert len(passed) == 12
    assert all(reason.startswith("less diverse: 1.000 to selected ") for reason in passed)


def test_a_diverse_pick_says_what_it_adds(catalog: Catalog) -> None:
    images = clump(0, 12, 0)
    found = decided(catalog, images, "kcenter", budget=3)
    assert found.selected(0) == [0, 10, 11]
    assert found.reasons[0] == "selected: best score, pick 1 of 3"
    assert found.reasons[11] == "selected: -1.000 to the nearest picked before, pick 2 of 3"
    assert found.reasons[10] == "selected: 0.000 to the nearest picked before, pick 3 of 3"
    assert found.reasons[4] == "less diverse: 1.000 to selected 0, place 5 of 3"
    found = decided(catalog, images, "facility", budget=3)
    assert found.reasons[0] == "selected: adds 10.000 to the coverage, pick 1 of 3"
    assert found.reasons[10] == "selected: adds 1.000 to the coverage, pick 2 of 3"
    found = decided(catalog, images, "clusters", budget=3)
    assert found.selected(0)[:2] == [0, 1]
    assert found.reasons[1] == "selected: of the best in cluster 1, pick 2 of 3"


@pytest.mark.parametrize("method", sorted(METHODS))
def test_without_balance_the_classes_keep_what_the_best_scores_give_them(
    catalog: Catalog, method: str
) -> None:
    rng = np.random.default_rng(1)
    images = [
        Image(int(key), int(label), float(score), tuple(vector))
        for key, label, score, vector in zip(
            rng.choice(10**6, 60, replace=False),
            rng.integers(CLASSES, size=60),
            rng.random(60),
            rng.integers(-9, 9, (60, 3)).tolist(),
            strict=True,
        )
    ]
    best = sorted(images, key=lambda image: -image.score)[:20]
    found = decided(catalog, images, method, budget=20)
    for label in range(CLASSES):
        assert len(found.selected(label)) == sum(image.label == label for image in best)
    assert {key for key, _, taken, *_ in found.rows if taken} != {image.id for image in best}


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize(
    ("images", "budget", "taken"),
    [
        ([Image(7, 1, 0.5, (1, 2, 3))], 5, 1),  # one image, two classes without any
        ([Image(i, 2, 0.5, (1, 2, 3)) for i in range(40)], 9, 9),  # one class, one vector
        ([Image(i, i % 3, i / 9, (i, 1, 0)) for i in range(9)], 100, 9),  # more than there is
        ([Image(i, 0, 0.5, (0, 0, 0)) for i in range(5)], 2, 2),  # vectors without a direction
        ([Image(1, 0, 0.5, (1, 0, 0), below=True), Image(2, 0, 0.5, (1, 0, 0))], 1, 1),
    ],
)
def test_the_smallest_pools(
    catalog: Catalog, method: str, images: list[Image], budget: int, taken: int
) -> None:
    found = decided(catalog, images, method, budget=budget, balance="full")
    assert sum(selected for _, _, selected, *_ in found.rows) == taken
    assert len(found.rows) == len(images)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_more_candidates_than_fit_are_dealt_into_groups(catalog: Catalog, method: str) -> None:
    rng = np.random.default_rng(0)
    images = [Image(i, 0, 1 - i / 1000, tuple(rng.integers(-9, 9, 3).tolist())) for i in range(300)]
    found = decided(catalog, images, method, budget=30, at_once=50)
    # 4 x 30 candidates in 3 groups of 40, 10 picks each: places 1, 4, 7, ... are one group.
    assert all(reason.startswith("no cand") for key, reason in found.reasons.items() if key >= 120)
    for dealt in range(3):
        assert sum(key % 3 == dealt for key in found.selected(0)) == 10
    assert "pick 10 of 10" in " ".join(found.reasons.values())
    assert len(found.selected(0)) == 30 and CANDIDATES_A_PICK == 4


def test_a_candidate_without_a_vector_is_named(catalog: Catalog) -> None:
    images = clump(0, 12, 0)
    store(catalog, "some", images[:-1])
    with pytest.raises(WorkspaceError, match="image 11 has no vector of some: run build-index"):
        decided(catalog, images, "kcenter", budget=3, embedder="some")
    # Where it is no candidate, nothing of it is needed.
    assert decided(catalog, images, "kcenter", budget=2, embedder="some").selected(0)
