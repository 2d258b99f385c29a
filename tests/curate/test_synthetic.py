"""Images that a method made, beside those of the crawl: one command, then SQL and select."""

from __future__ import annotations

import json
from pathlib import Path

from index.catalog import Catalog

from .conftest import Kdcurate
from .helpers import IMAGES, pixels_of, png, query

COUNT = 5
SMALL = ("--option", "batch=4", "--option", "width=2", "--option", "latent=3")
FAST = ("--preset", "fast", "--max-steps", 2, "--batch-size", 4, "--device", "cpu", "--workers", 0)


def test_kept_images_are_catalogued_beside_the_crawl(
    kdcurate: Kdcurate, workspace: Path, teacher: str
) -> None:
    train = (
        *("distill", "-w", workspace, "--method", "dafl", "--teacher", teacher),
        *("--student", "cifar:resnet8", "--keep-images", COUNT, *SMALL, *FAST),
    )
    done = kdcurate(*train, "--json")
    assert done.code == 0, done.err
    assert f"{COUNT} of the images that it made" in kdcurate(*train).out
    result = json.loads(done.out)
    assert (result["kept"], result["steps"]) == (COUNT, 2)
    query = (
        "SELECT metadata->>'method' AS method, metadata->>'run' AS run, count(*) AS images, "
        "count(DISTINCT image_id) AS ids, count(v.embedder) AS vectors FROM locations "
        "LEFT JOIN vectors v USING (image_id) WHERE metadata->>'run' IS NOT NULL GROUP BY ALL"
    )
    (row,) = json.loads(kdcurate("sql", query, "-w", workspace, "--json").out)
    expected = {"method": "dafl", "run": result["run"]}
    assert row == expected | {"images": COUNT, "ids": COUNT, "vectors": COUNT}
    # The crawl's own are still there, and can be asked for alone.
    counted = kdcurate("sql", "SELECT count(*) AS n FROM images", "-w", workspace, "--json")
    assert json.loads(counted.out) == [{"n": IMAGES + COUNT}]
    selected = kdcurate(
        *("select", "-w", workspace, "--teacher", teacher, "--strategy", "msp", "--name", "web"),
        *("--budget", 1000, "--where", "metadata->>'method' IS NULL", "--workers", 0, "--json"),
    )
    assert selected.code == 0, selected.err
    assert json.loads(selected.out)["selected"] <= IMAGES
    taken = (
        "SELECT count(*) AS n FROM selected s JOIN locations l USING (image_id) "
        "WHERE s.manifest = 'web' AND l.metadata->>'method' IS NOT NULL"
    )
    assert json.loads(kdcurate("sql", taken, "-w", workspace, "--json").out) == [{"n": 0}]
    # And so can they, as a set of their own: with its shift, and in the report beside the other.
    own = f"metadata->>'run' = '{result['run']}'"
    made = kdcurate(
        *("select", "-w", workspace, "--teacher", teacher, "--strategy", "random"),
        *("--name", "of-dafl", "--budget", 1000, "--where", own, "--workers", 0, "--json"),
    )
    assert made.code == 0, made.err
    chosen = json.loads(made.out)
    assert chosen["selected"] == COUNT
    shifts = {one["measure"]: one["selected"] for one in chosen["shift"]}
    assert shifts["bn_moments"] > 0 and "mean_bn_shift" in shifts
    page = workspace / "report.html"
    reported = kdcurate("report", "-w", workspace, "-o", page, "--device", "cpu", "--workers", 0)
    assert reported.code == 0, reported.err
    shown = page.read_text("utf-8")
    assert all(name in shown for name in (result["run"], ">of-dafl<", ">web<"))


