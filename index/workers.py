"""Worker processes that decode while the main process computes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast

from index.blocks import Blocks, Shipped, attach, ship
from index.errors import DataError

Task = TypeVar("Task")
Result = TypeVar("Result")
_Task = TypeVar("_Task", contravariant=True)
_Result = TypeVar("_Result", covariant=True)
# Results that whoever asked for them still works with; for those beyond, the pipe is there.
_HELD = 4


class Rescue(Protocol[_Task, _Result]):
    """Does a task whose worker died or hung, in a way that survives both."""

    def patience_s(self, task: _Task, /) -> float:
        """Return after how many seconds a worker is held to hang."""
        ...

    def __call__(self, task: _Task, /) -> _Result:
        """Do the task."""
        ...


def default_workers() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int,
    rescue: Rescue[Task, Result] | None = None,
) -> Iterator[Result]:
    """Map in worker processes; results come in the order of the tasks, a bounded number ahead.

    When a worker dies, or a task takes longer than the patience of `rescue`, what was under way is
    done by `rescue`, the rest by new workers. With `workers` 0 the work is done in this process.

    Raises:
        DataError: a worker process died, as it does when a decoder crashes, and no rescue is there.
    """
    if workers == 0:
        yield from map(function, tasks)
        return
    pool = Pool(function, workers, rescue)
    waiting: deque[Underway[Task]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(task))
            if len(waiting) >= 2 * workers:
                yield pool.result(waiting.popleft())
        while waiting:
            yield pool.result(waiting.popleft())
    except BaseException:  # also when nobody wants the rest: nothing here is worth waiting for
        pool.kill()
        raise
    finally:
        pool.close()


@dataclass(frozen=True)
class Underway(Generic[Task]):
    """A task in a worker's hands, and the block that its result is to come in."""

    task: Task
    future: Future[Shipped]
    blocks: Blocks
    block: int | None


class Pool(Generic[Task, Result]):
    """Worker processes that are replaced when one of them died or hung."""

    def __init__(
        self,
        function: Callable[[Task], Result],
        workers: int,
        rescue: Rescue[Task, Result] | None,
    ) -> None:
        """Start with idle processes, which end with this one."""
        self._function = function
        self._workers = workers
        self._rescue = rescue
        self._start()

    def submit(self, task: Task) -> Underway[Task]:
        """Begin a task as soon as a worker is free."""
        try:
            return self._submit(task)
        except BrokenProcessPool:  # a worker died since
            self.close()
            self._start()
            return self._submit(task)

    def result(self, underway: Underway[Task]) -> Result:
        """Wait for the oldest task; when its worker dies or hangs, the rescue does it.

        Raises:
            DataError: a worker died and no rescue is there.
        """
        task, future = underway.task, underway.future
        patience_s = self._rescue.patience_s(task) if self._rescue else None
        # The oldest task is always in a worker's hands, so this is no time spent in a queue.
        if wait([future], patience_s).not_done:
            self.kill()
        try:
            return cast(Result, underway.blocks.unpack(future.result(), underway.block))
        except BrokenProcessPool:
            if self._rescue:
                return self._rescue(task)
            container = getattr(task, "container", "this input")
            raise DataError(
                f"a decoder process died while {container} was being read: set that input aside, "
                "then run the same command again"
            ) from None

    def close(self) -> None:
        """Wait for what is under way, and end the processes."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _start(self) -> None:
        """With new blocks: a worker that is about to be ended may still write into the old."""
        self._blocks = Blocks(2 * self._workers + _HELD)
        self._executor = ProcessPoolExecutor(
            self._workers,
            mp_context=process_context(),
            initializer=_start_with,
            initargs=(self._blocks,),
        )

    def _submit(self, task: Task) -> Underway[Task]:
        block = self._blocks.borrow()
        future = self._executor.submit(_ship_result, self._function, task, block)
        return Underway(task, future, self._blocks, block)

    def kill(self) -> None:
        """End the processes in the middle of what they do."""
        # Only Python 3.14 has a public way; a hung worker would keep `shutdown` waiting for ever.
        for process in list((self._executor._processes or {}).values()):
            process.kill()


def process_context() -> Any:
    """Return how processes are started: not by fork, which would copy the held locks of threads."""
    if os.name != "posix":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # Imported once, and not by every worker of every pool: half a second each.
    context.set_forkserver_preload(["__main__", "index.decoded"])
    return context


def _start_with(blocks: Any) -> None:
    start_worker()
    attach(blocks)


def _ship_result(function: Callable[[Task], Result], task: Task, block: int | None) -> Shipped:
    return ship(function(task), block)


def start_worker() -> None:
    """Prepare a worker process: it leaves Ctrl-C to its parent, and ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    """A killed main process must not leave workers waiting for ever."""
    parent.join()
    os._exit(1)
