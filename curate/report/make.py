"""From a workspace to the report's file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from curate.report.content import gather
from curate.report.options import ReportOptions
from curate.report.page import render
from index.catalog import Catalog
from index.errors import WorkspaceError
from index.files import atomic_path, check_target
from index.progress import Progress, Silent


@dataclass(frozen=True)
class Made:
    """What was written: the page, its bytes, and the figures beside it."""

    report: str
    bytes: int
    manifests: int
    runs: int
    thumbnails: int
    figures: list[str]


def make_report(catalog: Catalog, options: ReportOptions, progress: Progress | None = None) -> Made:
    """Write the report, whole or not at all, and the figures where a folder for them is named.

    Raises:
        UsageError: no such manifest or run, or the file or folder cannot be where it is asked for.
        DataError, NetworkError: see `gather`.
        WorkspaceError: it cannot be written.
    """
    progress = progress or Silent()
    output = options.output
    check_target(output, makes_folder=False)
    if options.figures is not None:
        from curate.report.figures import check_figures, draw_figures

        check_figures(options.figures)
    content = gather(catalog, options, progress)
    page = render(content)
    try:
        with atomic_path(output) as temporary:
            temporary.write_text(page, encoding="utf-8")
    except OSError as error:
        raise WorkspaceError(f"cannot write {output}: {error.strerror}") from error
    figures: list[Path] = []
    if options.figures is not None:
        figures = draw_figures(content, options.figures)
    return Made(
        report=str(output),
        bytes=len(page.encode()),
        manifests=len(content.scope.manifests),
        runs=len(content.scope.runs),
        thumbnails=len(content.thumbnails.uris),
        figures=[str(path) for path in figures],
    )
