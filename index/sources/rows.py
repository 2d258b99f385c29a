"""The rows of a list of paths, however it is written: each as fields, or as why it is none."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb

from index.errors import DataError
from index.sources.places import FILE, Place, said_by, tables

# In this order: a list with paths and urls is read from the paths.
PATH_COLUMNS = (
    *("path", "file", "filename", "file_name", "filepath", "file_path", "image_path"),
    *("img_path", "image", "img", "url"),
)
_MOST_LINE_BYTES = 1024 * 1024
# Stands for a line that is too long: no CSV reader takes it for a row.
_WHY_TOO_LONG = f"a line of more than {_MOST_LINE_BYTES} bytes"
_TOO_LONG = "x" * (csv.field_size_limit() + 1)
_DELIMITERS = ",;\t|"
_ROWS_AT_ONCE = 512

Fields = Mapping[str, Any] | str  # a row, or why it is none


def path_column(names: Sequence[str], named: str = "") -> str | None:
    """Return the column of paths, `named` or else the first that is known; None if not there."""
    lowered = {name.strip().lower(): name for name in reversed(names)}
    wanted = (named.strip().lower(),) if named else PATH_COLUMNS
    return next((lowered[known] for known in wanted if known in lowered), None)


def rows(path: Place, named: str = "") -> Iterator[Fields]:
    """Yield the rows of a list in their order.

    Raises:
        DataError: it has no column of paths, or no row that can be read.
    """
    match path.suffix.lower():
        case ".txt":
            return (
                _WHY_TOO_LONG if line == _TOO_LONG else {"path": line} for _, line in _lines(path)
            )
        case ".jsonl" | ".ndjson":
            return _json_rows(path, named)
        case ".csv" | ".tsv":
            return _csv_rows(path, named)
        case _:
            return _parquet_rows(path)


def _lines(path: Place) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, with their number from 0 and without their ends."""
    for number, line in enumerate(_all_lines(path)):
        text = line.rstrip("\r\n")
        if text.strip():
            yield number, text


def _all_lines(path: Place) -> Iterator[str]:
    """Yield each line with its end; one that is too long is skipped, and a list begins with none.

    Raises:
        DataError: the first line is too long.
    """
    number = 0
    with path.open("rb") as file:
        while line := file.readline(_MOST_LINE_BYTES):
            if len(line) == _MOST_LINE_BYTES:
                if number == 0:
                    raise DataError(f"line 1 of {path} is too long: it is no list of paths")
                while line and not line.endswith(b"\n"):
                    line = file.readline(_MOST_LINE_BYTES)
                line = _TOO_LONG.encode() + b"\n"
            encoding = "utf-8-sig" if number == 0 else "utf-8"
            yield line.decode(encoding, "surrogateescape")
            number += 1


def _json_rows(path: Place, named: str) -> Iterator[Fields]:
    any_path = False
    for _, line in _lines(path):
        if line == _TOO_LONG:
            yield _WHY_TOO_LONG
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            yield "not valid JSON"
            continue
        if not isinstance(fields, dict):
            yield "not a JSON object"
            continue
        any_path = any_path or path_column(list(fields), named) is not None
        if not any_path:
            raise _no_paths(path, list(fields), named)
        yield fields


def _csv_rows(path: Place, named: str) -> Iterator[Fields]:
    _, header = next(_lines(path), (0, ""))
    delimiters = "\t" if path.suffix.lower() == ".tsv" else _DELIMITERS
    for delimiter in delimiters:
        names = _header(path, header, delimiter)
        if path_column(names, named) is not None:
            break
    else:
        raise _no_paths(path, _header(path, header, delimiters[0]), named)
    unique = [name if name not in names[:i] else f"{name}_{i}" for i, name in enumerate(names)]
    any_good, why = False, ""
    for values in _csv_values(path, delimiter):
        fields = values if isinstance(values, str) else _csv_fields(unique, values)
        any_good = any_good or not isinstance(fields, str)
        if isinstance(fields, str):
            why = fields
        yield fields
    if not any_good and why:
        raise DataError(f"not a readable list of paths: {path} ({why}); mend it")


def _header(path: Place, line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error as error:
        raise DataError(f"not a readable list of paths: {path} ({error}); mend it") from error


def _csv_values(path: Place, delimiter: str) -> Iterator[list[str] | str]:
    """Yield the values of each row behind the header, or why it cannot be read; blank lines not.

    What a quote that is never closed swallows is one such row, and the reader goes on behind it.
    """
    reader = csv.reader(_all_lines(path), delimiter=delimiter, strict=True)
    try:
        next((names for names in reader if names), None)
    except csv.Error as error:
        raise DataError(f"not a readable list of paths: {path} ({error}); mend it") from error
    while True:
        first = reader.line_num + 1
        try:
            values = next(reader, None)
        except csv.Error as error:
            yield f"lines {first} to {reader.line_num}: {error}"
            continue
        if values is None:
            return
        if values:
            yield values


def _csv_fields(names: Sequence[str], values: Sequence[str]) -> Fields:
    """Every value is text, as it was written: 007 stays 007."""
    if len(values) > len(names):
        return f"{len(values)} values in a row of {len(names)} columns"
    try:
        "".join(values).encode()
    except UnicodeEncodeError:
        return "not UTF-8"
    return dict(zip(names, values, strict=False))


def _parquet_rows(path: Place) -> Iterator[Fields]:
    with tables(path) as (connection, file):
        connection.execute("SET threads = 1")  # the order of the rows, in bounded memory
        try:
            cursor = connection.execute(f"FROM {FILE}", [file])
            names = [column[0] for column in cursor.description]
            while found := cursor.fetchmany(_ROWS_AT_ONCE):
                for row in found:
                    yield dict(zip(names, row, strict=True))
        except duckdb.Error as error:
            said = said_by(error)[:120]
            raise DataError(f"not a readable list of paths: {path} ({said}); mend it") from error


def _no_paths(path: Place, names: Sequence[str], named: str) -> DataError:
    has = ", ".join(names)[:200] or "empty"
    if named:
        return DataError(f"{path} has no column {named} of paths: its columns are {has}")
    known = ", ".join(PATH_COLUMNS)
    return DataError(f"{path} has no column of paths ({has}): name it one of {known}")
