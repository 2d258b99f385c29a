"""What the person waiting sees."""

from __future__ import annotations

import pytest

from curate.cli import output
from curate.cli.output import TerminalProgress, print_pairs, print_table


class Clock:
    """What time it is, until someone says otherwise."""

    now = 100.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    mine = Clock()
    monkeypatch.setattr(output.time, "monotonic", lambda: mine.now)
    return mine


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with TerminalProgress().step("Training", 400, "steps") as advance:
        for _ in range(100):
            clock.now += 1.0
            advance(4)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "Training: 120 of 400 steps, 4 a second, 0:01:10 to go",
        "Training: 240 of 400 steps, 4 a second, 0:00:40 to go",
        "Training: 360 of 400 steps, 4 a second, 0:00:10 to go",
        "Training: 400 of 400 steps, 4 a second, 0:00:00 to go",
    ]


def test_what_a_resumed_run_had_done_before_took_no_time(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with TerminalProgress().step("Training", 100_100, "steps") as advance:
        advance(100_000)
        for _ in range(30):
            clock.now += 1.0
            advance(1)
    said = "Training: 100,030 of 100,100 steps, 1 a second, 0:01:10 to go\n"
    assert capsys.readouterr().err == said


def test_a_short_step_and_nothing_new_say_nothing(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with TerminalProgress().step("Decoding", 10, "images") as advance:
        clock.now += 5.0
        advance(10)
    with TerminalProgress().step("Waiting", 100_000, "images") as advance:
        clock.now += 500.0
        advance(0)
    assert capsys.readouterr().err == ""


def test_what_has_no_end_says_how_far_it_is(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with TerminalProgress().step("Listing", None, "images") as advance:
        clock.now += 40.0
        advance(50_000)
    assert capsys.readouterr().err == "Listing: 50,000 images, 1,250 a second\n"


def test_what_takes_long_is_told_in_seconds_each(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with TerminalProgress().step("Mapping", 3, "maps") as advance:
        clock.now += 30.0
        advance(1)
    assert capsys.readouterr().err == "Mapping: 1 of 3 maps, 30.0 s each, 0:01:00 to go\n"


def test_a_short_step_without_end_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalProgress().step("Listing", None, "images") as advance:
        advance(10)
    assert capsys.readouterr().err == ""


def test_a_table_in_a_pipe_is_not_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["uri", "n"], [["x" * 500, 1], ["y", 2.5]])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("x" * 500)
    print_table(["nothing"], [])
    assert capsys.readouterr().out.split() == ["nothing"]


def test_pairs_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    print_pairs({"a": None, "longer": 0.123456, "c": "x\ny\x1b[1m"})
    assert capsys.readouterr().out == "longer  0.1235\nc       x�y�[1m\n"
