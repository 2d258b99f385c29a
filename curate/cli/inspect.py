"""kdcurate sql, schema, models, doctor, verify, and demo."""

from __future__ import annotations

import sys
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from curate.cli.arguments import Json, Workspace
from curate.cli.output import (
    TerminalProgress,
    note,
    print_batches,
    print_csv,
    print_json,
    print_json_rows,
    print_pairs,
    print_table,
)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (sql, schema, models, doctor, verify, demo):
        app.command(command.__name__)(command)


def sql(
    query: Annotated[str, typer.Argument(help="One SELECT; `kdcurate schema` names the tables.")],
    workspace: Workspace = Path("workspace"),
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV on stdout.")] = False,
    parquet: Annotated[Path | None, typer.Option(help="Write the result to this file.")] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Give up after so long; default: never.")
    ] = None,
) -> None:
    """Query the catalog, read-only; no query can read or write another file.

    Example: kdcurate sql -w WS "SELECT reason, count(*) FROM failures GROUP BY ALL"
    """
    from curate.query import check_timeout, run_query, sandbox, write_parquet
    from index.catalog import Catalog
    from index.errors import UsageError

    if sum((json, csv, parquet is not None)) > 1:
        raise UsageError("choose one of --json, --csv, --parquet")
    check_timeout(timeout, "--timeout")
    catalog = Catalog(workspace)
    if parquet is not None:
        write_parquet(catalog, query, parquet, timeout)
        note(f"wrote {parquet}")
        return
    with sandbox(catalog, timeout_s=timeout) as connection:
        found = run_query(connection, query)
        show = print_json_rows if json else print_csv if csv else print_batches
        show(found.columns, found.batches)


def schema(workspace: Workspace = Path("workspace"), json: Json = False) -> None:
    """Print every table and view of the catalog with its columns and what they mean."""
    from curate.query import schema as read_schema
    from index.catalog import Catalog

    rows = read_schema(Catalog(workspace))
    if json:
        print_json(rows)
        return
    for name, columns in groupby(rows, key=lambda row: (row["relation"], row["kind"])):
        listed = list(columns)
        sys.stdout.write(f"\n{name[1]} {name[0]}: {listed[0]['relation_comment'] or ''}\n")
        for row in listed:
            comment = f"  -- {row['comment']}" if row["comment"] else ""
            sys.stdout.write(f"    {row['column']:<20} {row['type']}{comment}\n")


def models(
    paper: Annotated[
        bool,
        typer.Option("--paper", help="Only the KD3 paper's networks, and why a figure differs."),
    ] = False,
    json: Json = False,
) -> None:
    """List the built-in networks with their costs, beside the KD3 paper's figures.

    As in the paper: parameters with 10 classes (column classes), costs at 64x64 with 200 classes.
    """
    from distill.networks.cost import paper_table, table

    rows = paper_table() if paper else table()
    if json:
        print_json(rows)
        return
    columns = [name for name in rows[0] if name not in ("input", "flops_classes", "why")]
    print_table(columns, [[row[name] for name in columns] for row in rows])
    for row in rows:
        if row.get("why"):
            note(f"{row['name']}: {row['why']}")
    if not paper:
        note("where a figure differs from the paper's, `kdcurate models --paper` says why")


def doctor(
    workspace: Annotated[
        Path | None,
        typer.Option("-w", "--workspace", envvar="KDCURATE_WORKSPACE", help="Check this one too."),
    ] = None,
    json: Json = False,
) -> None:
    """Say what is installed, what is missing, and whether a workspace is whole.

    Each thing that is missing or damaged comes with the command that mends it.
    """
    from curate.doctor import extras, installation, workspace_indexes, workspace_problems
    from index.catalog import Catalog

    found = installation()
    problems = workspace_problems(workspace) if workspace else None
    indexes = workspace_indexes(workspace) if workspace and Catalog(workspace).exists() else []
    if json:
        checked = {"problems": problems, "indexes": indexes} if problems is not None else {}
        optional = [asdict(extra) | {"remedy": extra.remedy} for extra in extras()]
        print_json(found | {"extras": optional} | checked)
    else:
        print_pairs(found)
        for extra in extras():
            if extra.missing:
                lacks = ", ".join(extra.missing)
                note(f"not installed: {lacks}, for {extra.purpose}; get it: {extra.remedy}")
        if indexes:
            print_table(list(indexes[0]), [list(row.values()) for row in indexes])
        for problem in problems or []:
            note(f"problem: {problem}")
        if problems == []:
            print_pairs({"workspace": f"{workspace} is whole"})
    if problems:
        raise typer.Exit(1)


def verify(
    workspace: Workspace = Path("workspace"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only name what is wrong; repair nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Find damaged or stale part files and indexes, and rebuild the indexes.

    Reads every byte. Exit code 0: whole, or all repaired; 1: something needs you.

    Example: kdcurate verify -w WS --json
    """
    from index.catalog import Catalog
    from index.verify import verify as check

    found = check(Catalog(workspace), repair=not dry_run, progress=TerminalProgress())
    if json:
        print_json([asdict(finding) for finding in found])
    else:
        for finding in found:
            note(str(finding))
        if all(finding.repaired for finding in found):
            print_pairs({"workspace": f"{workspace} is whole"})
    if not all(finding.repaired for finding in found):
        raise typer.Exit(1)


def demo(
    directory: Annotated[Path, typer.Option("--dir", help="Where to work.")] = Path(
        "kdcurate-demo"
    ),
) -> None:
    """Tell the whole story offline, in some two minutes, on data that it makes itself."""
    from curate.demo.story import tell

    tell(directory)
