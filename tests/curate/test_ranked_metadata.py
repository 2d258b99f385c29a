"""metadata.NAME in a rank: whose number counts, what lacks one, and that no text becomes SQL."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from curate.facts import Facts
from curate.networks import scored_pool
from curate.options import SelectOptions
from curate.pool import Pool
from curate.selection import select
from curate.verifying import verify_manifest
from index.catalog import Catalog
from index.errors import UsageError

from .conftest import Kdcurate
from .helpers import build, pixels_of, png, query, write_files, write_parquet

IMAGES = 12
# What the crawl says of each image under `partly`: of 3 nothing, of 4 to 6 no finite number.
PARTLY = {3: None, 4: "good", 5: "nan", 6: "-inf"}
RANK = SelectOptions("rank", rank="0.5*msp + metadata.clip", budget=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, teacher: str) -> Path:
    """Twelve images with numbers; the first lies at two more places, one earlier by name."""
    folder = tmp_path_factory.mktemp("ranked")
    rows = [
        (png(pixels_of(n)), 0.1 * n + 1e-9, float(-n), PARTLY.get(n, f"{n}e1")) for n in range(12)
    ]
    columns = "image BLOB, clip DOUBLE, aesthetic DOUBLE, partly VARCHAR"
    places = [write_parquet(folder / "b.parquet", columns, rows)]
    for name, clip in (("a", 7.25), ("c", 99.0)):
        again = [(rows[0][0], clip, 1.0, "1")]
        places.append(write_parquet(folder / f"{name}.parquet", columns, again))
    build(folder / "ws", places)
    return folder


@pytest.fixture
def crawled(folder: Path, workspace_copy: Path, teacher: str) -> Pool:
    return scored_pool(Catalog(workspace_copy), teacher, workers=0)


@pytest.fixture
def workspace_copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder / "ws", tmp_path / "copy"))


def numbers(pool: Pool, key: str) -> dict[int, float]:
    """The number of each image at its first place, as Python reads the JSON."""
    rows = query(pool.catalog.workspace, "SELECT image_id, metadata FROM locations ORDER BY uri")
    first: dict[int, float] = {}
    for image, text in rows:
        first.setdefault(image, json.loads(text)[key])
    return first


def test_the_number_of_the_first_place_is_ranked_and_stands_in_the_ledger(crawled: Pool) -> None:
    manifest = select(crawled, "ranked", RANK)
    clip = numbers(crawled, "clip")
    assert len(clip) == IMAGES and sorted(clip.values())[-1] == 7.25
    rows = query(
        crawled.catalog.workspace,
        "SELECT image_id, score, components['metadata.clip'], components['0.5 * msp'], selected "
        "FROM decisions",
    )
    for image, score, number, term, _ in rows:
        assert number == np.float32(clip[image])
        assert score == pytest.approx(term + clip[image], rel=1e-6)
    best = sorted(rows, key=lambda row: -row[1])[: manifest.selected]
    assert {row[0] for row in rows if row[4]} == {row[0] for row in best}
    assert verify_manifest(crawled.catalog, "ranked").is_whole


def test_numbers_are_read_as_doubles(crawled: Pool, tmp_path: Path) -> None:
    facts = Facts(crawled.catalog, tmp_path, crawled.teacher, None, {"metadata.clip": None})
    with crawled.catalog.read() as connection:
        (columns,) = facts.batches(connection, 1000)
    clip = numbers(crawled, "clip")
    assert columns["metadata.clip"].tolist() == [clip[image] for image in columns["image_id"]]


def test_keys_that_differ_in_case_only_are_two(crawled: Pool) -> None:
    with crawled.catalog.write() as connection:
        connection.execute(
            "UPDATE locations SET metadata = json_merge_patch(metadata, '{\"CLIP\": 3}')"
        )
    select(crawled, "cased", replace(RANK, rank="metadata.clip - metadata.CLIP"))
    rows = query(
        crawled.catalog.workspace,
        "SELECT image_id, components['metadata.clip'], components['metadata.CLIP'] FROM decisions",
    )
    clip = numbers(crawled, "clip")
    assert {row[2] for row in rows} == {3}
    assert all(row[1] == np.float32(clip[row[0]]) for row in rows)


def test_another_number_since_is_found_by_verify(crawled: Pool) -> None:
    select(crawled, "ranked", RANK)
    with crawled.catalog.write() as connection:
        connection.execute(
            "UPDATE locations SET metadata = '{\"clip\": 50}' WHERE uri LIKE '%/b.parquet#7%'"
        )
    found = verify_manifest(crawled.catalog, "ranked")
    assert not found.is_whole and found.differences["score"] == 1


@pytest.mark.parametrize(
    ("rank", "lacking", "advice"),
    [
        ("msp + metadata.clp", IMAGES, "metadata->>'clp' IS NOT NULL"),
        ("metadata.partly", 4, "isfinite(try_cast(metadata->>'partly' AS DOUBLE))"),
    ],
)
def test_images_without_a_number_are_refused_and_the_advice_holds(
    crawled: Pool, rank: str, lacking: int, advice: str
) -> None:
    options = replace(RANK, rank=rank)
    with pytest.raises(UsageError) as error:
        select(crawled, "lacking", options)
    message = str(error.value)
    key = rank.split("metadata.")[1]
    assert f"{lacking} images have no finite number as metadata.{key}, image " in message
    assert f'--where "{advice}" leaves them out' in message and "\n" not in message
    if lacking < IMAGES:
        made = select(crawled, "rest", replace(options, where=advice))
        assert made.eligible == IMAGES - lacking


def test_what_a_filter_rules_out_needs_no_number(crawled: Pool) -> None:
    there = "isfinite(try_cast(metadata->>'partly' AS DOUBLE))"
    options = replace(RANK, rank="log(metadata.partly + 1) + msp", where=there)
    select(crawled, "rest", options)
    rows = query(
        crawled.catalog.workspace,
        "SELECT score, components['metadata.partly'], components['log(metadata.partly + 1)'] "
        "FROM decisions WHERE reason = 'filtered: --where'",
    )
    assert rows == [(0, None, None)] * 4
    assert verify_manifest(crawled.catalog, "rest").is_whole


def test_images_that_came_after_a_manifest_need_no_number_for_verify(
    crawled: Pool, tmp_path: Path, teacher: str
) -> None:
    select(crawled, "ranked", RANK)
    late = write_files(tmp_path / "late", {"late.png": png(pixels_of(900))})
    build(crawled.catalog.workspace, [late])
    scored_pool(crawled.catalog, teacher, workers=0)
    found = verify_manifest(crawled.catalog, "ranked")
    assert found.is_whole and found.new_images == 1
    with pytest.raises(UsageError, match=r"1 image has no finite number as metadata\.clip"):
        select(crawled, "again", RANK)


def test_a_missing_number_is_told_before_anything_is_scored(
    kdcurate: Kdcurate, workspace_copy: Path, teacher: str
) -> None:
    command = ("select", "-w", workspace_copy, "--teacher", teacher, "--workers", 0)
    found = kdcurate(*command, "--rank", "msp + metadata.clp")
    assert (found.code, found.out, found.err.count("\n")) == (2, "", 1)
    assert "12 images have no finite number as metadata.clp" in found.err
    assert query(workspace_copy, "SELECT count(*) FROM scores") == [(0,)]
    made = kdcurate(*command, "--rank", "msp + metadata.clip", "--budget", 3, "--device", "cpu")
    assert made.code == 0, made.err


def test_the_first_place_counts_for_where_even_if_nothing_came_with_it(crawled: Pool) -> None:
    with crawled.catalog.write() as connection:
        connection.execute("UPDATE locations SET metadata = NULL WHERE uri LIKE '%/a.parquet#%'")
    there = SelectOptions("msp", where="metadata->>'clip' IS NOT NULL")
    assert there.filters.count_matching(crawled.catalog) == IMAGES - 1
    with pytest.raises(UsageError, match=r"1 image has .* IS NOT NULL\" leaves them out"):
        select(crawled, "lacking", RANK)
    assert select(crawled, "rest", replace(RANK, where=there.where)).eligible == IMAGES - 1
