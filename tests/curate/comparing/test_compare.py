"""A small comparison: what it selects, trains, reads again, and prints."""

from __future__ import annotations

import csv
import io
import json
import shutil
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from curate.comparing import COLUMNS, Grid, Line, compare, plan
from curate.options import SelectOptions
from curate.pool import Pool
from curate.selection import select
from distill.networks import load_network
from distill.networks.cost import cost
from distill.options import TrainOptions
from index.catalog import Catalog
from index.errors import DataError, MethodError, UsageError
from index.progress import Advance

from ..conftest import Kdcurate
from ..helpers import pixels_of, png, query, write_parquet

STEPS, BUDGET, IMAGES = 3, 12, 16


@dataclass
class Heard:
    """Notes what is said and how many steps are trained; ends the process's patience after some."""

    most: int = 10**9
    said: list[str] = field(default_factory=list)
    steps: int = 0

    @contextmanager
    def step(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:
        def advance(count: int) -> None:
            if unit == "steps":
                self.steps += count
            if self.steps > self.most:
                raise KeyboardInterrupt

        yield advance

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("labelled") / "test.parquet"
    rows = [(png(pixels_of(900 + n)), n % 4) for n in range(IMAGES)]
    return str(write_parquet(path, "image BLOB, label INTEGER", rows))


@pytest.fixture(scope="module")
def asked(teacher: str, labelled: str) -> Grid:
    return Grid(
        teacher=teacher,
        student="cifar:resnet8",
        methods=("kd", "kd3"),
        strategies=("random", "msp"),
        seeds=2,
        select=SelectOptions("random", budget=BUDGET),
        train=TrainOptions(
            max_steps=STEPS, batch_size=4, device="cpu", precision="float32", log_every=1
        ),
        evaluate_on=labelled,
        method_options={"kd": {"temperature": "2"}},
        workers=0,
    )


@pytest.fixture(scope="module")
def compared(
    asked: Grid, scored: Pool, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Catalog, list[Line]]:
    """A workspace in which the grid has been trained, only to be read; and its table."""
    folder = tmp_path_factory.mktemp("compared") / "ws"
    catalog = Catalog(Path(shutil.copytree(scored.catalog.workspace, folder)))
    heard = Heard()
    lines = compare(catalog, asked, progress=heard)
    assert heard.steps == 8 * STEPS
    assert "3 of 8: kd3 on random, seed 0" in heard.said
    return catalog, lines


@pytest.fixture
def finished(compared: tuple[Catalog, list[Line]]) -> Catalog:
    return compared[0]


@pytest.fixture
def table(compared: tuple[Catalog, list[Line]]) -> list[Line]:
    return compared[1]


def test_the_table_is_mean_and_deviation_of_ordinary_runs(
    asked: Grid, finished: Catalog, table: list[Line]
) -> None:
    found = table
    assert {(line.method, line.selection) for line in found} == {
        (method, strategy) for method in asked.methods for strategy in asked.strategies
    }
    assert [line.accuracy for line in found] == sorted(line.accuracy for line in found)[::-1]
    for line in found:
        runs = query(
            finished.workspace,
            "SELECT r.accuracy, r.seconds, r.student, r.seed FROM runs r JOIN manifests m ON "
            "m.name = r.manifest WHERE r.method = ? AND m.strategy = ?",
            line.method,
            line.selection,
        )
        accuracies = [one[0] for one in runs]
        assert line.accuracy == pytest.approx(statistics.mean(accuracies))
        assert line.sd == pytest.approx(statistics.stdev(accuracies))
        assert line.seconds == pytest.approx(statistics.mean(one[1] for one in runs))
        assert sorted(one[3] for one in runs) == [0, 1]
        assert (line.images, line.steps, line.seeds, line.rounds) == (BUDGET, STEPS, 2, 0)
        assert line.cpu_ms > 0


def test_costs_are_those_of_what_is_deployed(finished: Catalog, table: list[Line]) -> None:
    by_method = {line.method: line for line in table}
    for method, line in by_method.items():
        (name,) = query(finished.workspace, "SELECT min(name) FROM runs WHERE method = ?", method)[
            0
        ]
        student = load_network(finished.workspace / "runs" / name / "student.toml")
        counted = cost(student.module, 16)
        assert (line.params, line.macs, line.flops) == (counted.params, counted.macs, counted.flops)
    assert by_method["kd3"].params > by_method["kd"].params  # its projector is deployed too


def test_only_what_depends_on_the_seed_is_selected_for_each(finished: Catalog) -> None:
    found = query(finished.workspace, "SELECT strategy, seed FROM manifests ORDER BY ALL")
    assert found == [("msp", 0), ("random", 0), ("random", 1)]


def test_the_table_can_be_had_by_sql(asked: Grid, finished: Catalog, table: list[Line]) -> None:
    rows = query(
        finished.workspace,
        f"SELECT {', '.join(COLUMNS)} FROM compared WHERE comparison = ? "
        "ORDER BY accuracy DESC, method, selection",
        asked.comparison(),
    )
    assert rows == [tuple(getattr(line, column) for column in COLUMNS) for line in table]


def test_a_second_time_everything_is_read(
    asked: Grid, finished: Catalog, table: list[Line]
) -> None:
    before = query(finished.workspace, "SELECT * FROM comparisons ORDER BY ALL")
    heard = Heard()
    assert (compare(finished, asked, progress=heard), heard.steps) == (table, 0)
    assert sum("its result is read" in line for line in heard.said) == 8
    assert query(finished.workspace, "SELECT * FROM comparisons ORDER BY ALL") == before


def test_one_seed_has_no_deviation_and_more_seeds_train_only_themselves(
    asked: Grid, finished: Catalog, tmp_path: Path
) -> None:
    catalog = Catalog(Path(shutil.copytree(finished.workspace, tmp_path / "ws")))
    small = replace(asked, methods=("kd",), strategies=("msp",))
    heard = Heard()
    (line,) = compare(catalog, replace(small, seeds=3), progress=heard)
    assert (line.seeds, heard.steps) == (3, STEPS)
    (alone,) = compare(catalog, replace(small, seeds=1, name="alone"), progress=heard)
    assert (alone.seeds, alone.sd, heard.steps) == (1, None, STEPS)


def test_a_plan_knows_what_is_finished_and_changes_nothing(asked: Grid, finished: Catalog) -> None:
    wider = replace(asked, strategies=("random", "entropy"), rounds=0)
    stamp = finished.path.stat().st_mtime_ns
    cells = plan(finished, wider)
    assert [cell["finished"] for cell in cells] == [True, False] * 4
    assert [cell["selected"] for cell in cells] == [True, False] * 4
    assert [cell["seed"] for cell in cells] == [0] * 4 + [1] * 4
    known = {name for (name,) in query(finished.workspace, "SELECT name FROM runs")}
    assert {cell["run"] for cell in cells if cell["finished"]} <= known
    assert {cell["run"] for cell in cells if not cell["finished"]} == {None}
    assert finished.path.stat().st_mtime_ns == stamp


def test_an_interrupted_comparison_goes_on_where_it_was(
    asked: Grid, table: list[Line], workspace: Path
) -> None:
    catalog = Catalog(workspace)
    often = replace(asked.train, checkpoint_every=1)
    small = replace(asked, methods=("kd",), strategies=("msp",), train=often)
    with pytest.raises(KeyboardInterrupt):
        compare(catalog, small, progress=Heard(most=STEPS + 1))
    assert len(query(workspace, "SELECT * FROM compared")) == 1  # the first of two has finished
    heard = Heard()
    lines = compare(catalog, small, progress=heard)
    assert sum("its result is read" in line for line in heard.said) == 1

    undisturbed = [line for line in table if (line.method, line.selection) == ("kd", "msp")]
    assert [(line.selection, line.accuracy, line.sd) for line in lines] == [
        (line.selection, line.accuracy, line.sd) for line in undisturbed
    ]


def test_manifests_are_rows_and_rounds_are_rows_of_those_that_listen(
    asked: Grid, pool: Pool, labelled: str
) -> None:
    catalog = pool.catalog
    select(replace(pool, student=None), "mine", SelectOptions("kd3", budget=10, alpha=1.0))
    select(replace(pool, student=None), "other", SelectOptions("margin", budget=10))
    small = replace(
        asked, methods=("kd",), strategies=(), manifests=("mine", "other"), rounds=2, seeds=1
    )
    unbounded = SelectOptions("random")  # the manifests are as large as they are
    small = replace(small, select=unbounded, train=replace(small.train, alpha_floor=0.25))
    found = compare(catalog, small)
    assert {(line.selection, line.rounds) for line in found} == {
        ("mine", 0),
        ("mine", 2),
        ("other", 0),
    }
    assert query(catalog.workspace, "SELECT alpha FROM rounds ORDER BY 1") == [(0.25,), (1.0,)]
    floors = "SELECT DISTINCT c.rounds, r.options->'alpha_floor' FROM comparisons c JOIN runs r "
    assert query(catalog.workspace, floors + "ON r.name = c.run ORDER BY 1") == [
        (0, "0.0"),
        (2, "0.25"),
    ]
    with pytest.raises(UsageError, match="no manifest is called 'absent'"):
        compare(catalog, replace(small, manifests=("absent",)))


def test_a_part_that_is_left_out_is_a_row_of_its_own(asked: Grid, pool: Pool) -> None:
    small = replace(
        asked, strategies=("msp",), seeds=1, without=("mix_distribution", "classifier_sharing")
    )
    found = {line.method: line for line in compare(pool.catalog, small)}
    ablations = [f"kd3 --without {part}" for part in small.without]
    assert set(found) == {"kd", "kd3", *ablations}
    runs = query(
        pool.catalog.workspace,
        "SELECT c.method, r.method, r.options->'without', r.accuracy FROM comparisons c "
        "JOIN runs r ON r.name = c.run ORDER BY 1",
    )
    assert [(shown, name) for shown, name, _, _ in runs] == [
        ("kd", "kd"),
        ("kd3", "kd3"),
        *((shown, "kd3") for shown in sorted(ablations)),
    ]
    assert [left and json.loads(left) for _, _, left, _ in runs[2:]] == [
        ["classifier_sharing"],
        ["mix_distribution"],
    ]
    assert {shown: accuracy for shown, _, _, accuracy in runs} == {
        shown: line.accuracy for shown, line in found.items()
    }
    assert found["kd3 --without classifier_sharing"].params < found["kd3"].params
    heard = Heard()
    assert {one.method: one for one in compare(pool.catalog, small, progress=heard)} == found
    assert heard.steps == 0
    with pytest.raises(UsageError, match="--without balance is no part of kd3: give 'classifier_"):
        compare(pool.catalog, replace(small, without=("balance",)))


def test_what_would_fail_is_refused_before_anything_is_trained(
    asked: Grid, pool: Pool, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"absent\.parquet"):
        compare(pool.catalog, replace(asked, evaluate_on="absent.parquet"))
    strings = [(png(pixels_of(1)), "ant")]
    data = str(write_parquet(tmp_path / "d.parquet", "image BLOB, label VARCHAR", strings))
    for ask in (compare, plan):
        with pytest.raises(DataError, match="has no label: name an integer column"):
            ask(pool.catalog, replace(asked, evaluate_on=data))
    vit = "timm:vit_tiny_patch16_224?img_size=16&patch_size=8"
    with pytest.raises(MethodError, match="kd3"):
        compare(pool.catalog, replace(asked, student=vit))
    with pytest.raises(UsageError, match="kd has no option 'heat'"):
        compare(pool.catalog, replace(asked, method_options={"kd": {"heat": "2"}}))
    assert query(pool.catalog.workspace, "SELECT count(*) FROM manifests") == [(0,)]


def test_the_command_prints_one_table_in_every_form(
    kdcurate: Kdcurate, asked: Grid, finished: Catalog, table: list[Line]
) -> None:
    command = (
        *("compare", "-w", finished.workspace, "--teacher", asked.teacher),
        *("--student", asked.student, "--methods", "kd", "--strategies", "msp"),
        *("--budget", BUDGET, "--seeds", 2, "--max-steps", STEPS, "--batch-size", 4),
        *("--option", "kd.temperature=2", "--eval", asked.evaluate_on, "--device", "cpu"),
        *("--precision", "float32", "--workers", 0),
    )
    planned = json.loads(kdcurate(*command, "--dry-run", "--json").out)
    assert (planned["trainings"], planned["finished"]) == (4, 4)
    shown = json.loads(kdcurate(*command, "--json").out)
    assert shown["comparison"] == asked.comparison()
    lines = [line for line in table if line.method == "kd"]
    assert shown["rows"] == [vars(line) for line in lines]
    rows = list(csv.DictReader(io.StringIO(kdcurate(*command, "--csv").out)))
    assert [float(row["accuracy"]) for row in rows] == [line.accuracy for line in lines]
    marked = kdcurate(*command, "--markdown").out.splitlines()
    assert marked[0].startswith("| method | images by |") and len(marked) == 2 + len(lines)
    assert marked[2].split(" | ")[4] == f"{100 * lines[0].accuracy:.2f}"
    screen = kdcurate(*command)
    assert screen.code == 0 and "kdcurate sql" in screen.err
    assert all(one in screen.out for one in ("random", "msp", "accuracy", "cpu_ms"))
    assert kdcurate(*command, "--csv", "--json").code == 2


@pytest.mark.parametrize("text", ["temperature=2", "kd.temperature", "kd=2", "kd.=2"])
def test_an_option_names_its_method(text: str) -> None:
    from curate.cli.compare import method_options

    with pytest.raises(UsageError, match=r"write METHOD\.NAME=VALUE"):
        method_options([text])
    assert method_options(["kd.temperature=2", "kd.hard = .5", "dkd.beta=1"]) == {
        "kd": {"temperature": "2", "hard": ".5"},
        "dkd": {"beta": "1"},
    }
