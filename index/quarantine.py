"""Partitions whose worker died or hung, read again image by image at a distance."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from index.decoded import DecodedPartition, Outcome, decode_partition, gather, outcomes, unread
from index.decoding import Decoder
from index.errors import DataError
from index.sources import Partition
from index.workers import ordered_map, process_context, start_worker

IMAGE_LIMIT_S = 60.0
_USUAL_S = 1.0  # far more than an image takes; a slower partition is only read with more care


@dataclass(frozen=True)
class Quarantine:
    """Reads a partition in a process of its own; only the guilty image is lost.

    `limit_s` is how long one image may take to be read, and again to be decoded.
    """

    decoder: Decoder
    limit_s: float = IMAGE_LIMIT_S

    def patience_s(self, partition: Partition) -> float:
        """Return after how long a worker is held to hang."""
        return self.limit_s + _USUAL_S * partition.count

    def __call__(self, partition: Partition) -> DecodedPartition:
        """Decode a partition; an image that ends its process is a failure that says how.

        Raises:
            DataError: no process can be started at all.
        """
        return gather(partition, self.decoder, self._outcomes(partition))

    def _outcomes(self, partition: Partition) -> Iterator[Outcome]:
        done = 0
        guilty: dict[bytes, str] = {}
        while True:
            underway: Outcome | None = None
            with _child(partition, self.decoder, done, guilty) as child:
                try:
                    while (message := child.next(self.limit_s)) is not None:
                        if isinstance(message, _Begun):
                            underway = message.outcome
                            continue
                        yield message
                        underway, done = None, done + 1
                    return
                except _LostError as lost:
                    reason, hung = str(lost), lost.hung
            if underway is None:  # before the bytes were there: what follows has no name yet
                said = f"the reader {reason}: what follows is not read"
                yield unread(partition, said, done, transient=hung)  # a drive may come back
                return
            guilty[underway.sha256] = f"the decoder {reason}"
            yield replace(underway, reason=guilty[underway.sha256])
            done += 1


def decode_partitions(
    partitions: Iterable[Partition], quarantine: Quarantine, workers: int
) -> Generator[DecodedPartition, None, None]:
    """Decode partitions in worker processes, in their order; what kills or hangs one is rescued."""
    decode_one = partial(decode_partition, decoder=quarantine.decoder)
    yield from ordered_map(decode_one, partitions, workers, quarantine)


class _LostError(Exception):
    """The child died or hung; the message says how."""

    def __init__(self, how: str, *, hung: bool = False) -> None:
        super().__init__(how)
        self.hung = hung


@dataclass(frozen=True)
class _Begun:
    """Sent before an image is decoded: the last one that is sent names the guilty image."""

    outcome: Outcome


@dataclass(frozen=True)
class _Child:
    process: Any
    messages: Connection

    def next(self, limit_s: float | None) -> Any:
        """Return its next message; None at the end of the partition."""
        try:
            if not self.messages.poll(limit_s):
                raise _LostError(f"hung: more than {limit_s:g} s", hung=True)
            message = self.messages.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            raise _LostError(_how_it_ended(self.process.exitcode)) from None
        if isinstance(message, Exception):
            raise message
        return message


@contextmanager
def _child(
    partition: Partition, decoder: Decoder, start: int, guilty: dict[bytes, str]
) -> Iterator[_Child]:
    context = process_context()
    here, there = context.Pipe(duplex=False)
    arguments = (partition, decoder, start, guilty, there)
    process = context.Process(target=_run, args=arguments, daemon=True)
    process.start()
    there.close()
    child = _Child(process, here)
    try:
        child.next(None)  # it is there
    except _LostError as lost:
        raise DataError(
            f"no decoder process can be started ({lost}): a script that builds an index needs "
            '`if __name__ == "__main__":`; --workers 0 decodes without processes'
        ) from None
    try:
        yield child
    finally:
        process.kill()
        process.join()
        here.close()


def _run(
    partition: Partition, decoder: Decoder, start: int, guilty: dict[bytes, str], messages: Any
) -> None:
    start_worker()
    messages.send(True)

    def announce(outcome: Outcome) -> None:
        messages.send(_Begun(outcome))

    try:
        for outcome in outcomes(partition, decoder, start, guilty, announce):
            messages.send(outcome)
        messages.send(None)
    except Exception as error:
        messages.send(error)


def _how_it_ended(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"crashed (signal {-exit_code})"
    return f"crashed (exit code {exit_code})"
