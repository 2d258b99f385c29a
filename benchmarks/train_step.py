"""How near does a training step come to the networks' own speed, and to public toolkits?

    PYTHONPATH=. ENV/bin/python benchmarks/train_step.py

ENV is an environment that has kdcurate's dependencies, torchdistill and KD-Lib; without those two
it says so and measures the rest. The contestants train the same networks with random weights:

* kdcurate: distill's Trainer, with decoded images in memory, cropping, flipping and logging;
* the bare loop, the limit: the same method's loss in the same precision on two batches that lie in
  memory as normalised tensors, channels_last, SGD, and nothing else;
* the toolkits' own loops, kd alone, in float32, their default; see helpers/peers.py.

They take turns within one process, in reversed order every other round. A step is timed after
`--warm` others; a run's last step, which writes the checkpoint, is left out. Rates are medians over
the rounds, ratios are medians of the ratios within a round.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from distill.images import PoolImages
from distill.methods import Batch, Method, find_method
from distill.networks import Network, load_network, normalise
from distill.options import TrainOptions, resolve_precision
from distill.selection import Selection
from distill.trainer import Trainer
from helpers.peers import PEERS, SGD, Lesson, missing

IMAGES = 2048
PAIRS = {"large": ("resnet32x4", "resnet8x4"), "small": ("resnet56", "resnet20")}
Contestant = Callable[["Clock"], None]


class Clock:
    """Times `steps` steps after `warm` others; as a Progress, it is told of each."""

    def __init__(self, warm: int, steps: int, device: str) -> None:
        self.total = warm + steps + 1
        self._marks = (warm, warm + steps)
        self._device = device
        self._done = 0
        self._seen: list[tuple[int, float]] = []

    @contextlib.contextmanager
    def step(self, name: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:  # noqa: ARG002
        """Be told of every step."""
        yield self.tick

    def say(self, message: str) -> None:
        """Ignore the message."""

    def tick(self, count: int) -> None:
        """Note the time when warm, and when all is done that counts."""
        self._done += count
        if len(self._seen) < 2 and self._done >= self._marks[len(self._seen)]:
            if self._device == "cuda":
                torch.cuda.synchronize()
            self._seen.append((self._done, time.perf_counter()))

    @property
    def rate(self) -> float:
        """Steps a second."""
        (first, began), (last, ended) = self._seen
        return (last - first) / (ended - began)


@dataclass(frozen=True)
class Case:
    """A pair of networks and a batch, with the images for it."""

    teacher: str
    student: str
    batch: int
    pool: PoolImages
    device: str

    def networks(self) -> tuple[Network, Network]:
        """Return teacher and student with random weights."""
        load = partial(load_network, num_classes=10, allow_random=True)
        return load(f"cifar:{self.teacher}"), load(f"cifar:{self.student}")

    def method(self, name: str) -> Method:
        """Return a method of this pair."""
        return find_method(name)(*self.networks())


def kdcurate(case: Case, method: str, precision: str, clock: Clock) -> None:
    """Distill's own loop."""
    ids = case.pool.ids
    options = TrainOptions(
        max_steps=clock.total,
        batch_size=case.batch,
        device=case.device,
        precision=precision,
        checkpoint_every=clock.total,
    )
    selection = Selection("all", "", ids, np.ones(len(ids), np.float32))
    with tempfile.TemporaryDirectory() as folder:
        made = case.method(method)
        Trainer(made, case.pool, selection, options, Path(folder), progress=clock).fit()


def bare(case: Case, method: str, precision: str, clock: Clock) -> None:
    """Networks, loss and SGD on tensors that are there."""
    made = case.method(method).to(case.device)
    made.to(memory_format=torch.channels_last).train()
    batches = [batch(case, made, number) for number in range(2)]
    sgd = torch.optim.SGD([one for one in made.parameters() if one.requires_grad], **SGD)
    half = precision == "bfloat16"
    for step in range(clock.total):
        with torch.autocast(case.device, torch.bfloat16, enabled=half):
            found = made.loss(batches[step % 2])
        found.total.backward()
        sgd.step()
        sgd.zero_grad(set_to_none=True)
        clock.tick(1)


def batch(case: Case, method: Method, number: int) -> Batch:
    """Return a batch as tensors, normalised, channels_last."""
    pixels = torch.from_numpy(case.pool.pixels[number * case.batch : (number + 1) * case.batch])
    images = normalise(pixels, method.student.card.input, case.device)
    generator = torch.Generator().manual_seed(number)
    return Batch(images, torch.ones(case.batch, device=case.device), generator=generator)


