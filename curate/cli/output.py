"""What commands print: data on stdout, progress and messages on stderr."""

from __future__ import annotations

import csv
import json
import math
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain
from pathlib import Path
from shutil import which
from textwrap import indent
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from index.progress import Advance

stderr = Console(stderr=True)
SECONDS_A_LINE = 30.0
AT_ONCE_S = 0.5


class TerminalProgress:
    """A bar with rate and remaining time on stderr; plain lines where that is no terminal."""

    @contextmanager
    def step(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:
        """Draw one step."""
        if total == 0:
            yield lambda _: None
            return
        if not stderr.is_terminal:
            yield _Lines(name, total, unit).advance
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(unit),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=stderr) as progress:
            task = progress.add_task(name, total=total)
            yield lambda count: progress.advance(task, count)

    def say(self, message: str) -> None:
        """Print one line."""
        note(message)


class _Lines:
    """A step in a log: a line every half minute while it lasts, and one at its end."""

    def __init__(self, name: str, total: int | None, unit: str) -> None:
        self._name, self._total, self._unit = name, total, unit
        self._began = time.monotonic()
        self._next = self._began + SECONDS_A_LINE
        self._done = self._told = 0
        self._before: int | None = None  # what was done already, as by a run that is resumed

    def advance(self, count: int) -> None:
        now = time.monotonic()
        if self._before is None:
            self._before = count if now - self._began < AT_ONCE_S else 0
        self._done += count
        ends = self._done == self._total and self._told > 0
        if self._done == self._told or not (ends or now >= self._next):
            return
        self._next, self._told = now + SECONDS_A_LINE, self._done
        note(f"{self._name}: {self._said((self._done - self._before) / (now - self._began))}")

    def _said(self, rate: float) -> str:
        pace = f"{rate:,.0f} a second" if rate >= 1 else f"{1 / max(rate, 1e-9):,.1f} s each"
        if self._total is None:
            return f"{self._done:,} {self._unit}, {pace}"
        so_far = f"{self._done:,} of {self._total:,} {self._unit}"
        if rate <= 0:
            return so_far
        left = timedelta(seconds=round(max(0, self._total - self._done) / rate))
        return f"{so_far}, {pace}, {left} to go"


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} {self._unit}/s" if speed else f"- {self._unit}/s")


def note(message: str) -> None:
    """Print a line for the person waiting, on stderr; crawl text is never read as markup."""
    stderr.print(_text(message), soft_wrap=True)


def next_step(*words: str) -> None:
    """Note the command of kdcurate's to type next."""
    note(f"next: {shlex.join(('kdcurate', *words))}")


def program() -> str:
    """How kdcurate is typed here: by its name, or by its path where no PATH leads to it."""
    console = Path(sys.executable).with_name("kdcurate")
    if which("kdcurate") or not console.is_file():
        return "kdcurate"
    here = Path.cwd()
    near = console.relative_to(here) if console.is_relative_to(here) else console
    return shlex.quote(str(near))


def print_json(value: Any) -> None:
    """Print one JSON value on stdout; what JSON has no word for, NaN and infinities, is null."""
    sys.stdout.write(_json(value) + "\n")


def print_pairs(pairs: dict[str, Any]) -> None:
    """Print names and values, one a line; what there is none of takes no line."""
    known = {name: value for name, value in pairs.items() if value is not None}
    width = max(map(len, known), default=0)
    for name, value in known.items():
        sys.stdout.write(f"{name:<{width}}  {_cell(value)}\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table on stdout; whatever the crawl holds is shown as text."""
    print_batches(columns, iter([rows]))


def print_measures(measures: Sequence[Mapping[str, Any]]) -> None:
    """Print how far the images of a manifest are, as a set, from the teacher's own data."""
    columns = ("measure", "pool", "selected", "images")
    print_table(columns, [[row[column] for column in columns] for row in measures])


def print_batches(columns: Sequence[str], batches: Iterator[Sequence[Sequence[Any]]]) -> None:
    """Print a table of any length; the first batch says how wide its columns are."""
    first = next(batches, [])
    numeric = [all(isinstance(row[i], (int, float)) for row in first) for i in range(len(columns))]
    widths = [
        max(map(cell_len, (_cell(name), *(_cell(row[i]) for row in first))))
        for i, name in enumerate(columns)
    ]
    for number, rows in enumerate(chain([first], batches)):
        console = Console()
        table = Table(box=None, pad_edge=False, header_style="bold", show_header=number == 0)
        for name, right, width in zip(columns, numeric, widths, strict=True):
            table.add_column(
                _text(name),
                justify="right" if right else "left",
                overflow="fold",
                min_width=None if console.is_terminal else width,
            )
        for row in rows:
            table.add_row(*(_text(value) for value in row))
        if not console.is_terminal:  # a pipe has no width: wrap nothing
            unbounded = console.options.update(max_width=sys.maxsize)
            console = Console(width=max(1, Measurement.get(console, unbounded, table).maximum))
        console.print(table)


def print_csv(columns: Sequence[str], batches: Iterator[Sequence[Sequence[Any]]]) -> None:
    """Print a result of any length as CSV on stdout."""
    writer = csv.writer(sys.stdout)
    writer.writerow(columns)
    for rows in batches:
        writer.writerows(rows)


def print_json_rows(columns: Sequence[str], batches: Iterator[Sequence[Sequence[Any]]]) -> None:
    """Print a result of any length on stdout as `print_json` prints a list of objects."""
    separator = "[\n"
    for row in chain.from_iterable(batches):
        text = _json(dict(zip(columns, row, strict=True)))
        sys.stdout.write(separator + indent(text, "  "))
        separator = ",\n"
    sys.stdout.write("[]\n" if separator == "[\n" else "\n]\n")


def _json(value: Any) -> str:
    return json.dumps(_plain(value), indent=2, default=str, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value


def _text(value: Any) -> Text:
    """Take text as it is: no markup and no :emoji: in it is read."""
    return Text(_cell(value))


def _cell(value: Any) -> str:
    """Show a value in one line, without the control characters that a terminal obeys."""
    if value is None:
        return ""
    if isinstance(value, float):
        # Never 1.235e+06 for a count that became a float.
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.10g}"
    return "".join(c if c.isprintable() else "�" for c in str(value))
