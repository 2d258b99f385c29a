"""Of images that look alike, only the best is taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from curate.options import SelectOptions
from curate.pool import Pool
from curate.selection import select

from .helpers import IMAGES, NEAR, query

KD3 = SelectOptions("kd3", budget=20, near_duplicates=0.9999)


def test_near_duplicates_lose_to_the_best_of_their_group(pool: Pool, workspace: Path) -> None:
    select(pool, "first", SelectOptions("msp", near_duplicates=0.9999))
    rows = query(
        workspace,
        "SELECT d.group_id, e.image_id, e.score, e.selected, e.reason FROM duplicates d "
        "JOIN decisions e USING (image_id) ORDER BY d.group_id, e.score DESC, e.image_id",
    )
    groups: dict[int, list[Any]] = {}
    for group, *row in rows:
        groups.setdefault(group, []).append(row)
    assert len(groups) >= 4
    for (keeper, _, taken, _), *others in groups.values():
        assert taken
        for _, _, also, reason in others:
            assert (also, reason) == (False, f"near-duplicate of {keeper}")


def decisions(pool: Pool, name: str) -> dict[int, tuple[float, bool, str]]:
    rows = query(
        pool.catalog.workspace,
        "SELECT image_id, score, selected, reason FROM decisions WHERE manifest = ?",
        name,
    )
    return {key: tuple(rest) for key, *rest in rows}  # type: ignore[misc]


def assert_only_the_best_is_taken(found: dict[int, tuple[float, bool, str]]) -> None:
    keeper = min(found, key=lambda key: (-found[key][0], key))
    for key, (_, taken, reason) in found.items():
        assert taken == (key == keeper)
        assert taken or reason == f"near-duplicate of {keeper}"


def test_of_images_that_look_alike_the_best_is_taken(pool: Pool, workspace: Path) -> None:
    found = select(pool, "first", SelectOptions("msp", perceptual=4))
    rows = query(workspace, "SELECT kind, embedder, bound, group_id, image_id FROM duplicates")
    assert {row[:3] for row in rows} == {("perceptual", None, 4.0)}
    decided = decisions(pool, "first")
    groups = {row[3] for row in rows}
    assert len(groups) == NEAR
    for group in groups:
        members = [row[4] for row in rows if row[3] == group]
        assert_only_the_best_is_taken({key: decided[key] for key in members})
    assert found.eligible == IMAGES - len(rows) + len(groups)
    assert (found.options["perceptual"], found.embedder) == (4, None)
    assert select(replace(pool, embedder=None), "again", SelectOptions("msp", perceptual=4))


def test_a_group_is_the_union_of_both_relations(pool: Pool, workspace: Path) -> None:
    # By hash, two pictures that the embedder tells apart: one of them has a near-copy for it.
    names = ("picture-10.png", "near-0.png", "picture-50.png")
    uris = "SELECT image_id FROM locations WHERE uri LIKE '%' || ?"
    chosen = [query(workspace, uris, name)[0][0] for name in names]
    with pool.catalog.write() as connection:
        connection.execute("UPDATE images SET dhash = NULL")
        connection.execute("UPDATE images SET dhash = 7 WHERE id IN (?, ?)", [chosen[1], chosen[2]])
    select(pool, "first", SelectOptions("msp", near_duplicates=0.9999, perceptual=0))
    decided = decisions(pool, "first")
    assert_only_the_best_is_taken({key: decided[key] for key in chosen})
