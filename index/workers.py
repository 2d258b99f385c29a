"""Worker processes that decode while the main process computes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from index.errors import DataError

Task = TypeVar("Task")
Result = TypeVar("Result")


def default_workers() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(
    function: Callable[[Task], Result], tasks: Iterable[Task], workers: int
) -> Iterator[Result]:
    """Map in worker processes; results come in the order of the tasks, a bounded number ahead.

    With `workers` 0 the work is done in this process.

    Raises:
        DataError: a worker process died, as it does when a decoder crashes.
    """
    if workers == 0:
        yield from map(function, tasks)
        return
    # Not fork: this process runs threads of torch and FAISS, whose locks a fork would copy held.
    method = "forkserver" if os.name == "posix" else "spawn"
    context = multiprocessing.get_context(method)
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    waiting: deque[tuple[Task, Future[Result]]] = deque()
    remaining = iter(tasks)
    try:
        for task in remaining:
            try:
                waiting.append((task, executor.submit(function, task)))
            except BrokenProcessPool as error:  # a worker died since; an earlier task says so too
                waiting.append((task, Future()))
                waiting[-1][1].set_exception(error)
            if len(waiting) >= 2 * workers:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _result(task: Task, future: Future[Result]) -> Result:
    try:
        return future.result()
    except BrokenProcessPool:
        container = getattr(task, "container", "this input")
        raise DataError(
            f"a decoder process died while {container} was being read: set that input aside, "
            "then run the same command again"
        ) from None


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to handle
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    """A killed main process must not leave workers waiting for ever."""
    parent.join()
    os._exit(1)
