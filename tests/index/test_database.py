"""No database of ours draws a progress bar on stdout, where a command's data goes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from index.database import connect

from .helpers import PROJECT

OPENS = re.compile(r"duckdb\.(connect|sql|query|execute|read_)")
# Without a file of its own, as in a worker of the forkserver, DuckDB takes Python for interactive.
SCRIPT = """
import sys
from pathlib import Path
import duckdb
from index.catalog import Catalog
from index.database import connect
catalog = Catalog(Path(sys.argv[1]))
for opened in (duckdb.connect, connect, catalog.write, catalog.read):
    with opened() as connection:
        (row,) = connection.execute("SELECT current_setting('enable_progress_bar')").fetchall()
        print(*row)
"""


def test_none_draws_a_bar(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["True", "False", "False", "False"]


@pytest.mark.parametrize("package", ["index", "distill", "curate"])
def test_all_are_opened_in_one_place(package: str) -> None:
    opening = [
        file.relative_to(PROJECT).as_posix()
        for file in (PROJECT / package).rglob("*.py")
        if OPENS.search(file.read_text())
    ]
    assert opening == (["index/database.py"] if package == "index" else [])


def test_options_are_taken(tmp_path: Path) -> None:
    with connect(tmp_path / "a.duckdb", memory_limit="77MiB") as connection:
        (row,) = connection.execute("SELECT current_setting('memory_limit')").fetchall()
    assert row == ("77.0 MiB",)
