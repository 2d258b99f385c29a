"""Decoded images in a file: whole or absent, for these ids and this view alone."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from index import pixelcache
from index.catalog import Catalog
from index.decoding import Pixels, View
from index.errors import WorkspaceError
from index.files import locked
from index.parts import Ids
from index.pixelcache import cache_folder, is_whole, open_cached, write_cached
from index.verify import findings

VIEW = View(4)
IDS = np.arange(10, dtype=np.int64) * 5


def pixels() -> Pixels:
    return np.random.default_rng(0).integers(256, size=(10, 4, 4, 3), dtype=np.uint8)


def in_pieces(order: list[int]) -> Iterator[tuple[Ids, Pixels]]:
    for start in range(0, len(order), 3):
        places = order[start : start + 3]
        yield IDS[places], pixels()[places]


def written(workspace: Path) -> Path:
    folder = cache_folder(workspace, IDS, VIEW)
    write_cached(folder, IDS, VIEW, in_pieces([3, 1, 9, 0, 2, 4, 8, 7, 5, 6]))
    return folder


def test_what_comes_in_any_order_lies_in_the_order_of_ids(tmp_path: Path) -> None:
    folder = written(tmp_path)
    opened = open_cached(folder)
    assert opened is not None
    np.testing.assert_array_equal(opened[0], IDS)
    np.testing.assert_array_equal(opened[1], pixels())
    assert is_whole(folder)
    names = {entry.name for entry in folder.iterdir()}
    assert names == {"pixels.u8", "ids.npy", "facts.json", ".lock"}


def test_the_name_changes_with_what_decides_the_pixels(tmp_path: Path) -> None:
    first = cache_folder(tmp_path, IDS, VIEW)
    others = [
        cache_folder(tmp_path, IDS[:-1], VIEW),
        cache_folder(tmp_path, IDS + 1, VIEW),
        cache_folder(tmp_path, IDS, replace(VIEW, resize=6)),
        cache_folder(tmp_path, IDS, replace(VIEW, interpolation="bicubic")),
    ]
    assert len({first, *others}) == 5 and cache_folder(tmp_path, IDS.copy(), VIEW) == first


@pytest.mark.parametrize("damage", ["shorter", "no ids", "no facts", "no pixels", "words"])
def test_what_is_not_whole_is_as_if_it_were_absent(tmp_path: Path, damage: str) -> None:
    folder = written(tmp_path)
    names = {"no ids": "ids.npy", "no facts": "facts.json", "no pixels": "pixels.u8"}
    if damage == "shorter":
        (folder / "pixels.u8").write_bytes((folder / "pixels.u8").read_bytes()[:-1])
    elif damage == "words":
        (folder / "facts.json").write_text("none")
    else:
        (folder / names[damage]).unlink()
    assert open_cached(folder) is None
    written(tmp_path)
    assert is_whole(folder)


def test_verify_names_pixels_that_changed(tmp_path: Path) -> None:
    with Catalog(tmp_path).write():
        pass
    folder = written(tmp_path)
    assert list(findings(Catalog(tmp_path))) == []
    changed = bytearray((folder / "pixels.u8").read_bytes())
    changed[7] ^= 1
    (folder / "pixels.u8").write_bytes(changed)
    (found,) = findings(Catalog(tmp_path))
    assert "pixels.u8 is missing or damaged: delete its folder" in str(found)


def test_a_disk_that_is_too_small_is_said_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=479))
    monkeypatch.setattr(pixelcache, "shutil", usage)

    def decoding() -> Iterator[tuple[Ids, Pixels]]:
        raise AssertionError("it was read")
        yield

    folder = cache_folder(tmp_path, IDS, VIEW)
    with pytest.raises(WorkspaceError, match="are free: free some .*--cache-budget"):
        write_cached(folder, IDS, VIEW, decoding())


def test_a_disk_that_fills_meanwhile_leaves_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    folder = cache_folder(tmp_path, IDS, VIEW)
    folder.mkdir(parents=True)
    (folder / ".lock").touch()
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(WorkspaceError, match=r"no space left while writing .*pixels\.u8"):
            write_cached(folder, IDS, VIEW, in_pieces(list(range(10))))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [entry.name for entry in folder.iterdir() if entry.name != ".lock"] == []


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    folder = cache_folder(tmp_path, IDS, VIEW)
    with (
        locked(folder / ".lock", "this test"),
        pytest.raises(WorkspaceError, match="another process decodes images into"),
    ):
        write_cached(folder, IDS, VIEW, in_pieces([0]))


def test_facts_say_what_it_is(tmp_path: Path) -> None:
    facts = json.loads((written(tmp_path) / "facts.json").read_text())
    assert (facts["images"], facts["size"], facts["view"]["size"]) == (10, 4, 4)
    shutil.rmtree(tmp_path / "cache")
    assert open_cached(cache_folder(tmp_path, IDS, VIEW)) is None
