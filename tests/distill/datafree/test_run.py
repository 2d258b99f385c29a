"""Runs without a manifest: their files, their rows, the images that they keep, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distill.datafree import trainer as loop
from distill.datafree.adversary import Adversary
from distill.datafree.keeping import list_path, write_images
from distill.datafree.run import complete
from distill.networks import InputSpec, load_network, save_student
from distill.options import TrainOptions
from distill.run import RunOptions, RunResult, distill, make_method, run_name
from index.catalog import Catalog
from index.errors import KdcurateError, MethodError, UsageError, WorkspaceError

from ..workspaces import TEACHER, save_noise, save_teacher

TRAIN = TrainOptions(
    max_steps=4, batch_size=4, device="cpu", precision="float32", augment="none", log_every=2
)
SMALL = {"batch": "4", "width": "2", "latent": "3"}


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_teacher(tmp_path_factory.mktemp("teacher"))


def asked(card: Path, **given: Any) -> RunOptions:
    options = RunOptions(None, str(card), TEACHER, "dafl", TRAIN, SMALL, preset="fast", workers=0)
    return replace(options, **given)


def run(workspace: Path, card: Path, **given: Any) -> RunResult:
    options = asked(card, **given)
    return distill(Catalog(workspace), options, teacher=load_network(options.teacher))


def rows(workspace: Path, query: str) -> list[tuple[Any, ...]]:
    with Catalog(workspace).read() as connection:
        return connection.execute(query).fetchall()


def test_a_warmup_leaves_rounds_in_which_the_student_is_asked(card: Path) -> None:
    def warmup(steps: int, method: str = "cmi", **recipe: object) -> object:
        train = TrainOptions(max_steps=steps, batch_size=4, device="cpu")
        options = asked(card, method=method, method_options=recipe, train=train)
        assert complete(complete(options)) == complete(options)
        return complete(options).method_options["warmup"]

    assert [warmup(steps) for steps in (1, 101, 600, 1500, 3000, 4000)] == [0, 1, 4, 10, 20, 20]
    assert warmup(600, "adi") == 4 and warmup(600, adv=0) == 20  # nothing waits for the student
    assert warmup(600, warmup=5) == 5
    with pytest.raises(UsageError, match="warmup=6: in 600 steps there are 6 rounds, and adv"):
        warmup(600, warmup=6)


def test_a_run_needs_no_workspace_and_leaves_its_row_and_its_student(
    card: Path, tmp_path: Path
) -> None:
    for seed, label in enumerate(("0", "1", "2")):
        save_noise(tmp_path / "data" / label / f"{seed}.png", seed)
    done = run(tmp_path / "ws", card, evaluate_on=str(tmp_path / "data"))
    assert done.run.startswith("dafl-resnet8-s0-") and done.steps == 4
    assert done.accuracy is not None
    student, teacher = load_network(done.student), load_network(card)
    facts = {"method": "dafl", "run": done.run, "seed": "0", "teacher": teacher.key}
    assert student.card.provenance == facts
    row = "SELECT name, manifest, method, teacher, student, options->>'preset', steps FROM runs"
    expected = (done.run, None, "dafl", teacher.key, student.key, "fast", 4)
    assert rows(tmp_path / "ws", row) == [expected]
    ((options,),) = rows(tmp_path / "ws", "SELECT options FROM runs")
    assert {"bal": 20.0, "width": 2, "batch_size": 4}.items() <= json.loads(options).items()
    seen = rows(tmp_path / "ws", "SELECT run, manifest, strategy, pool FROM runs_with_manifest")
    assert seen == [(done.run, None, None, None)]
    names = rows(tmp_path / "ws", "SELECT DISTINCT name FROM metrics ORDER BY 1")
    assert {("total",), ("images_bal",), ("lr",)} <= set(names)


def test_the_same_command_reads_the_result_and_later_keeps_images(
    card: Path, tmp_path: Path
) -> None:
    first = run(tmp_path, card)
    assert first == run(tmp_path, card) and first.images is None
    kept = run(tmp_path, card, keep_images=6)
    assert kept.run == first.run and kept.kept == 6
    assert kept.images == str(list_path(tmp_path, first.run))
    assert kept == run(tmp_path, card, keep_images=6)  # nothing is made again
    save_noise(tmp_path / "data" / "0" / "0.png", 0)
    later = run(tmp_path, card, evaluate_on=str(tmp_path / "data"))
    assert (later.images, later.kept) == (kept.images, 6) and later.accuracy is not None
    more = run(tmp_path, card, keep_images=7)  # what was evaluated stays so
    assert (more.accuracy, more.evaluated_on) == (later.accuracy, later.evaluated_on)
    fewer = run(tmp_path, card, keep_images=2)  # a manifest may have selected those before
    assert (fewer.kept, fewer.seconds) == (7, first.seconds)
    table = [json.loads(line) for line in Path(kept.images).read_text().splitlines()]
    assert [row["number"] for row in table] == list(range(7))
    assert {(row["method"], row["run"]) for row in table} == {("dafl", first.run)}
    for row in table:
        with Image.open(Path(kept.images).parent / row["path"]) as image:
            assert (image.format, image.size, image.mode) == ("PNG", (8, 8), "RGB")


def test_the_option_that_differs_is_named_alone(card: Path, tmp_path: Path) -> None:
    run(tmp_path, card, name="r")
    with pytest.raises(WorkspaceError, match=r"is of a run with --option bal = 20\.0, not 5\.0: "):
        run(tmp_path, card, name="r", method_options={**SMALL, "bal": 5})


def test_a_workspace_may_be_moved_and_its_kept_images_lost(
    card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths are those of today; what is gone is made again, as it was, and nothing is trained."""
    monkeypatch.chdir(tmp_path)
    first = run(Path("before"), card, keep_images=5)
    assert first.images is not None
    pictures = [path.read_bytes() for path in sorted(tmp_path.glob("before/synthetic/*/*.png"))]
    moved = (tmp_path / "before").rename(tmp_path / "after")
    found = run(moved, card, keep_images=5)
    student, images = moved / "runs" / first.run / "student.toml", list_path(moved, first.run)
    assert found == replace(first, student=str(student), images=str(images))
    assert load_network(student).num_classes == 3
    for lost in ("000003.png", f"../{first.run}.jsonl"):
        (moved / "synthetic" / first.run / lost).unlink()
        assert run(moved, card).kept == 5  # who asks for none is told of what there was
        assert len(list(images.parent.rglob("*"))) == 6
        assert run(moved, card, keep_images=5).images == str(images)
        assert [path.read_bytes() for path in sorted(moved.glob("synthetic/*/*.png"))] == pictures
        assert images.is_file()


