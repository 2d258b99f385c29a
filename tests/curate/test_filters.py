"""Filters: who is ruled out before any score counts, in which words, and what that changes."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest

from curate.filters import Filters
from curate.logits import StoredLogits
from curate.manifest import Manifest
from curate.networks import scored_pool
from curate.options import SelectOptions
from curate.pool import Pool
from curate.rounds import Rounds
from curate.selection import select
from distill.reselection import RoundStart
from index.catalog import Catalog, insert
from index.errors import NothingSelectedError, UsageError
from index.progress import Silent

from .helpers import SIZE, build, crawl_files, pixels_of, png, query, write_files

SIZES = {1: (12, 12), 2: (16, 16), 3: (104, 20), 4: (20, 104), 5: (60, 20), 6: (3000, 3000)}
PLACEHOLDER = "placeholder: found at 57 places"
PLACES = {1: 12, 2: 10, 3: 9, 4: 1}
SMALL = 9


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    catalog = Catalog(tmp_path)
    width, height = zip(*SIZES.values(), strict=True)
    facts = {"bytes": 1, "format": "PNG", "mode": "L", "added_at": np.datetime64("now", "us")}
    columns = {"id": list(SIZES), "sha256": [b"x"] * len(SIZES), "width": width, "height": height}
    uris = {f"{key}/{n}": key for key, count in PLACES.items() for n in range(count)}
    place = {"kind": "files", "container": "c", "position": 0, "length": 1, "metadata": "{}"}
    place["partition"] = "p"
    with catalog.write() as connection:
        insert(connection, "images", {**columns, **facts})
        insert(
            connection,
            "locations",
            {"uri": list(uris), "image_id": list(uris.values()), **place},
        )
    return catalog


def test_placeholders_are_contents_at_ten_places_and_more(catalog: Catalog) -> None:
    rows = query(
        catalog.workspace,
        "SELECT image_id, places, first_uri, width, height FROM placeholders ORDER BY image_id",
    )
    assert rows == [(1, 12, "1/0", 12, 12), (2, 10, "2/0", 16, 16)]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(), {}),
        (Filters(min_size=16), {1: "filtered: shorter side 12 < 16"}),
        (
            Filters(max_aspect=3.0),  # 60 by 20 is exactly 3
            {3: "filtered: aspect 5.2 > 3", 4: "filtered: aspect 5.2 > 3"},
        ),
        (
            Filters(max_copies=9),
            {1: "placeholder: found at 12 places", 2: "placeholder: found at 10 places"},
        ),
        (Filters(min_size=16, max_copies=11), {1: "placeholder: found at 12 places"}),
        (Filters(max_pixels=4_000_000), {6: "filtered: 9000000 pixels > 4000000"}),
        (
            Filters(min_size=20, max_aspect=5.25, max_pixels=1200),
            {
                1: "filtered: shorter side 12 < 20",
                2: "filtered: shorter side 16 < 20",
                3: "filtered: 2080 pixels > 1200",
                4: "filtered: 2080 pixels > 1200",
                6: "filtered: 9000000 pixels > 1200",
            },
        ),
    ],
)
def test_each_filter_says_what_it_measured(
    catalog: Catalog, filters: Filters, expected: dict[int, str], tmp_path: Path
) -> None:
    assert filters.any == bool(expected)
    filters.write_parquet(catalog, tmp_path / "o'clock.parquet")
    rows = duckdb.execute("FROM read_parquet(?)", [str(tmp_path / "o'clock.parquet")]).fetchall()
    assert dict(rows) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (SelectOptions("msp", min_size=0), "--min-size is 0"),
        (SelectOptions("msp", max_pixels=-1), "--max-pixels is -1"),
        (SelectOptions("msp", max_copies=0), "--max-copies is 0"),
        (SelectOptions("msp", max_aspect=0.5), "--max-aspect is 0.5"),
        (SelectOptions("msp", max_aspect=float("nan")), "--max-aspect is nan"),
        (SelectOptions("msp", max_aspect=float("inf")), "--max-aspect is inf"),
    ],
)
def test_filters_without_sense_are_refused_by_name(options: SelectOptions, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        options.check()


@pytest.fixture(scope="module")
def mixed(teacher: str, student: str, tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """The crawl, and beside it smaller pictures of a few of its classes."""
    files = {f"small-{n}.png": png(pixels_of(n)[:12, :12]) for n in range(SMALL)}
    folder = write_files(tmp_path_factory.mktemp("mixed") / "files", crawl_files() | files)
    workspace = tmp_path_factory.mktemp("mixed") / "ws"
    build(workspace, [folder])
    return scored_pool(Catalog(workspace), teacher, student, workers=0)


FILTERED = SelectOptions("kd3", alpha=1.0, min_size=SIZE)


@pytest.fixture(scope="module")
def manifest(mixed: Pool) -> Manifest:
    return select(mixed, "filtered", FILTERED)


def test_filtered_images_are_decided_once_with_their_score(mixed: Pool, manifest: Manifest) -> None:
    rows = query(
        mixed.catalog.workspace,
        "SELECT i.height, d.selected, d.reason, d.score, s.confidence FROM images i "
        "JOIN decisions d ON d.image_id = i.id JOIN scores s ON s.image_id = i.id "
        "WHERE d.manifest = ? AND s.model = ?",
        manifest.name,
        manifest.teacher,
    )
    assert len(rows) == manifest.pool
    small = [row for row in rows if row[0] < SIZE]
    assert len(small) == SMALL
    assert {row[1:3] for row in small} == {(False, "filtered: shorter side 12 < 16")}
    assert [row[3] for row in small] == pytest.approx([row[4] for row in small])
    assert not any(row[2].startswith("filtered") for row in rows if row[0] >= SIZE)


def test_thresholds_are_those_of_a_pool_without_the_filtered(
    mixed: Pool, manifest: Manifest
) -> None:
    rows = query(
        mixed.catalog.workspace,
        "SELECT d.pseudo_label, d.threshold, i.height FROM decisions d "
        "JOIN images i ON i.id = d.image_id WHERE d.manifest = ?",
        manifest.name,
    )
    kept = Counter(label for label, _, height in rows if height >= SIZE)
    share = {label: count / max(kept.values()) for label, count in kept.items()}
    found = {label: threshold for label, threshold, _ in rows}
    assert found == pytest.approx({k: 0.95 * a / (2 - a) for k, a in share.items()})
    assert kept != Counter(label for label, _, _ in rows)


def test_a_filter_that_leaves_the_pool_whole_changes_no_decision(mixed: Pool) -> None:
    plain = select(mixed, "plain", SelectOptions("kd3", alpha=1.0))
    loose = select(mixed, "loose", replace(FILTERED, min_size=1, max_aspect=9.5, max_pixels=10**6))
    assert loose.content_hash == plain.content_hash
    assert (loose.options["max_aspect"], loose.options["min_size"]) == (9.5, 1)
    assert "min_size" not in plain.options


def test_a_content_at_many_places_is_ruled_out_as_a_placeholder(
    mixed: Pool, tmp_path: Path
) -> None:
    workspace = Path(shutil.copytree(mixed.catalog.workspace, tmp_path / "ws"))
    gone = crawl_files()["picture-20.png"]
    build(workspace, [write_files(tmp_path / "more", {f"{n:02d}.png": gone for n in range(56)})])
    pool = replace(mixed, catalog=Catalog(workspace))
    found = select(pool, "first", SelectOptions("msp", max_copies=9))
    rows = query(workspace, "SELECT image_id, reason FROM decisions WHERE why = 'placeholder'")
    (listed,) = query(workspace, "SELECT image_id FROM placeholders")
    assert rows == [(*listed, PLACEHOLDER)]
    assert (found.eligible, found.options["max_copies"]) == (found.pool - 1, 9)
    assert select(pool, "all", SelectOptions("msp")).eligible == found.pool


def test_rounds_filter_as_their_parent_does(mixed: Pool, manifest: Manifest) -> None:
    catalog = mixed.catalog
    ids = np.array(
        [key for (key,) in query(catalog.workspace, "SELECT id FROM images ORDER BY id")]
    )
    rounds = Rounds(catalog, manifest, replace(mixed, student=None, only=ids), "run", Silent())
    logits = StoredLogits(catalog, str(mixed.student)).gather(ids).astype(np.float16)
    child = rounds(RoundStart(0, 1.0, 60.0, False, lambda: logits)).manifest
    reasons = (
        "SELECT image_id, reason FROM decisions WHERE manifest = ? AND why = 'filtered' ORDER BY 1"
    )
    filtered = query(catalog.workspace, reasons, child)
    assert filtered == query(catalog.workspace, reasons, manifest.name)
    assert len(filtered) == SMALL


def test_nothing_left_by_the_filters_is_nothing_selected(mixed: Pool) -> None:
    with pytest.raises(NothingSelectedError, match="0 were eligible"):
        select(mixed, None, SelectOptions("msp", min_size=1000))
