"""A list of images becomes a manifest with the full ledger, as a selection would."""

from __future__ import annotations

import glob
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from curate.manifest import Manifest, check_name, commit_manifest, content_hash, ranked
from curate.tables import connect, one_row
from index import __version__
from index.catalog import Catalog, identifier, literal, one
from index.errors import DataError, NothingSelectedError, UsageError
from index.files import file_sha256, scratch
from index.parts import list_parts

IMPORTED = "imported"
_SHOWN = 3
_KEYS = ("image_id", "uri", "path")
_VALUES = (*_KEYS, "pseudo_label", "weight")
_QUOTED = """header = true, all_varchar = true, parallel = false, quote = '"', escape = '"'"""
_OBJECTS = "format = 'newline_delimited', columns = {{" + (
    ", ".join(f"{name}: 'VARCHAR'" for name in _VALUES) + "}}"
)
_TABLES = {
    ".csv": f"read_csv({{file}}, {_QUOTED})",
    ".tsv": f"read_csv({{file}}, {_QUOTED}, delim = '\t')",
    ".jsonl": f"read_json({{file}}, {_OBJECTS})",
    ".ndjson": f"read_json({{file}}, {_OBJECTS})",
    ".parquet": "read_parquet({file}, hive_partitioning = false)",
    # A line is one value, whatever signs are in it.
    ".txt": "read_csv({file}, header = false, auto_detect = false, parallel = false, "
    "delim = '\x01', quote = '', escape = '', columns = {{image: 'VARCHAR'}})",
}


@dataclass(frozen=True)
class _List:
    """A list of images as a table in scratch: key, label and weight of each row, by place."""

    table: Path
    rows: int


def import_manifest(catalog: Catalog, file: Path, name: str, teacher: str) -> Manifest:
    """Make a manifest of what a file lists: CSV, TSV, JSONL, TXT, or Parquet.

    A row names an image by `image_id`, or by `uri` or `path` (one that is not absolute counts from
    the folder of the file); a line of text by either. `pseudo_label` is the teacher's where none is
    given, `weight` 1; the first row gets rank 1. Memory does not grow with list or pool: DuckDB
    joins them.

    Args:
        teacher: key of a model that has scored the whole pool, or a beginning that no other has.

    Raises:
        DataError: the file cannot be read as such a list.
        UsageError: no such model, or rows that name no image, no class, no weight, or one twice; or
            a name that a round of a run could have.
        NothingSelectedError: the list is empty.
    """
    check_name(name)
    key, classes, preprocessing = _scored_by(catalog, teacher)
    with scratch(catalog.workspace, "import") as folder:
        listed = _read_list(file, folder)
        decisions = folder / "decisions.parquet"
        with catalog.read() as connection:
            connection.execute(f"CREATE TEMP TABLE listed AS {_resolve(listed, file)}")
            _check(connection, file, classes)
            query = _DECISIONS.format(model=literal(key))
            connection.execute(f"COPY ({query}) TO {literal(decisions)} (FORMAT parquet)")
        with connect(folder) as connection:
            table = f"read_parquet({literal(decisions)})"
            pool = one_row(connection, f"SELECT count(*) AS images FROM {table}")["images"]
            digest = content_hash(ranked(connection, table, listed.rows))
        manifest = Manifest(
            name=name,
            content_hash=digest,
            strategy=IMPORTED,
            options={"strategy": IMPORTED, "file": file.name, "sha256": file_sha256(file)},
            teacher=key,
            student=None,
            embedder=None,
            parent=None,
            seed=0,
            pool=pool,
            eligible=listed.rows,
            selected=listed.rows,
            preprocessing=preprocessing,
            code_version=__version__,
        )
        return commit_manifest(catalog, manifest, decisions)


