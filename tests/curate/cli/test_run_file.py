"""kdcurate.toml: written, checked to the line, and gone through once."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from curate.cli.run import TEMPLATE

from ..conftest import Kdcurate
from ..helpers import pixels_of, png, query, write_files, write_parquet

WHOLE = """\
sources = ["{crawl}"]
teacher = "{teacher}"
student = "cifar:resnet8"
device = "cpu"
workers = 0

[select]
strategy = "msp"
budget = 12

[distill]
method = "kd"
max-steps = 2
batch-size = 4
"""


@pytest.fixture
def file(tmp_path: Path, crawl: Path, teacher: str) -> Path:
    file = tmp_path / "own" / "kdcurate.toml"
    file.parent.mkdir()
    # Relative to the file, wherever the command is typed.
    near = os.path.relpath(crawl, file.parent)
    file.write_text(WHOLE.format(crawl=near, teacher=os.path.relpath(teacher, file.parent)))
    return file


def state(workspace: Path) -> dict[str, list[Any]]:
    """What would differ if anything had been done again."""
    names = ("images", "scores", "manifests", "decisions", "runs", "metrics")
    rows = {name: query(workspace, f"FROM {name} ORDER BY ALL") for name in names}
    files = [file for file in workspace.rglob("*") if file.suffix in (".npz", ".safetensors")]
    return rows | {"files": sorted((str(file), file.stat().st_mtime_ns) for file in files)}


def test_a_file_is_written_and_never_over_another(kdcurate: Kdcurate, tmp_path: Path) -> None:
    file = tmp_path / "kdcurate.toml"
    assert kdcurate("init", file).code == 0
    assert file.read_text() == TEMPLATE.read_text()
    file.write_text("mine")
    again = kdcurate("init", file)
    assert (again.code, file.read_text()) == (2, "mine")
    assert "is there already" in again.err
    assert kdcurate("init", tmp_path / "no" / "kdcurate.toml").code == 2


@pytest.fixture
def named(tmp_path: Path, crawl: Path, teacher: str) -> Path:
    """A folder with what the template names."""
    write_parquet(tmp_path / "own.parquet", "image BLOB, label INTEGER", [(png(pixels_of(1)), 0)])
    for folder in ("crawl", "own-images"):
        (tmp_path / folder).symlink_to(crawl)
    write_files(tmp_path / "test" / "ant", {"1.png": png(pixels_of(1))})
    shutil.copytree(Path(teacher).parent, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_what_is_written_is_a_plan(kdcurate: Kdcurate, tmp_path: Path, named: Path) -> None:
    there = {*os.listdir(named), "kdcurate.toml"}
    kdcurate("init", tmp_path / "kdcurate.toml")
    plan = json.loads(kdcurate("run", tmp_path / "kdcurate.toml", "--dry-run", "--json").out)
    assert list(plan) == ["build-index", "select", "distill", "card"]
    assert plan["select"].endswith("--strategy=kd3 --budget=8000")
    assert set(os.listdir(tmp_path)) == there


@pytest.mark.usefixtures("named")
def test_what_is_commented_out_is_known_too(kdcurate: Kdcurate, tmp_path: Path) -> None:
    """Every line of the template that is a setting behind a # is one when the # goes."""
    lines = [line.removeprefix("# ") for line in TEMPLATE.read_text().splitlines()]
    settings = [line for line in lines if line.startswith("[") or " = " in line.partition("#")[0]]
    text = "\n".join(settings)
    assert {"name", "max-steps", "eval"} <= {
        key for table in tomllib.loads(text).values() if isinstance(table, dict) for key in table
    }
    (tmp_path / "all.toml").write_text(text)
    plan = json.loads(kdcurate("run", tmp_path / "all.toml", "--dry-run", "--json").out)
    assert list(plan) == ["build-index", "select", "distill", "evaluate", "card"]
    assert plan["evaluate"] == "kdcurate evaluate --data=test -- STUDENT.toml"
    assert " --name=first " in plan["select"] and " --manifest=first " in plan["distill"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('techer = "x"', "line 4: there is no key 'techer': did you mean teacher?"),
        ("[selct]", "line 4: there is no key 'selct': did you mean select?"),
        (
            "[distill]\nepocs = 3",
            "line 5: there is no key 'epocs' in [distill]: did you mean epochs?",
        ),
        ("[distill]\nepochs = 'x'", "line 5: [distill] epochs is 'x': should be a valid integer"),
        ("[distill]\nmanifest = 'x'", "line 5: there is no key 'manifest' in [distill]"),
        ("[select]\nreverse = 1", "line 5: [select] reverse is 1: should be a valid boolean"),
        ("[evaluate]", "[evaluate] data is missing"),
        ("a b", "not a TOML file"),
    ],
)
def test_a_mistake_is_told_with_its_line(
    kdcurate: Kdcurate, tmp_path: Path, line: str, said: str
) -> None:
    file = tmp_path / "kdcurate.toml"
    top = 'sources = ["a"]\nteacher = "t"\nstudent = "s"\n'
    file.write_text(f"{top}{line}\n")
    found = kdcurate("run", file)
    assert (found.code, found.out) == (2, "")
    assert said in found.err and str(file) in found.err
    assert os.listdir(tmp_path) == ["kdcurate.toml"]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"msp"', '"mps"', "did you mean msp?"),
        ('"kd"', '"kdd"', "did you mean kd"),
        ('"kd"', '"dafl"', "'dafl' makes its own images: train it with"),
        ('"msp"', "3", "strategy"),
        ("resnet8", "resnet9", "no architecture"),
        ('sources = ["', 'sources = ["no/', "no"),
        ("batch-size = 4", 'eval = "nothing"', "nothing"),
    ],
)
def test_what_is_not_there_is_told_before_any_work(
    kdcurate: Kdcurate, file: Path, before: str, after: str, said: str
) -> None:
    file.write_text(file.read_text().replace(before, after, 1))
    found = kdcurate("run", file)
    assert found.code in (1, 2) and said in found.err, found.err
    assert not (file.parent / "workspace").exists()


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("max-steps = 2", "max-steps = -3", "max-steps in [distill] is -3: it must be at least 1"),
        ("budget = 12", 'budget = "lots"', "budget in [select] is 'lots'"),
        ("budget = 12", 'reference = ["gone"]', "reference in [select]: no such source: gone"),
        ("budget = 12", "where-timeout = 0", "where-timeout in [select] is 0"),
        ('"msp"', '"mps"', "[select]: "),
        ('"msp"', '"agreement"', "give student in [select] CARD"),
        ('"msp"', '"knn"', "reference in [select]"),
        ("batch-size = 4", 'option = ["warmth=3"]', "[distill]"),
        ("batch-size = 4", 'hold-back = "much"', "hold-back in [distill] is 'much'"),
        ("batch-size = 4", 'run = "../up"', "run in [distill] '../up' is a path"),
        ("workers = 0", "workers = -1", "Invalid value for 'workers'"),
        ("workers = 0", "seed = -1", "seed is -1: it must lie between 0 and"),
        ("workers = 0", '[build-index]\nmemory-budget = "x"', "memory-budget in [build-index] 'x'"),
        ("workers = 0", '[build-index]\nindex = "Flatt"', "index in [build-index]"),
        ("workers = 0", "[build-index]\nrecall = 1.5", "recall in [build-index] is 1.5"),
        ('sources = ["', 'sources = ["no/', "sources: no such source: no/"),
        ("[distill]", '[evaluate]\ndata = "no"\n[distill]', "data in [evaluate]: no"),
        (
            "[distill]",
            '[evaluate]\ndata = "own.parquet"\ncorrupt = ["rain"]\n[distill]',
            "corrupt in [evaluate] 'rain' is unknown",
        ),
        ("batch-size = 4", 'run = ""', "run in [distill] is empty"),
        ("batch-size = 4", "cache-budget = -1.0", "cache-budget in [distill] is -1: it must be"),
        ("budget = 12", 'name = " "', "name in [select] is empty"),
        (
            "[distill]",
            '[evaluate]\ndata = "own.parquet"\nconfusion = "."\n[distill]',
            "confusion in [evaluate]: cannot write . (it is a folder)",
        ),
        (
            "[distill]",
            '[evaluate]\ndata = "far.parquet"\n[distill]',
            "data in [evaluate]: far.parquet: labels run from 95 to 95",
        ),
        ("[distill]", '[distill]\neval = "far.parquet"', "eval in [distill]: far.parquet: labels"),
    ],
)
def test_values_are_refused_before_the_first_step(
    kdcurate: Kdcurate, file: Path, before: str, after: str, said: str, dry: bool
) -> None:
    write_parquet(file.parent / "own.parquet", "image BLOB, label INTEGER", [(b"", 0)])
    far = [(png(pixels_of(1)), 95)]
    write_parquet(file.parent / "far.parquet", "image BLOB, label INTEGER", far)
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after, 1))
    found = kdcurate("run", file, *(["--dry-run"] if dry else []))
    assert (found.code in (1, 2), found.out) == (True, "")
    assert said in found.err and found.err.count("\n") == 1, found.err
    assert {*os.listdir(file.parent)} == {"kdcurate.toml", "own.parquet", "far.parquet"}


