"""select, from files on disk to decisions."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from numpy.typing import NDArray

from curate.networks import make_scorer, register, scored_pool
from curate.pool import Pool
from curate.scoring import score_pool
from curate.selection import SelectOptions, select
from curate.shift import update_shifts
from curate.strategies.agreement import agreement
from distill.networks import load_embedder, load_network
from distill.selection import read_selection
from index.build import build_index
from index.catalog import Catalog
from index.errors import NothingSelectedError, UsageError, WorkspaceError
from index.vectors import vectors_of

from .helpers import BROKEN, COPIES, IMAGES, NEAR, SIZE, build, crawl_files, query, write_files

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


def test_reverse_takes_the_worst_first(pool: Pool, workspace: Path) -> None:
    select(pool, "best", SelectOptions("msp", budget=5))
    select(pool, "worst", SelectOptions("msp", budget=5, reverse=True))
    confidence = dict(
        query(workspace, "SELECT image_id, confidence FROM scores WHERE model = ?", pool.teacher)
    )
    ordered = sorted(confidence, key=lambda key: (confidence[key], key))
    assert read_selection(pool.catalog, "worst").ids.tolist() == ordered[:5]
    assert set(read_selection(pool.catalog, "best").ids.tolist()) == set(ordered[-5:])


def test_reverse_makes_no_sense_with_thresholds(pool: Pool) -> None:
    with pytest.raises(UsageError, match="--reverse makes no sense with kd3"):
        select(pool, None, replace(KD3, reverse=True))


def labels(pool: Pool, name: str) -> Counter[int]:
    rows = query(
        pool.catalog.workspace,
        "SELECT pseudo_label FROM decisions WHERE manifest = ? AND selected",
        name,
    )
    return Counter(label for (label,) in rows)


def test_per_class_limits_each_class(pool: Pool) -> None:
    select(pool, "all", SelectOptions("msp"))
    select(pool, "few", SelectOptions("msp", per_class=6))
    assert labels(pool, "few") == {k: min(count, 6) for k, count in labels(pool, "all").items()}
    assert max(labels(pool, "all").values()) > 6


def test_full_balance_takes_the_same_number_of_each_class(pool: Pool) -> None:
    select(pool, "all", SelectOptions("msp"))
    select(pool, "even", SelectOptions("msp", budget=20, balance="full"))
    select(pool, "best", SelectOptions("msp", budget=20))
    assert min(labels(pool, "all").values()) >= 5
    assert labels(pool, "even") == dict.fromkeys(range(4), 5)
    assert labels(pool, "best") != labels(pool, "even")


def test_sqrt_balance_lies_between_proportional_and_full(pool: Pool) -> None:
    shares = {}
    for balance in ("proportional", "sqrt", "full"):
        select(pool, balance, SelectOptions("msp", budget=20, balance=balance))
        shares[balance] = labels(pool, balance)
    select(pool, "all", SelectOptions("msp"))
    there = labels(pool, "all")
    most, least = max(there, key=there.__getitem__), min(there, key=there.__getitem__)
    ratios = [share[most] / share[least] for share in shares.values()]
    assert ratios == sorted(ratios, reverse=True) and ratios[0] > ratios[2]


def test_a_share_of_the_pool_is_one_of_all_images_whatever_is_eligible(pool: Pool) -> None:
    few = SelectOptions("msp", budget="10%", min_size=SIZE + 1)
    with pytest.raises(NothingSelectedError):
        select(pool, None, few)
    found = select(pool, "tenth", replace(KD3, budget="10%"))
    assert (found.selected, found.eligible < found.pool) == (IMAGES // 10, True)
    assert found.options["budget"] == "10%" and found.options["balance"] == "proportional"
    assert found.options["resolved_budget"] == IMAGES // 10
    number = select(pool, "number", replace(KD3, budget=IMAGES // 10))
    assert found.content_hash == number.content_hash
    assert "resolved_budget" not in number.options


def test_an_automatic_budget_explains_itself(pool: Pool, workspace: Path) -> None:
    found = select(pool, "auto", SelectOptions("msp", budget="auto"))
    assert found.selected == found.options["resolved_budget"] < found.eligible
    note = found.options["budget_note"]
    assert note.startswith(f"auto budget: {found.selected} of {IMAGES} eligible images: there ")
    assert "bn_shift" in note
    # In NumPy: 76 images, each its own bin.
    rows = query(
        workspace,
        "SELECT score, components['bn_shift'] FROM decisions ORDER BY score DESC, image_id",
    )
    score, shift = (np.array(column) for column in zip(*rows, strict=True))
    value = (score - score.min()) / (score.max() - score.min())
    cost = (shift - shift.min()) / (shift.max() - shift.min())
    monotone = [
        max(min(cost[a : b + 1].mean() for b in range(i, IMAGES)) for a in range(i + 1))
        for i in range(IMAGES)
    ]
    assert found.selected == 1 + int(np.argmax(value <= monotone))


def test_an_automatic_budget_needs_an_estimate(pool: Pool) -> None:
    with pool.catalog.write() as connection:
        connection.execute("DELETE FROM shifts WHERE estimator <> 'bn_kl'")
    with pytest.raises(UsageError, match=f"--budget auto needs .* {pool.teacher} has none of bn_"):
        select(pool, None, SelectOptions("msp", budget="auto"))


@pytest.mark.parametrize("method", ["kcenter", "facility", "clusters"])
def test_diverse_picks_are_less_alike_than_the_best_scores(pool: Pool, method: str) -> None:
    plain = replace(KD3, balance="full", budget=16)
    diverse = replace(plain, diversity=method)
    first, best = select(pool, "first", diverse), select(pool, "best", plain)
    assert first.content_hash == select(pool, "again", diverse).content_hash != best.content_hash
    assert labels(pool, "first") == labels(pool, "best")
    assert (first.selected, first.eligible) == (best.selected, best.eligible)
    assert (first.embedder, first.options["diversity"]) == (pool.embedder, method)
    reasons = {kind for kind, *_ in why(pool, "first")}
    assert {"selected", "less diverse"} <= reasons

    if method == "facility":
        assert coverage(pool, "first") > coverage(pool, "best")
    else:
        assert crowding(pool, "first") < crowding(pool, "best")


def cosines(pool: Pool, name: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Cosines of the eligible to those selected, -1 to other classes; and which are the same."""
    rows = query(
        pool.catalog.workspace,
        "SELECT image_id, pseudo_label, selected FROM decisions WHERE manifest = ? "
        "AND (selected OR why IN ('less diverse', 'class quota full'))",
        name,
    )
    ids, classes, taken = (np.array(column) for column in zip(*rows, strict=True))
    vectors = vectors_of(pool.catalog, str(pool.embedder), ids).astype(np.float64)
    same = classes[:, None] == classes[None]
    return np.where(same, vectors @ vectors.T, -1)[:, taken], np.eye(len(ids), dtype=bool)[:, taken]


