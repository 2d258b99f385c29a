"""The predicate of `select --where`: one SQL expression over what is catalogued of an image."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

import duckdb

from curate.places import FIRST_PLACES
from index.catalog import one
from index.errors import UsageError

# What an expression may be made of, in DuckDB's own words: what computes a value from one row.
_PARTS = {"BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION"}
_PARTS |= {"CONSTANT", "FUNCTION", "LAMBDA", "OPERATOR", "TYPE"}  # metadata->'a' is a LAMBDA
_REFUSED = {
    "PARAMETER": "no value is given for a parameter",
    "STAR": "name the columns one by one",
    "SUBQUERY": "no subqueries: it sees one image at a time",
    "WINDOW": "no window functions: it sees one image at a time",
}
# DuckDB 1.4 calls these consistent; with one argument, age counts from today.
_UNSTEADY = {"age", "current_setting", "getvariable"}
# Macros have no stability of their own; these are made of functions that have it.
_STEADY_MACROS = re.compile(
    "(array|list|map)_[a-z_]+|date_add|days_in_month|fdiv|if|json|nullif|split_part"
)
# An image's facts, and of its places the first by name. In one line, so that a line that DuckDB
# names is one of the predicate.
_FACTS = " ".join(
    f"SELECT i.*, f.uri, f.metadata FROM images i "
    f"LEFT JOIN {FIRST_PLACES} f ON f.image_id = i.id".split()
)


def count_matching(connection: duckdb.DuckDBPyConnection, predicate: str) -> int:
    """Check a predicate, and count the images for which it is true.

    Raises:
        UsageError: as `matching`.
        duckdb.Error: types do not fit, or a value of an image cannot be converted; `sandbox` words
            it.
    """
    row = one(connection, f"SELECT count(*) FROM ({matching(connection, predicate)})")
    return int(row[0]) if row else 0


def matching(connection: duckdb.DuckDBPyConnection, predicate: str) -> str:
    """Return a query for the ids, as `image_id`, of the images for which a predicate is true.

    Its columns are those of the table images, and the metadata and uri of the image's first place.

    Raises:
        UsageError: it is not one expression, names a column that is not there, or calls a function
            whose result is not always the same: equal inputs must give equal manifests.
    """
    expression = _parse(connection, predicate)
    columns = [column[0] for column in connection.execute(f"{_FACTS} LIMIT 0").description]
    for part in _walk(expression):
        kind = part.get("class")
        if kind is not None and kind not in _PARTS:
            why = _REFUSED.get(kind, "write a plain expression")
            raise UsageError(f"--where {predicate!r}: {why}")
        if kind == "COLUMN_REF":
            _check_column(part["column_names"], columns)
        if kind == "FUNCTION":
            _check_function(connection, part["function_name"].lower())
    return f"SELECT id AS image_id FROM ({_FACTS}) WHERE ({predicate}\n)"


def _parse(connection: duckdb.DuckDBPyConnection, predicate: str) -> Any:
    """Return the expression as DuckDB's parser reads it.

    Text that reads the same within parentheses and without them is one expression and nothing
    else: neither a further clause or statement nor a parenthesis that closes ours passes both.
    """
    if not predicate.strip():
        raise UsageError("--where is empty: give an expression, such as 'width >= 64'")
    found = [
        _serialize(connection, f"SELECT 1 WHERE {opened}{predicate}\n{closed}", predicate)
        for opened, closed in (("(", ")"), ("", ""))
    ]
    statements = [one_of["statements"] for one_of in found]
    if len(statements[1]) != 1 or _plain(statements[0]) != _plain(statements[1]):
        raise UsageError(f"--where {predicate!r}: give one expression and nothing else")
    return statements[0][0]["node"]["where_clause"]


def _serialize(connection: duckdb.DuckDBPyConnection, query: str, predicate: str) -> Any:
    row = one(connection, "SELECT json_serialize_sql(?)", [query])
    found = json.loads(row[0]) if row else {}
    if found.get("error"):
        why = " ".join(str(found["error_message"]).split())
        raise UsageError(f"--where {predicate!r} is no SQL expression: {why}")
    return found


def _plain(node: Any) -> Any:
    """Leave out where in the text a part stands."""
    if isinstance(node, dict):
        return {k: _plain(v) for k, v in node.items() if not k.startswith("query_location")}
    return [_plain(part) for part in node] if isinstance(node, list) else node


def _walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _walk(part)


def _check_column(path: list[str], columns: list[str]) -> None:
    name = ".".join(path)
    if name.lower() in columns:
        return
    if path[0].lower() == "metadata":
        raise UsageError(f"--where: there is no column {name}: write metadata->>'{path[-1]}'")
    close = get_close_matches(name.lower(), columns, 1, 0.5)
    hint = f"did you mean {close[0]}?" if close else f"choose among {', '.join(columns)}"
    raise UsageError(f"--where: an image has no {name!r}: {hint}")


def _check_function(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Refuse a function that may answer differently the next time; DuckDB refuses unknown ones."""
    known = connection.execute(
        "SELECT stability FROM duckdb_functions() WHERE function_name = ?", [name]
    ).fetchall()
    steady = ("CONSISTENT",) in known or _STEADY_MACROS.fullmatch(name)
    if known and (not steady or name in _UNSTEADY):
        raise UsageError(
            f"--where calls {name}(), which may answer differently the next time: "
            "equal inputs must give equal manifests"
        )
