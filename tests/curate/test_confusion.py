"""A confusion matrix on a screen and as a file."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from curate.confusion import CORNER, most_confused, write_confusion

COUNTS = np.array([[5, 0, 3], [1, 7, 0], [3, 0, 1]])
NAMES = ["ant", 'bee, "wild"', "cat"]


def test_the_largest_confusions_come_first_and_rights_never() -> None:
    assert most_confused(COUNTS, NAMES, 2) == [
        ("ant", "cat", 3, 3 / 8),
        ("cat", "ant", 3, 3 / 4),
    ]
    assert most_confused(COUNTS, None, 9)[-1] == ("1", "0", 1, 1 / 8)
    assert most_confused(np.diag([4, 2]), None, 9) == []
    assert COUNTS[0, 0] == 5  # left as it was


def test_the_file_holds_every_count(tmp_path: Path) -> None:
    write_confusion(tmp_path / "c.csv", COUNTS, NAMES)
    with (tmp_path / "c.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == [CORNER, *NAMES]
    assert [row[0] for row in rows[1:]] == NAMES
    assert [[int(n) for n in row[1:]] for row in rows[1:]] == COUNTS.tolist()
