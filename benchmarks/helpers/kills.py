"""Processes that are killed with -9 at a moment of one's choice."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

LONGEST_DELAY_S = 0.3  # a few commits or steps
LOOK_EVERY_S = 0.002


def start(
    command: list[str], stdout: int = subprocess.DEVNULL, **environment: str
) -> subprocess.Popen[str]:
    """Start a command as the first of a group of processes; its errors are kept, not shown."""
    return subprocess.Popen(
        command,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | environment,
    )


def to_its_end(process: subprocess.Popen[str]) -> None:
    """Wait for a process.

    Raises:
        SystemExit: it failed; with what it said.
    """
    _, said = process.communicate()
    if process.returncode:
        raise SystemExit(f"a command failed with {process.returncode}: {said}")


def kill_once(
    process: subprocess.Popen[str], reached: Callable[[], bool], delay_s: float, *, group: bool
) -> bool:
    """Kill a process, or all of its group, a while after it has reached something.

    Returns:
        Whether it still ran.
    """
    while not reached() and process.poll() is None:
        time.sleep(LOOK_EVERY_S)
    try:
        process.wait(delay_s)
        return False
    except subprocess.TimeoutExpired:
        (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
        process.communicate()
        return True
