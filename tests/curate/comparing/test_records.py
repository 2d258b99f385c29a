"""What a comparison keeps apart: data it was measured on, terms, manifests, and a grown pool."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from curate.comparing import Grid, compare, plan
from curate.comparing.begun import begun_with, keeps_to
from curate.comparing.manifests import make_manifests, selections_of
from curate.manifest import get_manifest
from curate.networks import scored_pool
from curate.options import SelectOptions
from curate.pool import Pool
from curate.selection import select
from distill.networks import load_embedder
from distill.options import TrainOptions
from index.build import build_index
from index.catalog import Catalog
from index.errors import UsageError
from index.progress import Silent

from ..conftest import Kdcurate
from ..helpers import pixels_of, png, query, write_files, write_parquet

BUDGET, IMAGES, NEW = 12, 16, 9


def labelled(path: Path, classes: int) -> str:
    rows = [(png(pixels_of(900 + n)), n % classes) for n in range(IMAGES)]
    return str(write_parquet(path, "image BLOB, label INTEGER", rows))


@pytest.fixture
def asked(teacher: str, tmp_path: Path) -> Grid:
    return Grid(
        teacher=teacher,
        student="cifar:resnet8",
        methods=("kd",),
        strategies=("msp",),
        select=SelectOptions("random", budget=BUDGET),
        train=TrainOptions(max_steps=1, batch_size=4, device="cpu", precision="float32"),
        evaluate_on=labelled(tmp_path / "four.parquet", 4),
        workers=0,
    )


def grow(catalog: Catalog, crawl: Path, teacher: str, folder: Path) -> None:
    more = write_files(folder, {f"new-{n}.png": png(pixels_of(700 + n)) for n in range(NEW)})
    build_index(catalog.workspace, [str(crawl), str(more)], load_embedder(teacher), workers=0)


def test_a_run_measured_on_other_data_keeps_what_it_was_on_these(
    asked: Grid, pool: Pool, tmp_path: Path
) -> None:
    catalog, other = pool.catalog, replace(asked, evaluate_on=labelled(tmp_path / "one.parquet", 1))
    first = compare(catalog, asked)
    (second,) = compare(catalog, other)
    assert (first[0].steps, second.steps) == (1, 1)
    assert first[0].accuracy != second.accuracy
    rows = query(
        catalog.workspace, "SELECT run, accuracy, evaluated_on FROM comparisons ORDER BY accuracy"
    )
    assert len({run for run, _, _ in rows}) == 1  # it is one training
    assert {where: accuracy for _, accuracy, where in rows} == {
        asked.evaluate_on: first[0].accuracy,
        other.evaluate_on: second.accuracy,
    }
    before = query(catalog.workspace, "SELECT * FROM runs")
    assert compare(catalog, asked) == first
    assert query(catalog.workspace, "SELECT * FROM runs") == before  # nothing is measured again
    assert [cell["finished"] for cell in plan(catalog, asked)] == [True]
    third = replace(asked, evaluate_on=labelled(tmp_path / "two.parquet", 2))
    assert [cell["finished"] for cell in plan(catalog, third)] == [False]  # trained, not measured


def test_a_name_stands_for_its_terms(asked: Grid, pool: Pool) -> None:
    mine = replace(asked, name="mine")
    compare(pool.catalog, mine)
    assert query(pool.catalog.workspace, "SELECT terms FROM comparisons") == [(asked.terms(),)]
    longer = replace(mine, train=replace(asked.train, max_steps=2))
    for what in (compare, plan):
        with pytest.raises(UsageError, match="comparison 'mine' has other terms.*--name"):
            what(pool.catalog, longer)
    assert query(pool.catalog.workspace, "SELECT count(*) FROM runs") == [(1,)]
    select(replace(pool, student=None), "msp", SelectOptions("margin", budget=5))
    with pytest.raises(UsageError, match="rows called 'msp', once of a strategy and once"):
        compare(pool.catalog, replace(mine, strategies=("entropy",), manifests=("msp",)))


def test_a_seed_whose_manifest_was_made_anew_does_not_count(asked: Grid, pool: Pool) -> None:
    catalog, two = pool.catalog, replace(asked, seeds=2)
    (before,) = compare(catalog, two)
    with catalog.write() as connection:
        connection.execute("UPDATE comparisons SET manifest_hash = 'of another' WHERE seed = 1")
    (alone,) = compare(catalog, asked)
    assert (before.seeds, alone.seeds, alone.sd) == (2, 1, None)
    assert [cell["finished"] for cell in plan(catalog, two)] == [True, False]
    (again,) = compare(catalog, two)
    assert (again.accuracy, again.seeds) == (before.accuracy, 2)


def test_what_comes_later_selects_from_the_pool_that_the_comparison_began_with(
    asked: Grid, pool: Pool, crawl: Path, teacher: str, tmp_path: Path
) -> None:
    catalog, alone = pool.catalog, replace(pool, student=None)
    select(alone, "undisturbed", SelectOptions("entropy", budget=BUDGET))
    compare(catalog, asked)
    grow(catalog, crawl, teacher, tmp_path / "more")
    # All new images are taken where the pool is not kept to: by then it is another selection.
    larger = select(
        scored_pool(catalog, teacher, workers=0), "larger", SelectOptions("random", budget="100%")
    )
    more = replace(asked, strategies=("random", "entropy"), seeds=2)
    make_manifests(catalog, more, more.rows(selections_of(catalog, more)), "cpu", Silent())
    made = query(catalog.workspace, "SELECT name, pool FROM manifests WHERE contains(name, '-')")
    began = get_manifest(catalog, "undisturbed")
    assert len(made) == 4 and {size for _, size in made} == {began.pool} != {larger.pool}
    (entropy,) = (name for name, _ in made if name.startswith("entropy-"))
    assert get_manifest(catalog, entropy).content_hash == began.content_hash
    with pytest.raises(UsageError, match="selected from .* images and larger from .*: strategies"):
        compare(catalog, replace(asked, manifests=("larger",)))


def test_a_pool_that_cannot_be_had_again_is_refused(
    asked: Grid, pool: Pool, crawl: Path, teacher: str, tmp_path: Path
) -> None:
    catalog = pool.catalog
    begun = select(replace(pool, student=None), "mine", SelectOptions("msp", budget=BUDGET))
    assert begun_with(catalog, asked, [None]) is None
    assert keeps_to(catalog, None, SelectOptions("odsd_like")) is None
    assert begun_with(catalog, asked, [None, begun]) == begun
    assert keeps_to(catalog, begun, SelectOptions("odsd_like")) is None  # nothing has come since
    grow(catalog, crawl, teacher, tmp_path / "more")
    assert keeps_to(catalog, begun, SelectOptions("entropy")) == "mine"
    with pytest.raises(UsageError, match=f"{NEW} images came since.*odsd would be fitted"):
        keeps_to(catalog, begun, SelectOptions("odsd_like"))
    with catalog.write() as connection:
        connection.execute("DELETE FROM images WHERE id = (SELECT min(image_id) FROM decisions)")
    with pytest.raises(UsageError, match="1 images that mine decided are no longer"):
        plan(catalog, replace(asked, manifests=("mine",)))


def test_a_reference_is_only_of_the_strategies_that_read_it(
    asked: Grid, pool: Pool, reference: Path
) -> None:
    both = replace(asked, strategies=("msp", "knn"), reference=(str(reference),))
    compare(pool.catalog, both)
    stored = query(pool.catalog.workspace, "SELECT strategy, options FROM manifests")
    assert {name for name, options in stored if "reference" in json.loads(options)} == {"knn"}


def test_random_images_need_a_budget(kdcurate: Kdcurate, asked: Grid, pool: Pool) -> None:
    select(replace(pool, student=None), "mine", SelectOptions("margin", budget=BUDGET))
    command = (
        *("compare", "-w", pool.catalog.workspace, "--teacher", asked.teacher, "--device", "cpu"),
        *("--student", asked.student, "--methods", "kd", "--eval", asked.evaluate_on),
        *("--workers", 0, "--seeds", 1, "--dry-run", "--json"),
    )
    shown = kdcurate(*command, "--manifests", "mine")
    assert [cell["selection"] for cell in json.loads(shown.out)["cells"]] == ["mine"]
    assert "no random images beside the manifests: give --budget N" in shown.err
    shown = kdcurate(*command, "--manifests", "mine", "--budget", BUDGET)
    assert [cell["selection"] for cell in json.loads(shown.out)["cells"]] == ["random", "mine"]
    refused = kdcurate(*command, "--strategies", "kd3")
    assert refused.code == 2 and "random has no thresholds" in refused.err
    assert kdcurate(*command, "--strategies", "kd3", "--no-baseline").code == 0
    for option in (("--rounds", 2), ("--preset", "fast"), ("--reference", "r")):
        refused = kdcurate(*command, "--manifests", "mine", *option)
        assert refused.code == 2 and option[0] in refused.err
