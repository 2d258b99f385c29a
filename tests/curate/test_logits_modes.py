"""select on a pool that keeps its logits in full, the 32 largest, or none."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from curate.logits import StoredLogits
from curate.modes import settled_mode, stored_mode
from curate.options import SelectOptions
from curate.pool import Pool
from curate.scoring import Scorer, score_pool
from curate.selection import select
from curate.verifying import verify_manifest
from index.catalog import Catalog
from index.decoding import Pixels, View
from index.errors import UsageError
from index.parts import Rows
from index.progress import Silent

from .helpers import build, png, query, write_parquet

COUNT, CLASSES = 700, 40
WEIGHTS = 4 * np.random.default_rng(5).standard_normal((12, CLASSES)).astype(np.float32)


class Heard(Silent):
    """Remembers what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def forward(pixels: Pixels) -> tuple[Rows, dict[str, Rows]]:
    flat = pixels.reshape(len(pixels), 12).astype(np.float32) / 255
    return ((flat - 0.5) @ WEIGHTS).astype(np.float16), {
        "null_space": flat[:, :1].astype(np.float16)
    }


@pytest.fixture(scope="module")
def workspaces(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A workspace a mode, of the same images and the same network."""
    folder = tmp_path_factory.mktemp("modes")
    rng = np.random.default_rng(0)
    rows = [(png(rng.integers(256, size=(2, 2, 3), dtype=np.uint8)),) for _ in range(COUNT)]
    build(folder / "unscored", [write_parquet(folder / "pool.parquet", "image BLOB", rows)])
    found = {}
    for mode in ("full", "top32", "none"):
        found[mode] = Path(shutil.copytree(folder / "unscored", folder / mode))
        scorer = Scorer("net", View(2), forward)
        score_pool(Catalog(found[mode]), scorer, workers=0, rows_a_part=1, logits=mode)
    return found


@pytest.fixture
def pools(workspaces: dict[str, Path], tmp_path: Path) -> dict[str, Pool]:
    copies = {mode: shutil.copytree(path, tmp_path / mode) for mode, path in workspaces.items()}
    return {mode: Pool(Catalog(path), "net", CLASSES, {}) for mode, path in copies.items()}


@pytest.mark.parametrize(
    "options",
    [
        SelectOptions("kd3", budget=50),
        SelectOptions("msp", budget="10%"),
        SelectOptions("random", budget=9),
    ],
)
def test_without_logits_the_same_images_are_selected(
    pools: dict[str, Pool], options: SelectOptions
) -> None:
    hashes = {mode: select(pool, "first", options).content_hash for mode, pool in pools.items()}
    assert len(set(hashes.values())) == 1
    columns = "image_id, selected, score, threshold, components, reason"
    ledgers = [
        query(pool.catalog.workspace, f"SELECT {columns} FROM decisions ORDER BY 1")
        for pool in pools.values()
    ]
    assert ledgers[0] == ledgers[1] == ledgers[2]
    assert len(ledgers[0]) == COUNT


def test_the_manifest_says_how_the_logits_are_kept(pools: dict[str, Pool]) -> None:
    found = {mode: select(pool, "first", SelectOptions("kd3")) for mode, pool in pools.items()}
    assert [found[mode].options.get("logits") for mode in found] == [None, "top32", "none"]
    for mode, pool in pools.items():
        assert verify_manifest(pool.catalog, "first").is_whole, mode


def test_energy_is_exact_from_the_32_largest(pools: dict[str, Pool]) -> None:
    scores = []
    for mode in ("full", "top32"):
        heard = Heard()
        select(pools[mode], "first", SelectOptions("energy"), progress=heard)
        assert heard.lines == []
        rows = query(
            pools[mode].catalog.workspace, "SELECT image_id, score FROM decisions ORDER BY 1"
        )
        scores.append([score for _, score in rows])
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-6, atol=1e-6)


def test_what_is_approximate_is_said(pools: dict[str, Pool]) -> None:
    heard = Heard()
    select(pools["top32"], "first", SelectOptions("entropy"), progress=heard)
    assert len(heard.lines) == 1
    assert "entropy is approximate here: of net the 32 largest logits are kept" in heard.lines[0]
    heard = Heard()
    select(pools["top32"], "sum", SelectOptions("rank", rank="msp + gen"), progress=heard)
    assert "rank is approximate here" in heard.lines[0]


@pytest.mark.parametrize("name", ["energy", "entropy", "max_logit", "margin", "gen"])
def test_without_logits_what_reads_them_is_refused_by_name(
    pools: dict[str, Pool], name: str
) -> None:
    with pytest.raises(
        UsageError, match=f"{name} reads logits, and net was scored with --logits none"
    ):
        select(pools["none"], None, SelectOptions(name))
    with pytest.raises(UsageError, match="rank reads logits"):
        select(pools["none"], None, SelectOptions("rank", rank=f"msp + {name}"))
    assert select(pools["none"], None, SelectOptions("rank", rank="msp + width", budget=3))


def test_logits_that_were_not_kept_cannot_be_read(pools: dict[str, Pool]) -> None:
    ids = np.array(
        [key for (key,) in query(pools["none"].catalog.workspace, "SELECT id FROM images")]
    )
    with pytest.raises(UsageError, match="scored with --logits none, so there are none"):
        StoredLogits(pools["none"].catalog, "net").gather(ids)


def test_what_was_left_out_is_refused_and_what_is_there_is_kept(pools: dict[str, Pool]) -> None:
    for mode, pool in pools.items():
        assert stored_mode(pool.catalog, "net") == mode
        assert settled_mode(pool.catalog, "net", CLASSES, None) == mode
        assert settled_mode(pool.catalog, "net", CLASSES, "none") == mode
    assert settled_mode(pools["none"].catalog, "other", CLASSES, "top32") == "top32"
    assert settled_mode(pools["none"].catalog, "other", CLASSES, None) == "full"
    for asked in ("top32", "full"):
        with pytest.raises(
            UsageError, match=f"net was scored with --logits none, which left out what {asked}"
        ):
            settled_mode(pools["none"].catalog, "net", CLASSES, asked)


def test_batches_hold_the_same_logits_as_gather(pools: dict[str, Pool]) -> None:
    for mode in ("full", "top32"):
        logits = StoredLogits(pools[mode].catalog, "net")
        batches = list(logits.batches())
        assert [len(ids) for ids, _ in batches] == [512, COUNT - 512]
        ids = np.concatenate([ids for ids, _ in batches])
        rows = np.concatenate([rows for _, rows in batches])
        order = np.random.default_rng(0).permutation(COUNT)
        np.testing.assert_array_equal(logits.gather(ids[order]), rows[order])


def test_a_student_without_logits_agrees_with_nobody(pools: dict[str, Pool]) -> None:
    for mode, expected in (
        ("full", {"teacher_confidence", "student_confidence", "agreement"}),
        ("none", {"teacher_confidence", "student_confidence"}),
    ):
        pool = pools[mode]
        paired = Pool(pool.catalog, "net", CLASSES, {}, student="net")
        select(paired, "first", SelectOptions("kd3", budget=20))
        (row,) = query(pool.catalog.workspace, "SELECT components FROM decisions LIMIT 1")
        assert set(row[0]) == expected
    with pytest.raises(UsageError, match="agreement reads logits"):
        select(
            Pool(pools["none"].catalog, "net", CLASSES, {}, student="net"),
            None,
            SelectOptions("agreement"),
        )


def test_balance_of_labels_is_known_in_every_mode(pools: dict[str, Pool]) -> None:
    found = set()
    for pool in pools.values():
        select(pool, "first", SelectOptions("msp", budget=50))
        found |= set(
            query(pool.catalog.workspace, "SELECT pool_kl, selected_kl FROM manifest_shift")
        )
    assert len(found) == 1
    assert all(value is not None for value in next(iter(found)))


def test_weights_are_refused_before_anything_is_fitted(pools: dict[str, Pool]) -> None:
    pool = replace(pools["none"], reference="key", embedder="net")
    with pytest.raises(UsageError, match="--weights reads logits, and net was scored with"):
        select(pool, None, SelectOptions("random", weights="domain"))
