"""A small workspace, built once and copied for each test that writes to it."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from index.catalog import Catalog

from . import workspaces


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only wait for a second thread, long where the cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package", autouse=True)
def ctrl_c() -> Iterator[None]:
    """A Ctrl-C is heard, though what a shell starts in the background is told to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def built_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return workspaces.build(tmp_path_factory.mktemp("workspace"))


@pytest.fixture
def catalog(built_workspace: Path, tmp_path: Path) -> Catalog:
    return Catalog(Path(shutil.copytree(built_workspace, tmp_path / "ws")))


@pytest.fixture(scope="session")
def teacher_card(built_workspace: Path) -> Path:
    return built_workspace.parent / "teacher" / "student.toml"
