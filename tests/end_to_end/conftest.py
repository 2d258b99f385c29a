"""The installed command and real data, cut to a size that two cores can work through."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from .commands import Workspace

POOL, LABELLED = 300, 200


@pytest.fixture(scope="session")
def slices(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """A folder with pool.parquet and test.parquet: evenly spread rows of the real ones."""
    folder = tmp_path_factory.mktemp("slices")
    cuts = [("webpool/webpool_0", "pool", POOL), ("cifar10/test_5k", "test", LABELLED)]
    with duckdb.connect() as connection:
        for source, name, count in cuts:
            rows = f"read_parquet('{data_dir / source}.parquet', file_row_number = true)"
            connection.execute(
                f"COPY (SELECT * EXCLUDE (file_row_number) FROM {rows} WHERE file_row_number % "
                f"((SELECT count(*) FROM {rows}) // {count}) = 0 ORDER BY file_row_number "
                f"LIMIT {count}) TO '{folder / name}.parquet' (FORMAT parquet)"
            )
    return folder


@pytest.fixture(scope="session")
def teacher(data_dir: Path) -> Path:
    return data_dir / "teachers" / "resnet20.toml"


@pytest.fixture(scope="session")
def selected(tmp_path_factory: pytest.TempPathFactory, slices: Path, teacher: Path) -> Workspace:
    """A workspace with an index and the manifest `first` of kd3; tests copy it, or only read."""
    workspace = Workspace(tmp_path_factory.mktemp("selected") / "ws")
    workspace.json("build-index", slices / "pool.parquet", "--embedder", teacher)
    workspace.json("select", "--teacher", teacher, "--budget", 48, "--name", "first")
    return workspace


@pytest.fixture
def workspace(selected: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the selected workspace."""
    return selected.copy(tmp_path / "ws")
