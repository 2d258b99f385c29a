"""Worker processes: order, laziness, and what a dying one leaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from index.errors import DataError
from index.workers import default_workers, ordered_map

from .helpers import die_if_odd, squared


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


def test_an_error_of_the_function_passes() -> None:
    with pytest.raises(FileNotFoundError):
        list(ordered_map(Path.read_bytes, [Path("/absent/x")], 1))


def test_there_is_at_least_one_worker() -> None:
    assert default_workers() >= 1
