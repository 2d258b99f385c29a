"""Saving a run as it trains: when a checkpoint is due, and before a Ctrl-C is obeyed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from distill.checkpoint import Pace, checkpoint_path, save_checkpoint
from distill.options import TrainOptions
from distill.processes import Processes
from index.progress import Progress


class Saving:
    """Writes a run's checkpoint when it is due, at the last step, and before a Ctrl-C is obeyed.

    Of several processes only the first writes. There a Ctrl-C is obeyed at once: the others may be
    a step ahead or behind, and who saves and goes would let them wait for what never comes.

    Args:
        folder: of the run.
        options: say after how many steps a checkpoint is due, see `distill.checkpoint.Pace`.
        state: what it holds after so many steps; asked in every process, and may refuse.
        progress: is told from which step an interrupted run goes on.
    """

    def __init__(
        self,
        folder: Path,
        options: TrainOptions,
        state: Callable[[int], dict[str, Any]],
        processes: Processes,
        progress: Progress,
    ) -> None:
        self._path = checkpoint_path(folder)
        self._state = state
        self._processes = processes
        self._progress = progress
        self._pace = Pace(options.checkpoint_every, writes=processes.first)
        self._pressed = False
        self._before: Any = None
        self.step = 0  # that the checkpoint on disk is of; 0 where there is none

    def write(self, step: int) -> None:
        """Write the checkpoint of the state after so many steps."""
        state = self._state(step)
        with self._pace.writing():
            if self._processes.first:
                save_checkpoint(self._path, state)
        self.step = step

    def after(self, step: int, *, last: bool) -> None:
        """Write what is due at the end of a step, and obey a Ctrl-C that came before it."""
        if self._pace.due(step) or last or self._pressed:
            self.write(step)
        self._obey()

    @contextmanager
    def steps(self, total: int) -> Iterator[None]:
        """Let a Ctrl-C wait for the end of a step; a second one does not wait."""
        self._hold()
        try:
            yield
            self._release()
            self._obey()
        except BaseException as error:
            if not isinstance(error, Exception) and self._processes.first:
                self._progress.say(f"the run goes on from step {self.step} of {total}")
            raise
        finally:
            self._release()

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Obey a Ctrl-C at once in what takes long, where nothing is lost by it."""
        self._release()
        self._obey()
        yield
        self._hold()

    def _hold(self) -> None:
        # Only the main thread may; and who ignores Ctrl-C shall go on to do so.
        before = signal.getsignal(signal.SIGINT)
        main = threading.current_thread() is threading.main_thread()
        if self._processes.count == 1 and main and callable(before):
            self._before = before
            signal.signal(signal.SIGINT, self._press)

    def _release(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _press(self, number: int, frame: FrameType | None) -> None:
        if self._pressed:
            self._before(number, frame)
        self._pressed = True

    def _obey(self) -> None:
        if self._pressed:
            self._pressed = False
            self._release()
            signal.raise_signal(signal.SIGINT)
            self._hold()  # where it was obeyed by something else than an exception
