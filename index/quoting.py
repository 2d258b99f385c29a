"""Values and names as SQL, for statements that bind no parameters in their place."""

from __future__ import annotations


def literal(value: object) -> str:
    """Return a path or name as a SQL string, for statements that take no parameters (COPY, SET)."""
    return "'" + str(value).replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Return the name of a column as SQL, whatever stands in it: a statement binds values only."""
    return '"' + name.replace('"', '""') + '"'
