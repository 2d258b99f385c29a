"""--precision: settled once for an embedder in a workspace, by measuring or by word."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from curate.precision import settle_precision
from distill.networks import load_embedder
from distill.networks.card import resolve
from distill.networks.precision import LEAST_COSINE, LEAST_GAIN
from index.catalog import Catalog
from index.sources import SourceOptions

from .conftest import Kdcurate
from .helpers import QUIET, query

KEPT = "SELECT precision, cosine, gain FROM embedders"


def test_auto_measures_once_and_keeps_what_it_found(
    kdcurate: Kdcurate, crawl: Path, teacher: str, tmp_path: Path
) -> None:
    build = ("build-index", crawl, "-w", tmp_path, "--embedder", teacher, *QUIET)
    said = kdcurate(*build).err
    ((precision, cosine, gain),) = query(tmp_path, KEPT)
    worth_it = cosine > LEAST_COSINE and gain >= LEAST_GAIN
    assert precision == ("bfloat16" if worth_it else "float32")
    assert f"in {precision} (bfloat16 is" in said
    kdcurate(*build)
    assert query(tmp_path, KEPT) == [(precision, cosine, gain)]
    other = {"bfloat16": "float32", "float32": "bfloat16"}[precision]
    refused = kdcurate(*build, "--precision", other)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert f"are {precision}: leave --precision out" in refused.err


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_precision_that_is_asked_for_is_not_measured(
    kdcurate: Kdcurate, crawl: Path, teacher: str, tmp_path: Path, precision: str
) -> None:
    build = ("build-index", crawl, "-w", tmp_path, "--embedder", teacher, *QUIET)
    assert f" in {precision} into " in kdcurate(*build, "--precision", precision).err
    assert query(tmp_path, KEPT) == [(precision, None, None)]
    assert kdcurate(*build).code == 0  # auto keeps it


def test_an_unknown_precision_is_refused_before_any_work(
    kdcurate: Kdcurate, crawl: Path, teacher: str, tmp_path: Path
) -> None:
    ran = kdcurate("build-index", crawl, "-w", tmp_path / "ws", "--embedder", teacher,
                   "--precision", "half", *QUIET)  # fmt: skip
    assert (ran.code, "choose one of auto, float32, bfloat16" in ran.err) == (2, True)
    assert not (tmp_path / "ws").exists()


def test_of_two_builds_at_once_only_one_settles_the_precision(
    kdcurate: Kdcurate, crawl: Path, teacher: str, tmp_path: Path
) -> None:
    code = (
        "import sys; from pathlib import Path; from index.build import building\n"
        "with building(Path(sys.argv[1])): print('builds', flush=True); sys.stdin.read()\n"
    )
    build = ("build-index", crawl, "-w", tmp_path, "--embedder", teacher, *QUIET)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"builds\n"
        refused = kdcurate(*build, "--precision", "bfloat16")
        assert (refused.code, "another build-index works in" in refused.err) == (1, True)
        assert not Catalog(tmp_path).exists()
        other.kill()
    assert kdcurate(*build, "--precision", "float32").code == 0
    assert query(tmp_path, KEPT) == [("float32", None, None)]


def test_vectors_that_a_librarys_caller_made_are_float32(
    workspace: Path, crawl: Path, teacher: str
) -> None:
    catalog = Catalog(workspace)
    card = resolve(teacher)
    settled, _ = settle_precision(
        catalog, card, load_embedder(card), "auto", [str(crawl)], SourceOptions()
    )
    assert (settled.name, settled.cosine) == ("float32", None)


def test_without_an_image_to_measure_on_nothing_is_settled(tmp_path: Path, teacher: str) -> None:
    (tmp_path / "page.jpg").write_text("<html>")
    catalog, card = Catalog(tmp_path / "ws"), resolve(teacher)
    names = [str(tmp_path / "page.jpg")]
    settled, _ = settle_precision(
        catalog, card, load_embedder(card), "auto", names, SourceOptions()
    )
    assert settled.name == "float32"
    assert not catalog.exists()


def test_what_was_settled_binds_no_build_before_there_is_a_vector(
    teacher: str, crawl: Path, tmp_path: Path
) -> None:
    catalog, card = Catalog(tmp_path / "ws"), resolve(teacher)
    for precision in ("bfloat16", "float32"):  # the first build was stopped before its first commit
        settle_precision(
            catalog, card, load_embedder(card), precision, [str(crawl)], SourceOptions()
        )
    assert query(catalog.workspace, KEPT) == [("float32", None, None)]
