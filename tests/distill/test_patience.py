"""Early stopping on held-back web images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distill.metrics import read_metrics
from distill.options import TrainOptions
from distill.patience import Patience, hold_back
from distill.scoring import agreement, score_pixels
from index.errors import UsageError

from .helpers import tiny
from .training import Watched, chosen, greys, make, options, photos, run


@given(
    st.lists(st.integers(0, 2**62), min_size=2, max_size=60, unique=True),
    st.integers(0, 9),
    st.randoms(),
)
def test_what_is_held_back_depends_on_ids_and_seed_alone(
    ids: list[int], seed: int, shuffler: object
) -> None:
    selection = chosen(len(ids))
    first = hold_back(replace(selection, ids=np.array(ids)), len(ids) // 2, seed)
    shuffler.shuffle(ids)  # type: ignore[attr-defined]
    assert np.array_equal(
        hold_back(replace(selection, ids=np.array(ids)), len(ids) // 2, seed), first
    )
    assert len(first) == len(ids) // 2 and (np.diff(first) > 0).all()


def test_held_back_images_are_never_trained_on(tmp_path: Path) -> None:
    method = Watched(tiny(0), tiny(1))
    asked = {"patience": 99, "hold_back": 0.25, "epochs": 4, "max_steps": None}
    trainer = run(tmp_path, method, images=greys(), augment="none", **asked)
    held = set((trainer._patience.held // 7).tolist())
    assert len(held) == 3
    assert {place for batch in method.seen for place in batch} == set(range(12)) - held
    assert trainer.total_steps == 4 * (9 // 4)


def test_other_seeds_hold_other_images_back() -> None:
    found = {tuple(hold_back(chosen(), 3, seed)) for seed in range(8)}
    assert len(found) > 4


def test_a_training_stops_where_agreement_no_longer_grows(tmp_path: Path) -> None:
    """A rate of next to nothing: the first check is the best, and no later one is better."""
    trainer = run(tmp_path, make("kd"), lr=1e-12, epochs=9, max_steps=None, patience=2)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    checks = [row["step"] for row in rows if "agreement" in row]
    assert checks == [2, 4, 6] and rows[-1]["step"] == 6  # two steps an epoch of 11 images
    kept = torch.load(trainer.checkpoint_path, weights_only=True)
    assert (kept["step"], kept["patience"]["since"]) == (6, 2)
    method = Watched(tiny(0), tiny(1))
    again = run(tmp_path, method, lr=1e-12, epochs=9, max_steps=None, patience=2)
    assert method.seen == [] and again.fit().steps == 6


def test_the_student_of_the_best_check_is_deployed(tmp_path: Path) -> None:
    asked = {"patience": 50, "hold_back": 0.5, "lr": 0.5, "epochs": 12, "max_steps": None}
    trainer = run(tmp_path, make("kd"), **asked)
    held = trainer._patience.held
    images = photos()
    pixels = images.pixels[images.places(held)]
    student, teacher = trainer.deployed(), tiny(0)
    spec, processes = student.card.input, trainer._processes
    found = agreement(*(score_pixels(one, pixels, spec, processes) for one in (student, teacher)))
    values = [
        row["agreement"] for row in read_metrics(tmp_path / "metrics.jsonl") if "agreement" in row
    ]
    assert found == max(values) == trainer._patience.best
    assert len(values) == 12


def test_agreement_is_the_share_of_equal_classes() -> None:
    first = np.array([[1, 2], [3, 0], [0, 1], [5, 4]], np.float16)
    second = np.array([[0, 9], [0, 1], [1, 0], [2, 1]], np.float16)
    assert agreement(first, second) == 0.5


def test_without_patience_nothing_is_held_back() -> None:
    patience = Patience(options(), chosen())
    assert len(patience.held) == 0 and not patience.stopped
    kept = patience.kept(chosen())
    assert np.array_equal(kept.ids, chosen().ids) and kept.content_hash == "hash"


def test_so_much_is_held_back() -> None:
    assert TrainOptions(patience=1).held_of(1000) == 50
    assert TrainOptions(patience=1).held_of(7) == 1
    assert TrainOptions(patience=1, hold_back=0.5).held_of(7) == 4
    with pytest.raises(UsageError, match="--hold-back 5% of 1 images leaves none"):
        TrainOptions(patience=1).held_of(1)
