"""The largest groups first, bounded, with where their images were found."""

from __future__ import annotations

from pathlib import Path

import pytest

from index.catalog import Catalog, insert
from index.duplicates import Group, find_by_hash, list_exact, list_stored

from .test_perceptual import store


def locate(catalog: Catalog, places: dict[str, int]) -> None:
    facts = {"kind": "files", "container": "c", "position": 0, "length": 1, "metadata": "{}"}
    facts["partition"] = "p"
    columns = {"uri": list(places), "image_id": list(places.values())}
    with catalog.write() as connection:
        insert(connection, "locations", {**columns, **facts})


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """Ids 10 to 19 share a hash, 30 and 31, and 20 and 21; 30 lies at four places, 20 at two."""
    catalog = Catalog(tmp_path)
    ids = [31, 30, 21, 20, *range(10, 20)]
    store(catalog, ids, [5, 5, -9, -9, *[2**40 + 2**50 + 2**60] * 10])
    places = {f"u{key}": key for key in ids}
    locate(catalog, places | {"a1": 30, "a2": 30, "z": 30, "b": 20})
    return catalog


def test_exact_copies_are_listed_by_the_number_of_places(catalog: Catalog) -> None:
    found = list_exact(catalog, 5)
    assert found.largest == [
        Group("exact", None, 4, [30], ["a1", "a2", "u30"]),
        Group("exact", None, 2, [20], ["b", "u20"]),
    ]
    assert (found.groups, found.members) == (2, 6)
    assert list_exact(catalog, 1).largest == found.largest[:1]
    assert list_exact(catalog, 1).groups == 2


def test_stored_groups_are_listed_by_the_number_of_images(catalog: Catalog) -> None:
    find_by_hash(catalog, 1)
    found = list_stored(catalog, "perceptual", 1, None, 5)
    assert found.largest == [
        Group("perceptual", 1, 10, [*range(10, 18)], ["u10", "u11", "u12"]),
        Group("perceptual", 1, 2, [20, 21], ["b", "u20", "u21"]),
        Group("perceptual", 1, 2, [30, 31], ["a1", "a2", "u30"]),
    ]
    assert (found.groups, found.members) == (3, 14)
    fewer = list_stored(catalog, "perceptual", 1, None, 2)
    assert (fewer.largest, fewer.groups) == (found.largest[:2], 3)


def test_only_the_relation_that_is_asked_for_is_listed(catalog: Catalog) -> None:
    find_by_hash(catalog, 1)
    for kind, bound, embedder in (("perceptual", 2, None), ("embedding", 1, None)):
        assert list_stored(catalog, kind, bound, embedder, 5).largest == []
    assert list_stored(catalog, "perceptual", 1, "e", 5).groups == 0


def test_what_lies_at_ten_places_is_marked_a_placeholder(catalog: Catalog) -> None:
    locate(catalog, {f"missing-{n}": 30 for n in range(6)})  # four more make ten
    found = list_exact(catalog, 5)
    assert [(group.ids, group.placeholder) for group in found.largest] == [
        ([30], True),
        ([20], False),
    ]
    assert (found.groups, found.placeholders) == (2, 1)
    find_by_hash(catalog, 1)
    stored = list_stored(catalog, "perceptual", 1, None, 5).largest
    assert [(group.ids[0], group.placeholder) for group in stored] == [
        (10, False),
        (20, False),
        (30, True),
    ]


def test_without_copies_nothing_is_listed(tmp_path: Path) -> None:
    store(Catalog(tmp_path), [1], [7])
    found = list_exact(Catalog(tmp_path), 5)
    assert (found.largest, found.groups, found.members) == ([], 0, 0)
