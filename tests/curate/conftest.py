"""One crawl, one teacher, and one scored workspace for all tests; copies for those that write."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch

from curate.cli.main import main
from curate.networks import scored_pool
from curate.pool import Pool
from distill.networks import load_embedder
from index.build import build_index
from index.catalog import Catalog

from .helpers import Outcome, crawl_files, pixels_of, png, write_files, write_network

Kdcurate = Callable[..., Outcome]
CLIP = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="session")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the crawl."""
    return write_files(tmp_path_factory.mktemp("crawl") / "files", crawl_files())


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a reference: 20 pictures that the crawl has not, one twice, and two broken."""
    files = {f"own-{n:02d}.png": png(pixels_of(500 + n)) for n in range(20)}
    files |= {"twice.png": files["own-00.png"], "empty.png": b"", "page.png": b"<html></html>"}
    return write_files(tmp_path_factory.mktemp("reference") / "files", files)


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Card of the teacher."""
    return str(write_network(tmp_path_factory.mktemp("teacher"), "teacher", seed=1))


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Card of a student that disagrees with the teacher here and there."""
    return str(write_network(tmp_path_factory.mktemp("student"), "student", seed=2))


@pytest.fixture(scope="session")
def scored(
    crawl: Path, teacher: str, student: str, tmp_path_factory: pytest.TempPathFactory
) -> Pool:
    """The pool of a workspace indexed with the teacher and scored by both; only to be read."""
    workspace = tmp_path_factory.mktemp("scored") / "ws"
    build_index(workspace, [str(crawl)], load_embedder(teacher), workers=0)
    return scored_pool(Catalog(workspace), teacher, student, workers=0)


@pytest.fixture
def workspace(scored: Pool, tmp_path: Path) -> Path:
    """A copy of the scored workspace, for this test alone."""
    return Path(shutil.copytree(scored.catalog.workspace, tmp_path / "ws"))


@pytest.fixture
def pool(scored: Pool, workspace: Path) -> Pool:
    """The copied workspace's pool, as teacher and student see it."""
    return replace(scored, catalog=Catalog(workspace))


@pytest.fixture
def kdcurate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Kdcurate:
    """Run a command as the shell would, in this process."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["kdcurate", *map(str, arguments)])
        handler = signal.getsignal(signal.SIGINT)
        capsys.readouterr()
        try:
            with pytest.raises(SystemExit) as ended:
                main()
        finally:
            signal.signal(signal.SIGINT, handler)
        out, err = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), out, err)

    return run


@pytest.fixture
def clip(tmp_path: Path) -> Iterator[str]:
    """Spec of a small open_clip model with random weights, in a file."""
    (tmp_path / "kdcurate-small.json").write_text(json.dumps(CLIP))
    open_clip.add_model_config(tmp_path / "kdcurate-small.json")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model("kdcurate-small")
    torch.save(model.state_dict(), tmp_path / "clip.pt")
    yield f"open_clip:kdcurate-small/{tmp_path / 'clip.pt'}"
    open_clip.factory._MODEL_CONFIGS.pop("kdcurate-small")
    open_clip.factory._MODEL_CONFIG_PATHS.remove(tmp_path / "kdcurate-small.json")
