"""Scoring: once for each image, and the same after a kill as without one."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from curate.logits import ArrayLogits, StoredLogits
from curate.scoring import score_pool, unscored_count
from curate.shift import update_shifts
from index.catalog import Catalog
from index.errors import WorkspaceError
from index.files import locked
from index.parts import list_parts, read_part

from .colours import colour_logits, colour_scorer
from .helpers import PROJECT, build, png, query, write_parquet

# The reader hands out 512 at a time, so these are three parts.
COUNT = 1100

KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path

import curate.scoring
from index.catalog import Catalog
from tests.curate.colours import colour_scorer

workspace, moment = Path(sys.argv[1]), sys.argv[2]
scorer, calls = colour_scorer(), 0


def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def forward(pixels):
    global calls
    calls += 1
    if calls == 2 and moment == "forward":
        kill()
    if calls == 2:  # part files are on disk, the catalog does not know of them
        curate.scoring.record_part = kill
    return scorer.forward(pixels)


killing = replace(scorer, forward=forward)
curate.scoring.score_pool(Catalog(workspace), killing, workers=0, rows_a_part=1)
"""


def rows_of(count: int, seed: int) -> list[tuple[bytes]]:
    rng = np.random.default_rng(seed)
    return [(png(rng.integers(256, size=(2, 2, 3), dtype=np.uint8)),) for _ in range(count)]


@pytest.fixture(scope="module")
def unscored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unscored")
    source = write_parquet(folder / "first.parquet", "image BLOB", rows_of(COUNT, seed=0))
    build(folder / "ws", [source])
    return folder / "ws"


@pytest.fixture
def catalog(unscored: Path, tmp_path: Path) -> Catalog:
    return Catalog(Path(shutil.copytree(unscored, tmp_path / "ws")))


def score(catalog: Catalog, seen: list[int] | None = None, *, moments: bool = True) -> int:
    scorer = colour_scorer(seen, moments=moments)
    return score_pool(catalog, scorer, workers=0, rows_a_part=1)


def stored(catalog: Catalog) -> dict[int, tuple[int, float, list[float]]]:
    """Label, confidence, and logits of every image."""
    rows = query(catalog.workspace, "SELECT image_id, pseudo_label, confidence FROM scores")
    ids = np.array([key for key, _, _ in rows])
    logits = StoredLogits(catalog, "colour").gather(ids).tolist()
    return {key: (label, q, z) for (key, label, q), z in zip(rows, logits, strict=True)}


def grow(catalog: Catalog, count: int) -> None:
    source = catalog.workspace.parent / "second.parquet"
    build(catalog.workspace, [write_parquet(source, "image BLOB", rows_of(count, seed=1))])


def test_every_image_is_scored_once(catalog: Catalog) -> None:
    seen: list[int] = []
    assert unscored_count(catalog, "colour") == COUNT
    assert score(catalog, seen) == COUNT
    assert seen == [512, 512, 76]
    assert query(catalog.workspace, "SELECT count(DISTINCT image_id) FROM scores") == [(COUNT,)]
    assert query(catalog.workspace, "SELECT count(*) FROM scores") == [(COUNT,)]
    assert unscored_count(catalog, "colour") == 0


def test_what_is_scored_is_not_scored_again(catalog: Catalog) -> None:
    score(catalog)
    before, seen = stored(catalog), list[int]()
    assert score(catalog, seen) == 0
    assert seen == []
    assert stored(catalog) == before


def test_only_new_images_are_scored(catalog: Catalog) -> None:
    score(catalog)
    before, seen = stored(catalog), list[int]()
    grow(catalog, 40)
    assert score(catalog, seen) == 40
    assert seen == [40]
    after = stored(catalog)
    assert len(after) == COUNT + 40
    assert {key: after[key] for key in before} == before


def test_scores_are_softmax_of_the_stored_logits(catalog: Catalog) -> None:
    score(catalog)
    for label, confidence, logits in list(stored(catalog).values())[:50]:
        p = np.exp(np.array(logits) - max(logits))
        assert label == int(np.argmax(logits))
        assert confidence == pytest.approx(p.max() / p.sum(), rel=1e-5)


