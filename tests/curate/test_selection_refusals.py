"""What select refuses, and what it says then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from curate.networks import scored_pool
from curate.options import SelectOptions
from curate.pool import Pool
from curate.selection import select
from index.catalog import Catalog
from index.errors import NothingSelectedError, UsageError, WorkspaceError

from .helpers import build, doubtful_picture, query

KD3 = SelectOptions("kd3", budget=20, near_duplicates=0.9999)


def test_reverse_makes_no_sense_with_thresholds(pool: Pool) -> None:
    with pytest.raises(UsageError, match="--reverse makes no sense with kd3"):
        select(pool, None, replace(KD3, reverse=True))


def test_alpha_below_one_needs_a_student(pool: Pool) -> None:
    alone = replace(pool, student=None)
    with pytest.raises(UsageError, match="needs a student.*--alpha 1"):
        select(alone, None, replace(KD3, alpha=0.5))
    assert select(alone, None, replace(KD3, alpha=1.0)).student is None


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
    build(tmp_path / "ws", [doubtful_picture(scored)])
    pool = scored_pool(Catalog(tmp_path / "ws"), teacher, workers=0)
    with pytest.raises(NothingSelectedError, match="none of 1 images: 0 were eligible") as error:
        select(pool, "first", SelectOptions("kd3"))
    assert error.value.exit_code == 3
    assert query(tmp_path / "ws", "SELECT * FROM manifests") == []
    assert list((tmp_path / "ws" / "scratch").iterdir()) == []


def test_a_workspace_that_is_not_there_is_not_made(teacher: str, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="build-index"):
        scored_pool(Catalog(tmp_path / "typo"), teacher, workers=0)
    assert not (tmp_path / "typo").exists()


def test_teacher_and_student_have_the_same_classes(
    pool: Pool, teacher: str, data_dir: Path
) -> None:
    with pytest.raises(UsageError, match="has 4 classes.*10"):
        scored_pool(pool.catalog, teacher, str(data_dir / "teachers" / "resnet20.toml"), workers=0)


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
