"""A workspace whose every text means harm, with two manifests and a run of two rounds."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from curate.networks import scored_pool
from curate.options import SelectOptions
from curate.report.content import Content, gather
from curate.report.options import ReportOptions
from curate.report.page import render
from curate.rounds import prepare_rounds
from curate.selection import select
from distill.networks import load_embedder, load_network
from distill.options import TrainOptions
from distill.run import RunOptions, distill
from index.build import build_index
from index.catalog import Catalog
from index.progress import Silent

from ..helpers import CLASSES, crawl_files, write_files, write_parquet

HARM = "</script><script>window.harmed=1</script><img src=x onerror=window.harmed=1>'\"&{{7*7}}"
# A slash would make a folder of it.
FILE = "<img src=x onerror=window.harmed=2>\"'&.png"
FIRST, SECOND = "first <script>window.harmed=3</script>", "second"
RUN = "run <b onclick=window.harmed=4>"


@dataclass(frozen=True)
class Made:
    """The workspace, and everything that a report with originals says of it."""

    catalog: Catalog
    content: Content


@pytest.fixture(scope="session")
def made(
    teacher: str, student: str, reference: Path, tmp_path_factory: pytest.TempPathFactory
) -> Made:
    """Made by the first of the workers that needs it, and read by the others."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    kept = folder / "harmful.pickle"
    with FileLock(folder / "harmful.lock"):
        if not kept.exists():
            catalog = _workspace(folder / "harmful", teacher, student)
            options = ReportOptions(Path("unused.html"), reference=[str(reference)], workers=0)
            kept.write_bytes(pickle.dumps(Made(catalog, gather(catalog, options, Silent()))))
    found: Made = pickle.loads(kept.read_bytes())
    return found


@pytest.fixture(scope="session")
def harmful(made: Made) -> Catalog:
    """The catalog of a crawl in two sources; only to be read."""
    return made.catalog


@pytest.fixture(scope="session")
def content(made: Made) -> Content:
    """Everything that a report with originals says."""
    return made.content


@pytest.fixture(scope="session")
def page(content: Content) -> str:
    """The page as text."""
    return render(content)


def _workspace(folder: Path, teacher: str, student: str) -> Catalog:
    shutil.copytree(Path(teacher).parent, folder / "teacher")
    card = folder / "teacher" / "teacher.toml"
    text = card.read_text().replace(json.dumps(CLASSES[0]), json.dumps(HARM))
    assert json.dumps(HARM) in text
    card.write_text(text)
    files = crawl_files()
    crawl = write_files(folder / "crawl", files | {FILE: files["picture-00.png"]})
    rows = [(files[f"picture-{n:02d}.png"], HARM) for n in range(30)]
    captions = write_parquet(folder / "captions.parquet", "image BLOB, caption VARCHAR", rows)
    catalog = Catalog(folder / "ws")
    embedder = load_embedder(str(card))
    build_index(catalog.workspace, [str(crawl), str(captions)], embedder, workers=0)
    alone = scored_pool(catalog, str(card), workers=0)
    kd3 = SelectOptions("kd3", budget=40, per_class=10, alpha=1.0, perceptual=4)
    select(alone, FIRST, kd3)
    both = scored_pool(catalog, str(card), student, workers=0)
    select(both, SECOND, SelectOptions("kd3", budget=20, alpha=0.5))
    _train(catalog, str(card), captions.parent)
    return catalog


def _train(catalog: Catalog, teacher: str, folder: Path) -> None:
    files = crawl_files()
    rows = [(files[f"picture-{n:02d}.png"], n % 4) for n in range(20)]
    labelled = write_parquet(folder / "labelled.parquet", "image BLOB, label INTEGER", rows)
    options = RunOptions(
        manifest=FIRST,
        teacher=teacher,
        student="cifar:resnet8",
        method="kd",
        train=TrainOptions(max_steps=5, batch_size=8, rounds=2, device="cpu"),
        method_options={},
        name=RUN,
        evaluate_on=str(labelled),
        workers=0,
    )
    network = load_network(teacher)
    rounds = prepare_rounds(catalog, options, network, Silent())
    distill(catalog, options, teacher=network, make_reselect=rounds)
    with catalog.write() as connection:  # a curve has two points; a run measures every 50 steps
        connection.execute("INSERT INTO metrics SELECT run, step + 5, name, value / 2 FROM metrics")
