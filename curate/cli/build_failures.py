"""What a build could not read, told after it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from curate.cli.output import note

if TYPE_CHECKING:
    from index.build import Summary
    from index.catalog import Catalog

_REASONS = 5  # that are told after a build; the catalog has all


def tell_failures(catalog: Catalog, built: Summary) -> None:
    """Note how many files failed, the most frequent reasons, and where all of them stand."""
    with catalog.read() as connection:
        reasons = connection.execute(
            "SELECT reason, count(*), min(uri) FROM failures GROUP BY 1 ORDER BY 2 DESC, 1"
        ).fetchmany(_REASONS)
    files = "1 file" if built.failed == 1 else f"{built.failed:,} files"
    note(f"of this workspace, {files} could not be read:")
    for reason, count, example in reasons:
        note(f"  {count:,}: {reason} ({example})")
    if built.transient:
        note(
            f"{built.transient:,} of them may be readable now, such as those of a server "
            "that was overloaded: the same command run again tries them again"
        )
    others = built.failed - sum(count for _, count, _ in reasons)
    if others:
        where = shlex.quote(str(catalog.workspace))
        query = "SELECT reason, count(*) FROM failures GROUP BY ALL ORDER BY 2 DESC"
        note(f'{others:,} for other reasons: kdcurate sql -w {where} "{query}"')
