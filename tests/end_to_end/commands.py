"""The real console script in processes of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KDCURATE = Path(sys.executable).with_name("kdcurate")
PATIENCE_S = 120  # of a test that waits for a process: a hang fails, a busy machine does not


@dataclass(frozen=True)
class Workspace:
    """A workspace, and the commands on it."""

    path: Path

    def copy(self, path: Path) -> Workspace:
        return Workspace(Path(shutil.copytree(self.path, path)))

    def run(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self._line(arguments),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            env=_calm() | environment,
        )

    def json(self, *arguments: object) -> Any:
        """Run a command that must succeed and return what it prints with --json."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextmanager
    def started(self, *arguments: object) -> Iterator[subprocess.Popen[str]]:
        """Start a command as the leader of a group of its own; end what is left of it."""
        process = subprocess.Popen(
            self._line(arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=_calm(),
            start_new_session=True,
        )
        try:
            yield process
        finally:
            # The whole group: a worker that is left, or stopped, would hold the pipes open.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate(timeout=PATIENCE_S)

    def sql(self, query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json("sql", query)
        return found

    def _line(self, arguments: tuple[object, ...]) -> list[str]:
        command, *rest = map(str, arguments)
        group = [rest.pop(0)] if command == "manifests" else []
        options = [] if command == "evaluate" else ["-w", str(self.path)]
        return [str(KDCURATE), command, *group, *rest, *options]


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a process has written a file."""
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, f"{path} never appeared"
        time.sleep(0.02)


def _calm() -> dict[str, str]:
    """One thread each: what is measured here is what comes out, not how soon."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **threads, "COLUMNS": "200", "NO_COLOR": "1"}
