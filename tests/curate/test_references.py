"""Reference sets: what is read, what is kept, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from curate.logits import StoredLogits
from curate.networks import scored_pool
from curate.pool import Pool
from curate.reference_images import load_reference
from curate.references import Reference, stored_reference
from curate.search import choose_embedder
from distill.networks import load_network
from index.catalog import Catalog
from index.errors import DataError, NetworkError, WorkspaceError
from index.progress import Silent
from index.vectors import mixed, vectors_of
from index.verify import findings

from .conftest import Kdcurate
from .helpers import IMAGES, pixels_of, png, query, write_files, write_parquet


class Diary(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def load(pool: Pool, teacher: str, *sources: Path, **options: object) -> Reference:
    names = [str(source) for source in sources]
    _, card = choose_embedder(pool.catalog, None)
    given = {"workers": 0, **options}
    return load_reference(pool.catalog, names, card, load_network(teacher), **given)  # type: ignore[arg-type]


def same(one: Reference, other: Reference) -> bool:
    arrays = ("ids", "vectors", "logits")
    return one.key == other.key and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays
    )


def test_broken_images_and_copies_are_left_out(pool: Pool, teacher: str, reference: Path) -> None:
    diary = Diary()
    found = load(pool, teacher, reference, progress=diary)
    assert len(found.ids) == len(found.vectors) == len(found.logits) == 20
    assert (np.diff(found.ids) > 0).all()
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, rtol=1e-6)
    broken, rough = diary.lines
    assert "reference: 2 files cannot be read, such as " in broken
    assert "reference: only 20 images: estimates by so few are rough" in rough
    assert query(pool.catalog.workspace, "SELECT count(*) FROM images") == [(IMAGES,)]
    row = query(pool.catalog.workspace, "SELECT key, embedder, teacher, images FROM reference_sets")
    assert row == [(found.key, pool.embedder, pool.teacher, 20)]


def test_it_is_what_the_pool_would_hold_of_the_same_images(
    pool: Pool, teacher: str, crawl: Path
) -> None:
    found = load(pool, teacher, crawl)
    assert len(found.ids) == IMAGES
    stored = vectors_of(pool.catalog, str(pool.embedder), found.ids)
    np.testing.assert_allclose(found.vectors, stored, atol=2e-3)
    logits = StoredLogits(pool.catalog, pool.teacher).gather(found.ids)
    np.testing.assert_allclose(found.logits, logits, atol=2e-2)


def test_neither_the_order_nor_the_kind_of_source_nor_workers_matter(
    pool: Pool, teacher: str, reference: Path, tmp_path: Path
) -> None:
    images = sorted(reference.glob("own-*.png"), reverse=True)
    rows = [(file.read_bytes(),) for file in images]
    table = write_parquet(tmp_path / "own.parquet", "image BLOB", rows)
    one = load(pool, teacher, reference)
    other_pool = replace(pool, catalog=Catalog(tmp_path / "other"))
    shutil.copytree(pool.catalog.workspace, other_pool.catalog.workspace)
    (other_pool.catalog.workspace / "references" / f"{one.key}.npz").unlink()
    with other_pool.catalog.write() as connection:
        connection.execute("DELETE FROM reference_sets")
    other = load(other_pool, teacher, table, workers=2)
    assert other.key == one.key and np.array_equal(other.ids, one.ids)
    np.testing.assert_allclose(other.vectors, one.vectors, atol=2e-3)
    np.testing.assert_allclose(other.logits, one.logits, atol=2e-2)


def test_of_too_many_images_those_with_the_smallest_mixed_ids_stay(
    pool: Pool, teacher: str, reference: Path
) -> None:
    whole = load(pool, teacher, reference)
    diary = Diary()
    some = load(pool, teacher, reference, most=6, progress=diary)
    drawn = whole.ids[np.argsort(mixed(whole.ids, 0))[:6]]
    assert np.array_equal(some.ids, np.sort(drawn)) and some.key != whole.key
    assert "reference: 6 of 20 images, drawn by their ids, stand for all" in diary.lines
    places = np.searchsorted(whole.ids, some.ids)
    np.testing.assert_allclose(some.vectors, whole.vectors[places], atol=2e-3)


def test_what_did_not_change_is_not_read_again(
    pool: Pool, teacher: str, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_files(
        tmp_path / "own", {file.name: file.read_bytes() for file in reference.glob("own-*.png")}
    )
    first = load(pool, teacher, folder)
    with monkeypatch.context() as patch:
        patch.setattr("curate.reference_images.find_images", lambda *_: pytest.fail("read again"))
        assert same(load(pool, teacher, folder), first)
    (folder / "another.png").write_bytes(png(pixels_of(600)))
    second = load(pool, teacher, folder)
    assert len(second.ids) == 21 and second.key != first.key
    (folder / "another.png").unlink()
    monkeypatch.setattr("curate.reference_images._compute", lambda *_: pytest.fail("embedded"))
    assert same(load(pool, teacher, folder), first)


def test_the_same_images_from_elsewhere_are_not_embedded_again(
    pool: Pool, teacher: str, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(pool, teacher, reference)
    moved = Path(shutil.copytree(reference, tmp_path / "moved"))
    monkeypatch.setattr("curate.reference_images._compute", lambda *_: pytest.fail("embedded"))
    assert same(load(pool, teacher, moved), first)
    monkeypatch.setattr("curate.reference_images.find_images", lambda *_: pytest.fail("read again"))
    assert load(pool, teacher, moved).sources == [str(moved)]


def test_an_embedder_whose_weights_changed_is_refused(
    pool: Pool, teacher: str, student: str, reference: Path
) -> None:
    card = load_network(student).card  # as if its file had been written over
    with pytest.raises(NetworkError, match="is not what the index was built with.*put the weights"):
        load_reference(pool.catalog, [str(reference)], card, load_network(teacher))


@pytest.mark.parametrize("files", [{}, {"page.png": b"<html></html>"}])
def test_a_reference_without_images_is_refused(
    pool: Pool, teacher: str, tmp_path: Path, files: dict[str, bytes]
) -> None:
    empty = write_files(tmp_path / "empty", files)
    with pytest.raises(DataError, match=r"no image of --reference .* can be read .*give images"):
        load(pool, teacher, empty)
    assert query(pool.catalog.workspace, "SELECT count(*) FROM reference_sets") == [(0,)]


def damage(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("spoil", [damage, Path.unlink])
def test_a_file_that_is_gone_or_damaged_is_named_with_its_remedy(
    pool: Pool, teacher: str, reference: Path, spoil: object
) -> None:
    assert callable(spoil)
    first = load(pool, teacher, reference)
    file = pool.catalog.workspace / "references" / f"{first.key}.npz"
    assert not list(findings(pool.catalog))
    spoil(file)
    with pytest.raises(WorkspaceError) as error:
        stored_reference(pool.catalog, first.key)
    remedy = f"select with --reference {reference} makes it again"
    assert str(error.value).startswith(f"{file} is missing or damaged: {remedy}")
    (finding,) = findings(pool.catalog)
    assert finding.path == str(file) and "select with the same --reference" in finding.remedy
    assert same(load(pool, teacher, reference), first)
    assert not list(findings(pool.catalog))


def test_a_key_that_the_catalog_does_not_know_is_said(pool: Pool) -> None:
    with pytest.raises(WorkspaceError, match="knows no reference set 0815: give select its --ref"):
        stored_reference(pool.catalog, "0815")


@pytest.mark.parametrize(
    ("sources", "message"),
    [(("nowhere",), "no such source: nowhere"), ((), "knn needs a reference set")],
)
def test_a_source_that_is_not_there_ends_in_one_line(
    kdcurate: Kdcurate, workspace: Path, teacher: str, sources: Sequence[str], message: str
) -> None:
    given = [word for source in sources for word in ("--reference", source)]
    found = kdcurate("select", "-w", workspace, "--teacher", teacher, "--strategy", "knn", *given)
    assert found.code in (1, 2) and message in found.err and found.err.count("\n") == 1


def test_the_embedder_that_is_not_the_teacher_makes_the_vectors(
    crawl: Path, teacher: str, student: str, reference: Path, tmp_path: Path, kdcurate: Kdcurate
) -> None:
    workspace = tmp_path / "ws"
    quiet = ("--workers", 0, "--json")
    built = kdcurate("build-index", crawl, "-w", workspace, "--embedder", student, *quiet)
    assert built.code == 0, built.err
    pool = scored_pool(Catalog(workspace), teacher, reference=[str(reference)], workers=0)
    embedder = load_network(student)
    assert pool.reference is not None and pool.embedder == embedder.key != pool.teacher
    row = query(workspace, "SELECT embedder, teacher FROM reference_sets")
    assert row == [(embedder.key, pool.teacher)]
    assert stored_reference(pool.catalog, pool.reference).vectors.shape == (
        20,
        embedder.classifier.in_features,
    )
