"""A manifest's selected images for other tools. A format is one module and one line here."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from curate.exporting.base import LINKS, Export, ExportOptions
from curate.exporting.fiftyone import write_fiftyone
from curate.exporting.folder import write_folder
from curate.exporting.rows import write_rows
from curate.exporting.shards import write_parquet_shards
from curate.exporting.tables import write_csv, write_jsonl, write_parquet, write_txt
from curate.exporting.target import refuse_standing, standing_mark, whole, write_mark
from curate.exporting.webdataset import write_webdataset
from curate.manifest import Manifest, get_manifest
from index.catalog import Catalog
from index.errors import UsageError, nearest
from index.files import check_target, locked, scratch
from index.progress import Progress, Silent

__all__ = ["FORMATS", "LINKS", "ExportOptions", "Exported", "export_manifest"]

Writer = Callable[[Export, Path], None]
FORMATS: dict[str, Writer] = {
    "parquet": write_parquet,
    "csv": write_csv,
    "jsonl": write_jsonl,
    "txt": write_txt,
    "folder": write_folder,
    "webdataset": write_webdataset,
    "fiftyone": write_fiftyone,
}
_OF_FOLDERS = (write_folder, write_webdataset, write_fiftyone, write_parquet_shards)


@dataclass(frozen=True)
class Exported:
    """What an export wrote where; `written` is false where it was there already."""

    manifest: str
    content_hash: str
    format: str
    path: str
    images: int
    written: bool = True


def export_manifest(
    catalog: Catalog,
    name: str,
    target: Path,
    options: ExportOptions,
    progress: Progress | None = None,
) -> Exported:
    """Write the selected images of a manifest to a file or folder, whole or not at all.

    Raises:
        UsageError: no such manifest, format or folder, or something else stands at `target`.
        DataError: an image is gone or no longer what it was when it was indexed.
    """
    progress = progress or Silent()
    writer = _writer(options)
    manifest = get_manifest(catalog, name)
    target = target.expanduser().absolute()
    if writer not in _OF_FOLDERS:
        check_target(target, makes_folder=False)
    elif not target.parent.is_dir():
        raise UsageError(f"cannot write {target}: make its folder first")
    done = Exported(name, manifest.content_hash, options.format, str(target), manifest.selected)
    unwritten = replace(done, written=False)
    mark = _mark(manifest, options)
    with locked(catalog.workspace / ".export.lock", "another export of this workspace runs"):
        if writer in _OF_FOLDERS and os.path.lexists(target):
            if standing_mark(target) != mark:
                refuse_standing(target)
            return unwritten
        with scratch(catalog.workspace, "export") as folder:
            rows = write_rows(catalog, manifest, options, folder)
            with whole(target) as (temporary, is_new):
                writer(Export(options, folder, rows, manifest.selected, progress), temporary)
                if writer in _OF_FOLDERS:
                    write_mark(temporary, mark)
            return done if is_new() else unwritten


def _writer(options: ExportOptions) -> Writer:
    if options.format not in FORMATS:
        raise UsageError(f"--format is {options.format!r}: {nearest(options.format, FORMATS)}")
    options.check()
    return write_parquet_shards if options.images else FORMATS[options.format]


def _mark(manifest: Manifest, options: ExportOptions) -> dict[str, object]:
    """What makes an export that export: with the same, nothing is to be done."""
    return {"manifest": manifest.name, "content_hash": manifest.content_hash, **vars(options)}
