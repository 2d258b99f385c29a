"""A manifest as a set: what is measured, of which images, what is stored, and what is left out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from curate import setshift
from curate.distances import frechet_distance, median_bandwidth, mmd_squared, proxy_a_distance
from curate.manifest import Manifest, delete_manifest
from curate.measures import stored_measures
from curate.networks import scored_pool
from curate.options import SelectOptions
from curate.pool import Pool
from curate.references import stored_reference
from curate.selection import select
from curate.setshift import update_set_shift
from distill.networks import Network, load_embedder, load_network
from distill.setmoments import SetMoments
from index.build import build_index
from index.catalog import Catalog
from index.errors import NetworkError
from index.reading import read_images
from index.vectors import mixed, vectors_of

from .conftest import Kdcurate
from .helpers import IMAGES, pixels_of, png, query, write_files

# Images that are selected, and those of the reference.
TAKEN, OWN = 12, 20
MEANS = ["mean_bn_kl", "mean_bn_shift", "mean_classifier_angle", "mean_null_space"]


@pytest.fixture(scope="module")
def network(teacher: str) -> Network:
    return load_network(teacher)


@pytest.fixture
def measured(pool: Pool, teacher: str, reference: Path) -> Pool:
    """The pool with a reference set."""
    found = scored_pool(pool.catalog, teacher, reference=[str(reference)], workers=0)
    return replace(pool, reference=found.reference)


def rows(catalog: Catalog, manifest: str) -> dict[str, tuple[float, float, int | None, str | None]]:
    return {
        row["measure"]: (row["pool"], row["selected"], row["images"], row["reference"])
        for row in stored_measures(catalog, manifest)
    }


def samples(pool: Pool, manifest: Manifest, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids of pool and selection whose mixed ids are smallest, as many of both."""
    decided = query(pool.catalog.workspace, "SELECT image_id, selected FROM decisions")
    both = []
    for some in ([key for key, _ in decided], [key for key, taken in decided if taken]):
        ids = np.array(some)
        both.append(ids[np.argsort(mixed(ids, manifest.seed))][: min(most, manifest.selected)])
    return both[0], both[1]


def test_without_a_reference_the_moments_alone(pool: Pool, network: Network) -> None:
    manifest = select(pool, "first", SelectOptions("kd3", budget=TAKEN, alpha=0.5))
    assert update_set_shift(pool, manifest, network, workers=0) == {}
    found = rows(pool.catalog, "first")
    assert list(found) == ["bn_moments", "disagreement", "label_kl", *MEANS]
    view = network.card.input.view()
    keys, pixels = map(
        np.concatenate, zip(*read_images(pool.catalog, view, workers=0), strict=True)
    )
    for ids, value in zip(samples(pool, manifest, 512), found["bn_moments"][:2], strict=True):
        expected = SetMoments(network).distance(pixels[np.isin(keys, ids)])
        assert value == pytest.approx(expected, rel=1e-5)
    assert found["bn_moments"][2:] == (TAKEN, None)
    (shift,) = query(
        pool.catalog.workspace,
        "SELECT pool_kl, selected_kl, pool_disagreement, selected_disagreement "
        "FROM manifest_shift WHERE estimator = 'bn_shift'",
    )
    assert found["label_kl"] == (*shift[:2], None, None)
    assert found["disagreement"] == (*shift[2:], None, None)


def test_against_a_reference(
    measured: Pool, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setshift, "PAIRED", 9)
    assert measured.embedder is not None and measured.reference is not None
    manifest = select(measured, "first", SelectOptions("msp", budget=TAKEN, seed=3))
    assert update_set_shift(measured, manifest, network, workers=0) == {}
    found = rows(measured.catalog, "first")
    reference = stored_reference(measured.catalog, measured.reference)
    own = reference.vectors[np.argsort(mixed(reference.ids, 0))]
    width = median_bandwidth(own[:9])
    for place, ids in enumerate(samples(measured, manifest, 10_000)):
        x = vectors_of(measured.catalog, measured.embedder, ids)
        assert found["frechet"][place] == pytest.approx(frechet_distance(x, own))
        assert found["mmd"][place] == pytest.approx(mmd_squared(x[:9], own[:9], width))
        assert found["proxy_a"][place] == proxy_a_distance(x[:9], own[:9], 3)
    labels = query(measured.catalog.workspace, "SELECT pseudo_label, selected FROM decisions")
    own_labels = reference.logits.astype(np.float64).argmax(axis=1)
    q = (np.array([(own_labels == k).sum() for k in range(4)], np.float64) + 0.5) / (OWN + 2)
    for place, some in enumerate((labels, [row for row in labels if row[1]])):
        p = np.array([sum(label == k for label, _ in some) for k in range(4)], float) / len(some)
        expected = sum(p[k] * np.log(p[k] / q[k]) for k in range(4) if p[k] > 0)
        assert found["label_shift"][place] == pytest.approx(expected, rel=1e-12)
    counts = {name: row[2:] for name, row in found.items() if row[3]}
    assert counts == {
        "label_shift": (None, measured.reference),
        "frechet": (TAKEN, measured.reference),
        "mmd": (9, measured.reference),
        "proxy_a": (9, measured.reference),
    }


