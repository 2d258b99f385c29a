"""What is gone from its source is gone from the catalog, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import duckdb

from index.catalog import Catalog, insert
from index.neighbours import open_index

from .helpers import Quadrants, build, content, png, rows, write_tar


def crawl(folder: Path, *numbers: int) -> Path:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        (folder / f"{number}.png").write_bytes(png(number))
    return folder


def names(workspace: Path) -> set[str]:
    return {Path(uri).name for (uri,) in rows(workspace, "SELECT uri FROM locations")}


def assert_consistent(workspace: Path) -> None:
    """Every image has a place and a vector, and the index holds just these."""
    ids = [key for (key,) in rows(workspace, "SELECT id FROM images ORDER BY id")]
    assert ids == [
        key for (key,) in rows(workspace, "SELECT DISTINCT image_id FROM locations ORDER BY 1")
    ]
    assert ids == [key for (key,) in rows(workspace, "SELECT image_id FROM vectors ORDER BY 1")]
    assert open_index(Catalog(workspace), Quadrants.key).ntotal == len(ids)


def test_a_deleted_file_is_forgotten_with_its_image(tmp_path: Path) -> None:
    files, ws = crawl(tmp_path / "crawl", *range(6)), tmp_path / "ws"
    build(ws, files)
    (files / "2.png").unlink()
    found = build(ws, files)
    assert (found.images, found.new, found.vectors) == (5, 0, 5)
    assert names(ws) == {f"{n}.png" for n in (0, 1, 3, 4, 5)}
    assert_consistent(ws)
    fresh = tmp_path / "fresh"
    build(fresh, files)
    assert content(ws) == content(fresh)


def test_an_image_lives_as_long_as_one_of_its_copies(tmp_path: Path) -> None:
    files, ws = crawl(tmp_path / "crawl", 0, 1), tmp_path / "ws"
    (files / "copy.png").write_bytes(png(0))
    build(ws, files)
    (files / "0.png").unlink()
    assert build(ws, files).images == 2
    assert names(ws) == {"1.png", "copy.png"}
    assert_consistent(ws)


def test_a_replaced_file_takes_its_old_image_along(tmp_path: Path) -> None:
    files, ws = crawl(tmp_path / "crawl", 0, 1), tmp_path / "ws"
    build(ws, files)
    (files / "1.png").write_bytes(png(7))
    assert build(ws, files).images == 2
    assert_consistent(ws)


def test_a_picture_that_moved_to_a_later_slice_keeps_its_vector(tmp_path: Path) -> None:
    """Its old place is given to another picture and committed before its new one is."""
    ws, folders = tmp_path / "ws", [tmp_path / f"f{number}" for number in range(5)]
    for number, folder in enumerate(folders):
        folder.mkdir()
        (folder / "a.png").write_bytes(png(number))
    build(ws, *folders, rows_a_part=1)
    (folders[0] / "a.png").rename(folders[1] / "b.png")
    (folders[0] / "a.png").write_bytes(png(9))
    summary = build(ws, *folders, rows_a_part=1)
    assert (summary.images, summary.vectors) == (6, 6)
    assert_consistent(ws)


def test_rewritten_shards_lose_what_they_no_longer_hold(tmp_path: Path) -> None:
    ws, shard, table = tmp_path / "ws", tmp_path / "s.tar", tmp_path / "t.parquet"
    write_tar(shard, {f"{n}.png": png(n) for n in range(4)} | {"bad.png": b"no"})
    write_rows(table, 10, 11, 12)
    build(ws, shard, table)
    assert len(rows(ws, "FROM failures")) == 1
    write_tar(shard, {"1.png": png(1)})
    write_rows(table, 10)
    build(ws, shard, table)
    assert names(ws) == {"s.tar#1.png", "t.parquet#0"}
    assert rows(ws, "FROM failures") == []
    assert_consistent(ws)


def write_rows(path: Path, *numbers: int) -> None:
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE t AS SELECT unnest(?::BLOB[]) AS image",
            [[png(number) for number in numbers]],
        )
        connection.table("t").write_parquet(str(path))


def test_sources_that_are_not_named_are_left_alone(tmp_path: Path) -> None:
    ws = tmp_path / "ws"
    first, second = crawl(tmp_path / "a", 0, 1), crawl(tmp_path / "b", 2, 3)
    build(ws, first, second)
    (second / "3.png").unlink()
    assert build(ws, first).images == 4
    assert build(ws, second).images == 3


def test_manifests_keep_what_they_decided(tmp_path: Path) -> None:
    files, ws = crawl(tmp_path / "crawl", 0, 1), tmp_path / "ws"
    build(ws, files)
    ids = [key for (key,) in rows(ws, "SELECT id FROM images")]
    with Catalog(ws).write() as connection:
        connection.execute(
            "INSERT INTO ledger (manifest, image_id, selected, pseudo_label, weight, score, "
            "components, reason) SELECT 'm', id, true, 0, 1, 1, MAP {}, 'selected' FROM images"
        )
        scored = {"image_id": ids, "model": "t", "pseudo_label": 0, "confidence": 1.0}
        insert(connection, "scores", {**scored, "part": 0, "row": [0, 1]})
    (files / "0.png").unlink()
    build(ws, files)
    assert len(rows(ws, "FROM decisions")) == 2
    assert len(rows(ws, "FROM scores")) == 1


def test_what_came_with_selected_images_outlives_their_sources(tmp_path: Path) -> None:
    files, ws = crawl(tmp_path / "crawl", 0, 1, 2), tmp_path / "ws"
    table = tmp_path / "l.csv"
    lines = ["path,licence", *(f"crawl/{number}.png,CC-{number}" for number in range(3))]
    table.write_text("\n".join(lines))
    build(ws, table)
    known = dict(rows(ws, "SELECT metadata->>'licence', image_id FROM locations"))
    with Catalog(ws).write() as connection:
        connection.execute(
            "INSERT INTO ledger (manifest, image_id, selected, pseudo_label, weight, score, "
            "components, reason) SELECT 'm', image_id, metadata->>'licence' != 'CC-2', 0, 1, 1, "
            "MAP {}, 'selected' FROM locations"
        )
    (files / "0.png").write_bytes(png(7))  # another image in its place
    table.write_text("\n".join([*lines[:2], "crawl/0.png,CC-0"]))  # and the others are gone
    for _ in range(2):
        build(ws, table)
        former = rows(
            ws, "SELECT metadata->>'licence', image_id, uri FROM former_locations ORDER BY 1"
        )
        assert former == [
            (name, known[name], f"{files}/{name[-1]}.png") for name in ("CC-0", "CC-1")
        ]
    assert len(rows(ws, "FROM images")) == 1


def test_the_last_that_was_known_of_a_place_is_told(tmp_path: Path) -> None:
    files, ws = crawl(tmp_path / "crawl", 0, 1), tmp_path / "ws"
    table = tmp_path / "l.csv"
    table.write_text("path,licence\ncrawl/0.png,CC0\ncrawl/1.png,CC0")
    build(ws, table)
    with Catalog(ws).write() as connection:
        connection.execute(
            "INSERT INTO ledger (manifest, image_id, selected, pseudo_label, weight, score, "
            "components, reason) SELECT 'm', id, true, 0, 1, 1, MAP {}, 'selected' FROM images"
        )
    table.write_text("path,licence\ncrawl/0.png,CC-BY-NC\ncrawl/1.png,CC0")
    build(ws, table)
    assert rows(ws, "FROM former_locations WHERE metadata->>'licence' = 'CC-BY-NC'") == []
    table.write_text("path,licence\ncrawl/1.png,CC0")
    build(ws, table)
    told = "SELECT metadata->>'licence' FROM former_locations WHERE uri = ?"
    with Catalog(ws).read() as connection:
        assert connection.execute(told, [f"{files}/0.png"]).fetchall() == [("CC-BY-NC",)]
