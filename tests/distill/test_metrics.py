"""metrics.jsonl: means, and what a resumed run keeps of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.metrics import MetricsLog, read_metrics


def fill(log: MetricsLog, first: int, last: int, total: int = 10) -> None:
    for step in range(first, last + 1):
        log.add(step, {"total": float(step), "twice": 2.0 * step}, last=step == total)


def test_a_line_is_the_mean_since_the_last_one(tmp_path: Path) -> None:
    fill(MetricsLog(tmp_path / "metrics.jsonl", every=4), 1, 10)
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"step": 4, "total": 2.5, "twice": 5.0},
        {"step": 8, "total": 6.5, "twice": 13.0},
        {"step": 10, "total": 9.5, "twice": 19.0},  # the last step ends a shorter mean
    ]


@pytest.mark.parametrize("checkpoint", [3, 4, 6, 9])
def test_a_rewound_log_becomes_the_undisturbed_one(tmp_path: Path, checkpoint: int) -> None:
    whole = tmp_path / "whole.jsonl"
    fill(MetricsLog(whole, every=4), 1, 10)
    killed = MetricsLog(tmp_path / "metrics.jsonl", every=4)
    fill(killed, 1, checkpoint)
    unwritten = killed.unwritten
    fill(killed, checkpoint + 1, 9)
    resumed = MetricsLog(tmp_path / "metrics.jsonl", every=4)
    resumed.rewind(checkpoint, unwritten)
    fill(resumed, checkpoint + 1, 10)
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole.read_bytes()


def test_what_a_checkpoint_keeps_does_not_change_after_it(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl", every=4)
    fill(log, 1, 2)
    unwritten = log.unwritten
    fill(log, 3, 3)
    assert unwritten == {"sums": {"total": 3.0, "twice": 6.0}, "count": 2}


def test_a_line_cut_off_by_a_kill_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 4, "total": 1.5}\n{"step": 8, "tot')
    assert read_metrics(path) == [{"step": 4, "total": 1.5}]
    MetricsLog(path, every=4).rewind(8)
    assert path.read_text() == '{"step": 4, "total": 1.5}\n'


def test_rewinding_to_the_start_empties_the_log(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl", every=2)
    fill(log, 1, 5)
    log.rewind(0)
    assert read_metrics(tmp_path / "metrics.jsonl") == []
    assert log.unwritten["count"] == 0


def test_rewinding_a_log_that_is_not_there_makes_none(tmp_path: Path) -> None:
    MetricsLog(tmp_path / "metrics.jsonl", every=2).rewind(3)
    assert not (tmp_path / "metrics.jsonl").exists()