def test_means_of_the_estimates_that_every_image_has(
    measured: Pool, teacher: str, tmp_path: Path
) -> None:
    by_reference = SelectOptions("knn", budget=TAKEN, weights="domain")
    select(measured, "first", by_reference)
    select(measured, "embedded", SelectOptions("odsd_like", budget=TAKEN))
    select(replace(measured, reference=None), "bare", SelectOptions("msp", budget=TAKEN))
    own = {name.removeprefix("mean_"): None for name in MEANS}
    fitted = dict.fromkeys(("knn", "domain"), measured.reference) | {"odsd": measured.embedder}
    expected = {"first": own | fitted, "embedded": own | fitted, "bare": own}
    check_means(measured, expected)
    sources = write_files(tmp_path / "more", {"new.png": png(pixels_of(800))})
    build_index(measured.catalog.workspace, [str(sources)], load_embedder(teacher), workers=0)
    scored_pool(measured.catalog, teacher, workers=0)
    # What was fitted to the older pool is no mean of this one.
    alone = replace(measured, student=None)
    assert select(alone, "grown", SelectOptions("msp", budget=TAKEN)).pool == IMAGES + 1
    check_means(measured, expected | {"grown": own})


def check_means(pool: Pool, expected: dict[str, dict[str, str | None]]) -> None:
    """The means, and `manifest_shift`, are those in float64 of what the catalog has of an image."""
    shifts: dict[str, dict[int, float]] = {}
    for name, key, value in query(
        pool.catalog.workspace,
        "SELECT estimator, image_id, value FROM shifts WHERE model = ?",
        pool.teacher,
    ):
        shifts.setdefault(name, {})[key] = value
    for manifest, estimates in expected.items():
        shown = {name: row for name, row in rows(pool.catalog, manifest).items() if "mean_" in name}
        assert {name: row[3] for name, row in shown.items()} == {
            f"mean_{name}": key for name, key in estimates.items()
        }
        decided = query(
            pool.catalog.workspace,
            "SELECT image_id, selected FROM decisions WHERE manifest = ?",
            manifest,
        )
        ids, taken = (np.array(column) for column in zip(*decided, strict=True))
        views = query(
            pool.catalog.workspace,
            "SELECT 'mean_' || estimator, pool_mean, selected_mean FROM manifest_shift "
            "WHERE manifest = ?",
            manifest,
        )
        assert {name: row[:2] for name, row in shown.items()}.items() <= {
            name: tuple(means) for name, *means in views
        }.items()
        for name, (in_pool, in_selection, images, _) in shown.items():
            values = np.array([shifts[name.removeprefix("mean_")][key] for key in ids], np.float64)
            assert in_pool == pytest.approx(values.mean(), rel=1e-6, abs=1e-8), name
            assert in_selection == pytest.approx(values[taken].mean(), rel=1e-6, abs=1e-8), name
            assert images is None and in_pool != in_selection


def test_neither_order_nor_parts_matter(
    pool: Pool, network: Network, crawl: Path, teacher: str, tmp_path: Path
) -> None:
    files = sorted(crawl.iterdir(), reverse=True)
    moved = write_files(
        tmp_path / "moved", {f"{n:03d}{f.suffix}": f.read_bytes() for n, f in enumerate(files)}
    )
    build_index(tmp_path / "other", [str(moved)], load_embedder(teacher), workers=0, rows_a_part=16)
    other = scored_pool(Catalog(tmp_path / "other"), teacher, workers=0)
    found = []
    for one in (replace(pool, student=None), other):
        manifest = select(one, "first", SelectOptions("msp", budget=TAKEN))
        update_set_shift(one, manifest, network, workers=0)
        found.append(rows(one.catalog, "first"))
    assert found[0] == found[1]


def test_what_is_stored_is_not_measured_again(pool: Pool, network: Network) -> None:
    manifest = select(pool, "first", SelectOptions("msp", budget=TAKEN))
    update_set_shift(pool, manifest, network, workers=0)
    with pool.catalog.write() as connection:
        connection.execute("UPDATE set_shifts SET pool = 7")
    update_set_shift(pool, manifest, network, workers=0)
    assert rows(pool.catalog, "first")["bn_moments"][0] == 7


def test_another_reference_replaces_what_was_measured_against_the_first(
    measured: Pool, network: Network, teacher: str, tmp_path: Path
) -> None:
    manifest = select(measured, "first", SelectOptions("msp", budget=TAKEN))
    update_set_shift(measured, manifest, network, workers=0)
    files = {f"{n}.png": png(255 - pixels_of(900 + n)) for n in range(20)}
    source = str(write_files(tmp_path / "another", files))
    found = scored_pool(measured.catalog, teacher, reference=[source], workers=0)
    before = rows(measured.catalog, "first")
    update_set_shift(found, manifest, network, workers=0)
    after = rows(measured.catalog, "first")
    assert list(after) == list(before)
    assert after["bn_moments"] == before["bn_moments"]
    assert {after[name][3] for name in ("frechet", "mmd", "proxy_a")} == {found.reference}


