"""The funnel: found, readable, unique, decided, eligible, selected; and what fell out, and why."""

from __future__ import annotations

from dataclasses import dataclass

from curate.report.scope import ManifestFacts
from curate.tables import one_row, rows_of
from index.catalog import Catalog

_MOST_FAILURES = 8


@dataclass(frozen=True)
class Reason:
    """Images that were decided for one reason, with one of them in full."""

    why: str
    selected: bool
    images: int
    example: str


@dataclass(frozen=True)
class Crawl:
    """What the crawl holds: places found, those that can be read, contents; and failures."""

    found: int
    readable: int
    unique: int
    bytes: int
    failures: list[Reason]
    more_failures: int


@dataclass(frozen=True)
class Funnel:
    """How many images are left after each step, for one manifest."""

    manifest: ManifestFacts
    steps: list[tuple[str, int, str]]
    reasons: list[Reason]


_COUNTS = """
SELECT (SELECT count(*) FROM locations) AS readable, (SELECT count(*) FROM failures) AS failed,
       (SELECT count(*) FROM images) AS "unique", (SELECT sum(bytes) FROM images) AS bytes
"""
# As decisions.why does: a reason without what it is about.
_FAILURES = f"""
SELECT regexp_extract(reason, '^[^0-9:]*[a-z]') AS why, false AS selected, count(*) AS images,
       min(reason) AS example, count(*) OVER () AS kinds
FROM failures GROUP BY why ORDER BY images DESC, why LIMIT {_MOST_FAILURES}
"""
_REASONS = """
SELECT why, selected, count(*) AS images, arg_min(reason, image_id) AS example
FROM decisions WHERE manifest = ? GROUP BY why, selected ORDER BY selected DESC, images DESC, why
"""


def read_crawl(catalog: Catalog) -> Crawl:
    """Count what was found, what can be read, and what is the same."""
    with catalog.read() as connection:
        counts = one_row(connection, _COUNTS)
        failures = list(rows_of(connection, _FAILURES))
    kinds = failures[0]["kinds"] if failures else 0
    for row in failures:
        del row["kinds"]
    return Crawl(
        found=counts["readable"] + counts["failed"],
        readable=counts["readable"],
        unique=counts["unique"],
        bytes=int(counts["bytes"] or 0),
        failures=[Reason(**row) for row in failures],
        more_failures=max(0, kinds - _MOST_FAILURES),
    )


def read_funnel(catalog: Catalog, manifest: ManifestFacts, crawl: Crawl) -> Funnel:
    """Count what is left after each step, and the reasons of the ledger."""
    with catalog.read() as connection:
        reasons = [Reason(**row) for row in rows_of(connection, _REASONS, [manifest.name])]
    steps = [
        ("found", crawl.found, "files, tar members, and rows of the crawl"),
        ("readable", crawl.readable, "decoded as an image"),
        ("unique", crawl.unique, "different contents: exact copies are one image"),
        ("eligible", manifest.eligible, "not filtered, no near-duplicate, above the threshold"),
        ("selected", manifest.selected, "within class quota and budget"),
    ]
    if manifest.pool != crawl.unique:  # the crawl grew or shrank since
        decided = ("decided", manifest.pool, "images of the pool when the manifest was made")
        steps.insert(3, decided)
    return Funnel(manifest, steps, reasons)
