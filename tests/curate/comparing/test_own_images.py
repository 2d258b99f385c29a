"""Methods that make their own images, in one table with those that learn from the crawl."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from curate.cli.compare import AUGMENT_HELP, method_options
from curate.pool import Pool
from distill.result import RunResult
from distill.run import RunOptions, distill
from index.catalog import Catalog
from index.errors import KdcurateError

from ..conftest import Kdcurate
from ..helpers import pixels_of, png, query, write_parquet

STEPS = 3
SMALL = ("batch=4", "width=2", "latent=3")


@pytest.fixture
def command(pool: Pool, teacher: str, tmp_path: Path) -> tuple[object, ...]:
    rows = [(png(pixels_of(900 + n)), n % 4) for n in range(8)]
    labelled = write_parquet(tmp_path / "test.parquet", "image BLOB, label INTEGER", rows)
    options = [f"dafl.{one}" for one in SMALL] + ["di.batch=4", "deepinversion.steps=2"]
    return (
        *("compare", "-w", pool.catalog.workspace, "--teacher", teacher),
        *("--student", "cifar:resnet8", "--methods", "kd,dafl,di", "--strategies", "msp"),
        *("--no-baseline", "--budget", 12, "--seeds", 1, "--max-steps", STEPS),
        *("--batch-size", 4, "--preset", "fast", "--eval", labelled, "--device", "cpu"),
        *("--precision", "float32", "--workers", 0, "--cache-budget", 1, "--json"),
        *(word for one in options for word in ("--option", one)),
    )


def test_they_are_rows_of_one_table_at_equal_steps(
    kdcurate: Kdcurate, command: tuple[object, ...], pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended before its last cell, the comparison trains only what is left."""
    comparing = import_module("curate.comparing.compare")  # the package has a function of its name
    train = comparing.distill

    def full(catalog: Catalog, options: RunOptions, **more: Any) -> RunResult:
        if options.method == "deepinversion":
            raise KdcurateError("the disk is full")
        return distill(catalog, options, **more)

    monkeypatch.setattr(comparing, "distill", full)
    assert kdcurate(*command).code == 1
    monkeypatch.setattr(comparing, "distill", train)
    ended = query(pool.catalog.workspace, "SELECT method, finished_at FROM runs ORDER BY 1")
    assert [method for method, _ in ended] == ["dafl", "kd"]
    planned = json.loads(kdcurate(*command, "--dry-run").out)
    assert (planned["trainings"], planned["finished"]) == (3, 2)
    done = kdcurate(*command)
    assert done.code == 0, done.err
    rows = {line["method"]: line for line in json.loads(done.out)["rows"]}
    found = {name: (line["selection"], line["images"]) for name, line in rows.items()}
    own = ("own images", None)
    assert found == {"kd": ("msp", 12), "dafl": own, "deepinversion": own}
    assert all(line["steps"] == STEPS and line["seconds"] > 0 for line in rows.values())
    now = query(pool.catalog.workspace, "SELECT method, finished_at FROM runs ORDER BY 1")
    assert {*ended} < {*now} and len(now) == 3


def test_no_crawl_is_needed_where_no_row_learns_from_one(
    kdcurate: Kdcurate, command: tuple[object, ...], tmp_path: Path
) -> None:
    first, new = command.index("--strategies"), tmp_path / "new"
    words = [*command[:first], *command[command.index("--no-baseline") :]]
    words[words.index("-w") + 1] = new
    words[words.index("kd,dafl,di")] = "dafl,di"
    for option in ("--budget", "--cache-budget"):  # of those that learn from a crawl
        at = words.index(option)
        del words[at : at + 2]
    planned = kdcurate(*words, "--dry-run")
    assert planned.code == 0, planned.err
    assert json.loads(planned.out)["finished"] == 0 and not new.exists()
    done = kdcurate(*words)
    assert done.code == 0, done.err
    rows = json.loads(done.out)["rows"]
    assert {line["method"] for line in rows} == {"dafl", "deepinversion"}
    assert json.loads(kdcurate(*words, "--dry-run").out)["finished"] == 2
    words[words.index("dafl,di")] = "dafl,kd"
    words[words.index("-w") + 1] = tmp_path / "other"
    refused = kdcurate(*words, "--strategies", "msp", "--budget", 3)
    assert refused.code == 1 and "run `kdcurate build-index" in refused.err
    assert not (tmp_path / "other").exists()


def test_an_alias_is_its_method(kdcurate: Kdcurate, command: tuple[object, ...]) -> None:
    assert method_options(["di.steps=3"]) == {"deepinversion": {"steps": "3"}}
    twice = ["di,deepinversion" if word == "kd,dafl,di" else word for word in command]
    refused = kdcurate(*twice)
    assert refused.code == 2 and "--methods names 'deepinversion' twice" in refused.err


def test_strategies_choose_where_a_predicate_is_true(
    kdcurate: Kdcurate, command: tuple[object, ...], pool: Pool
) -> None:
    """So that images which were made are not among those of the crawl."""
    words = ["kd" if word == "kd,dafl,di" else word for word in command]
    start = words.index("--preset")  # that and what is for methods which are left out here
    trained = [*words[:start], *words[start + 2 : words.index("--option")]]
    done = kdcurate(*trained, "--where", "id % 2 = 0")
    assert done.code == 0, done.err
    chosen = query(pool.catalog.workspace, "SELECT image_id FROM decisions WHERE selected")
    assert len(chosen) == 12 and all(number % 2 == 0 for (number,) in chosen)
    refused = kdcurate(*trained, "--where", "nonsense = 1")
    assert refused.code == 2 and "nonsense" in refused.err
    slow = "levenshtein(repeat(hex(sha256), 100), repeat(format, 2000)) >= 0"
    refused = kdcurate(*trained, "--where", slow, "--where-timeout", "1e-3")
    assert refused.code == 1 and "give --where-timeout more" in refused.err
    refused = kdcurate(*trained, "--where-timeout", "0")
    assert refused.code == 2 and "--where-timeout is 0" in refused.err
    refused = kdcurate(*command, "--strategies", "", "--methods", "dafl,di", "--where", "true")
    assert refused.code == 2 and "--where true is for what --strategies select" in refused.err


def test_what_no_row_of_theirs_uses_is_refused(
    kdcurate: Kdcurate, command: tuple[object, ...]
) -> None:
    """The baseline of random images is none of it: it comes unasked, and has no row here."""
    own = ["dafl,di" if word == "kd,dafl,di" else word for word in command if word != "--json"]
    own.remove("--no-baseline")
    for option, value in (("--strategies", "msp"), ("--cache-budget", 1)):
        refused = kdcurate(*own, "--dry-run")
        assert refused.code == 2 and refused.err.startswith(f"kdcurate: {option} {value} is for ")
        place = own.index(option)
        del own[place : place + 2]
    planned = kdcurate(*own, "--dry-run")
    assert planned.code == 0 and "2 trainings" in planned.err


def test_help_says_how_their_images_are_augmented() -> None:
    assert "make their own images are augmented as `distill` does" in AUGMENT_HELP
