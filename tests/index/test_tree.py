"""The files below a folder: their order, and that it is the same where names do not fit."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from index.sources import tree
from index.sources.tree import files_below, in_order

NAMES = ("b.png", "a\nb.png", "A.png", "\udce9.png", "é.png", "\U0001f600.png", "a b.png")


def is_png(name: str) -> bool:
    return name.endswith(".png")


def test_a_folders_own_files_come_first_then_its_folders_each_by_name(tmp_path: Path) -> None:
    for name in ("b/z.png", "b/c/x.png", "b/c.png", "a/y.png", "zz.png", "aa.png", "n.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    expected = ("aa.png", "zz.png", "a/y.png", "b/c.png", "b/z.png", "b/c/x.png")
    assert list(files_below(str(tmp_path), is_png)) == [str(tmp_path / name) for name in expected]


def test_links_to_folders_are_neither_files_nor_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "0.png").touch()
    (tmp_path / "folder.png").symlink_to(tmp_path / "real")
    (tmp_path / "file.png").symlink_to(tmp_path / "real" / "0.png")
    (tmp_path / "circle.png").symlink_to("circle.png")
    found = [os.path.relpath(path, tmp_path) for path in files_below(str(tmp_path), is_png)]
    assert found == ["circle.png", "file.png", "real/0.png"]


@pytest.mark.parametrize("in_memory", [1, 2, 3, len(NAMES), 100])
def test_names_that_do_not_fit_into_memory_are_sorted_the_same(
    in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "_NAMES_IN_MEMORY", in_memory)
    assert list(in_order(iter(NAMES))) == sorted(NAMES)
    assert list(in_order(iter(()))) == []


@pytest.fixture
def deep_root(tmp_path: Path) -> Iterator[Path]:
    """A folder that is gone afterwards: pytest itself cannot remove what lies so deep."""
    yield tmp_path / "deep"
    subprocess.run(["rm", "-r", tmp_path / "deep"], check=True)


def test_a_deep_tree_is_walked_to_its_end(deep_root: Path) -> None:
    deep = deep_root
    deep.mkdir()
    for _ in range(1500):  # deeper than Python may recurse
        deep /= "d"
        deep.mkdir()
    (deep / "0.png").touch()
    assert list(files_below(str(deep_root), is_png)) == [str(deep / "0.png")]
