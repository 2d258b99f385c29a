"""README and docs: every command line parses, the tutorial runs, the reference is true.

Blocks marked ```bash are run, in their order, on a small crawl; only the tutorial has any. All
other `kdcurate` lines (the README's on 22,833 images, those with networks to download or a cluster)
would take hours or the internet, so of them only words and options are checked.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from curate.cli.main import app

from .conftest import Kdcurate
from .helpers import CLASSES, PROJECT, pixels_of, png, write_files, write_network

PAGES = [
    PROJECT / "README.md",
    PROJECT / "CONTRIBUTING.md",
    *sorted((PROJECT / "docs").glob("*.md")),
]
TUTORIAL = PROJECT / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.M | re.S)
# In a fenced or an indented block; a shell's prompt may stand before it.
LINE = re.compile(r"^(?: {4})?(?:\$ )?(kdcurate [^\n]*)$", re.M)
PROGRAM: Any = typer.main.get_command(app)


def blocks(page: Path, language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(page.read_text("utf-8")) if found == language]


def commands(text: str) -> Iterator[str]:
    """The command lines in a text, what a backslash continues joined."""
    joined = re.sub(r"\\\n\s*", "", text)
    yield from LINE.findall(joined)


EVERY = [
    pytest.param(line, id=f"{page.name}: {line[9:50]}")
    for page in PAGES
    for line in dict.fromkeys(commands(page.read_text("utf-8")))
]


def test_the_pages_have_commands() -> None:
    assert len(EVERY) > 40
    for page in PAGES:
        assert page == TUTORIAL or not blocks(page, "bash"), f"{page}: only the tutorial is run"


@pytest.mark.parametrize("line", EVERY)
def test_every_command_line_is_one_that_the_parser_takes(line: str) -> None:
    _, *words = shlex.split(line, comments=True)
    command = PROGRAM
    path = ["kdcurate"]
    while hasattr(command, "commands") and words and words[0] in command.commands:
        path.append(words.pop(0))
        command = command.commands[path[-1]]
    if command is not PROGRAM or words:
        command.make_context(path[-1], words)


def test_the_tutorial_runs_as_it_stands(
    kdcurate: Kdcurate, crawl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(crawl, "crawl")
    write_network(tmp_path, "teacher", seed=1)
    for n, name in enumerate(CLASSES):
        write_files(
            Path("test") / name, {f"{k}.png": png(pixels_of(900 + 2 * n + k)) for k in (0, 1)}
        )
    for language, text in BLOCK.findall(TUTORIAL.read_text("utf-8")):
        if language == "toml":
            Path("kdcurate.toml").write_text(text)
        elif language == "bash":
            lines = list(commands(text))
            assert len(lines) == len(text.splitlines()), "only kdcurate lines can be run"
            for line in lines:
                done = kdcurate(*shlex.split(line)[1:])
                assert done.code == 0, f"{line}\n{done.err}"
                assert "Traceback" not in done.err
    assert list(Path("workspace/runs").glob("*/README.md"))
    assert Path("report.html").is_file() and Path("first.parquet").is_file()
    assert Path("first-images/metadata.jsonl").is_file()


def test_the_reference_says_what_the_commands_say() -> None:
    spec = importlib.util.spec_from_file_location(
        "cli_reference", PROJECT / "scripts" / "cli_reference.py"
    )
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    stands = (PROJECT / "docs" / "cli.md").read_text("utf-8")
    assert stands == script.reference(), "run python scripts/cli_reference.py"
