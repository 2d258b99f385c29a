"""What a build knows of the catalog without asking it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index import known
from index.catalog import Catalog
from index.known import HashFilter, IdSet, Known

from .helpers import Quadrants, build, rows, write_shards

IDS = st.lists(st.lists(st.integers(0, 50) | st.integers(0, 2**63 - 1), max_size=40), max_size=8)


@settings(max_examples=50, deadline=None)
@given(added=IDS, asked=st.lists(st.integers(0, 50) | st.integers(0, 2**63 - 1)))
def test_a_set_of_ids_is_a_set(added: list[list[int]], asked: list[int]) -> None:
    found = IdSet()
    for ids in added:
        found.add(np.array(ids, dtype=np.int64))
    true = {key for ids in added for key in ids}
    wanted = [*asked, *true]
    held = found.holds(np.array(wanted, dtype=np.int64))
    assert held.tolist() == [key in true for key in wanted]


def test_a_set_of_ids_takes_8_bytes_an_id_in_few_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "_SEGMENT", 1000)
    found, rng = IdSet(), np.random.default_rng(0)
    for _ in range(100):
        found.add(rng.integers(2**62, size=100))
    assert sum(segment.nbytes for segment in found._segments) == 8 * 100 * 100
    assert len(found._segments) < 30
    assert max(map(len, found._segments)) <= 1000


def test_a_filter_forgets_nothing_and_invents_little() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(2**64, size=300_000, dtype=np.uint64)
    found = HashFilter(100_000)
    for part in np.split(hashes[:100_000], 10):
        found.add(part)
    assert found.may_hold(hashes[:100_000]).all()
    assert np.count_nonzero(found.may_hold(hashes[100_000:])) < 10  # 1.2 are expected


def test_what_is_in_the_catalog_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "_AT_ONCE", 3)
    build(tmp_path, write_shards(tmp_path / "crawl") / "*.tar")
    catalog = Catalog(tmp_path)
    ids = [key for (key,) in rows(tmp_path, "SELECT id FROM images")]
    uris = [uri for (uri,) in rows(tmp_path, "SELECT uri FROM locations UNION FROM (SELECT uri "
                                             "FROM failures)")]  # fmt: skip
    mine, others = Known(catalog, Quadrants.key, 10), Known(catalog, "another", 10)
    assert mine.with_vector([*ids, 5]) == set(ids)
    assert others.with_vector(ids) == set()
    assert sorted(mine.images([5, *ids])) == sorted(others.images([*ids, 5])) == sorted(ids)
    with catalog.read() as connection:
        assert sorted(mine.places(connection, [*uris, "/new"])) == sorted(uris)
        assert mine.places(connection, ["/new", "/newer"]) == ["/new"]
    mine.add([5, 6], [5])
    assert mine.with_vector([5, 6, 7]) == {5}
    assert mine.images([5, 6, 7]) == [5, 6]


def test_of_an_empty_workspace_nothing_is_known(tmp_path: Path) -> None:
    nothing = Known(Catalog(tmp_path), "m", 0)
    assert (nothing.with_vector([1]), nothing.images([1]), nothing.with_vector([])) == (
        set(),
        [],
        set(),
    )
