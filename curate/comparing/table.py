"""The table of a comparison: which runs it is made of, and what they come to, in the catalog."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from curate.comparing.grid import Row
from distill.latency import cpu_latency_ms
from distill.networks import Network
from distill.networks.cost import cost
from index.catalog import Catalog, insert, one

_LATENCY_S = 0.5
_KEY = ("comparison", "method", "selection", "rounds", "seed")


@dataclass(frozen=True)
class Line:
    """One row of the view `compared`: accuracy as mean and sample standard deviation."""

    method: str
    selection: str
    rounds: int
    images: int | None
    steps: int
    seeds: int
    accuracy: float
    sd: float | None
    params: int
    macs: int
    flops: int
    cpu_ms: float
    seconds: float


COLUMNS = tuple(Line.__dataclass_fields__)


def is_recorded(catalog: Catalog, comparison: str, row: Row, seed: int, run: str) -> bool:
    """Tell whether a run already stands for this cell."""
    values = [*_values(comparison, row, seed), run]
    where = " AND ".join(f"{name} = ?" for name in (*_KEY, "run"))
    with catalog.read() as connection:
        return one(connection, f"SELECT 1 FROM comparisons WHERE {where}", values) is not None


def record(
    catalog: Catalog,
    comparison: str,
    row: Row,
    seed: int,
    run: str,
    manifest: str | None,
    student: Network,
) -> None:
    """Note the run of a cell, in place of any that stood there, and measure its student."""
    size = student.card.input.size
    values = {
        **dict(zip(_KEY, _values(comparison, row, seed), strict=True)),
        "run": run,
        "manifest": manifest,
        **asdict(cost(student.module, size)),
        "cpu_ms": cpu_latency_ms(student.module, size, budget_s=_LATENCY_S),
    }
    with catalog.write() as connection:
        columns = {name: [value] for name, value in values.items()}
        insert(connection, "comparisons", columns, replace_on=_KEY)


def lines(catalog: Catalog, comparison: str, runs: Sequence[str]) -> list[Line]:
    """Return the rows of a comparison that these runs belong to, the most accurate first."""
    query = (
        f"SELECT {', '.join(COLUMNS)} FROM compared WHERE comparison = ? AND (method, selection, "
        "rounds) IN (SELECT (method, selection, rounds) FROM comparisons WHERE comparison = ? AND "
        "list_contains(?, run)) ORDER BY accuracy DESC, method, selection, rounds"
    )
    with catalog.read() as connection:
        found = connection.execute(query, [comparison, comparison, list(runs)]).fetchall()
    return [Line(*values) for values in found]


def markdown(found: Sequence[Line]) -> list[str]:
    """Return the table as the lines of a Markdown one, accuracy in per cent."""
    titles = "method, images by, images, steps, accuracy, sd, seeds, params, FLOPs, CPU ms, s"
    rows = [titles.split(", "), *map(_cells, found)]
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return [head, "|---" * len(rows[0]) + "|", *body]


def _cells(line: Line) -> list[str]:
    how = f"{line.selection}, {line.rounds} rounds" if line.rounds else line.selection
    return [
        line.method,
        how.replace("|", "\\|"),
        "" if line.images is None else f"{line.images:,}",
        f"{line.steps:,}",
        f"{100 * line.accuracy:.2f}",
        "" if line.sd is None else f"{100 * line.sd:.2f}",
        str(line.seeds),
        f"{line.params / 1e6:.2f}M",
        f"{line.flops / 1e6:.1f}M",
        f"{line.cpu_ms:.2f}",
        f"{line.seconds:.0f}",
    ]


def _values(comparison: str, row: Row, seed: int) -> list[Any]:
    return [comparison, row.method, row.chosen_by, row.rounds, seed]
