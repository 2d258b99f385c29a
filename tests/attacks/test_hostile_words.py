"""`--rank` and `--where` from anyone: arithmetic and one predicate, and nothing else ever runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from curate.pool import Pool
from tests.attacks.test_sql import PREDICATES, everything
from tests.curate.helpers import Outcome, query

RANKS = [
    "__import__('os').system('touch stolen')",
    "open('stolen', 'w')",
    'eval(\'open("stolen", "w")\')',
    "exec('import os')",
    "breakpoint()",
    "import os",
    "kd3.__class__.__mro__[1].__subclasses__()",
    "(lambda: kd3)()",
    "(kd3 := 1)",
    "[kd3 for kd3 in open('secret.csv')]",
    "f'{open(\"secret.csv\")}'",
    "{kd3}",
    "%s",
    "{{7*7}}",
    "$(touch stolen)",
    "`touch stolen`",
    "kd3; DROP TABLE images",
    "'; DROP TABLE images; --",
    "kd3) FROM read_text('secret.csv'); --",
    "kd3, (SELECT 1)",
    "getenv(HOME)",
    "read_text(width)",
    "kd3\"; COPY images TO 'stolen.csv'; --",
    "../../stolen",
    "<script>alert(1)</script>",
    "kd3\x1b[2J\x07",
    "kd3\r\nkdcurate: done",
    "kd3\n\nkdcurate: done",
    "kd3\u202e",
    "\ufeffkd3",
    "kd3\udcff",
    "kd3\0",
    "",
    "9**9**9**9",
    "0x" + "f" * 900,
    "1e308 * 1e308 * kd3",
    "kd3 * " + "9" * 999,
    "kd3 +" * 100_000,
    "(" * 100_000 + "kd3",
    "-" * 900 + "kd3",
    "log(width - width)",
    "kd3 / (width - width)",
]
WHERES = [
    *PREDICATES,
    "1=1; COPY images TO 'stolen.csv'",
    "(COPY images TO 'stolen.csv')",
    "write_log('stolen')",
    "write_blob('stolen', 'x')",
    "width IN (FROM 'secret.csv')",
    "uri = (FROM read_text('secret.csv'))",
    "getenv('HOME') = 'x'",
    "query('DROP TABLE images')",
    "enable_logging()",
    "force_checkpoint()",
    "nextval('s') = 1",
    "true AND LOAD httpfs",
    "repeat('x', 10000000000) = uri",
    "list_sum(range(100000000000)) > 1",
    "CAST(uri AS INTEGER) > 1",
    "uri ~ '('",
    "width > $1",
    "width > {0}",
    "%s",
    "$(touch stolen)",
    "<script>alert(1)</script>",
    "width > 0\x1b[2J\x07",
    "width > 0\r\nkdcurate: done",
    "nosuch\u202e = 1",
    "width > 0 \udcff",
    "(" * 5_000 + "true" + ")" * 5_000,
]


@pytest.fixture(scope="module")
def root(scored: Pool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scored workspace, and beside it the folder in which the commands run."""
    root = tmp_path_factory.mktemp("words")
    shutil.copytree(scored.catalog.workspace, root / "ws")
    (root / "here").mkdir()
    (root / "here" / "secret.csv").write_text("password\nhunter2\n")
    return root


@pytest.fixture
def select(
    kdcurate: Callable[..., Outcome], root: Path, teacher: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    monkeypatch.chdir(root / "here")
    given = ("-w", root / "ws", "--teacher", teacher, "--workers", 0, "--device", "cpu")
    return lambda *more: kdcurate("select", *given, "--budget", 5, *more)


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        pytest.param(flag, text, id=f"{flag}-{place}")  # the texts are no names for files
        for flag, texts in (("--rank", RANKS), ("--where", WHERES))
        for place, text in enumerate(texts)
    ],
)
def test_hostile_words_are_refused_in_one_line(
    select: Callable[..., Outcome], root: Path, flag: str, text: str
) -> None:
    before = everything(root)
    found = select(flag, text)
    assert (found.code, found.out) == (2, ""), found
    assert found.err.startswith("kdcurate: ") and found.err.endswith("\n")
    assert found.err[:-1].isprintable()  # so it is one line, and moves no cursor
    assert "hunter2" not in found.err
    assert everything(root) == before


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--rank", "kd3 # '; DROP TABLE images; --"),
        ("--where", "uri <> '''; DROP TABLE images; --' /* ) */"),
    ],
)
def test_words_that_only_look_hostile_are_kept_as_they_are(
    select: Callable[..., Outcome], root: Path, flag: str, text: str
) -> None:
    images = query(root / "ws", "FROM images ORDER BY id")
    found = select(flag, text, "--name", flag.strip("-"), "--json")
    assert found.code == 0, found.err
    stored = query(root / "ws", "SELECT options FROM manifests WHERE name = ?", flag.strip("-"))
    assert [json.loads(options)[flag.strip("-")] for (options,) in stored] == [text]
    assert query(root / "ws", "FROM images ORDER BY id") == images
    assert [path.name for path in (root / "here").iterdir()] == ["secret.csv"]
