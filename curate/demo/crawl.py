"""A small web crawl, drawn on the spot: a folder of image files as they come, good and bad."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from curate.demo import pictures

# What a crawl is made of: kind -> share of the files. The last three refer to or damage others.
SHARES = {
    "printed digit": 0.22,
    "handwritten digit": 0.24,
    "letter": 0.19,
    "symbol": 0.06,
    "photograph": 0.15,
    "spacer": 0.01,
    "exact copy": 0.04,
    "near copy": 0.07,
    "broken": 0.02,
}
# Small digits are commoner on the web than large ones: a crawl is never balanced.
DIGIT_SHARES = (0.13, 0.17, 0.14, 0.11, 0.09, 0.09, 0.08, 0.07, 0.06, 0.06)
_NOT_FOUND = b"<!DOCTYPE html><html><body><h1>404 Not Found</h1></body></html>\n"
_BY_SITE = 400


@dataclass(frozen=True)
class DrawnFile:
    """One file of the crawl: its name below the folder, what it shows, its true digit if any."""

    name: str
    kind: str
    digit: int | None
    data: bytes


@dataclass(frozen=True)
class Crawl:
    """Where a crawl was drawn. `truth` (file, digit, kind) is for evaluation only."""

    folder: Path
    truth: Path
    files: int


def draw_crawl(folder: Path, seed: int = 0, *, files: int = 4000) -> Crawl:
    """Draws about 4,000 image files, 24 to 96 pixels a side, into folder/site-NN/.

    The true digits go to truth.csv beside the folder, so that nothing which reads the crawl meets
    them; the digit is empty where the file shows none or cannot be read. The same seed, libraries
    and number of files give the same bytes.

    Raises:
        UsageError: matplotlib or scikit-learn is not installed.
    """
    truth = folder.parent / "truth.csv"
    folder.mkdir(parents=True, exist_ok=True)
    with truth.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(("file", "digit", "kind"))
        for drawn in drawn_files(seed, files):
            path = folder / drawn.name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(drawn.data)
            table.writerow((drawn.name, drawn.digit, drawn.kind))
    return Crawl(folder, truth, files)


def drawn_files(seed: int, files: int) -> Iterator[DrawnFile]:
    """The files of a crawl, in an order that mixes the kinds."""
    rng = np.random.default_rng(seed)
    kinds = _kinds(files, rng)
    originals: list[DrawnFile] = []
    for number, kind in enumerate(kinds):
        if kind == "exact copy" and originals:
            model = originals[rng.integers(len(originals))]
            drawn = _named(number, kind, model.digit, model.data)
        elif kind == "near copy" and originals:
            model = originals[rng.integers(len(originals))]
            drawn = _named(number, kind, model.digit, _near_copy(model.data, rng))
        elif kind == "broken":
            drawn = _named(number, kind, None, _broken(number, rng), ".jpg")
        else:
            digit, image = _draw(kind, rng)
            drawn = _named(number, kind, digit, _encoded(image, rng))
            if kind != "spacer":
                originals.append(drawn)
        yield drawn


def _kinds(files: int, rng: np.random.Generator) -> list[str]:
    """Every kind as often as its share says, mixed; copies come after what they can copy."""
    counts = {kind: round(share * files) for kind, share in SHARES.items()}
    counts["letter"] += files - sum(counts.values())
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    mixed = [kinds[i] for i in rng.permutation(files)]
    first = next(i for i, kind in enumerate(mixed) if kind not in ("exact copy", "near copy"))
    return mixed[first:] + mixed[:first]


def _draw(kind: str, rng: np.random.Generator) -> tuple[int | None, Image.Image]:
    match kind:
        case "printed digit":
            digit = int(rng.choice(10, p=DIGIT_SHARES))
            return digit, pictures.printed(str(digit), rng)
        case "handwritten digit":
            digit = int(rng.choice(10, p=DIGIT_SHARES))
            return digit, pictures.handwritten(digit, rng)
        case "letter":
            letter = pictures.LETTERS[rng.integers(len(pictures.LETTERS))]
            return None, pictures.printed(letter, rng)
        case "symbol":
            symbol = pictures.SYMBOLS[rng.integers(len(pictures.SYMBOLS))]
            return None, pictures.printed(symbol, rng)
        case "photograph":
            return None, pictures.photograph(rng)
        case _:
            return None, pictures.spacer(rng)


def _encoded(image: Image.Image, rng: np.random.Generator) -> bytes:
    if rng.random() < 0.5:
        return _bytes(image, "PNG", compress_level=4)
    return _bytes(image, "JPEG", quality=int(rng.integers(75, 96)))


def _near_copy(data: bytes, rng: np.random.Generator) -> bytes:
    """The same picture encoded again, slightly brighter or darker, sometimes smaller."""
    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert("RGB")
    image = ImageEnhance.Brightness(image).enhance(rng.choice((0.94, 1.05, 1.08)))
    if rng.random() < 0.3:
        side = max(pictures.SMALLEST, round(image.width * 0.85))
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    return _bytes(image, "JPEG", quality=int(rng.integers(80, 93)))


def _broken(number: int, rng: np.random.Generator) -> bytes:
    """A JPEG cut short, a web page instead of an image, or nothing at all."""
    match rng.integers(3):
        case 0:
            whole = _bytes(pictures.photograph(rng), "JPEG", quality=85)
            return whole[: round(len(whole) * rng.uniform(0.3, 0.8))]
        case 1:
            return _NOT_FOUND + f"<!-- request {number} -->\n".encode()
        case _:
            return b""


def _named(
    number: int, kind: str, digit: int | None, data: bytes, suffix: str | None = None
) -> DrawnFile:
    if suffix is None:
        suffix = ".png" if data.startswith(b"\x89PNG") else ".jpg"
    name = f"site-{number // _BY_SITE:02d}/{number:05d}{suffix}"
    return DrawnFile(name, kind, digit, data)


def _bytes(image: Image.Image, form: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
