"""kdcurate duplicates: groups on stdout, one summary line on stderr, and the table filled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curate.pool import Pool
from index.catalog import Catalog

from ..conftest import Kdcurate
from ..helpers import COPIES, NEAR, query


def test_every_kind_is_listed_the_largest_first(kdcurate: Kdcurate, workspace: Path) -> None:
    found = kdcurate("duplicates", "-w", workspace, "--cosine", "0.9999", "--json")
    assert found.code == 0
    groups = json.loads(found.out)
    kinds = [group["kind"] for group in groups]
    assert kinds.count("exact") == COPIES
    assert kinds.count("perceptual") == NEAR
    assert kinds.count("embedding") >= NEAR
    sizes = [group["size"] for group in groups]
    assert sizes == sorted(sizes, reverse=True)
    assert set(groups[0]) == {"kind", "bound", "size", "ids", "locations", "placeholder"}
    assert not any(group["placeholder"] for group in groups)
    assert {group["bound"] for group in groups} == {None, 4, 0.9999}
    summary = found.err.splitlines()[-1]
    assert f"exact: {COPIES} images at {2 * COPIES} places; perceptual: " in summary
    assert f"perceptual: {2 * NEAR} images in {NEAR} groups; embedding: " in summary
    stored = query(workspace, "SELECT kind, bound, count(*) > 7 FROM duplicates GROUP BY ALL")
    assert sorted(stored) == [("embedding", 0.9999, True), ("perceptual", 4.0, True)]


def test_one_kind_is_listed_as_a_table(kdcurate: Kdcurate, workspace: Path) -> None:
    found = kdcurate("duplicates", "-w", workspace, "--kind", "perceptual", "--limit", 2)
    header, *lines = found.out.splitlines()
    assert header.split() == ["kind", "size", "ids", "found", "at"]
    assert len(lines) == 2
    for line in lines:
        kind, size, first, second, *places = line.split()
        assert (kind, size) == ("perceptual", "2")
        assert int(first) < int(second)
        assert [Path(place).name[:5] for place in places] == ["near-", "pictu"]
    assert query(workspace, "SELECT DISTINCT kind FROM duplicates") == [("perceptual",)]


def test_exact_copies_show_where_they_were_found(kdcurate: Kdcurate, scored: Pool) -> None:
    ws = scored.catalog.workspace
    found = json.loads(kdcurate("duplicates", "-w", ws, "--kind", "exact", "--json").out)
    names = [[Path(place).name for place in group["locations"]] for group in found]
    assert sorted(names) == [[f"copy-{n}.png", f"picture-{n:02d}.png"] for n in range(COPIES)]
    assert [group["size"] for group in found] == [2] * COPIES


def test_a_placeholder_is_marked(kdcurate: Kdcurate, workspace: Path) -> None:
    with Catalog(workspace).write() as connection:
        connection.execute(
            "INSERT INTO locations SELECT * EXCLUDE (n) REPLACE (uri || n AS uri) "
            "FROM (FROM locations ORDER BY uri LIMIT 1), range(50) t(n)"
        )
    command = ("duplicates", "-w", workspace, "--kind", "exact")
    first, second, *_ = json.loads(kdcurate(*command, "--json").out)
    assert (first["size"] > 50, first["placeholder"]) == (True, True)
    assert (second["size"], second["placeholder"]) == (2, False)
    found = kdcurate(*command)
    marked = [line for line in found.out.splitlines() if line.startswith("exact, placeholder ")]
    assert len(marked) == 1 and str(first["ids"][0]) in marked[0]
    assert "of them placeholders: 1 (select --max-copies 9)" in found.err


def test_without_an_index_there_is_no_kind_embedding(kdcurate: Kdcurate, workspace: Path) -> None:
    with Catalog(workspace).write() as connection:
        connection.execute("DELETE FROM indexes")
    found = kdcurate("duplicates", "-w", workspace, "--json")
    assert {group["kind"] for group in json.loads(found.out)} == {"exact", "perceptual"}
    found = kdcurate("duplicates", "-w", workspace, "--kind", "embedding")
    assert (found.code, found.out) == (2, "")
    assert "--kind embedding needs an index: run build-index" in found.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--kind", "same"), "--kind is 'same': choose one of exact, perceptual, embedding"),
        (("--cosine", "1.5"), "--cosine is 1.5"),
        (("--bits", "20"), "--bits is 20"),
        (("--limit", "0"), "--limit"),
    ],
)
def test_options_without_sense_are_one_line(
    kdcurate: Kdcurate, scored: Pool, arguments: tuple[str, ...], message: str
) -> None:
    found = kdcurate("duplicates", "-w", scored.catalog.workspace, *arguments)
    assert (found.code, found.out, found.err.count("\n")) == (2, "", 1)
    assert message in found.err


def test_a_workspace_that_is_not_there_is_not_made(kdcurate: Kdcurate, tmp_path: Path) -> None:
    found = kdcurate("duplicates", "-w", tmp_path / "no")
    assert found.code == 1 and "no catalog at" in found.err
    assert not (tmp_path / "no").exists()
