"""Manifests that a run trains on stay, from the run's first moment to its last."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from curate.manifest import delete_manifest, find_manifest
from curate.options import SelectOptions
from curate.pool import Pool
from curate.selection import select
from distill.begun import write_begun
from distill.networks import load_network
from distill.options import TrainOptions
from distill.run import RunOptions, RunResult, distill
from distill.unfinished import begun_path
from index.catalog import Catalog
from index.errors import UsageError, WorkspaceError
from index.progress import Advance, Silent

from .helpers import query

FIRST = SelectOptions("msp", budget=12)
TRAIN = TrainOptions(
    max_steps=3, batch_size=4, device="cpu", precision="float32", checkpoint_every=1, log_every=1
)


class Meanwhile(Silent):
    """Does something else, once, when a run comes to a step, or has advanced there."""

    def __init__(self, name: str, act: Callable[[], object], *, advanced: bool = False) -> None:
        self._name, self._act, self._advanced = name, act, advanced

    @contextmanager
    def step(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:
        def advance(count: int) -> None:
            if name == self._name and self._advanced and count:
                self._act()

        if name == self._name and not self._advanced:
            self._act()
        yield advance


@pytest.fixture
def options(teacher: str) -> RunOptions:
    return RunOptions("first", teacher, "cifar:resnet8", "kd", TRAIN, {}, name="mine", workers=0)


def train(pool: Pool, options: RunOptions, progress: Silent | None = None) -> RunResult:
    teacher = load_network(options.teacher)
    return distill(pool.catalog, options, teacher=teacher, progress=progress)


def interrupt() -> None:
    raise KeyboardInterrupt


def folder(pool: Pool) -> Path:
    return pool.catalog.workspace / "runs" / "mine"


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_manifest_stays_while_its_run_still_decodes(
    pool: Pool, options: RunOptions, *, dry_run: bool
) -> None:
    select(pool, "first", FIRST)
    said: list[str] = []

    def delete() -> None:
        assert not (folder(pool) / "checkpoint").exists()
        with pytest.raises(UsageError) as refused:
            delete_manifest(pool.catalog, "first", dry_run=dry_run)
        said.append(str(refused.value))

    train(pool, options, Meanwhile("Decoding", delete))
    assert said == [
        "manifest 'first' stays: unfinished run mine trains on it; finish it with the same "
        f"command, or give it up by removing {folder(pool)}"
    ]
    assert query(pool.catalog.workspace, "SELECT name, manifest FROM runs") == [("mine", "first")]
    with pool.catalog.read() as connection:
        assert find_manifest(connection, "first") is not None
    with pytest.raises(UsageError, match="'first' stays: run mine refers to it"):
        delete_manifest(pool.catalog, "first", dry_run=dry_run)


def test_a_run_that_ends_before_its_first_checkpoint_lets_go(
    pool: Pool, options: RunOptions
) -> None:
    made = select(pool, "first", FIRST)
    with pytest.raises(KeyboardInterrupt):
        train(pool, options, Meanwhile("Decoding", interrupt))
    assert delete_manifest(pool.catalog, "first") == made.pool


def test_a_run_that_was_killed_lets_go_when_its_folder_is_removed(
    pool: Pool, options: RunOptions, tmp_path: Path
) -> None:
    made, killed = select(pool, "first", FIRST), tmp_path / "killed"
    train(pool, options, Meanwhile("Decoding", lambda: shutil.copytree(folder(pool), killed)))
    other = replace(pool, catalog=Catalog(pool.catalog.workspace))
    shutil.rmtree(folder(pool))
    with pool.catalog.write() as connection:
        connection.execute("DELETE FROM runs")
    killed.rename(folder(pool))
    with pytest.raises(UsageError, match=f"or give it up by removing {folder(pool)}"):
        delete_manifest(other.catalog, "first")
    shutil.rmtree(folder(pool))
    assert delete_manifest(other.catalog, "first") == made.pool


def test_an_interrupted_run_keeps_its_manifest_and_no_other(
    pool: Pool, options: RunOptions
) -> None:
    made = select(pool, "first", FIRST)
    assert select(pool, "twin", FIRST).content_hash == made.content_hash
    other = select(pool, "other", replace(FIRST, budget=11))
    with pytest.raises(KeyboardInterrupt):
        train(pool, options, Meanwhile("Training", interrupt, advanced=True))
    assert (folder(pool) / "checkpoint" / "last.pt").is_file()
    with pytest.raises(WorkspaceError, match="is of a run with manifest = .*another --run name"):
        train(pool, replace(options, manifest="other"))
    assert delete_manifest(pool.catalog, "other") == other.pool
    assert delete_manifest(pool.catalog, "twin") == made.pool
    with pytest.raises(UsageError, match="'first' stays: unfinished run mine trains on it"):
        delete_manifest(pool.catalog, "first")
    assert train(pool, options).steps == 3


def test_a_run_of_an_earlier_version_goes_on_and_keeps_its_manifest(
    pool: Pool, options: RunOptions
) -> None:
    select(pool, "first", FIRST)
    with pytest.raises(KeyboardInterrupt):
        train(pool, options, Meanwhile("Training", interrupt, advanced=True))
    begun_path(folder(pool)).unlink()
    said: list[str] = []

    def delete() -> None:
        with pytest.raises(UsageError) as refused:
            delete_manifest(pool.catalog, "first")
        said.append(str(refused.value))

    assert train(pool, options, Meanwhile("Decoding", delete)).steps == 3
    assert "unfinished run mine trains on it" in said[0]


def test_a_manifest_that_went_before_the_run_began_is_said(pool: Pool) -> None:
    made, catalog = select(pool, "first", FIRST), pool.catalog
    identity = {"manifest": made.content_hash}
    write_begun(catalog, folder(pool), "first", identity)
    with pytest.raises(UsageError, match="no manifest is called 'frist': did you mean first"):
        write_begun(catalog, folder(pool), "frist", identity)
    with pytest.raises(UsageError, match="'first' was made anew meanwhile: repeat the command"):
        write_begun(catalog, folder(pool), "first", {"manifest": "0" * 64})


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"manifest": 1}', b"\xff"])
def test_a_damaged_file_is_named(pool: Pool, content: bytes) -> None:
    made = select(pool, "first", FIRST)
    path = begun_path(folder(pool))
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(WorkspaceError) as refused:
        delete_manifest(pool.catalog, "first")
    assert str(refused.value) == f"{path} is damaged: delete it when run mine does not train"
    path.unlink()
    assert delete_manifest(pool.catalog, "first") == made.pool


def test_where_there_is_no_catalog_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="no catalog at"):
        delete_manifest(Catalog(tmp_path), "first")
    assert list(tmp_path.iterdir()) == []
