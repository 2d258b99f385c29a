"""Every command has help, and every example in it is one that the parser takes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from curate.cli.main import app

from ..conftest import Kdcurate


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[Any]:
    yield pytest.param(path, command, id=" ".join(path) or "kdcurate")
    for name, child in getattr(command, "commands", {}).items():
        yield from walk(child, (*path, name))


EVERY = list(walk(typer.main.get_command(app)))
LEAVES = [one for one in EVERY if not hasattr(one.values[1], "commands")]


def test_the_commands_are_those_that_are_promised() -> None:
    names = {one.id for one in LEAVES}
    promised = {
        "build-index",
        "select",
        "distill",
        "evaluate",
        "compare",
        "export",
        "sql",
        "schema",
        "models",
        "search",
        "verify",
        "duplicates",
        "init",
        "run",
        "report",
    }
    assert promised | {"doctor", "demo"} <= names
    of_manifests = ("list", "show", "explain", "diff", "verify", "export", "import", "delete")
    assert {f"manifests {name}" for name in of_manifests} <= names


@pytest.mark.parametrize(("path", "command"), EVERY)
def test_every_command_has_help(kdcurate: Kdcurate, path: tuple[str, ...], command: Any) -> None:
    found = kdcurate(*path, "--help")
    assert (found.code, found.err) == (0, "")
    assert "Usage: kdcurate" in found.out and command.help.split(".")[0][:30] in found.out
    assert kdcurate(*path, "-h").out == found.out


@pytest.mark.parametrize(("path", "command"), LEAVES)
def test_every_option_says_what_it_does(path: tuple[str, ...], command: Any) -> None:
    mute = [one.name for one in command.params if one.name != "help" and not one.help]
    assert mute == []


@pytest.mark.parametrize(("path", "command"), LEAVES)
def test_a_command_that_needs_arguments_shows_an_example(
    path: tuple[str, ...], command: Any
) -> None:
    _, marker, example = command.help.partition("Example: ")
    if not marker:
        assert [one.name for one in command.params if one.required] == []
        return
    program, *words = shlex.split(example)
    assert (program, *words[: len(path)]) == ("kdcurate", *path)
    command.make_context(path[-1], words[len(path) :])


def test_the_version_is_printed(kdcurate: Kdcurate) -> None:
    from index import __version__

    assert kdcurate("--version").out == f"kdcurate {__version__}\n"