def _scored_by(catalog: Catalog, named: str) -> tuple[str, int, dict[str, Any]]:
    """Key, number of classes, and input of the model of this name, which scored every image."""
    with catalog.read() as connection:
        models = connection.execute(
            "SELECT key, card FROM models WHERE key IN (SELECT DISTINCT model FROM scores) "
            "ORDER BY key"
        ).fetchall()
        fitting = [row for row in models if row[0].startswith(named)]
        fitting = [row for row in fitting if row[0] == named] or fitting
        if len(fitting) != 1:
            there = ", ".join(key for key, _ in models) or "none: run `kdcurate select` first"
            raise UsageError(
                f"--teacher {named!r} names no one model that scored this pool; there are {there}"
            )
        key, card = fitting[0]
        row = one(connection, _UNSCORED, [key])
        (first, *_) = list_parts(connection, f"logits/{key}")
    if row and row[0]:
        raise UsageError(
            f"{row[0]:,} images are not scored by {key} yet: run `kdcurate select -w "
            f"{catalog.workspace}` with its card, which scores them, then import again"
        )
    return key, first.width, json.loads(card)["input"]


def _read_list(file: Path, folder: Path) -> _List:
    """Copy the columns that count, as text, into a scratch file; refuse what is no such list."""
    if not file.is_file():
        raise DataError(f"no such list: {file}")
    suffix = file.suffix.lower()
    if suffix not in _TABLES:
        raise DataError(f"{file} is no list: it must end in {', '.join(_TABLES)}")
    table = _TABLES[suffix].format(file=literal(glob.escape(str(file.absolute()))))
    target = folder / "listed.parquet"
    try:
        with connect(folder) as connection:
            connection.execute("SET threads = 1")  # the order of the rows is that of the ranks
            names: dict[str, str] = {}
            for name in connection.sql(f"FROM {table}").columns:
                names.setdefault(name.strip().lower(), identifier(name))
            if suffix in (".jsonl", ".ndjson"):  # where a key that no row has is NULL in all
                names = _with_values(connection, table, names)
            columns = _columns(file, suffix, names)
            connection.execute(
                f"COPY (SELECT row_number() OVER () AS place, {columns} FROM {table}) "
                f"TO {literal(target)} (FORMAT parquet)"
            )
            count = one_row(connection, f"SELECT count(*) AS rows FROM {literal(target)}")["rows"]
    except duckdb.Error as error:
        said = " ".join(str(error).split())[:200]
        raise DataError(f"not a readable list of images: {file} ({said}); mend it") from error
    if count == 0:
        raise NothingSelectedError(f"{file} lists no image")
    return _List(target, count)


def _with_values(
    connection: duckdb.DuckDBPyConnection, table: str, names: dict[str, str]
) -> dict[str, str]:
    counts = ", ".join(f"count({quoted}) AS {quoted}" for quoted in names.values())
    found = one_row(connection, f"SELECT {counts} FROM {table}")
    return {name: quoted for name, quoted in names.items() if found[name]}


def _columns(file: Path, suffix: str, names: dict[str, str]) -> str:
    if suffix == ".txt":
        by_id = r"regexp_matches(trim(image), '^[0-9]{1,19}$')"
        ids = f"CASE WHEN {by_id} THEN trim(image) END"
        uris = f"CASE WHEN NOT {by_id} THEN image END"
        return f"{ids} AS image_id, {uris} AS uri, NULL::VARCHAR AS label, NULL::VARCHAR AS weight"
    given = next((key for key in _KEYS if key in names), None)
    if given is None:
        has = ", ".join(names)[:200]
        raise DataError(f"{file} has no column {', '.join(_KEYS)}: its columns are {has}")

    def text(name: str, present: bool) -> str:
        return f"{names[name]}::VARCHAR" if present and name in names else "NULL::VARCHAR"

    uri = given if given != "image_id" else "uri"
    return (
        f"{text('image_id', given == 'image_id')} AS image_id, "
        f"{text(uri, given != 'image_id')} AS uri, "
        f"{text('pseudo_label', True)} AS label, {text('weight', True)} AS weight"
    )


def _resolve(listed: _List, file: Path) -> str:
    return _RESOLVED.format(
        listed=literal(listed.table), folder=literal(f"{file.absolute().parent}/")
    )