def test_fewer_images_leave_none_of_the_others(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(5, 8, 8, 3), dtype=np.uint8)
    for count in (5, 2):
        listing = write_images(tmp_path, "r", [pixels[:count]], {"method": "dafl"})
        (tmp_path / "synthetic" / "r" / ".000004.png.123.tmp").write_bytes(b"of a killed process")
    listing = write_images(tmp_path, "r", [pixels[:1], pixels[1:2]], {"method": "dafl"})
    assert len(list((tmp_path / "synthetic" / "r").iterdir())) == 2
    row = json.loads(listing.read_text().splitlines()[1])
    assert row == {"path": "r/000001.png", "method": "dafl", "run": "r", "number": 1}
    with Image.open(listing.parent / row["path"]) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels[1])


def test_the_name_follows_from_the_numbers_whatever_they_were_called(card: Path) -> None:
    teacher = load_network(card)

    def name(**given: Any) -> str:
        return run_name(complete(asked(card, **given)), teacher, "")

    assert name(method="di", method_options={}) == name(method="deepinversion", method_options={})
    as_default = {**SMALL, "bal": "20.0"}
    assert name(method_options=as_default) == name() == name(keep_images=5)
    assert name(preset="paper", method_options={}) != name(method_options={})
    assert name(method_options={**SMALL, "bal": "5"}) != name()


