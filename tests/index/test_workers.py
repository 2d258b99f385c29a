"""Worker processes: order, laziness, and what a dying one leaves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from index.errors import DataError
from index.workers import default_workers, ordered_map

from .helpers import Patient, die_if_odd, die_or_hang, squared


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_come_in_the_order_of_the_tasks(workers: int) -> None:
    assert list(ordered_map(squared, range(20), workers)) == [n * n for n in range(20)]


@pytest.mark.parametrize("workers", [0, 1])
def test_tasks_are_taken_a_bounded_number_ahead(workers: int) -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for task in range(1000):
            taken.append(task)
            yield task

    results = ordered_map(squared, tasks(), workers)
    for _ in range(3):
        next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(taken) <= 3 + 2 * workers


@pytest.mark.parametrize("tasks", [[1], [0, 0, 0, 1, 0], [0, 1, *[0] * 20]])
def test_a_dead_worker_is_an_error_that_says_what_to_do(tasks: list[int]) -> None:
    said = "a decoder process died while .* was being read: set that input aside"
    with pytest.raises(DataError, match=said):
        list(ordered_map(die_if_odd, tasks, 1))


@pytest.mark.parametrize("workers", [1, 2])
def test_what_died_or_hung_is_rescued_and_the_rest_goes_on(workers: int) -> None:
    tasks = [1, 3, 5, 6, 8, 7, *[2] * 9, 13, 4]
    found = list(ordered_map(die_or_hang, tasks, workers, Patient()))
    assert [abs(result) for result in found] == tasks  # in their order
    rescued = {-result for result in found if result < 0}
    assert {3, 7, 13} <= rescued
    assert len([result for result in found if result < 0]) <= 3 * 2 * workers


def test_a_hung_worker_does_not_hold_up_whoever_stops_early() -> None:
    results = ordered_map(die_or_hang, [1, 7, 2, 2], 2)
    assert next(results) == 1
    began = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 60


def test_an_error_of_the_function_passes() -> None:
    with pytest.raises(FileNotFoundError):
        list(ordered_map(Path.read_bytes, [Path("/absent/x")], 1))


def test_there_is_at_least_one_worker() -> None:
    assert default_workers() >= 1
