"""--where: which images it is true of, what it may say, and what a wrong one is told."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import pytest

from curate.filters import Filters
from curate.manifest import Manifest
from curate.networks import scored_pool
from curate.options import SelectOptions
from curate.pool import Pool
from curate.predicate import matching
from curate.query import sandbox
from curate.selection import select
from index.catalog import Catalog
from index.errors import UsageError

from .conftest import Kdcurate
from .helpers import build, crawl_files, pixels_of, png, query, write_parquet

LICENCES = ("cc0", "cc-by", None)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Nine images with captions; the first stands at a second place, earlier by name."""
    folder = tmp_path_factory.mktemp("predicate")
    rows = [(png(pixels_of(n)), LICENCES[n % 3], f"it's no {n} {{x}}", n) for n in range(9)]
    columns = "image BLOB, licence VARCHAR, caption VARCHAR, similarity INTEGER"
    build(folder / "ws", [write_parquet(folder / "b.parquet", columns, rows)])
    copy = [(rows[0][0], "cc-by", "a copy", 0)]
    build(folder / "ws", [write_parquet(folder / "a.parquet", columns, copy)])
    return Catalog(folder / "ws")


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [
        ("true", set(range(9))),
        ("false", set()),
        ("NULL", set()),
        ("width", set(range(9))),
        ("metadata->>'licence' = 'cc-by'", {0, 1, 4, 7}),  # of its first place, not of any
        ("metadata->>'licence' = 'cc0'", {3, 6}),
        ("metadata->>'licence' != 'cc0'", {0, 1, 4, 7}),  # nothing is known of the others
        ("metadata->>'licence' IS NULL", {2, 5, 8}),
        ("uri LIKE '%/a.parquet#%'", {0}),
        ("metadata->>'caption' = 'it''s no 4 {x}' -- the fourth", {4}),
        (
            "try_cast(metadata->>'similarity' AS INT) BETWEEN 3 AND 5 AND NOT format = 'JPEG'",
            {3, 4, 5},
        ),
        ("split_part(metadata->>'caption', ' ', 3) IN ('1', '2')", {1, 2}),
        ("CASE WHEN width = 16 THEN metadata->>'similarity' ELSE '0' END = '7'", {7}),
        ("WIDTH = 16 AND year(added_at) > 2000", set(range(9))),
        ("/* a */ (height = 16) OR\n(false)", set(range(9))),
    ],
)
def test_it_is_true_of_these_images(catalog: Catalog, predicate: str, expected: set[int]) -> None:
    with sandbox(catalog) as connection:
        rows = connection.execute(
            "SELECT max(CASE WHEN l.uri LIKE '%/b.%' THEN (l.metadata->>'similarity')::INT END) "
            f"FROM ({matching(connection, predicate)}) JOIN locations l USING (image_id) "
            "GROUP BY image_id"
        ).fetchall()
    assert {row[0] for row in rows} == expected
    assert Filters(where=predicate).count_matching(catalog) == len(expected)


