"""The rows of an export: what the catalog knows of each selected image, in order of rank."""

from __future__ import annotations

from pathlib import Path

from curate.exporting.base import ExportOptions
from curate.manifest import Manifest
from curate.tables import one_row
from index.catalog import Catalog, literal
from index.database import connect
from index.errors import DataError

# A name of the crawl never becomes one of a file: the id is the name, what decoded the suffix.
SUFFIXES = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "GIF": ".gif",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "AVIF": ".avif",
}


def write_rows(catalog: Catalog, manifest: Manifest, options: ExportOptions, folder: Path) -> Path:
    """Write the rows of a manifest's selected images to a Parquet file in `folder`.

    Raises:
        DataError: images of the manifest are no longer in the sources.
    """
    path = folder / "rows.parquet"
    suffixes = ", ".join(f"{literal(name)}: {literal(end)}" for name, end in SUFFIXES.items())
    query = _ROWS.format(
        manifest=literal(manifest.name),
        teacher=literal(manifest.teacher),
        suffixes=f"MAP {{{suffixes}}}",
        below=_CLASS_FOLDER if options.by_class else "''",
    )
    catalog.write_parquet(query, path)
    with connect() as connection:
        there = one_row(connection, f"SELECT count(*) AS n FROM read_parquet({literal(path)})")["n"]
    if there != manifest.selected:
        raise DataError(
            f"{manifest.selected - there:,} of {manifest.selected:,} images are no longer in the "
            "sources: put them back and run build-index, or select again"
        )
    return path


_CLASS_FOLDER = """
printf('%04d', pseudo_label) || CASE WHEN safe_name = '' THEN '' ELSE '_' || safe_name END || '/'
"""
# Of exact copies the place that is read: as everywhere, the first by name.
_ROWS = """
WITH chosen AS (
    SELECT d.*, (SELECT classes FROM models WHERE key = {teacher})[d.pseudo_label + 1] AS class_name
    FROM decisions d WHERE d.manifest = {manifest} AND d.selected
), places AS (
    SELECT image_id, min(uri) AS uri, arg_min(kind, uri) AS kind,
           arg_min(container, uri) AS container, arg_min(position, uri) AS position,
           arg_min(length, uri) AS length, arg_min_null(metadata, uri) AS metadata
    FROM locations WHERE image_id IN (SELECT image_id FROM chosen) GROUP BY image_id
), named AS (
    SELECT c."rank", c.image_id, c.pseudo_label, c.class_name, c.weight, c.score, p.uri,
           CASE WHEN p.kind IN ('files', 'list') THEN p.container END AS path,
           i.width, i.height, i.format, p.metadata, lower(hex(i.sha256)) AS sha256,
           p.kind, p.container, p.position, p.length, printf('%019d', c.image_id) AS key,
           {suffixes}[i.format] AS suffix,
           left(regexp_replace(coalesce(c.class_name, ''), '[^A-Za-z0-9_-]', '', 'g'), 64)
               AS safe_name
    FROM chosen c JOIN images i ON i.id = c.image_id JOIN places p ON p.image_id = c.image_id
)
SELECT * EXCLUDE (safe_name), {below} || key || suffix AS file_name FROM named ORDER BY "rank"
"""