def test_one_image_has_a_moment_distance_only(measured: Pool, network: Network) -> None:
    manifest = select(measured, "one", SelectOptions("msp", budget=1))
    left_out = update_set_shift(measured, manifest, network, workers=0)
    assert left_out == {
        "frechet": f"it takes 2 images, and there are 1 and {OWN}",
        "mmd": f"it takes 2 images, and there are 1 and {OWN}",
        "proxy_a": f"it takes 5 images, and there are 1 and {OWN}",
    }
    found = rows(measured.catalog, "one")
    assert list(found) == ["bn_moments", "disagreement", "label_kl", "label_shift", *MEANS]
    assert found["bn_moments"][2] == 1


def test_the_whole_pool_is_as_far_as_itself(measured: Pool, network: Network) -> None:
    manifest = select(measured, "all", SelectOptions("msp"))
    assert manifest.selected == IMAGES
    update_set_shift(measured, manifest, network, workers=0)
    found = rows(measured.catalog, "all")
    for name in ("bn_moments", "frechet", "mmd", "proxy_a", "label_kl"):
        assert found[name][0] == found[name][1], name


def test_a_teacher_without_batchnorm_is_named(pool: Pool, network: Network) -> None:
    manifest = select(pool, "first", SelectOptions("msp", budget=TAKEN))
    bare = load_network(network.card)
    for layer in bare.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.track_running_stats = False
    left_out = update_set_shift(pool, manifest, bare, workers=0)
    assert left_out == {
        "bn_moments": "cifar:resnet8 has no BatchNorm layer with running statistics"
    }
    assert "bn_moments" not in rows(pool.catalog, "first")


def test_images_that_are_gone_leave_the_manifest_alone(
    pool: Pool, network: Network, crawl: Path
) -> None:
    manifest = select(pool, "first", SelectOptions("msp", budget=TAKEN))
    with pool.catalog.write() as connection:
        connection.execute("UPDATE locations SET container = container || '.gone'")
    left_out = update_set_shift(pool, manifest, network, workers=0)
    assert ".gone" in left_out["bn_moments"]
    assert query(pool.catalog.workspace, "SELECT name FROM manifests") == [("first",)]


def test_measures_go_with_their_manifest(pool: Pool, network: Network) -> None:
    for name in ("first", "second"):
        manifest = select(pool, name, SelectOptions("msp", budget=TAKEN))
        update_set_shift(pool, manifest, network, workers=0)
    delete_manifest(pool.catalog, "first")
    left = query(pool.catalog.workspace, "SELECT manifest FROM set_shifts")
    assert left == [("second",)]
    update_set_shift(pool, replace(manifest, name="first"), network, workers=0)
    assert query(pool.catalog.workspace, "SELECT manifest FROM set_shifts") == left


def test_select_prints_what_show_prints(
    kdcurate: Kdcurate, workspace: Path, teacher: str, reference: Path
) -> None:
    command = ("select", "-w", workspace, "--teacher", teacher, "--strategy", "msp", "--name", "a")
    options = ("--budget", TAKEN, "--reference", reference, "--workers", 0, "--device", "cpu")
    made = kdcurate(*command, *options)
    assert made.code == 0, made.err
    shown = kdcurate("manifests", "show", "a", "-w", workspace)
    lines = made.out.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("measure"))
    assert lines[start].split() == ["measure", "pool", "selected", "images"]
    assert [line.split()[0] for line in lines[start + 1 :]] == [
        *("bn_moments", "frechet", "mmd", "proxy_a", "label_kl", "label_shift", *MEANS)
    ]
    assert "\n".join(lines[start:]) in shown.out
    again = json.loads(kdcurate(*command, *options, "--json").out)
    stored = json.loads(kdcurate("manifests", "show", "a", "-w", workspace, "--json").out)
    assert again["shift"] == stored["shift"] and again["shift_left_out"] == {}
    assert {row["measure"] for row in stored["shift"] if row["reference"]} == {
        *("frechet", "mmd", "proxy_a", "label_shift")
    }


def test_what_cannot_be_measured_is_said(
    kdcurate: Kdcurate, workspace: Path, teacher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise NetworkError("vit has no BatchNorm layer with running statistics")

    monkeypatch.setattr(setshift, "SetMoments", refuse)
    made = kdcurate(
        *("select", "-w", workspace, "--teacher", teacher, "--strategy", "msp"),
        *("--budget", TAKEN, "--workers", 0, "--device", "cpu"),
    )
    assert made.code == 0
    assert "no bn_moments: vit has no BatchNorm layer with running statistics" in made.err
    assert "label_kl" in made.out and "bn_moments" not in made.out
