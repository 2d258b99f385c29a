"""A small workspace: images of noise, a teacher that was never trained, a manifest by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from distill.networks import InputSpec, load_embedder, load_network, save_student
from index.build import build_index
from index.catalog import Catalog

IMAGES, SELECTED = 20, 12
TEACHER = "cifar:resnet8"


def save_noise(path: Path, seed: int, side: int = 10) -> None:
    pixels = np.random.default_rng(seed).integers(256, size=(side, side, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def save_teacher(folder: Path, seed: int = 0) -> Path:
    network = load_network(
        TEACHER, num_classes=3, input=InputSpec(size=8), seed=seed, allow_random=True
    )
    folder.mkdir(parents=True, exist_ok=True)
    return save_student(network, folder, provenance={})


def add_manifest(catalog: Catalog, name: str, content_hash: str, selected: int = SELECTED) -> None:
    """Select the images with the smallest ids; the first has the weight 1/2."""
    row = [name, content_hash, selected]
    with catalog.write() as connection:
        connection.execute(
            "INSERT INTO manifests SELECT $1, $2, 'random', '{}', 'teacher', NULL, NULL, NULL, 0, "
            "count(*), count(*), $3, '{}', '0', now() FROM images",
            row,
        )
        connection.execute(
            'INSERT INTO ledger (manifest, image_id, selected, "rank", pseudo_label, weight, '
            "score, threshold, components, reason) SELECT $1, id, place <= $2, CASE WHEN "
            "place <= $2 THEN place END, 0, CASE place WHEN 1 THEN 0.5 ELSE 1 END, 0, NULL, "
            "MAP {}, 'by hand' "
            "FROM (SELECT id, row_number() OVER (ORDER BY id) AS place FROM images)",
            [name, selected],
        )


def build(folder: Path) -> Path:
    """Make crawl/, teacher/, and the workspace ws/ with the manifest `first`."""
    for seed in range(IMAGES):
        save_noise(folder / "crawl" / f"{seed:02d}.png", seed)
    card = save_teacher(folder / "teacher")
    workspace = folder / "ws"
    build_index(workspace, [str(folder / "crawl")], load_embedder(card), workers=0)
    add_manifest(Catalog(workspace), "first", "hash-of-first")
    return workspace
