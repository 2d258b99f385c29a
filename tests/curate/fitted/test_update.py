"""Fitted estimates in the catalog: whose they are, when they are made again, what reads them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate.fitted import ESTIMATORS, Sample, needs_reference, stored_fitted
from curate.logits import StoredLogits
from curate.manifest import Manifest
from curate.networks import scored_pool
from curate.options import SelectOptions
from curate.pool import Pool
from curate.references import stored_reference
from curate.rounds import prepare_rounds
from curate.selection import select
from curate.verifying import verify_manifest
from distill.networks import load_embedder, load_network, register
from distill.options import TrainOptions
from distill.reselection import RoundStart
from distill.run import RunOptions
from distill.selection import read_selection
from index.build import build_index
from index.catalog import Catalog
from index.errors import UsageError, WorkspaceError
from index.progress import Silent
from index.vectors import sample_vectors, vectors_of

from ..helpers import IMAGES, crawl_files, pixels_of, png, query, write_files

CPU = TrainOptions(device="cpu")
BY_REFERENCE = [name for name in ESTIMATORS if needs_reference(name)]


def with_reference(pool: Pool, teacher: str, *sources: Path) -> Pool:
    names = [str(source) for source in sources]
    found = scored_pool(pool.catalog, teacher, reference=names, workers=0)
    return replace(pool, reference=found.reference)


@pytest.fixture
def referred(pool: Pool, teacher: str, reference: Path) -> Pool:
    """The pool with a reference."""
    return with_reference(pool, teacher, reference)


@pytest.fixture
def another(tmp_path: Path) -> Path:
    """Folder of another reference, of other pictures."""
    return write_files(
        tmp_path / "another", {f"{n}.png": png(pixels_of(700 + n)) for n in range(9)}
    )


def values(pool: Pool, name: str) -> dict[int, float]:
    rows = query(
        pool.catalog.workspace,
        "SELECT image_id, value FROM shifts WHERE estimator = ? AND reference = ?",
        name,
        pool.reference,
    )
    assert len(rows) == len(dict(rows))
    return dict(rows)


def afresh(pool: Pool, name: str) -> dict[int, float]:
    """An estimate of every image, from what is stored of them and nothing else."""
    assert pool.reference is not None and pool.embedder is not None
    ids = np.array([i for (i,) in query(pool.catalog.workspace, "SELECT id FROM images")])
    logits = StoredLogits(pool.catalog, pool.teacher)
    drawn, vectors = sample_vectors(pool.catalog, pool.embedder, 20_000, 0)
    sample = Sample(drawn, vectors, logits.gather(drawn))
    fitted = ESTIMATORS[name].fit(stored_reference(pool.catalog, pool.reference), sample)
    found = fitted(vectors_of(pool.catalog, pool.embedder, ids), logits.gather(ids))
    return dict(zip(ids.tolist(), found.tolist(), strict=True))


@pytest.mark.parametrize("name", BY_REFERENCE)
def test_what_is_stored_is_what_was_fitted(referred: Pool, name: str) -> None:
    made = select(referred, "first", SelectOptions(name, budget=9))
    assert made.options["reference"] == referred.reference
    assert made.embedder == referred.embedder
    assert values(referred, name) == afresh(referred, name)
    found = verify_manifest(referred.catalog, "first")
    assert found.is_whole and found.not_derived is None, found.problems


def test_no_estimate_of_another_reference_is_used(
    referred: Pool, teacher: str, another: Path
) -> None:
    first = select(referred, "first", SelectOptions("knn", budget=9))
    other = with_reference(referred, teacher, another)
    assert other.reference != referred.reference
    second = select(other, "second", SelectOptions("knn", budget=9))
    assert first.content_hash != second.content_hash
    assert values(other, "knn") == afresh(other, "knn") != values(referred, "knn")
    for made, pool in ((first, referred), (second, other)):
        scores = query(
            pool.catalog.workspace,
            "SELECT image_id, -score FROM decisions WHERE manifest = ?",
            made.name,
        )
        assert dict(scores) == values(pool, "knn")
        assert verify_manifest(pool.catalog, made.name).is_whole
    views = query(
        referred.catalog.workspace,
        "SELECT manifest, pool_mean FROM manifest_shift WHERE estimator = 'knn' ORDER BY 1",
    )
    means = [np.mean(list(values(pool, "knn").values())) for pool in (referred, other)]
    assert [name for name, _ in views] == ["first", "second"]
    assert [mean for _, mean in views] == pytest.approx(means)


def test_components_are_those_of_the_own_reference(
    referred: Pool, teacher: str, another: Path
) -> None:
    select(referred, "first", SelectOptions("knn", budget=9))
    other = with_reference(referred, teacher, another)
    select(other, "second", SelectOptions("retrieve", budget=9))
    select(replace(referred, reference=None), "third", SelectOptions("msp", budget=9))
    select(other, "fourth", SelectOptions("msp", budget=9))
    rows = query(
        referred.catalog.workspace, "SELECT DISTINCT manifest, map_keys(components) FROM decisions"
    )
    named = {manifest: {"knn", "retrieve"}.intersection(names) for manifest, names in rows}
    expected = {"first": {"knn"}, "second": {"retrieve"}, "third": set(), "fourth": {"retrieve"}}
    assert named == expected and len(rows) == len(expected)


def grow(pool: Pool, teacher: str, student: str, folder: Path) -> None:
    files = {f"{n}.png": png(pixels_of(800 + n)) for n in range(5)}
    sources = write_files(folder, files)
    build_index(pool.catalog.workspace, [str(sources)], load_embedder(teacher), workers=0)
    scored_pool(pool.catalog, teacher, student, workers=0)


def test_a_pool_that_grew_is_fitted_anew(
    referred: Pool, teacher: str, student: str, tmp_path: Path
) -> None:
    for name in ("knn", "domain"):
        select(referred, name, SelectOptions(name, budget=9))
    grow(referred, teacher, student, tmp_path / "more")
    # A stale estimate is no component, and stands in nobody's way.
    select(referred, "plain", SelectOptions("msp", budget=9))
    ((names,),) = query(
        referred.catalog.workspace,
        "SELECT DISTINCT map_keys(components) FROM decisions WHERE manifest = 'plain'",
    )
    assert not {"knn", "domain"} & set(names)
    for name in ("knn", "domain"):
        again = select(referred, f"{name}-again", SelectOptions(name, budget=9))
        assert again.pool == IMAGES + 5 == len(values(referred, name))
        assert values(referred, name) == afresh(referred, name)
    # What is fitted to the reference alone derives the older manifest as it was.
    found = verify_manifest(referred.catalog, "knn")
    assert found.is_whole and found.new_images == 5, found.problems
    found = verify_manifest(referred.catalog, "domain")
    assert found.is_whole and "domain would be fitted" in str(found.not_derived)


def test_a_damaged_reference_is_named_when_it_is_needed(
    referred: Pool, teacher: str, student: str, reference: Path, tmp_path: Path
) -> None:
    select(referred, "first", SelectOptions("knn", budget=9))
    file = referred.catalog.workspace / "references" / f"{referred.reference}.npz"
    file.unlink()
    assert verify_manifest(referred.catalog, "first").is_whole  # from what is stored
    grow(referred, teacher, student, tmp_path / "more")
    with pytest.raises(WorkspaceError, match=r"npz is missing or damaged: select with --reference"):
        select(referred, "second", SelectOptions("knn", budget=9))
    (problem,) = verify_manifest(referred.catalog, "first").problems
    assert f"{file} is missing or damaged" in problem
    with_reference(referred, teacher, reference)
    assert verify_manifest(referred.catalog, "first").is_whole


def test_without_an_index_it_is_refused(referred: Pool) -> None:
    with pytest.raises(UsageError, match="knn needs the vectors of an index: run build-index"):
        select(replace(referred, embedder=None), None, SelectOptions("knn", budget=9))


def test_neither_order_nor_parts_nor_the_source_of_the_reference_matter(
    referred: Pool, teacher: str, reference: Path, tmp_path: Path
) -> None:
    files = list(crawl_files().items())
    shuffled = np.random.default_rng(0).permutation(len(files))
    renamed = {f"{n:03d}{Path(files[i][0]).suffix}": files[i][1] for n, i in enumerate(shuffled)}
    sources = write_files(tmp_path / "shuffled", renamed)
    catalog = Catalog(tmp_path / "other")
    build_index(catalog.workspace, [str(sources)], load_embedder(teacher), workers=0, rows_a_part=7)
    network = load_network(teacher)
    register(catalog, network.key, network.card)
    backwards = sorted(reference.glob("own-*.png"), reverse=True)
    other = scored_pool(catalog, teacher, reference=[str(file) for file in backwards], workers=2)
    assert other.reference == referred.reference
    options = SelectOptions("rank", rank=" + ".join(BY_REFERENCE), budget=20, weights="domain")
    here = select(replace(referred, student=None), None, options)
    there = select(other, None, options)
    assert here.content_hash == there.content_hash
    for name in BY_REFERENCE:
        theirs = values(other, name)
        assert values(referred, name) == pytest.approx(theirs, rel=1e-2, abs=1e-2)


def weights(manifest: Manifest, pool: Pool) -> dict[str, Any]:
    rows = query(
        pool.catalog.workspace,
        "SELECT image_id, weight, selected, components['domain'] FROM decisions WHERE manifest = ?",
        manifest.name,
    )
    columns = ("ids", "weight", "selected", "domain")
    return {n: np.array(c) for n, c in zip(columns, zip(*rows, strict=True), strict=True)}


def test_weights_are_the_clipped_ratio_with_a_mean_of_1(referred: Pool) -> None:
    options = SelectOptions("kd3", budget=20, weights="domain")
    made = select(referred, "weighed", options)
    found = weights(made, referred)
    clipped = np.clip(found["domain"].astype(np.float64), 0.1, 10)
    assert (clipped == 0.1).any() or (clipped == 10).any()
    expected = clipped / clipped[found["selected"]].mean()
    np.testing.assert_allclose(found["weight"], expected, rtol=1e-5)
    assert len(set(found["weight"][found["selected"]].tolist())) > 5
    assert found["weight"][found["selected"]].mean() == pytest.approx(1, rel=1e-5)


def test_weights_are_hashed_verified_and_trained_with(referred: Pool) -> None:
    options = SelectOptions("kd3", budget=20)
    plain = select(referred, "plain", options)
    made = select(referred, "weighed", replace(options, weights="domain"))
    assert made.content_hash != plain.content_hash
    assert made.options["weights"] == "domain" and made.embedder == referred.embedder
    unweighed, weighed = (read_selection(referred.catalog, m.name) for m in (plain, made))
    assert np.array_equal(weighed.ids, unweighed.ids)  # weights choose nothing
    assert (unweighed.weights == 1).all()
    found = weights(made, referred)
    stored = dict(zip(found["ids"].tolist(), found["weight"].tolist(), strict=True))
    assert weighed.weights.tolist() == [stored[i] for i in weighed.ids.tolist()]
    assert weighed.weights.dtype == np.float32
    assert verify_manifest(referred.catalog, "weighed").is_whole
    with Catalog(referred.catalog.workspace).write() as connection:
        connection.execute("UPDATE ledger SET weight = 2 WHERE manifest = 'weighed' AND rank = 3")
    changed = verify_manifest(referred.catalog, "weighed")
    assert changed.differences == {"weight": 1} and not changed.is_whole


def test_even_weights_may_be_asked_for(referred: Pool) -> None:
    even = select(referred, "even", SelectOptions("kd3", budget=20, weights="none"))
    assert even.content_hash == select(referred, "p", SelectOptions("kd3", budget=20)).content_hash


def test_rounds_keep_the_reference_and_the_weights_of_their_parent(
    referred: Pool, teacher: str, another: Path
) -> None:
    options = SelectOptions("kd3", budget=20, weights="domain")
    parent = select(referred, "parent", options)
    other = with_reference(referred, teacher, another)
    select(other, "meanwhile", replace(options, budget=9))
    ids = np.sort(weights(parent, referred)["ids"])
    run = RunOptions("parent", teacher, "cifar:resnet8", "kd", CPU, {}, workers=0)
    prepared = prepare_rounds(referred.catalog, run, load_network(teacher), Silent())
    rounds = prepared("run", ids)
    first = rounds(RoundStart(0, 1, 60.0, False, lambda: pytest.fail("no say yet")))
    assert np.array_equal(first.weights, read_selection(referred.catalog, "parent").weights)
    rows = query(
        referred.catalog.workspace,
        "SELECT options->>'reference', options->>'weights' FROM manifests "
        "WHERE name = 'run/round-001'",
    )
    assert rows == [(referred.reference, "domain")]


def test_what_is_fitted_to_the_pool_alone_goes_by_its_embedder(referred: Pool) -> None:
    select(referred, "first", SelectOptions("odsd_like", budget=9))
    stored = partial(stored_fitted, referred.catalog, referred.teacher, None)
    assert "odsd" in stored(referred.embedder)
    assert "odsd" not in stored("another-embedder") + stored(None)
