"""What the catalog keeps of a comparison: which runs it is made of, and on what terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from curate.comparing.grid import Grid, Row, Selection
from curate.manifest import Manifest, find_manifest
from distill.latency import cpu_latency_ms
from distill.networks import Network
from distill.networks.cost import cost
from distill.result import RunResult
from index.catalog import Catalog, insert, one
from index.errors import UsageError

_LATENCY_S = 0.5
_KEY = ("comparison", "method", "selection", "rounds", "seed")


@dataclass(frozen=True)
class Entry:
    """A cell as the catalog knows it: its place in a comparison, its run, and what it learned from.

    `terms` are those of the grid; the manifest is None where the method makes its own images.
    """

    comparison: str
    terms: str
    row: Row
    seed: int
    run: str
    manifest: Manifest | None

    def values(self) -> dict[str, Any]:
        """Return the columns of the table `comparisons` that are known before it has finished."""
        return {
            "comparison": self.comparison,
            "terms": self.terms,
            "method": self.row.learned_by,
            "selection": self.row.chosen_by,
            "rounds": self.row.rounds,
            "seed": self.seed,
            "run": self.run,
            "manifest": self.manifest.name if self.manifest else None,
            "manifest_hash": self.manifest.content_hash if self.manifest else None,
        }


def is_recorded(catalog: Catalog, entry: Entry) -> bool:
    """Tell whether a finished run already stands for this cell, measured on these terms."""
    values = entry.values()
    where = " AND ".join(f"c.{name} IS NOT DISTINCT FROM ?" for name in values)
    query = f"SELECT 1 FROM comparisons c JOIN runs r ON r.name = c.run WHERE {where}"
    with catalog.read() as connection:
        return one(connection, query, list(values.values())) is not None


def record(catalog: Catalog, entry: Entry, done: RunResult, student: Network) -> None:
    """Note the run of a cell, in place of any that stood there, and measure its student."""
    size = student.card.input.size
    values = {
        **entry.values(),
        "accuracy": done.accuracy,
        "evaluated_on": done.evaluated_on,
        "seconds": done.seconds,
        **asdict(cost(student.module, size)),
        "cpu_ms": cpu_latency_ms(student.module, size, budget_s=_LATENCY_S),
    }
    with catalog.write() as connection:
        columns = {name: [value] for name, value in values.items()}
        insert(connection, "comparisons", columns, replace_on=_KEY)


def check_recorded(catalog: Catalog, grid: Grid, selections: Sequence[Selection]) -> None:
    """Check that what stands under the comparison's name is of the same terms.

    Raises:
        UsageError: its rows have other terms, or a strategy's row has the name of a manifest.
    """
    comparison = grid.comparison()
    query = "SELECT DISTINCT terms, selection, manifest FROM comparisons WHERE comparison = ?"
    with catalog.read() as connection:
        found = connection.execute(query, [comparison]).fetchall()
    if any(terms != grid.terms() for terms, _, _ in found):
        raise UsageError(
            f"comparison {comparison!r} has other terms (teacher, student, --eval, or an option of "
            "selection or training): give another --name"
        )
    is_manifest = {one.name: one.is_manifest for one in selections}
    for _, selection, manifest in found:
        if is_manifest.get(selection, manifest == selection) != (manifest == selection):
            raise UsageError(
                f"comparison {comparison!r} has rows called {selection!r}, once of a strategy and "
                "once of a manifest, which could not be told apart: give another --name"
            )


def recorded_manifests(catalog: Catalog, comparison: str) -> list[Manifest]:
    """Return the manifests, by name, that runs of a comparison have learned from as they are."""
    query = (
        "SELECT DISTINCT m.name FROM comparisons c JOIN manifests m ON m.name = c.manifest AND "
        "m.content_hash = c.manifest_hash WHERE c.comparison = ? ORDER BY m.name"
    )
    with catalog.read() as connection:
        names = [name for (name,) in connection.execute(query, [comparison]).fetchall()]
        return [one for one in (find_manifest(connection, name) for name in names) if one]
