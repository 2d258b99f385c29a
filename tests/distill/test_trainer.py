"""The training loop: every step is a function of the state, the seed, and the step's number."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
import torch

from distill.metrics import read_metrics

from .helpers import tiny
from .training import Watched, chosen, greys, make, run, seen_in_epochs


def test_every_image_is_seen_once_an_epoch_in_another_order(tmp_path: Path) -> None:
    method = Watched(tiny(0), tiny(1))
    run(tmp_path, method, images=greys(), epochs=3, max_steps=None, augment="none")
    assert [len(batch) for batch in method.seen] == [4] * 9
    assert seen_in_epochs(method, steps=3) == [Counter(range(12))] * 3
    orders = [sum(method.seen[start : start + 3], []) for start in (0, 3, 6)]
    assert len({tuple(order) for order in orders}) == 3


def test_what_does_not_fill_a_batch_waits_for_another_epoch(tmp_path: Path) -> None:
    method = Watched(tiny(0), tiny(1))
    run(
        tmp_path,
        method,
        images=greys(),
        selection=chosen(14),
        epochs=12,
        max_steps=None,
        augment="none",
    )
    epochs = seen_in_epochs(method, steps=3)
    assert all(len(epoch) == 12 and set(epoch.values()) == {1} for epoch in epochs)
    assert set().union(*epochs) == set(range(14))


def test_a_batch_larger_than_the_manifest_is_the_manifest(tmp_path: Path) -> None:
    method = Watched(tiny(0), tiny(1))
    trainer = run(
        tmp_path,
        method,
        images=greys(),
        selection=chosen(3),
        batch_size=128,
        epochs=5,
        max_steps=None,
        augment="none",
    )
    assert trainer.total_steps == 5
    assert [sorted(batch) for batch in method.seen] == [[0, 1, 2]] * 5


def test_max_steps_count_instead_of_epochs(tmp_path: Path) -> None:
    method = Watched(tiny(0), tiny(1))
    trainer = run(tmp_path, method, images=greys(), epochs=1, max_steps=7, augment="none")
    assert trainer.total_steps == len(method.seen) == 7
    by_epochs = run(tmp_path / "epochs", make("kd"), epochs=2, max_steps=None)
    assert by_epochs.total_steps == 2 * 3


def test_each_image_brings_the_weight_of_its_manifest(tmp_path: Path) -> None:
    method = Watched(tiny(0), tiny(1))
    weights = [place / 8 for place in range(12, 0, -1)]  # rank 1 is the image in place 11
    run(tmp_path, method, images=greys(), selection=chosen(12, weights), augment="none")
    for images, found in zip(method.seen, method.weights, strict=True):
        assert found == [(image + 1) / 8 for image in images]


def test_each_image_comes_with_its_place_and_the_epoch(tmp_path: Path) -> None:
    method = Watched(tiny(0), tiny(1))
    run(tmp_path, method, images=greys(), augment="none")
    assert method.places == method.seen  # a grey level is a place
    assert method.epochs == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4]


@pytest.mark.parametrize("method", ["kd", "kd3"])
def test_twice_the_weight_is_twice_the_loss(tmp_path: Path, method: str) -> None:
    once = {"selection": chosen(), "max_steps": 1}
    twice = {"selection": chosen(12, [2.0] * 12), "max_steps": 1}
    run(tmp_path / "once", make(method), **once)
    run(tmp_path / "twice", make(method), **twice)
    (first,), (second,) = (
        read_metrics(tmp_path / name / "metrics.jsonl") for name in ("once", "twice")
    )
    assert first["total"] > 0
    assert second["total"] == pytest.approx(2 * first["total"], rel=1e-5)


def test_the_rate_follows_the_schedule_from_the_given_peak(tmp_path: Path) -> None:
    run(tmp_path, make("kd"), lr=0.5, schedule="cosine", max_steps=4, log_every=1)
    rates = [row["lr"] for row in read_metrics(tmp_path / "metrics.jsonl")]
    expected = [0.25 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]
    assert rates == pytest.approx(expected)


def test_rate_and_schedule_are_the_methods_where_none_is_given(tmp_path: Path) -> None:
    run(tmp_path, make("kd3"), lr=None, max_steps=8, log_every=1)
    rates = [row["lr"] for row in read_metrics(tmp_path / "metrics.jsonl")]
    # 150, 180, and 210 of 240 are 5, 6, and 7 of 8.
    assert rates == pytest.approx([0.05] * 5 + [0.005, 0.0005, 0.00005])


def test_a_tiny_rate_leaves_the_weights_and_not_the_statistics(tmp_path: Path) -> None:
    before = tiny(1).state_dict()
    trainer = run(tmp_path, make("kd"), lr=1e-12, max_steps=3)
    after = trainer.deployed().state_dict()
    for key, value in after.items():
        if "running" not in key and "tracked" not in key:
            torch.testing.assert_close(value, before[key], atol=1e-7, rtol=0)
    assert not torch.equal(after["module.bn.running_mean"], before["module.bn.running_mean"])


def test_the_log_holds_means_of_all_terms(tmp_path: Path) -> None:
    run(tmp_path / "each", make("kd3"), log_every=1)
    run(tmp_path / "means", make("kd3"), log_every=4)
    each = read_metrics(tmp_path / "each" / "metrics.jsonl")
    means = read_metrics(tmp_path / "means" / "metrics.jsonl")
    assert [row["step"] for row in means] == [4, 8, 10]
    assert set(means[0]) == {"step", "total", "feature", "contrast", "lr"}
    for row, (first, last) in zip(means, [(0, 4), (4, 8), (8, 10)], strict=True):
        for name in ("total", "feature", "contrast", "lr"):
            wanted = sum(step[name] for step in each[first:last]) / (last - first)
            assert row[name] == pytest.approx(wanted)