def coverage(pool: Pool, name: str) -> float:
    """The mean cosine of each eligible image to the nearest that is selected of its class."""
    return float(cosines(pool, name)[0].max(axis=1).mean())


def crowding(pool: Pool, name: str) -> float:
    """The mean cosine of each selected image to the nearest other one of its class."""
    near, itself = cosines(pool, name)
    return float(np.where(itself, -1, near)[itself.any(axis=1)].max(axis=1).mean())


def why(pool: Pool, name: str) -> list[tuple[Any, ...]]:
    return query(
        pool.catalog.workspace,
        "SELECT why, count(*) FROM decisions WHERE manifest = ? GROUP BY 1",
        name,
    )


def test_diversity_without_a_budget_is_within_per_class(pool: Pool) -> None:
    select(pool, "all", SelectOptions("msp"))
    select(pool, "few", SelectOptions("msp", per_class=6, diversity="kcenter"))
    assert labels(pool, "few") == {k: min(count, 6) for k, count in labels(pool, "all").items()}
    assert select(pool, "best", SelectOptions("msp", per_class=6, diversity="none"))
    assert read_selection(pool.catalog, "few").ids.tolist() != (
        read_selection(pool.catalog, "best").ids.tolist()
    )


def test_diversity_needs_an_index(pool: Pool) -> None:
    with pytest.raises(UsageError, match="--diversity facility needs an index"):
        select(
            replace(pool, embedder=None), None, SelectOptions("msp", budget=5, diversity="facility")
        )


def test_kd3_shares_its_budget_in_proportion(pool: Pool) -> None:
    select(pool, "kept", replace(KD3, budget=None))
    select(pool, "shared", KD3)
    kept, shared = labels(pool, "kept"), labels(pool, "shared")
    for label, count in kept.items():
        assert abs(shared[label] - 20 * count / sum(kept.values())) < 1


