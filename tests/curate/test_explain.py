"""What a manifest says of an image, of its reasons, and of its classes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from curate.explain import class_balance, explain, reasons
from curate.manifest import Manifest
from curate.options import SelectOptions
from curate.pool import Pool
from curate.selection import select
from index.errors import UsageError

from .helpers import CLASSES, IMAGES, query


@pytest.fixture
def manifest(pool: Pool) -> Manifest:
    options = SelectOptions("kd3", budget=20, balance="full", near_duplicates=0.9999)
    return select(pool, "first", options)


def test_an_image_is_explained(pool: Pool, manifest: Manifest, workspace: Path) -> None:
    # Three images for every kind of reason.
    rows = query(
        workspace,
        "SELECT image_id, selected, rank, reason, pseudo_label FROM decisions "
        "QUALIFY row_number() OVER (PARTITION BY left(reason, 6) ORDER BY image_id) <= 3",
    )
    assert len(rows) >= 9
    for key, selected, rank, reason, label in rows:
        found = explain(pool.catalog, "first", key)
        assert (found["selected"], found["rank"], found["reason"]) == (selected, rank, reason)
        assert found["class_name"] == CLASSES[label]
        assert found["components"]["teacher_confidence"] == pytest.approx(found["score"])
        if reason.startswith("below"):
            assert found["score"] <= found["threshold"]


def test_an_image_is_found_wherever_it_lies(
    pool: Pool, manifest: Manifest, workspace: Path, crawl: Path
) -> None:
    twice = query(workspace, "SELECT image_id FROM locations GROUP BY 1 HAVING count(*) > 1")
    found = sorted(explain(pool.catalog, "first", key)["found_at"] for (key,) in twice)
    assert found == [[f"{crawl}/copy-{n}.png", f"{crawl}/picture-0{n}.png"] for n in range(3)]


def test_an_image_is_named_by_any_of_its_places_too(
    pool: Pool, manifest: Manifest, crawl: Path
) -> None:
    by_place = explain(pool.catalog, "first", f"{crawl}/copy-0.png")
    assert f"{crawl}/picture-00.png" in by_place["found_at"]
    for one in (f"{crawl}/picture-00.png", str(by_place["image_id"]), by_place["image_id"]):
        assert explain(pool.catalog, "first", one) == by_place


def test_of_a_file_that_changed_what_the_manifest_decided_is_told(
    pool: Pool, manifest: Manifest, crawl: Path
) -> None:
    place = f"{crawl}/picture-05.png"
    before = explain(pool.catalog, "first", place)["image_id"]
    with pool.catalog.write() as connection:
        connection.execute("INSERT INTO former_locations VALUES (?, ?, NULL)", [before, place])
        connection.execute("UPDATE locations SET image_id = 7 WHERE uri = ?", [place])
    assert explain(pool.catalog, "first", place)["image_id"] == before


def test_a_place_that_is_none_is_answered_with_how_to_find_it(
    pool: Pool, manifest: Manifest, crawl: Path, workspace: Path
) -> None:
    ((broken, why),) = query(workspace, "SELECT uri, reason FROM failures ORDER BY uri LIMIT 1")
    for typed, said in (
        ("picture-05.png", f"'picture-05.png': did you mean {crawl}/picture-05.png?"),
        ("nowhere.png", f"'nowhere.png'; find it: kdcurate sql -w {workspace} \"SELECT image_id"),
        ("x' OR 'a' = 'a", "no image is at"),
        ("9" * 5000, "no image is at"),
        (broken, f"it could not be read ({why})"),
    ):
        with pytest.raises(UsageError, match=re.escape(said)) as caught:
            explain(pool.catalog, "first", typed)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="the manifest comes first: .* explain first 812$"):
        explain(pool.catalog, "812", "first")


def test_what_came_with_the_crawl_is_told_of_each_place(
    pool: Pool, manifest: Manifest, crawl: Path
) -> None:
    place = f"{crawl}/copy-0.png"
    with pool.catalog.write() as connection:
        connection.execute(
            """UPDATE locations SET metadata = '{"licence": {"name": "CC-BY"}}' WHERE uri = ?""",
            [place],
        )
        found = connection.execute("SELECT image_id FROM locations WHERE uri = ?", [place])
        ((image_id,),) = found.fetchall()
    explained = explain(pool.catalog, "first", image_id)
    assert explained["found_at"][0] == place
    assert explained["metadata"] == [{"licence": {"name": "CC-BY"}}, {}]


def test_an_image_that_is_gone_is_told_with_where_it_was(
    pool: Pool, manifest: Manifest, workspace: Path
) -> None:
    ((image_id,),) = query(workspace, "SELECT min(image_id) FROM selected")
    with pool.catalog.write() as connection:
        connection.execute(
            """INSERT INTO former_locations VALUES (?, 'gone.png', '{"licence": "CC0"}')""",
            [image_id],
        )
    assert "gone.png" not in explain(pool.catalog, "first", image_id)["found_at"]
    with pool.catalog.write() as connection:
        connection.execute("DELETE FROM locations WHERE image_id = ?", [image_id])
    explained = explain(pool.catalog, "first", image_id)
    assert (explained["found_at"], explained["metadata"]) == (["gone.png"], [{"licence": "CC0"}])


def test_an_unknown_image_or_manifest_is_refused(pool: Pool, manifest: Manifest) -> None:
    with pytest.raises(UsageError, match="no image 5 in 'first'"):
        explain(pool.catalog, "first", 5)
    with pytest.raises(UsageError, match="'second': there are first"):
        explain(pool.catalog, "second", 5)


def test_reasons_are_counted_without_their_numbers(
    pool: Pool, manifest: Manifest, workspace: Path
) -> None:
    found = reasons(pool.catalog, "first")
    rows = [reason for (reason,) in query(workspace, "SELECT reason FROM decisions")]
    assert sum(found.values()) == IMAGES
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert not any(letter.isdigit() for kind in found for letter in kind)
    for kind, count in found.items():
        assert count == sum(reason.startswith(kind) for reason in rows)
    starts = ("selected", "below class threshold", "near-duplicate")
    assert all(any(kind.startswith(start) for kind in found) for start in starts)
    assert sum(n for kind, n in found.items() if kind.startswith("selected")) == manifest.selected


def test_class_balance_counts_pool_and_selected(
    pool: Pool, manifest: Manifest, workspace: Path
) -> None:
    rows = query(workspace, "SELECT pseudo_label, selected, score FROM decisions")
    expected = []
    for label, name in enumerate(CLASSES):
        here = [(selected, score) for one, selected, score in rows if one == label]
        taken = [score for selected, score in here if selected]
        expected.append(
            {
                "pseudo_label": label,
                "class_name": name,
                "pool": len(here),
                "selected": len(taken),
                "mean_score": pytest.approx(sum(taken) / len(taken)),
            }
        )
    assert class_balance(pool.catalog, "first") == expected