def test_a_build_of_folders_leaves_them_to_their_list(
    kdcurate: Kdcurate, tmp_path: Path, teacher: str
) -> None:
    (tmp_path / "crawl" / "synthetic").mkdir(parents=True)  # a user's own folder of that name
    for number in range(3):
        (tmp_path / "crawl" / "synthetic" / f"{number}.png").write_bytes(png(pixels_of(number)))
    workspace = tmp_path / "crawl" / "ws"
    build = ("build-index", "-w", workspace, "--embedder", teacher, "--device", "cpu")
    assert kdcurate(*build, tmp_path / "crawl", "--workers", 0).code == 0
    train = (
        *("distill", "-w", workspace, "--method", "dafl", "--teacher", teacher, "--run", "r"),
        *("--student", "cifar:resnet8", "--keep-images", COUNT, *SMALL, *FAST),
    )
    assert kdcurate(*train).code == 0
    counts = "SELECT metadata->>'method', count(*) FROM locations GROUP BY ALL ORDER BY ALL"
    assert query(workspace, counts) == [("dafl", COUNT), (None, 3)]
    again = kdcurate(*build, tmp_path / "crawl", "--workers", 0)
    assert again.code == 0 and "1 with images that a method made" in again.err
    assert query(workspace, counts) == [("dafl", COUNT), (None, 3)]
    made = workspace / "synthetic"
    nothing = kdcurate(*build, made, "--workers", 0)
    assert nothing.code == 3 and "1 with images that a method made" in nothing.err
    for source in (made / "r", made / "r" / "000000.png"):
        refused = kdcurate(*build, source, "--workers", 0)
        assert refused.code == 2 and f"{source} holds images that a method made" in refused.err
    assert kdcurate(*build, made / "r.jsonl", "--workers", 0).code == 0
    assert query(workspace, counts) == [("dafl", COUNT), (None, 3)]
    (made / "own").mkdir()  # no run's
    (made / "own" / "0.png").write_bytes(png(pixels_of(9)))
    assert kdcurate(*build, tmp_path / "crawl", "--workers", 0).code == 0
    assert query(workspace, counts) == [("dafl", COUNT), (None, 4)]


def test_images_that_an_older_build_took_for_the_crawls_come_back_by_their_list(
    kdcurate: Kdcurate, tmp_path: Path, teacher: str
) -> None:
    workspace, counts = (
        tmp_path / "ws",
        "SELECT metadata->>'method', count(*) FROM locations GROUP BY 1",
    )
    train = (
        *("distill", "-w", workspace, "--method", "dafl", "--teacher", teacher, "--run", "r"),
        *("--student", "cifar:resnet8", "--keep-images", COUNT, *SMALL, *FAST),
    )
    assert kdcurate(*train).code == 0
    with Catalog(workspace).write() as connection:  # as it was left
        connection.execute("UPDATE locations SET metadata = NULL")
        connection.execute("DELETE FROM kdcurate_schema WHERE version = 12")
    listing = workspace / "synthetic" / "r.jsonl"
    build = ("build-index", "-w", workspace, "--embedder", teacher, "--device", "cpu")
    assert kdcurate(*build, listing, "--workers", 0).code == 0
    assert query(workspace, counts) == [("dafl", COUNT)]


def test_without_a_crawl_the_teacher_embeds_them(
    kdcurate: Kdcurate, tmp_path: Path, teacher: str
) -> None:
    command = (
        *("distill", "-w", tmp_path / "new", "--method", "dafl", "--teacher", teacher),
        *("--student", "cifar:resnet8", *SMALL, *FAST, "--json"),
    )
    planned = kdcurate(*command, "--dry-run")
    assert planned.code == 0, planned.err
    plan = json.loads(planned.out)
    assert (plan["steps"], plan["batch_size"], plan["options"]["bal"]) == (2, 4, 20)
    assert not (tmp_path / "new").exists()
    done = kdcurate(*command, "--keep-images", COUNT)
    assert done.code == 0, done.err
    assert json.loads(done.out)["run"] == plan["run"]
    query = "SELECT count(*) AS n FROM vectors JOIN images ON id = image_id"
    assert json.loads(kdcurate("sql", query, "-w", tmp_path / "new", "--json").out) == [
        {"n": COUNT}
    ]


def test_a_method_of_the_crawl_wants_its_manifest(
    kdcurate: Kdcurate, workspace: Path, teacher: str
) -> None:
    common = ("distill", "-w", workspace, "--teacher", teacher, "--student", "cifar:resnet8")
    found = kdcurate(*common, "--method", "kd")
    assert found.code == 2 and "give their --manifest, or a method that makes" in found.err
    found = kdcurate(*common, "--method", "cmi", "--manifest", "first")
    assert found.code == 2 and "leave --manifest out" in found.err
    found = kdcurate(*common, "--method", "cmi", "--rounds", 3)
    assert found.code == 2 and "--rounds is for methods that train on a manifest" in found.err