def _check(connection: duckdb.DuckDBPyConnection, file: Path, classes: int) -> None:
    """Refuse a list that does not say clearly what is selected: by name, never by leaving out."""
    complaints = (
        ("name no image of this workspace", "image_id IS NULL"),
        (
            "name an image that an earlier row names",
            "image_id IN (SELECT image_id FROM listed GROUP BY 1 HAVING count(*) > 1) AND place > "
            "(SELECT min(place) FROM listed o WHERE o.image_id = listed.image_id)",
        ),
        (
            f"have a pseudo_label that is no class from 0 to {classes - 1}",
            f"wrong_label OR label NOT BETWEEN 0 AND {classes - 1}",
        ),
        (
            "have a weight that is no number above 0",
            "wrong_weight OR NOT (weight > 0 AND isfinite(weight))",
        ),
    )
    for complaint, condition in complaints:
        where = f"FROM listed WHERE {condition}"
        rows = connection.execute(
            f"SELECT place, named {where} ORDER BY place LIMIT {_SHOWN}"
        ).fetchall()
        if rows:
            count = one_row(connection, f"SELECT count(*) AS rows {where}")["rows"]
            shown = ", ".join(f"row {place} ({_shown(named)})" for place, named in rows)
            more = ", ..." if count > _SHOWN else ""
            raise UsageError(f"{count:,} rows of {file} {complaint}: {shown}{more}")


def _shown(named: str | None) -> str:
    """A name of the crawl in a message: one line, of bounded length."""
    text = "empty" if named is None else named
    return re.sub(r"[^\x20-\x7e]", "?", text if len(text) <= 80 else f"{text[:77]}...")


_UNSCORED = """
SELECT count(*) FROM images i ANTI JOIN (SELECT image_id FROM scores WHERE model = ?) s
ON s.image_id = i.id
"""
# A number that is not one of an image, and a path where nothing was found, end as NULL.
_RESOLVED = r"""
WITH listed AS (
    SELECT *, CASE WHEN regexp_matches(trim(image_id), '^[0-9]{{1,19}}$')
                   THEN try_cast(trim(image_id) AS BIGINT) END AS number,
           CASE WHEN uri LIKE '/%' OR regexp_matches(uri, '^[A-Za-z][A-Za-z0-9+.-]+:/')
                THEN uri ELSE {folder} || uri END AS place_uri
    FROM read_parquet({listed})
), found AS (
    SELECT l.uri AS place_uri, any_value(l.image_id) AS image_id FROM locations l
    WHERE l.uri IN (SELECT place_uri FROM listed) GROUP BY l.uri
)
SELECT l.place, coalesce(l.image_id, l.uri) AS named, coalesce(i.id, f.image_id) AS image_id,
       CASE WHEN regexp_matches(trim(l.label), '^[0-9]+([.]0+)?$')  -- a cast alone rounds 1.5
            THEN try_cast(trim(l.label) AS SMALLINT) END AS whole_label, whole_label AS label,
       nullif(trim(l.label), '') IS NOT NULL AND whole_label IS NULL AS wrong_label,
       try_cast(nullif(trim(l.weight), '') AS FLOAT) AS weight,
       nullif(trim(l.weight), '') IS NOT NULL AND
           try_cast(nullif(trim(l.weight), '') AS FLOAT) IS NULL AS wrong_weight
FROM listed l LEFT JOIN images i ON i.id = l.number LEFT JOIN found f ON f.place_uri = l.place_uri
"""
_DECISIONS = """
SELECT s.image_id, l.place IS NOT NULL AS selected, l.place::INTEGER AS "rank",
       coalesce(l.label, s.pseudo_label)::SMALLINT AS pseudo_label,
       coalesce(l.weight, 1)::FLOAT AS weight, s.confidence AS score, NULL::FLOAT AS threshold,
       MAP {{'teacher_confidence': s.confidence}} AS components,
       CASE WHEN l.place IS NULL THEN 'not in the imported list'
            ELSE 'imported: in the list' END AS reason
FROM scores s JOIN images i ON i.id = s.image_id LEFT JOIN listed l USING (image_id)
WHERE s.model = {model} ORDER BY s.image_id
"""
