"""Writes docs/cli.md, the reference of every command and option, from the commands themselves."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import typer

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # this tree's commands, whatever is installed

from curate.cli.main import app  # noqa: E402

PAGE = ROOT / "docs" / "cli.md"
HEAD = """\
# Commands

Made from the commands themselves by `scripts/cli_reference.py`; `--help` says the same. Data goes
to stdout, progress and messages to stderr; `--json` is for machines, `--dry-run` prints a plan and
changes nothing, and a command that was interrupted goes on when it is typed again. Exit codes: 0
done, 1 failed, 2 wrong usage, 3 nothing to do or nothing selected. `--debug` shows the traceback of
an error.
"""
_WORDS = {int: "INTEGER", float: "NUMBER", Path: "PATH", str: "TEXT"}


def reference() -> str:
    """Return the whole page."""
    program = typer.main.get_command(app)
    return HEAD + "".join(part for path, one in commands(program) for part in section(path, one))


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command that does something, with the words that call it."""
    children = getattr(command, "commands", {})
    if not children:
        yield path, command
    for name, child in children.items():
        yield from commands(child, (*path, name))


def section(path: tuple[str, ...], command: Any) -> Iterator[str]:
    """Yield the parts of a command's section: what it is for, an example, arguments, options."""
    said, _, example = (command.help or "").partition("Example: ")
    name = " ".join(path)
    yield f"\n## {name}\n\n{plain(said.strip())}\n"
    if example:
        yield f"\n```console\n$ {' '.join(example.split())}\n```\n"
    hints = get_type_hints(inspect.unwrap(command.callback))
    rows = [row(one, hints[one.name]) for one in command.params if one.name != "help"]
    if rows:
        yield "\n| option | what it does | default |\n|---|---|---|\n"
        yield "".join(rows)


def row(parameter: Any, hint: Any) -> str:
    """Return the row of an argument or option."""
    default = parameter.default
    if parameter.required:
        shown = "required"
    elif default in (None, False, "", ()):
        shown = ""
    else:
        shown = f"`{default}`"
    cells = (signature(parameter, hint), plain(parameter.help or ""), shown)
    return f"| {' | '.join(cells)} |\n"


def signature(parameter: Any, hint: Any) -> str:
    """Return how an option is typed: `-w, --workspace PATH`."""
    optional = [one for one in get_args(hint) if one is not type(None)]
    kind = optional[0] if type(None) in get_args(hint) else hint
    many = get_origin(kind) is list
    word = parameter.metavar or _WORDS.get(get_args(kind)[0] if many else kind, "")
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}{'...' if many else ''}`"
    names = ", ".join(sorted(parameter.opts, key=len))
    typed = f"{names} {word}".rstrip().replace("|", "\\|")  # the table's own bar otherwise
    return f"`{typed}`{', repeatable' if many else ''}"


def plain(text: str) -> str:
    """Show help as it is written: no character of it is Markdown but the backquote."""
    joined = "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))
    parts = joined.split("`")
    for number in range(0, len(parts), 2):  # outside of backquotes
        for letter in "\\*_<>|[]":
            parts[number] = parts[number].replace(letter, f"\\{letter}")
    return "`".join(parts)


def main() -> int:
    """Write the page; with --check only say whether it is as it should be."""
    wanted = reference()
    if "--check" in sys.argv[1:]:
        if PAGE.read_text("utf-8") == wanted:
            return 0
        print(f"{PAGE} is out of date: python scripts/cli_reference.py", file=sys.stderr)
        return 1
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
