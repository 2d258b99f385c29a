"""search finds what brute force finds, by image, id, text, and manifest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from curate import search as searching
from curate.options import SelectOptions
from curate.pool import Pool
from curate.search import choose_embedder, manifest_query, search
from curate.selection import select
from distill.networks import load_embedder
from index.catalog import Catalog
from index.errors import UsageError
from index.neighbours import update_index
from index.vectors import live_vectors, unit_norm, vectors_of

from .conftest import Kdcurate
from .helpers import IMAGES, QUIET, build, png, query


def brute(catalog: Catalog, embedder: str, queries: np.ndarray, k: int) -> list[tuple[int, float]]:
    ids, vectors = map(np.concatenate, zip(*live_vectors(catalog, embedder), strict=True))
    cosines = (vectors.astype(np.float64) @ unit_norm(queries).astype(np.float64).T).max(axis=1)
    order = np.lexsort((ids, -cosines))[:k]
    return [(int(ids[i]), float(cosines[i])) for i in order]


def assert_found(
    found: list[dict[str, object]], expected: list[tuple[int, float]], atol: float = 2e-6
) -> None:
    assert [hit["rank"] for hit in found] == list(range(1, len(expected) + 1))
    cosines = [hit["cosine"] for hit in found]
    np.testing.assert_allclose(cosines, [cosine for _, cosine in expected], atol=atol)
    assert {hit["image_id"] for hit in found} == {key for key, _ in expected}


def test_an_image_finds_itself_first(kdcurate: Kdcurate, crawl: Path, scored: Pool) -> None:
    ws, file = scored.catalog.workspace, crawl / "picture-05.png"
    ran = kdcurate("search", "-w", ws, "--image", file, "-k", 5, "--json")
    assert (ran.code, ran.err) == (0, "")
    found = json.loads(ran.out)
    assert found[0]["uri"] == str(file) and found[0]["cosine"] > 0.999
    key = found[0]["image_id"]
    assert scored.embedder is not None
    vector = vectors_of(scored.catalog, scored.embedder, np.array([key]))
    assert_found(found, brute(scored.catalog, scored.embedder, vector, 5), atol=1e-4)  # float16
    by_id = json.loads(kdcurate("search", "-w", ws, "--id", key, "-k", 5, "--json").out)
    assert [hit["image_id"] for hit in by_id] == [hit["image_id"] for hit in found]
    lines = kdcurate("search", "-w", ws, "--id", key, "-k", 3).out.splitlines()
    assert lines[0].split() == ["rank", "image_id", "cosine", "uri"] and len(lines) == 4
    assert str(file) in lines[1]


def test_more_is_asked_for_than_there_is(kdcurate: Kdcurate, scored: Pool) -> None:
    ws = scored.catalog.workspace
    ((key,),) = query(ws, "SELECT min(id) FROM images")
    found = json.loads(kdcurate("search", "-w", ws, "--id", key, "-k", 500, "--json").out)
    assert len({hit["image_id"] for hit in found}) == IMAGES


@pytest.mark.parametrize("index", ["IVF4,SQ4", "HNSW8", "SQ4"])
def test_cosines_are_exact_whatever_the_index_rounds(pool: Pool, index: str) -> None:
    from index.choice import IndexSettings

    assert pool.embedder is not None
    dim = next(live_vectors(pool.catalog, pool.embedder))[1].shape[1]
    update_index(pool.catalog, pool.embedder, dim, settings=IndexSettings(index))
    vectors = next(live_vectors(pool.catalog, pool.embedder))[1][3:5]
    hits = search(pool.catalog, pool.embedder, vectors, 6)
    assert_found([vars(hit) for hit in hits], brute(pool.catalog, pool.embedder, vectors, 6))


def test_like_a_manifest_finds_the_others_nearest_its_mean(kdcurate: Kdcurate, pool: Pool) -> None:
    select(pool, "first", SelectOptions("msp", budget=10))
    ws, embedder = pool.catalog.workspace, pool.embedder
    assert embedder is not None
    rows = query(ws, "SELECT image_id FROM decisions WHERE selected")
    chosen = np.array([row[0] for row in rows])
    mean = vectors_of(pool.catalog, embedder, chosen).mean(axis=0, keepdims=True)
    everything = brute(pool.catalog, embedder, mean, IMAGES)
    expected = [pair for pair in everything if pair[0] not in set(chosen.tolist())][:7]
    command = ("search", "-w", ws, "--like", "first", "-k", 7, "--json")
    assert_found(json.loads(kdcurate(*command).out), expected)


def test_a_large_manifest_is_searched_by_seeded_centres(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    select(pool, "all", SelectOptions("msp"))
    assert pool.embedder is not None
    whole, ids = manifest_query(pool.catalog, pool.embedder, "all", 0)
    monkeypatch.setattr(searching, "IMAGES_A_CENTRE", len(ids) // 2)
    monkeypatch.setattr(searching, "MOST_CENTRES", 2)
    found, _ = manifest_query(pool.catalog, pool.embedder, "all", 0)
    assert (whole.shape[0], found.shape[0]) == (1, 2)
    np.testing.assert_array_equal(found, manifest_query(pool.catalog, pool.embedder, "all", 0)[0])
    vectors = vectors_of(pool.catalog, pool.embedder, ids)
    assert (vectors @ unit_norm(found).T).max(1).mean() > (vectors @ unit_norm(whole).T).mean()


def test_what_makes_no_sense_is_one_line(kdcurate: Kdcurate, scored: Pool, tmp_path: Path) -> None:
    ws = scored.catalog.workspace
    (tmp_path / "page.jpg").write_bytes(b"<html>")
    cases = [
        ((), 2, "give one of --image FILE"),
        (("--id", 1, "--text", "x"), 2, "give one of --image FILE"),
        (("--id", 1), 1, "image 1 has no vector"),
        (("--text", "a cat"), 2, "--text needs an open_clip embedder, this is cifar:resnet8"),
        (("--like", "none"), 2, "no manifest is called 'none'"),
        (("--image", tmp_path / "no.png"), 1, "no.png: No such file"),
        (("--image", tmp_path / "page.jpg"), 1, "page.jpg: not an image of a known format"),
        (("--id", 1, "--embedder", "other"), 2, "names no one embedder of this workspace"),
    ]
    for options, code, said in cases:
        found = kdcurate("search", "-w", ws, *options)
        assert (found.code, found.out, found.err.count("\n")) == (code, "", 1)
        assert said in found.err
    assert "build-index" in kdcurate("search", "-w", tmp_path / "no", "--id", 1).err


def test_among_several_embedders_one_is_named(
    kdcurate: Kdcurate, workspace: Path, crawl: Path, student: str
) -> None:
    first = query(workspace, "SELECT embedder FROM indexes")[0][0]
    kdcurate("build-index", crawl, "-w", workspace, "--embedder", student, *QUIET)
    catalog = Catalog(workspace)
    with pytest.raises(UsageError, match="several embedders: --embedder one of .*, "):
        choose_embedder(catalog, None)
    assert choose_embedder(catalog, first)[0] == first
    with pytest.raises(UsageError, match="names no one embedder"):
        choose_embedder(catalog, "resnet8")  # the beginning of both
    unique = load_embedder(student).key
    assert choose_embedder(catalog, unique[:-2])[0] == unique


def test_text_finds_images_in_the_space_they_share(
    kdcurate: Kdcurate, crawl: Path, clip: str, tmp_path: Path
) -> None:
    ws = tmp_path / "ws"
    assert kdcurate("build-index", crawl, "-w", ws, "--embedder", clip, *QUIET).code == 0
    found = kdcurate("search", "-w", ws, "--text", "a red ant", "-k", 4, "--json")
    network = load_embedder(clip)
    expected = brute(Catalog(ws), network.key, network.embed_text(["a red ant"]), 4)
    assert_found(json.loads(found.out), expected)


def test_an_image_without_a_location_has_no_uri(tmp_path: Path) -> None:
    (tmp_path / "crawl").mkdir()
    (tmp_path / "crawl" / "a.png").write_bytes(png(np.zeros((16, 16, 3), np.uint8)))
    build(tmp_path / "ws", [tmp_path / "crawl"])
    catalog = Catalog(tmp_path / "ws")
    with catalog.write() as connection:
        connection.execute("DELETE FROM locations")
    (hit,) = search(catalog, "mean", next(live_vectors(catalog, "mean"))[1], 3)
    assert (hit.rank, hit.uri) == (1, None)
