"""Learning rates as shares of the peak, by hand."""

from __future__ import annotations

import math

import pytest

from distill.schedule import SCHEDULES, cosine, onecycle, step, two_step


@pytest.mark.parametrize(
    ("epoch", "share"), [(0, 1), (149, 1), (150, 0.1), (179, 0.1), (180, 0.01), (210, 1e-3)]
)
def test_step_falls_at_150_180_and_210_of_240_epochs(epoch: int, share: float) -> None:
    assert step(epoch / 240) == pytest.approx(share)


def test_two_step_falls_at_four_and_at_eight_tenths() -> None:
    found = [two_step(progress) for progress in (0, 0.399, 0.4, 0.799, 0.8)]
    assert found == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_cosine_by_hand() -> None:
    found = [cosine(progress) for progress in (0, 1 / 3, 0.5, 2 / 3, 1)]
    assert found == pytest.approx([1, 0.75, 0.5, 0.25, 0])


def test_onecycle_rises_for_three_tenths_and_then_falls() -> None:
    found = [onecycle(progress) for progress in (0, 0.15, 0.3, 0.65, 1)]
    assert found == pytest.approx([0.04, 0.52, 1, 0.5, 0])


def test_onecycle_has_no_jump_at_its_peak() -> None:
    assert onecycle(math.nextafter(0.3, 0)) == pytest.approx(onecycle(0.3))


@pytest.mark.parametrize("name", SCHEDULES)
def test_no_schedule_leaves_the_range_from_zero_to_the_peak(name: str) -> None:
    assert all(0 <= SCHEDULES[name](k / 1000) <= 1 for k in range(1001))