def test_kd3s_thresholds_stand_in_the_ledger(pool: Pool, workspace: Path) -> None:
    select(pool, "first", KD3)
    counts = dict(query(workspace, "SELECT pseudo_label, count(*) FROM decisions GROUP BY ALL"))
    found = dict(query(workspace, "SELECT DISTINCT pseudo_label, threshold FROM decisions"))
    most = max(counts.values())
    assert found == pytest.approx(
        {label: 0.95 * (n / most) / (2 - n / most) for label, n in counts.items()}
    )


def test_near_duplicates_lose_to_the_best_of_their_group(pool: Pool, workspace: Path) -> None:
    select(pool, "first", SelectOptions("msp", near_duplicates=0.9999))
    rows = query(
        workspace,
        "SELECT d.group_id, e.image_id, e.score, e.selected, e.reason FROM duplicates d "
        "JOIN decisions e USING (image_id) ORDER BY d.group_id, e.score DESC, e.image_id",
    )
    groups: dict[int, list[Any]] = {}
    for group, *row in rows:
        groups.setdefault(group, []).append(row)
    assert len(groups) >= 4
    for (keeper, _, taken, _), *others in groups.values():
        assert taken
        for _, _, also, reason in others:
            assert (also, reason) == (False, f"near-duplicate of {keeper}")


def decisions(pool: Pool, name: str) -> dict[int, tuple[float, bool, str]]:
    rows = query(
        pool.catalog.workspace,
        "SELECT image_id, score, selected, reason FROM decisions WHERE manifest = ?",
        name,
    )
    return {key: tuple(rest) for key, *rest in rows}  # type: ignore[misc]


def assert_only_the_best_is_taken(found: dict[int, tuple[float, bool, str]]) -> None:
    keeper = min(found, key=lambda key: (-found[key][0], key))
    for key, (_, taken, reason) in found.items():
        assert taken == (key == keeper)
        assert taken or reason == f"near-duplicate of {keeper}"


def test_of_images_that_look_alike_the_best_is_taken(pool: Pool, workspace: Path) -> None:
    found = select(pool, "first", SelectOptions("msp", perceptual=4))
    rows = query(workspace, "SELECT kind, embedder, bound, group_id, image_id FROM duplicates")
    assert {row[:3] for row in rows} == {("perceptual", None, 4.0)}
    decided = decisions(pool, "first")
    groups = {row[3] for row in rows}
    assert len(groups) == NEAR
    for group in groups:
        members = [row[4] for row in rows if row[3] == group]
        assert_only_the_best_is_taken({key: decided[key] for key in members})
    assert found.eligible == IMAGES - len(rows) + len(groups)
    assert (found.options["perceptual"], found.embedder) == (4, None)
    assert select(replace(pool, embedder=None), "again", SelectOptions("msp", perceptual=4))


def test_a_group_is_the_union_of_both_relations(pool: Pool, workspace: Path) -> None:
    # By hash, two pictures that the embedder tells apart: one of them has a near-copy for it.
    names = ("picture-10.png", "near-0.png", "picture-50.png")
    uris = "SELECT image_id FROM locations WHERE uri LIKE '%' || ?"
    chosen = [query(workspace, uris, name)[0][0] for name in names]
    with pool.catalog.write() as connection:
        connection.execute("UPDATE images SET dhash = NULL")
        connection.execute("UPDATE images SET dhash = 7 WHERE id IN (?, ?)", [chosen[1], chosen[2]])
    select(pool, "first", SelectOptions("msp", near_duplicates=0.9999, perceptual=0))
    decided = decisions(pool, "first")
    assert_only_the_best_is_taken({key: decided[key] for key in chosen})


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


def test_alpha_below_one_needs_a_student(pool: Pool) -> None:
    alone = replace(pool, student=None)
    with pytest.raises(UsageError, match="needs a student.*--alpha 1"):
        select(alone, None, replace(KD3, alpha=0.5))
    assert select(alone, None, replace(KD3, alpha=1.0)).student is None


