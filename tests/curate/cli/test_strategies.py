"""select with every strategy, and with --rank, as the shell calls it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import curate.fitted
from curate.cli.select import select as command
from curate.options import SelectOptions
from curate.pool import Pool
from curate.scoring import score_pool
from curate.selection import select
from curate.shift import update_shifts
from curate.strategies import Settings, make_strategy, strategy_names
from index.catalog import Catalog
from index.errors import UsageError

from ..colours import colour_scorer
from ..conftest import Kdcurate
from ..helpers import IMAGES, PROJECT, QUIET, query


@pytest.mark.parametrize("name", sorted({*strategy_names()} - {"clip_text"}))
def test_every_strategy_selects_what_it_scores_best(
    kdcurate: Kdcurate, workspace: Path, teacher: str, student: str, reference: Path, name: str
) -> None:
    strategy = make_strategy(name, Settings())
    needs_reference = any(map(curate.fitted.needs_reference, strategy.needs))
    found = kdcurate(
        *("select", "-w", workspace, "--teacher", teacher, "--strategy", name, "--name", "first"),
        *(
            "--budget",
            9,
            "--balance",
            "none",
            *QUIET,
            "--json",
            *(("--student", student) * strategy.needs_student),
        ),
        *(("--reference", reference) * needs_reference),
    )
    assert (found.code, json.loads(found.out)["strategy"]) == (0, name), found.err
    rows = query(workspace, "SELECT image_id, score, selected, threshold FROM decisions")
    assert len(rows) == IMAGES and len({score for _, score, _, _ in rows}) > IMAGES // 2
    passed = [row for row in rows if row[3] is None or row[1] > row[3]]
    best = sorted(passed, key=lambda row: (-row[1], row[0]))[:9]
    assert {row[0] for row in best} == {row[0] for row in rows if row[2]}


def test_a_rank_may_name_what_needs_a_reference(
    kdcurate: Kdcurate, workspace: Path, teacher: str, reference: Path
) -> None:
    found = kdcurate(
        *(
            "select",
            "-w",
            workspace,
            "--teacher",
            teacher,
            "--rank",
            "kd3 - 0.3*knn",
            *QUIET,
            "--json",
        ),
        *("--budget", 9, "--reference", reference),
    )
    assert found.code == 0, found.err
    for score, parts in query(workspace, "SELECT score, components FROM decisions"):
        assert score == pytest.approx(parts["teacher_confidence"] - 0.3 * parts["knn"], rel=1e-5)


def test_a_rank_is_the_strategy_of_its_manifest(
    kdcurate: Kdcurate, workspace: Path, teacher: str
) -> None:
    expression = "0.6*kd3 - 0.3*bn_shift + 0.001*log(width)"
    found = kdcurate(
        *("select", "-w", workspace, "--teacher", teacher, "--rank", expression, "--budget", 9),
        *("--name", "first", *QUIET, "--json"),
    )
    assert found.code == 0, found.err
    ((strategy, options),) = query(workspace, "SELECT strategy, options FROM manifests")
    assert (strategy, json.loads(options)["rank"]) == ("rank", expression)
    for score, parts in query(workspace, "SELECT score, components FROM decisions"):
        assert parts["kd3"] == pytest.approx(parts["teacher_confidence"])
        names = 0.6 * parts["kd3"] - 0.3 * parts["bn_shift"] + 0.001 * np.log(parts["width"])
        assert score == pytest.approx(names, rel=1e-5, abs=1e-6)
        terms = parts["0.6 * kd3"] + parts["-(0.3 * bn_shift)"] + parts["0.001 * log(width)"]
        assert score == pytest.approx(terms, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--strategy", "msp", "--rank", "kd3"), "--strategy and --rank exclude each other"),
        (("--strategy", "rank"), "--rank EXPRESSION is a strategy of its own"),
        (("--rank", "0.5*kd4"), "did you mean kd3?"),
        (("--rank", "kd3; DROP TABLE images"), "cannot be read"),
        (("--rank", "log(width - 16)"), "log(width - 16) is -inf for image"),
        (("--strategy", "agreement"), "agreement needs a student: give --student CARD\n"),
        (("--rank", "kd3 + disagreement"), "rank needs a student: give --student CARD\n"),
        (("--strategy", "knn"), "knn needs a reference set: give --reference SOURCE\n"),
        (("--rank", "kd3 - vim"), "rank needs vim, which needs a reference set: give --reference"),
        (("--weights", "domain"), "--weights domain needs domain, which needs a reference set"),
        (("--weights", "even"), "--weights is 'even': choose one of none, domain"),
    ],
)
def test_what_makes_no_sense_ends_in_one_line(
    kdcurate: Kdcurate, workspace: Path, teacher: str, options: tuple[str, ...], message: str
) -> None:
    found = kdcurate("select", "-w", workspace, "--teacher", teacher, *QUIET, "--json", *options)
    assert found.code == 2 and message in found.err
    assert found.err.count("\n") == 1
    assert query(workspace, "SELECT count(*) FROM manifests") == [(0,)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (SelectOptions("bn_shift"), "bn_shift needs bn_shift, which colour does not have: it has "),
        (SelectOptions("bn_kl"), "bn_kl needs bn_kl, which colour does not have: it has no Batch"),
        (SelectOptions("null_space"), "null_space needs null_space.*as many classes as penultim"),
        (SelectOptions("rank", rank="msp - bn_kl"), "rank needs bn_kl, which colour does not"),
    ],
)
def test_an_estimate_that_the_teacher_does_not_have_is_refused(
    workspace: Path, pool: Pool, options: SelectOptions, message: str
) -> None:
    catalog = Catalog(workspace)
    score_pool(catalog, colour_scorer(moments=False), workers=0)
    update_shifts(catalog, "colour")
    without = replace(pool, teacher="colour", student=None, classes=3)
    with pytest.raises(UsageError, match=message):
        select(without, None, options)
    assert select(without, None, SelectOptions("classifier_angle", budget=5)).selected == 5


def test_help_and_docs_name_every_strategy() -> None:
    from importlib.metadata import entry_points

    plugins = {entry.name for entry in entry_points(group="kdcurate.strategies")}
    about = command.__annotations__["strategy"]
    page = (PROJECT / "docs" / "strategies.md").read_text("utf-8")
    for name in set(strategy_names()) - plugins:
        assert name in str(about)
        assert f"| `{name}` |" in page