@pytest.mark.parametrize(
    ("predicate", "message"),
    [
        ("widht > 3", r"an image has no 'widht': did you mean width\?"),
        ("captions = 'x'", "an image has no 'captions': choose among id, sha256"),
        ("metadata.licence = 'x'", "write metadata->>'licence'"),
        ("width >", "is no SQL expression: syntax error"),
        (" ", "--where is empty: give an expression"),
        ("width = 'wide'", "Could not convert string 'wide' to INT32"),
        ("width > 3\nAND mode = 1", r"to INT32.*\(line 2\)$"),
        ("(metadata->>'licence')::INTEGER > 1", "Could not convert string 'cc"),
        ("nosuch(width) = 1", "nosuch does not exist"),
        ("random() > 0.5", r"calls random\(\), which may answer differently"),
        ("id IN (SELECT 1)", "no subqueries"),
        ("true LIMIT 5", "is no SQL expression"),
    ],
)
def test_a_wrong_one_is_told_why(catalog: Catalog, predicate: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        Filters(where=predicate).count_matching(catalog)
    assert str(error.value).startswith("--where") and "\n" not in str(error.value)


@pytest.fixture(scope="module")
def sourced(teacher: str, tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("sourced")
    rows = [(data, f"site-{n % 3}") for n, data in enumerate(crawl_files().values())]
    build(folder / "ws", [write_parquet(folder / "c.parquet", "image BLOB, source VARCHAR", rows)])
    return scored_pool(Catalog(folder / "ws"), teacher, workers=0)


WHERE = "metadata->>'source' != 'site-1'"


@pytest.fixture(scope="module")
def manifest(sourced: Pool) -> Manifest:
    return select(sourced, "where", SelectOptions("kd3", alpha=1.0, where=WHERE))


def test_what_it_rules_out_is_decided_as_filtered(sourced: Pool, manifest: Manifest) -> None:
    rows = query(
        sourced.catalog.workspace,
        "SELECT min_by(metadata->>'source', uri) = 'site-1', any_value(reason), "
        "any_value(selected) FROM decisions JOIN locations USING (image_id) "
        "WHERE manifest = 'where' GROUP BY image_id",
    )
    assert len(rows) == manifest.pool
    ruled_out = [row for row in rows if row[0]]
    assert {row[1:] for row in ruled_out} == {("filtered: --where", False)}
    assert 0 < len(ruled_out) < manifest.pool
    assert not [row for row in rows if not row[0] and row[1].startswith("filtered")]
    assert manifest.options["where"] == WHERE


def test_equal_words_give_equal_manifests_and_true_gives_the_plain_one(sourced: Pool) -> None:
    again = select(sourced, None, SelectOptions("kd3", alpha=1.0, where=WHERE))
    plain = select(sourced, "plain", SelectOptions("kd3", alpha=1.0))
    loose = select(sourced, "loose", SelectOptions("kd3", alpha=1.0, where="true"))
    assert loose.content_hash == plain.content_hash != again.content_hash


def test_a_slow_one_ends_when_its_time_is_over(
    kdcurate: Kdcurate, workspace: Path, teacher: str
) -> None:
    slow = "levenshtein(repeat(hex(sha256), 5), repeat(format, 60)) < 0"  # 0.1 ms an image
    with Catalog(workspace).write() as connection:
        connection.execute(
            "INSERT INTO images SELECT hash(range)::HUGEINT // 2, sha256(range::VARCHAR)::BLOB, 1, "
            "'PNG', 16, 16, 'RGB', NULL, now() FROM range(200000)"
        )
    before = query(workspace, "SELECT count(*) FROM scores")
    options = ("-w", workspace, "--teacher", teacher, "--strategy", "msp", "--where", slow)
    began = time.monotonic()
    found = kdcurate("select", *options, "--where-timeout", 0.3)
    assert (found.code, found.out, found.err.count("\n")) == (1, "", 1)
    assert f"--where {slow!r}: stopped after 0.3 s: give --where-timeout more" in found.err
    assert time.monotonic() - began < 10
    assert query(workspace, "SELECT count(*) FROM scores") == before
    assert not [thread for thread in threading.enumerate() if thread.name == "sql timeout"]


def test_one_that_is_in_time_is_left_alone(
    kdcurate: Kdcurate, workspace: Path, teacher: str
) -> None:
    options = ("-w", workspace, "--teacher", teacher, "--where", "width > 3", "--dry-run")
    found = kdcurate("select", *options, "--where-timeout", 60)
    assert (found.code, found.err) == (0, "")
    for wrong in ("0", "-1", "nan", "inf"):
        found = kdcurate("select", *options, "--where-timeout", wrong)
        assert (found.code, found.out) == (2, "") and "--where-timeout is" in found.err


def test_a_wrong_predicate_is_told_before_anything_is_scored(
    kdcurate: Kdcurate, tmp_path: Path, teacher: str
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "0.png").write_bytes(png(pixels_of(0)))
    build(tmp_path / "ws", [folder])
    options = ("-w", tmp_path / "ws", "--teacher", teacher, "--strategy", "msp")
    found = kdcurate("select", *options, "--where", "widht > 3")
    assert (found.code, found.out, found.err.count("\n")) == (2, "", 1)
    assert "did you mean width?" in found.err
    assert query(tmp_path / "ws", "SELECT count(*) FROM models") == [(0,)]
    planned = kdcurate("select", *options, "--where", "width > 3", "--dry-run")
    assert re.search(r"^images_that_match_where +1$", planned.out, re.M)