def test_alpha_listens_to_the_student(pool: Pool) -> None:
    hashes = {select(pool, None, replace(KD3, alpha=a)).content_hash for a in (0.0, 0.5, 1.0)}
    assert len(hashes) == 3
    swapped = replace(pool, teacher=str(pool.student), student=pool.teacher)
    student_only = select(pool, "student", replace(KD3, alpha=0.0))
    teacher_only = select(swapped, "teacher", replace(KD3, alpha=1.0))
    assert student_only.content_hash == teacher_only.content_hash


def test_near_duplicates_need_an_index(pool: Pool) -> None:
    with pytest.raises(UsageError, match="--near-duplicates needs an index"):
        select(replace(pool, embedder=None), None, KD3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (SelectOptions("msp", budget=0), "--budget is 0"),
        (SelectOptions("msp", per_class=-1), "--per-class is -1"),
        (SelectOptions("msp", budget=3, balance="even"), "--balance is 'even': choose one of none"),
        (SelectOptions("msp", balance="full"), "--balance full shares a budget: give --budget"),
        (SelectOptions("msp", budget="0%"), "--budget is '0%': a number of images, a share"),
        (SelectOptions("msp", balance="sqrt"), "--balance sqrt shares a budget: give --budget"),
        (
            SelectOptions("msp", budget=3, diversity="dpp"),
            "--diversity is 'dpp': choose one of none",
        ),
        (SelectOptions("msp", diversity="kcenter"), "--diversity kcenter picks some of each class"),
        (SelectOptions("msp", near_duplicates=0.0), "--near-duplicates is 0.0"),
        (SelectOptions("msp", near_duplicates=1.5), "--near-duplicates is 1.5"),
        (SelectOptions("msp", perceptual=9), "--perceptual is 9"),
        (SelectOptions("kd3", alpha=2.0), "--alpha is 2.0"),
        (SelectOptions("kd2"), "did you mean kd3?"),
    ],
)
def test_options_without_sense_are_refused_by_name(options: SelectOptions, message: str) -> None:
    with pytest.raises(UsageError) as error:
        options.check()
    assert message in str(error.value)


def test_nothing_eligible_is_said_and_leaves_no_manifest(
    scored: Pool, teacher: str, tmp_path: Path
) -> None:
    # Alone, a picture's class is the largest there is: it needs more than .95.
    doubtful = query(
        scored.catalog.workspace,
        "SELECT uri FROM scores JOIN locations USING (image_id) "
        "WHERE model = ? AND confidence < 0.9 ORDER BY uri LIMIT 1",
        scored.teacher,
    )
    build(tmp_path / "ws", [Path(doubtful[0][0])])
    pool = scored_pool(Catalog(tmp_path / "ws"), teacher, workers=0)
    with pytest.raises(NothingSelectedError, match="none of 1 images: 0 were eligible") as error:
        select(pool, "first", SelectOptions("kd3"))
    assert error.value.exit_code == 3
    assert query(tmp_path / "ws", "SELECT * FROM manifests") == []
    assert list((tmp_path / "ws" / "scratch").iterdir()) == []


def test_no_scratch_is_left_behind(pool: Pool, workspace: Path) -> None:
    select(pool, "first", KD3)
    assert list((workspace / "scratch").iterdir()) == []


def test_a_workspace_that_is_not_there_is_not_made(teacher: str, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="build-index"):
        scored_pool(Catalog(tmp_path / "typo"), teacher, workers=0)
    assert not (tmp_path / "typo").exists()


def test_teacher_and_student_have_the_same_classes(
    pool: Pool, teacher: str, data_dir: Path
) -> None:
    with pytest.raises(UsageError, match="has 4 classes.*10"):
        scored_pool(pool.catalog, teacher, str(data_dir / "teachers" / "resnet20.toml"), workers=0)


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


def test_an_image_without_an_estimate_or_a_students_score_is_no_one_elses(pool: Pool) -> None:
    with pool.catalog.write() as connection:
        connection.execute(
            "DELETE FROM scores WHERE model = ? AND image_id = (SELECT min(id) FROM images)",
            [pool.student],
        )
    with pytest.raises(WorkspaceError, match="has not scored every image: run select again"):
        select(pool, None, KD3)
    alone = replace(pool, student=None)
    assert select(alone, None, KD3)
    with pool.catalog.write() as connection:
        connection.execute(
            "DELETE FROM shifts WHERE estimator = 'bn_kl' "
            "AND image_id = (SELECT max(id) FROM images)"
        )
    with pytest.raises(WorkspaceError, match="not every image has its bn_kl"):
        select(alone, "second", KD3)
