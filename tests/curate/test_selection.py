"""select, from files on disk to decisions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest

from curate.networks import make_scorer, register, scored_pool
from curate.options import SelectOptions
from curate.pool import Pool
from curate.scoring import score_pool
from curate.selection import select
from curate.shift import update_shifts
from curate.strategies.agreement import agreement
from distill.networks import load_embedder, load_network
from distill.selection import read_selection
from index.build import build_index
from index.catalog import Catalog

from .helpers import BROKEN, COPIES, IMAGES, crawl_files, query, write_files

KD3 = SelectOptions("kd3", budget=20, near_duplicates=0.9999)


def test_every_image_has_exactly_one_decision(pool: Pool, workspace: Path) -> None:
    found = select(pool, "first", KD3)
    select(pool, "second", SelectOptions("random", budget=5))
    for name in ("first", "second"):
        decided = query(workspace, "SELECT image_id FROM decisions WHERE manifest = ?", name)
        images = query(workspace, "SELECT id FROM images")
        assert sorted(decided) == sorted(images)
        assert len(decided) == IMAGES
    assert (found.pool, found.selected) == (IMAGES, 20)
    assert found.selected < found.eligible < found.pool


def test_failed_files_are_in_no_decision(pool: Pool, workspace: Path) -> None:
    select(pool, "first", KD3)
    failed = query(workspace, "SELECT uri FROM failures")
    assert {Path(uri).name for (uri,) in failed} == {"empty.png", "page.jpg"}
    assert len(failed) == BROKEN
    found_at = "SELECT uri FROM decisions JOIN locations USING (image_id)"
    assert len(query(workspace, found_at)) == IMAGES + COPIES
    assert not set(failed) & set(query(workspace, found_at))


def test_training_reads_what_was_selected_in_order(pool: Pool, workspace: Path) -> None:
    found = select(pool, "first", KD3)
    selection = read_selection(pool.catalog, "first")
    rows = query(workspace, "SELECT image_id, score FROM decisions WHERE selected ORDER BY rank")
    assert selection.ids.tolist() == [key for key, _ in rows]
    assert selection.content_hash == found.content_hash
    assert [-score for _, score in rows] == sorted(-score for _, score in rows)


def test_selecting_twice_gives_one_hash(pool: Pool) -> None:
    options = [KD3, replace(KD3, alpha=0.3), SelectOptions("random", budget=9, seed=3)]
    for one in options:
        hashes = {select(pool, name, one).content_hash for name in (f"{one}-a", f"{one}-b")}
        assert len(hashes) == 1


def test_order_path_and_batch_sizes_do_not_change_what_is_selected(
    pool: Pool, teacher: str, student: str, tmp_path: Path
) -> None:
    files = list(crawl_files().items())
    shuffled = np.random.default_rng(0).permutation(len(files))
    renamed = {f"{n:03d}{Path(files[i][0]).suffix}": files[i][1] for n, i in enumerate(shuffled)}
    names, half = list(renamed), len(renamed) // 2
    catalog = Catalog(tmp_path / "other")
    embedder = load_embedder(teacher)
    networks = [load_network(card) for card in (student, teacher)]
    # Half after half, in parts of a few vectors.
    for place, some in enumerate((names[:half], names[half:])):
        folder = write_files(tmp_path / f"half-{place}", {name: renamed[name] for name in some})
        build_index(catalog.workspace, [str(folder)], embedder, workers=0, rows_a_part=7)
        for network in networks:
            register(catalog, network.key, network.card)
            score_pool(catalog, make_scorer(network), workers=0)
            update_shifts(catalog, network.key)
    other = replace(pool, catalog=catalog)
    composed = [
        SelectOptions("msp", budget="auto", balance="sqrt", diversity="kcenter", per_class=9),
        replace(KD3, budget="20%", diversity="facility"),
        SelectOptions("entropy", budget=24, balance="full", diversity="clusters", seed=5),
    ]
    plain = [KD3, replace(KD3, alpha=0.4), SelectOptions("random", budget=20, seed=2)]
    for options in (*plain, *composed):
        here, there = select(pool, None, options), select(other, None, options)
        assert here.content_hash == there.content_hash
        assert (here.name, here.eligible) == (there.name, there.eligible)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_does_not_change_what_is_selected(
    pool: Pool, crawl: Path, teacher: str, student: str, tmp_path: Path, workers: int
) -> None:
    """The pool of all tests was indexed and scored without any."""
    catalog = Catalog(tmp_path / "other")
    build_index(catalog.workspace, [str(crawl)], load_embedder(teacher), workers=workers)
    other = scored_pool(catalog, teacher, student, workers=workers)
    for options in (
        replace(KD3, alpha=0.4),
        SelectOptions("bn_shift", budget=24, balance="full", diversity="kcenter"),
    ):
        here, there = select(pool, None, options), select(other, None, options)
        assert (here.name, here.content_hash) == (there.name, there.content_hash)


def test_reverse_takes_the_worst_first(pool: Pool, workspace: Path) -> None:
    select(pool, "best", SelectOptions("msp", budget=5))
    select(pool, "worst", SelectOptions("msp", budget=5, reverse=True))
    confidence = dict(
        query(workspace, "SELECT image_id, confidence FROM scores WHERE model = ?", pool.teacher)
    )
    ordered = sorted(confidence, key=lambda key: (confidence[key], key))
    assert read_selection(pool.catalog, "worst").ids.tolist() == ordered[:5]
    assert set(read_selection(pool.catalog, "best").ids.tolist()) == set(ordered[-5:])


def test_kd3s_thresholds_stand_in_the_ledger(pool: Pool, workspace: Path) -> None:
    select(pool, "first", KD3)
    counts = dict(query(workspace, "SELECT pseudo_label, count(*) FROM decisions GROUP BY ALL"))
    found = dict(query(workspace, "SELECT DISTINCT pseudo_label, threshold FROM decisions"))
    most = max(counts.values())
    assert found == pytest.approx(
        {label: 0.95 * (n / most) / (2 - n / most) for label, n in counts.items()}
    )


def test_components_say_what_both_networks_think(pool: Pool, workspace: Path) -> None:
    select(pool, "first", SelectOptions("random", budget=5))
    rows = query(
        workspace,
        "SELECT d.components, t.confidence, s.confidence, "
        "map_from_entries((SELECT list((estimator, value)) FROM shifts h "
        "WHERE h.image_id = d.image_id AND h.model = t.model)) FROM decisions d "
        "JOIN scores t ON t.image_id = d.image_id AND t.model = ? "
        "JOIN scores s ON s.image_id = d.image_id AND s.model = ?",
        pool.teacher,
        pool.student,
    )
    assert len(rows) == IMAGES
    for components, teacher, student, shifts in rows:
        assert components["teacher_confidence"] == pytest.approx(teacher, abs=1e-6)
        assert components["student_confidence"] == pytest.approx(student, abs=1e-6)
        assert set(shifts) == {"bn_shift", "bn_kl", "null_space", "classifier_angle"}
        assert shifts.items() <= components.items()
        assert 0 <= components["agreement"] <= 1


def test_agreement_by_hand() -> None:
    teacher = np.array([[1, 0], [1, 0], [0.5, 0.5]], np.float32)
    student = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    # The middle is (.75, .25): JS = ln 2 - .75 / 2 ln 3 ... = .215762 nats.
    js = 0.5 * (0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)) + 0.5 * np.log(1 / 0.75)
    expected = [1.0, 0.0, 1 - js / np.log(2)]
    np.testing.assert_allclose(agreement(teacher, student), expected, atol=1e-6)


def test_alpha_listens_to_the_student(pool: Pool) -> None:
    hashes = {select(pool, None, replace(KD3, alpha=a)).content_hash for a in (0.0, 0.5, 1.0)}
    assert len(hashes) == 3
    swapped = replace(pool, teacher=str(pool.student), student=pool.teacher)
    student_only = select(pool, "student", replace(KD3, alpha=0.0))
    teacher_only = select(swapped, "teacher", replace(KD3, alpha=1.0))
    assert student_only.content_hash == teacher_only.content_hash


def test_no_scratch_is_left_behind(pool: Pool, workspace: Path) -> None:
    select(pool, "first", KD3)
    assert list((workspace / "scratch").iterdir()) == []


@pytest.mark.slow
def test_selection_never_reads_what_came_with_the_crawl(data_dir: Path, tmp_path: Path) -> None:
    source = data_dir / "webpool" / "webpool_0.parquet"
    answers = ("orig_class", "orig_class_name", "cifar10_class")
    files = {"with": "*", "without": f"* EXCLUDE ({', '.join(answers)})"}
    teacher = str(data_dir / "teachers" / "resnet20.toml")
    embedder = load_embedder(teacher)
    hashes, ledgers = set(), []
    for name, columns in files.items():
        file = tmp_path / f"{name}.parquet"
        rows = f"SELECT {columns} FROM (FROM read_parquet('{source}') LIMIT 200)"
        duckdb.execute(f"COPY ({rows}) TO '{file}' (FORMAT parquet)")
        workspace = tmp_path / name
        build_index(workspace, [str(file)], embedder, workers=0)
        pool = scored_pool(Catalog(workspace), teacher, workers=0)
        hashes.add(select(pool, "first", SelectOptions("kd3", budget=50)).content_hash)
        ledgers.append(query(workspace, "FROM decisions ORDER BY image_id"))
        (known,) = query(workspace, "SELECT DISTINCT json_keys(metadata) FROM locations LIMIT 1")
        assert (set(answers) & set(known[0]) != set()) == (name == "with")
    assert len(hashes) == 1
    assert ledgers[0] == ledgers[1]
