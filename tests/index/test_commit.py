"""What waits to be committed while another process holds the catalog."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index import commit
from index.build import build_index
from index.catalog import Catalog
from index.decoding import Pixels

from .helpers import Quadrants, build, content, write_shards
from .test_build import Told
from .test_catalog import held


def test_a_build_that_could_not_commit_for_long_waits_instead_of_filling_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "_MOST_WAITING", 2)
    monkeypatch.setattr(commit, "_SETTLING_PATIENCE_S", 0.1)
    crawl = write_shards(tmp_path / "crawl")
    build(tmp_path / "undisturbed", crawl / "*.tar")
    catalog = Catalog(tmp_path / "ws")
    with catalog.write():
        pass
    shell = held(catalog.path)
    held_by: list[int] = []
    one_at_a_time = threading.Lock()

    class Watched(Quadrants):
        def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
            with one_at_a_time:
                if not held_by:
                    held_by.append(shell.__enter__())
            return super().__call__(pixels)

    class Releases(Told):
        def say(self, message: str) -> None:
            super().say(message)
            if message.startswith("waiting to commit"):
                shell.__exit__(None, None, None)
                parts = list((tmp_path / "ws" / "vectors").rglob("part-*.npz"))
                assert len(parts) == 2  # the third is not written

    told = Releases()
    names = [str(crawl / "*.tar")]
    build_index(tmp_path / "ws", names, Watched(), workers=0, rows_a_part=1, progress=told)
    assert [line for line in told.said if line.startswith("waiting to commit")]
    assert content(tmp_path / "ws") == content(tmp_path / "undisturbed")