def test_a_name_that_is_taken_is_to_be_changed_in_the_file(kdcurate: Kdcurate, file: Path) -> None:
    file.write_text(file.read_text().replace("budget = 12", 'budget = 12\nname = "first"'))
    assert kdcurate("run", file).code == 0
    file.write_text(file.read_text().replace("budget = 12", "budget = 11"))
    again = kdcurate("run", file)
    assert again.code == 2 and "decides differently" in again.err
    assert again.err.endswith(": give another name in [select]\n")


def test_the_whole_way_and_again(kdcurate: Kdcurate, file: Path) -> None:
    first = kdcurate("run", file, "--json")
    assert first.code == 0, first.err
    results = json.loads(first.out)
    workspace = file.parent / "workspace"
    assert list(results) == ["build-index", "select", "distill", "card"]
    assert results["select"]["selected"] == 12 and results["distill"]["steps"] == 2
    card = file.parent / results["card"]["card"]
    assert card.is_file() and card.with_name("student.safetensors").is_file()
    before = state(workspace)
    again = kdcurate("run", file)
    assert again.code == 0, again.err
    assert state(workspace) == before
    assert "nothing is trained" in again.err and "was there already" in again.err
    assert "step 3 of 4: kdcurate distill" in again.err and "new" in again.out
    # What is changed is done anew, and nothing else.
    file.write_text(file.read_text().replace("max-steps = 2", "max-steps = 3"))
    changed = json.loads(kdcurate("run", file, "--json").out)
    assert changed["select"] == results["select"] and changed["distill"]["steps"] == 3
    assert changed["distill"]["run"] != results["distill"]["run"]


def test_run_card_and_evaluation_tell_the_same_accuracy(kdcurate: Kdcurate, file: Path) -> None:
    rows = [(png(pixels_of(900 + n)), n % 4) for n in range(8)]
    write_parquet(file.parent / "own.parquet", "image BLOB, label INTEGER", rows)
    assert kdcurate("run", file).code == 0  # the student is there before it is known on what
    file.write_text(f'{file.read_text()}\n[evaluate]\ndata = "own.parquet"\n')
    results = json.loads(kdcurate("run", file, "--json").out)
    told = results["evaluate"]["accuracy"]
    assert results["distill"]["accuracy"] == told
    run = results["distill"]["run"]
    stored = query(file.parent / "workspace", "SELECT name, steps, accuracy FROM runs")
    assert stored == [(run, 2, told)]
    card = (file.parent / results["card"]["card"]).read_text()
    assert f"| accuracy | {told:.2%} on `own.parquet` |" in card
    assert json.loads(kdcurate("run", file, "--json").out)["distill"] == results["distill"]