def peer(case: Case, name: str, workers: int, clock: Clock) -> None:
    """A toolkit's loop on the bare modules."""
    teacher, student = (network.module.to(case.device) for network in case.networks())
    pixels, steps = case.pool.pixels, clock.total
    lesson = Lesson(teacher, student, pixels, steps, case.batch, workers, case.device)
    PEERS[name](lesson, clock.tick)


def contestants(case: Case, options: argparse.Namespace) -> dict[tuple[str, ...], Contestant]:
    """Name all that run on a case: who, and for ours and the bare loop method and precision."""
    resolved = resolve_precision("auto", case.device)
    fast = "bfloat16" if resolved == "bf16-mixed" else "float32"
    wanted = dict.fromkeys([("kd", "float32"), ("kd", fast), ("kd3", fast)])
    found: dict[tuple[str, ...], Contestant] = {}
    for method, precision in wanted:
        found["kdcurate", method, precision] = partial(kdcurate, case, method, precision)
        found["bare loop", method, precision] = partial(bare, case, method, precision)
    for name in options.peers:
        found[(name,)] = partial(peer, case, name, options.workers)
    return found


def measure(case: Case, options: argparse.Namespace) -> dict[tuple[str, ...], list[float]]:
    """Let all take turns; return each one's steps a second, a round each."""
    runs = contestants(case, options)
    found: dict[tuple[str, ...], list[float]] = {name: [] for name in runs}
    steps = options.large_steps if case.teacher == PAIRS["large"][0] else options.small_steps
    for number in range(options.rounds):
        for name in list(runs)[:: -1 if number % 2 else 1]:
            clock = Clock(options.warm, steps, case.device)
            runs[name](clock)
            found[name].append(clock.rate)
            shown = f"{case.teacher}, {case.batch}, round {number + 1}: {', '.join(name)}"
            print(f"  {shown} {clock.rate:.3f}", file=sys.stderr, flush=True)
    return found


def rows(case: Case, found: dict[tuple[str, ...], list[float]], peers: list[str]) -> Iterator[str]:
    """Yield the Markdown rows of a case."""
    for name, ours in found.items():
        if name[0] != "kdcurate":
            continue
        others = [found["bare loop", *name[1:]]]
        others += [found[(one,)] if name[1] == "kd" else [] for one in peers]
        cells = [f"{case.teacher} -> {case.student}", str(case.batch), *name[1:]]
        cells += [f"{median(ours)} ({min(ours):.2f} to {max(ours):.2f})"]
        for other in others:
            ratios = [mine / theirs for mine, theirs in zip(ours, other, strict=False)]
            cells += [median(other), median(ratios)]
        yield f"| {' | '.join(cells)} |"


def median(values: list[float]) -> str:
    """Median with two digits; empty of nothing."""
    return f"{statistics.median(values):.2f}" if values else ""


def head(options: argparse.Namespace, absent: dict[str, str]) -> Iterator[str]:
    """Yield what was measured, where, and the table's first lines."""
    yield "# Steps a second\n"
    yield f"    python benchmarks/train_step.py {' '.join(sys.argv[1:])}".rstrip() + "\n"
    yield (
        f"{date.today()}, torch {torch.__version__}, {platform.machine()}, {options.device}, "
        f"{torch.get_num_threads()} threads on {cores()} cores, {installed()}; toolkits in "
        f"float32, {options.workers} worker processes to load. 32x32 images, medians of "
        f"{options.rounds} rounds.\n"
    )
    for name, reason in absent.items():
        yield f"{name} was not measured: {reason}.\n"
    columns = ["networks", "batch", "method", "precision", "kdcurate (spread)"]
    for other in ("bare loop", *options.peers):
        columns += [other, "kdcurate / it"]
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"


def installed() -> str:
    """Return the toolkits' versions."""
    found = []
    for name in ("torchdistill", "KD-Lib"):
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return ", ".join(found) or "no toolkits"


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def main() -> None:
    """Measure every case, print its rows when they are there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--batches", nargs="+", type=int, default=[64, 128])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm", type=int, default=2, help="steps before those that are timed")
    parser.add_argument("--small-steps", type=int, default=8)
    parser.add_argument("--large-steps", type=int, default=3)
    parser.add_argument("--workers", type=int, default=min(2, cores() - 1), help="the toolkits'")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    absent = {name: reason for name in options.peers if (reason := missing(name))}
    options.peers = [name for name in options.peers if name not in absent]
    print(*head(options, absent), sep="\n", flush=True)
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(IMAGES, 32, 32, 3), dtype=np.uint8)
    pool = PoolImages(np.arange(IMAGES), pixels)
    for pair in options.pairs:
        for size in options.batches:
            case = Case(*PAIRS[pair], size, pool, options.device)
            print(*rows(case, measure(case, options), options.peers), sep="\n", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nPeak memory of the whole process, all contestants in turns: {peak:.0f} MiB.")


if __name__ == "__main__":
    main()
