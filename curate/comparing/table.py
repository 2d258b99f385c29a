"""The table of a comparison: what its runs come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from index.catalog import Catalog


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
