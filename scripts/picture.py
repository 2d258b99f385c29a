"""Draws docs/demo.png, the README's picture, from the workspace that `kdcurate demo` left."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from index.catalog import Catalog
from index.decoding import View
from index.reading import read_images

COLUMNS, SIDE, GAP, LEFT, TOP = 16, 48, 4, 250, 10
# Title, and the image ids of its row: seeded by the order of a hash, so the picture is repeatable.
ROWS = (
    ("the crawl", "SELECT id FROM images"),
    ("selected", "SELECT image_id FROM selected WHERE manifest = 'kd3'"),
    (
        "left: below class threshold",
        "SELECT image_id FROM rejected WHERE manifest = 'kd3' AND why = 'below class threshold'",
    ),
    (
        "left: near-duplicate",
        "SELECT image_id FROM rejected WHERE manifest = 'kd3' AND why = 'near-duplicate of'",
    ),
)


def main() -> int:
    """Draw the picture from the demo folder that is named, or the default one."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "kdcurate-demo")
    catalog = Catalog(folder / "workspace")
    width = LEFT + COLUMNS * (SIDE + GAP) + TOP
    height = 2 * TOP + len(ROWS) * (SIDE + GAP)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(17)
    for number, (title, query) in enumerate(ROWS):
        top = TOP + number * (SIDE + GAP)
        draw.text((TOP, top + SIDE // 2), title, fill="black", font=font, anchor="lm")
        only = f"SELECT * FROM ({query}) t(id) ORDER BY hash(id) LIMIT {COLUMNS}"
        found = read_images(catalog, View(SIDE), only=only, workers=0)
        pixels = np.concatenate([images for _, images in found])
        for column, image in enumerate(pixels):
            sheet.paste(Image.fromarray(image), (LEFT + column * (SIDE + GAP), top))
    target = Path(__file__).resolve().parent.parent / "docs" / "demo.png"
    target.parent.mkdir(exist_ok=True)
    sheet.save(target, optimize=True)
    print(f"drew {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