@pytest.mark.parametrize("moment", ["forward", "commit"])
def test_a_killed_pass_goes_on_to_the_same_scores(
    catalog: Catalog, moment: str, tmp_path: Path
) -> None:
    undisturbed = Catalog(Path(shutil.copytree(catalog.workspace, tmp_path / "other")))
    score(undisturbed)
    command = [sys.executable, "-c", KILLED, str(catalog.workspace), moment]
    ended = subprocess.run(command, cwd=PROJECT, check=False, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert unscored_count(catalog, "colour") == COUNT - 512
    seen: list[int] = []
    assert score(catalog, seen) == sum(seen) == COUNT - 512
    assert stored(catalog) == stored(undisturbed)
    assert update_shifts(catalog, "colour") == update_shifts(undisturbed, "colour")
    shifts = "SELECT image_id, value FROM shifts ORDER BY estimator, image_id"
    np.testing.assert_allclose(
        query(catalog.workspace, shifts), query(undisturbed.workspace, shifts), rtol=1e-6
    )


def test_two_passes_at_once_are_refused(catalog: Catalog) -> None:
    with (
        locked(catalog.workspace / ".score.lock", "this test"),
        pytest.raises(WorkspaceError, match="another process scores"),
    ):
        score(catalog)
    score(catalog)
    with locked(catalog.workspace / ".score.lock", "this test"):  # as another network's pass does
        assert score(catalog) == 0


def test_logits_are_gathered_in_the_order_asked_for(catalog: Catalog) -> None:
    score(catalog)
    logits = StoredLogits(catalog, "colour")
    batches = list(logits.batches())
    ids = np.concatenate([ids for ids, _ in batches])
    rows = np.concatenate([rows for _, rows in batches])
    assert [len(ids) for ids, _ in batches] == [512, 512, 76]
    order = np.random.default_rng(0).permutation(COUNT)
    assert (logits.gather(ids[order]) == rows[order]).all()
    ascending = np.argsort(ids)
    in_memory = ArrayLogits(ids[ascending], rows[ascending].astype(np.float16))
    assert (in_memory.gather(ids[order]) == rows[order]).all()


def test_an_image_that_was_not_scored_is_refused(catalog: Catalog) -> None:
    score(catalog)
    with pytest.raises(WorkspaceError, match="has not scored every image"):
        StoredLogits(catalog, "colour").gather(np.array([0]))


def raw_moments(catalog: Catalog) -> tuple[list[int], np.ndarray[tuple[int, ...], np.dtype]]:
    with catalog.read() as connection:
        parts = list_parts(connection, "shifts/colour/bn_shift")
    read = [read_part(catalog.workspace, part) for part in parts]
    ids = np.concatenate([ids for ids, _ in read])
    return ids.tolist(), np.concatenate([rows for _, rows in read]).astype(np.float64)


def check_shift(catalog: Catalog) -> dict[int, float]:
    """The stored shift is the mean over layers of z-scores over the whole pool, in float64."""
    ids, raw = raw_moments(catalog)
    expected = ((raw - raw.mean(0)) / raw.std(0)).mean(1)
    found = dict(
        query(
            catalog.workspace,
            "SELECT image_id, value FROM shifts WHERE model = 'colour' AND estimator = 'bn_shift'",
        )
    )
    assert len(found) == len(ids)
    np.testing.assert_allclose([found[key] for key in ids], expected, rtol=1e-5, atol=1e-6)
    return found


def test_bn_shift_is_z_scored_per_layer_over_all_parts(catalog: Catalog) -> None:
    score(catalog)
    with catalog.read() as connection:
        assert len(list_parts(connection, "shifts/colour/bn_shift")) == 3
    assert "bn_shift" in update_shifts(catalog, "colour")
    assert np.mean(list(check_shift(catalog).values())) == pytest.approx(0, abs=1e-6)


def test_bn_shift_is_recomputed_when_the_pool_grows(catalog: Catalog) -> None:
    score(catalog)
    update_shifts(catalog, "colour")
    before = check_shift(catalog)
    assert "bn_shift" in update_shifts(catalog, "colour")
    assert check_shift(catalog) == before
    grow(catalog, 300)
    score(catalog)
    assert "bn_shift" in update_shifts(catalog, "colour")
    after = check_shift(catalog)
    assert len(after) == COUNT + 300
    assert any(after[key] != before[key] for key in before)


def test_a_network_without_batchnorm_has_no_bn_shift(catalog: Catalog) -> None:
    score(catalog, moments=False)
    assert update_shifts(catalog, "colour") == ["classifier_angle"]
    assert query(catalog.workspace, "SELECT DISTINCT estimator FROM shifts") == [
        ("classifier_angle",)
    ]


def test_an_estimate_of_one_value_an_image_is_stored_as_it_is(catalog: Catalog) -> None:
    score(catalog)
    update_shifts(catalog, "colour")
    found = query(
        catalog.workspace, "SELECT image_id, value FROM shifts WHERE estimator = 'classifier_angle'"
    )
    logits = StoredLogits(catalog, "colour").gather(np.array([key for key, _ in found]))
    assert [value for _, value in found] == logits[:, 0].tolist()
    assert len(found) == COUNT


def test_a_layer_that_never_varies_shifts_nothing(catalog: Catalog) -> None:
    from dataclasses import replace

    def forward(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> tuple:
        return colour_logits(pixels), {"bn_shift": np.full((len(pixels), 1), 3, np.float16)}

    score_pool(catalog, replace(colour_scorer(), forward=forward), workers=0)
    assert "bn_shift" in update_shifts(catalog, "colour")
    assert query(catalog.workspace, "SELECT DISTINCT value FROM shifts") == [(0.0,)]
