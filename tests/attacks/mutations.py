"""Real images with random damage, decoded one by one in a child process that may crash or hang."""

from __future__ import annotations

import io
import multiprocessing
import os
import re
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from index.decoding import DecodeError, View, decode

HANGS_S, LARGE = 60.0, 500
VIEW = View(32)
FORMATS: dict[str, dict[str, Any]] = {"JPEG": {"quality": 85}, "PNG": {}, "WEBP": {"quality": 80}}

Bytes = bytearray
Damage = Callable[[Bytes, np.random.Generator, Sequence[bytes]], Bytes]


def flip_bits(data: Bytes, rng: np.random.Generator, _: Sequence[bytes]) -> Bytes:
    for position in rng.integers(len(data), size=rng.integers(1, 33)):
        data[position] ^= 1 << rng.integers(8)
    return data


def overwrite_a_run(data: Bytes, rng: np.random.Generator, _: Sequence[bytes]) -> Bytes:
    start, length = rng.integers(len(data)), rng.integers(1, 257)
    piece = data[start : start + length]
    fill = (bytes(len(piece)), b"\xff" * len(piece), rng.bytes(len(piece)))[rng.integers(3)]
    data[start : start + len(piece)] = fill
    return data


def delete_a_run(data: Bytes, rng: np.random.Generator, _: Sequence[bytes]) -> Bytes:
    start = rng.integers(len(data))
    del data[start : start + rng.integers(1, 257)]
    return data


def repeat_a_run(data: Bytes, rng: np.random.Generator, _: Sequence[bytes]) -> Bytes:
    start = rng.integers(len(data))
    data[start:start] = data[start : start + rng.integers(1, 257)] * int(rng.integers(1, 9))
    return data


def cut_off(data: Bytes, rng: np.random.Generator, _: Sequence[bytes]) -> Bytes:
    return data[: rng.integers(len(data))]


def splice(data: Bytes, rng: np.random.Generator, others: Sequence[bytes]) -> Bytes:
    other = others[rng.integers(len(others))]
    return data[: rng.integers(len(data))] + other[rng.integers(len(other)) :]


def damage_the_head(data: Bytes, rng: np.random.Generator, _: Sequence[bytes]) -> Bytes:
    """Where sizes, counts and offsets stand."""
    for position in rng.integers(min(len(data), 200), size=rng.integers(1, 5)):
        data[position] = rng.integers(256)
    return data


DAMAGES: tuple[Damage, ...] = (
    flip_bits,
    overwrite_a_run,
    delete_a_run,
    repeat_a_run,
    cut_off,
    splice,
    damage_the_head,
)


def originals(images: Sequence[bytes]) -> list[bytes]:
    """Each image as it is where it is of these formats, and newly written in each of them.

    Every fourth is enlarged to LARGE pixels first: the images at hand are small.
    """
    found = []
    for number, data in enumerate(images):
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            rgb = image.convert("RGB")
            if image.format in FORMATS:
                found.append(data)
        if number % 4 == 3:
            rgb = ImageOps.contain(rgb, (LARGE, LARGE))
        for name, options in FORMATS.items():
            stream = io.BytesIO()
            rgb.save(stream, name, **options)
            found.append(stream.getvalue())
    return found


def mutation(whole: Sequence[bytes], seed: int, number: int) -> bytes:
    """Return the mutation of this number: a function of the seed, whatever was made before."""
    rng = np.random.default_rng([seed, number])
    data = bytearray(whole[rng.integers(len(whole))])
    for _ in range(rng.integers(1, 4)):
        if data:
            data = DAMAGES[rng.integers(len(DAMAGES))](data, rng, whole)
    return bytes(data)


@dataclass
class Record:
    """What became of the mutations; processor time (s), and memory (MB) at every tenth of them."""

    decoded: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    longest_s: float = 0.0
    longest: int = -1
    memory_mb: list[float] = field(default_factory=list)
    peak_mb: float = 0.0

    @property
    def total(self) -> int:
        return self.decoded + self.reasons.total() + len(self.lost)


def run(whole: Sequence[bytes], count: int, seed: int) -> Record:
    """Decode `count` mutations in child processes; one that ends or hangs is replaced and noted."""
    record = Record()
    while record.total < count:
        for number, message in _messages(whole, record.total, count, seed):
            if isinstance(message, str):
                record.lost.append(f"mutation {number} of seed {seed}: {message}")
                break
            reason, seconds, memory_mb, peak_mb = message
            record.decoded += not reason
            if reason:
                record.reasons[kind_of(reason)] += 1
            if seconds > record.longest_s:
                record.longest_s, record.longest = seconds, number
            if number % max(1, count // 10) == 0 or number == count - 1:
                record.memory_mb.append(memory_mb)
            record.peak_mb = max(record.peak_mb, peak_mb)
    return record


def kind_of(reason: str) -> str:
    """Return a reason without its numbers, offsets and names."""
    return re.sub(r"0x[0-9a-f]+|\d+|b'.*'|b\".*\"|<.*>", "…", reason)[:70]


def _messages(
    whole: Sequence[bytes], first: int, count: int, seed: int
) -> Iterator[tuple[int, Any]]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    arguments = (whole, first, count, seed, there)
    process = context.Process(target=_decode_all, args=arguments, daemon=True)
    process.start()
    there.close()
    try:
        for number in range(first, count):
            if not here.poll(HANGS_S):
                yield number, f"hangs: more than {HANGS_S:g} s"
                return
            try:
                yield number, here.recv()
            except EOFError:
                process.join()
                yield number, f"ends the process with {process.exitcode}"
                return
    finally:
        process.kill()
        process.join()
        here.close()


def _decode_all(
    whole: Sequence[bytes], first: int, count: int, seed: int, messages: Connection
) -> None:
    for number in range(first, count):
        data = mutation(whole, seed, number)
        began = time.process_time()
        try:
            decode(data, VIEW, hashed=True)
            reason = ""
        except DecodeError as error:
            reason = str(error)
        seconds = time.process_time() - began
        messages.send((reason, seconds, _memory_mb(), _peak_mb()))


def _memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