def test_the_processes_that_a_run_joined_are_joined_once(
    card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def join(device: str, precision: str) -> None:
        raise AssertionError(f"joined again: {device}, {precision}")

    monkeypatch.setattr(loop, "join", join)
    assert run(tmp_path, card).steps == 4


# Refusals


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"manifest": "m"}, "--method dafl makes its own images: leave --manifest out"),
        ({"train": replace(TRAIN, rounds=2)}, "--rounds is for methods that train on a manifest"),
        ({"method": "kd"}, r"--method kd trains on images of a crawl: .*--manifest.*dafl, dfad"),
        ({"method": "kd", "manifest": "m"}, "--preset is for methods that make their own images"),
        (
            {"method": "kd", "manifest": "m", "preset": None, "keep_images": 3},
            "--keep-images is for methods that make their own images",
        ),
        ({"preset": "slow"}, "--preset is 'slow': choose one of paper, fast"),
        ({"keep_images": -1}, "--keep-images is -1"),
        ({"method_options": {"without": ["dynamic"]}}, "--without is kd3's: dafl has no parts"),
        ({"method_options": {"cr": 1}}, "method dafl has no option 'cr'"),
        ({"cache_budget_gib": 1.0}, "--cache-budget is for methods that train on a manifest"),
    ],
)
def test_what_does_not_go_together_is_named(card: Path, given: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        complete(asked(card, **given))


@pytest.mark.parametrize("more, made", [({}, 18), ({"most": 7}, 12)])
def test_no_more_images_can_be_kept_than_are_made(
    card: Path, more: dict[str, int], made: int
) -> None:
    recipe = {"batch": 6, "student_steps": 3, **more}  # three rounds of 6 in 8 steps
    given = {"method": "cmi", "method_options": recipe, "train": replace(TRAIN, max_steps=8)}
    assert complete(asked(card, **given, keep_images=made)).keep_images == made
    named = f"^--keep-images {made + 1}: in 8 steps this method makes {made}$"
    with pytest.raises(UsageError, match=named):
        complete(asked(card, **given, keep_images=made + 1))
    assert complete(asked(card, keep_images=10**9)).keep_images == 10**9  # of dafl


def test_an_unknown_method_is_told_of_all(card: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no distillation method 'dalf': did you mean dafl"):
        run(tmp_path, card, method="dalf", manifest="m", preset=None)


def test_memory_that_is_not_there_names_what_these_methods_listen_to(
    card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def images(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(Adversary, "images", images)
    wanted = r"out of memory: lower --batch-size \(now 4\) or --option batch= \(now 4\); the last"
    with pytest.raises(KdcurateError, match=wanted):
        run(tmp_path, card)


def test_a_teacher_that_does_not_fit_is_refused_before_any_work(tmp_path: Path) -> None:
    """And never sent from one method that cannot take it to another that cannot."""
    bad = "30 pixels .*: use deepinversion.*--option bn=0 where the teacher has no BatchNorm"
    leave = "has no BatchNorm.*: leave that term out with --option bn=0"
    others = f"{leave}, or use dafl, dfad or pre, which need none$"
    own = "--option bn compares its statistics: leave bn out$"
    cases: list[tuple[int, str, dict[str, Any], str]] = [
        *((30, name, {}, bad) for name in ("dafl", "dfq", "cmi")),
        (30, "deepinversion", {}, f"{leave}$"),
        (32, "deepinversion", {}, others),
        (32, "dfq", {}, others),
        (32, "dafl", {"bn": "1"}, own),
    ]
    for size, method, given, named in cases:
        options = complete(asked(card_of(size, tmp_path), method=method, method_options=given))
        with pytest.raises(MethodError, match=named):
            make_method(options, load_network(options.teacher))
    assert not (tmp_path / "runs").exists()


def test_any_size_is_taken_without_batch_norm_by_what_is_named(tmp_path: Path) -> None:
    small = {"batch": "4", "steps": "2", "bn": "0"}
    card = card_of(30, tmp_path)
    given = {"method": "deepinversion", "method_options": small}
    assert run(tmp_path, card, student=str(card), **given).steps == 4


def card_of(size: int, folder: Path) -> Path:
    """Card of a network without BatchNorm, for images of this size."""
    spec = InputSpec(size=size)
    network = load_network("cifar:lenet5", num_classes=3, input=spec, allow_random=True)
    return save_student(network, folder / str(size), provenance={})
