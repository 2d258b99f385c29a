"""kdcurate init and kdcurate run: the whole way by one file."""

from __future__ import annotations

import io
import json as json_module
from contextlib import chdir, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.cli.arguments import DryRun, Json
from curate.cli.output import next_step, note, print_json, print_pairs

if TYPE_CHECKING:
    from curate.cli.config import Config, Found

TEMPLATE = Path(__file__).with_name("kdcurate.toml")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("init")(init)
    app.command("run")(run)


def init(
    file: Annotated[Path, typer.Argument(help="File to write; it must not be there.")] = Path(
        "kdcurate.toml"
    ),
) -> None:
    """Write a commented file of what `kdcurate run` does, to be edited.

    Example: kdcurate init kdcurate.toml
    """
    from index.errors import UsageError

    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(TEMPLATE.read_text("utf-8"))
    except FileExistsError:
        raise UsageError(f"{file} is there already: edit it, or name another file") from None
    except OSError as error:
        raise UsageError(f"{file}: cannot write it ({error.strerror}): name another file") from None
    note(f"wrote {file}: say in it where your teacher and your crawl are, and then")
    next_step("run", str(file))


def run(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="What `kdcurate init` wrote, and you edited.")],
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Go the whole way that a file describes: build-index, select, distill, evaluate, card.

    Each step is the command of its name, and resumes as it does: run again, what is done stays
    done, and what you changed in the file is done anew. --dry-run checks the file
    and prints these commands.

    Example: kdcurate run kdcurate.toml
    """
    from curate.cli.config import read_config
    from curate.cli.run_check import check_config

    program: Any = context.find_root().command
    config = read_config(file, program.commands)
    folder = file.absolute().parent
    with chdir(folder):
        check_config(config)
        if not dry_run:
            results = _go(program, config, show=not json)
    if dry_run:
        lines = {step: config.command(step, config.expected) for step in config.steps}
        (print_json if json else print_pairs)(lines)
        note(f"paths are relative to {folder}")
        return
    if json:
        print_json(results)


def _go(program: Any, config: Config, *, show: bool) -> dict[str, Any]:
    """Run the steps; what each prints as JSON tells the next what to go on with."""
    from curate.cli.run_check import speaking_of

    found, results = config.expected, {}
    for number, step in enumerate(config.steps, start=1):
        note(f"step {number} of {len(config.steps)}: {config.command(step, found)}")
        words = config.arguments(step, found)
        known = _manifests(config) if step == "select" else set()
        printed = io.StringIO()
        with redirect_stdout(printed), speaking_of(config, step):
            code = program.main(
                [words[0], "--json", *words[1:]], prog_name="kdcurate", standalone_mode=False
            )
        if code:
            raise typer.Exit(code)
        results[step] = result = json_module.loads(printed.getvalue())
        found = _followed(found, step, result)
        if found.manifest in known:
            note(f"manifest {found.manifest} was there already, and decides the same")
        if show:
            print_pairs({name: one for name, one in result.items() if not _is_nested(one)})
    return results


def _followed(found: Found, step: str, result: dict[str, Any]) -> Found:
    if step == "select":
        return replace(found, manifest=result["manifest"])
    if step == "distill":
        return replace(found, run=result["run"], student=result["student"])
    return found


def _manifests(config: Config) -> set[str]:
    from curate.manifest import list_manifests
    from index.catalog import Catalog

    return {manifest.name for manifest in list_manifests(Catalog(Path(config.values["workspace"])))}


def _is_nested(value: Any) -> bool:
    return isinstance(value, (dict, list))
