"""Safe decoding of hostile image bytes into the square view that a network sees."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from index.dhash import difference_hash
from index.signatures import looks_like, opened_format

Pixels = NDArray[np.uint8]
Interpolation = Literal["nearest", "bilinear", "bicubic"]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
MAX_PIXELS = 64_000_000
# Decoded at twice the size that is asked for, the difference to a full decode cannot be seen.
_DRAFT_MARGIN = 2
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


# What reading beyond the end of a header looks like from within.
_CUT_SHORT = re.compile(r"unpack(_from)? requires|index out of range|Truncated File Read")


class DecodeError(Exception):
    """These bytes are not an image that kdcurate opens; the message is the reason."""


@dataclass(frozen=True)
class View:
    """The deterministic view of an image: shorter side to `resize`, centre crop to `size`."""

    size: int
    resize: int | None = None
    interpolation: Interpolation = "bilinear"


@dataclass(frozen=True)
class Decoded:
    """One decoded image: pixels (size, size, 3), what its header said, and its hash if wanted."""

    pixels: Pixels
    format: str
    width: int
    height: int
    mode: str
    dhash: int | None = None


@dataclass(frozen=True)
class Decoder:
    """How a build decodes: into this view, and only these formats."""

    view: View
    formats: tuple[str, ...] = FORMATS

    def __call__(self, data: bytes) -> Decoded:
        """Decode untrusted bytes, with the perceptual hash of the whole image.

        Raises:
            DecodeError: with the reason.
        """
        return decode(data, self.view, self.formats, hashed=True)


def decode(
    data: bytes, view: View, formats: Sequence[str] = FORMATS, *, hashed: bool = False
) -> Decoded:
    """Decode untrusted bytes, with the perceptual hash of the whole image where `hashed` is true.

    The size is checked before any pixel is decoded, EXIF orientation is applied before
    conversion, 16-bit is scaled, transparency is laid on white, and of an animation the first
    frame is taken.

    Raises:
        DecodeError: with the reason: empty, unknown format, truncated, too many pixels, ...
    """
    if not data:
        raise DecodeError("empty file")
    format = ""
    try:
        # A crawl is full of odd metadata; Pillow's warnings about it carry no decision.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                # Many cameras append a preview: to Pillow, a JPEG of several pictures.
                format = "JPEG" if image.format == "MPO" else image.format or ""
                mode = image.mode
                if format not in formats:
                    raise DecodeError(f"format {format} is not in --formats")
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise DecodeError(f"too many pixels: {width}x{height} > {MAX_PIXELS}")
                extent = _draft(image, view)
                rgb = _to_rgb(image)
                dhash = difference_hash(rgb) if hashed else None
                return Decoded(_square(rgb, view, extent), format, width, height, mode, dhash)
    except DecodeError:
        raise
    except UnidentifiedImageError:
        raise DecodeError(_unopened(data)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        (pixels,) = re.findall(r"\((\d+) pixels\)", str(error)) or ["?"]
        raise DecodeError(f"too many pixels: {pixels} > {MAX_PIXELS}") from None
    except MemoryError:
        raise DecodeError("too large to decode in memory") from None
    except Exception as error:  # Pillow's plugins raise nearly anything on damaged bytes
        what = format or f"{opened_format(data) or 'file'} header"
        raise DecodeError(_damaged(what, error)) from None


def square(image: Image.Image, view: View) -> Pixels:
    """Return the view (size, size, 3) of an image that is decoded already, of any mode."""
    return _square(_to_rgb(image), view, None)


def _unopened(data: bytes) -> str:
    """Why no plugin opens these bytes: the one whose format they begin as says more alone."""
    format = opened_format(data)
    if format is None:
        kind = looks_like(data)
        return "not an image of a known format" + (f": {kind}" if kind else "")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.OPEN[format][0](io.BytesIO(data), "")
    except Exception as error:
        return _damaged(f"{format} header", error)
    return f"damaged {format} header"


def _damaged(what: str, error: Exception) -> str:
    plain = isinstance(error, (OSError, SyntaxError)) and str(error)
    said = str(error) if plain else f"{type(error).__name__}: {error}"
    if isinstance(error.__cause__, KeyError):
        said = f"no such value: {said}"
    if said == "not identified by this driver":
        said = "it tells no size or no known mode"
    elif _CUT_SHORT.match(said):
        said = "it is cut short"
    return f"damaged {what}: {' '.join(said.split())}"[:200]


def _draft(image: Image.Image, view: View) -> tuple[float, float] | None:
    """Let libjpeg decode at a half, a quarter or an eighth, where that is still large enough.

    Return the (width, height) in decoded pixels: 1281 at a quarter are 320.25, though 321 stand
    there. A photo that lies on its side is decoded in full: turned, the rest would come first.
    """
    if image.format != "JPEG" or view.interpolation == "nearest" or not _is_upright(image):
        return None
    shorter = (view.resize or view.size) * _DRAFT_MARGIN
    drafted = image.draft(None, (shorter, shorter))
    return drafted[1][2:] if drafted else None


def _is_upright(image: Image.Image) -> bool:
    try:
        return bool(image.getexif().get(ExifTags.Base.Orientation, 1) == 1)
    except Exception:  # damaged EXIF, as in `_upright`
        return True


def _to_rgb(image: Image.Image) -> Image.Image:
    image.seek(0)
    image.load()  # truncated pixels raise here, outside what `_upright` forgives
    upright = _upright(image)
    if upright.mode.startswith("I;16"):
        return _from_high_depth(np.asarray(upright, dtype=np.float64) / 257.0)
    if upright.mode in ("I", "F"):
        values = np.asarray(upright, dtype=np.float64)
        top = values.max(initial=0.0)
        return _from_high_depth(values / 257.0 if top > 255 else values)
    if upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return upright if upright.mode == "RGB" else upright.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    if _is_upright(image):  # nearly all are: no copy of theirs
        return image
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF says nothing about orientation; the pixels are whole
        return image


def _from_high_depth(values: NDArray[np.float64]) -> Image.Image:
    grey = np.clip(np.rint(np.nan_to_num(values)), 0, 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def _square(image: Image.Image, view: View, extent: tuple[float, float] | None) -> Pixels:
    shorter = view.resize or view.size
    width, height = extent or image.size
    scale = shorter / min(width, height)
    size = (max(shorter, round(width * scale)), max(shorter, round(height * scale)))
    left, top = (size[0] - view.size) / 2, (size[1] - view.size) / 2
    if size == (width, height):
        box = (round(left), round(top), round(left) + view.size, round(top) + view.size)
        return np.asarray(image.crop(box))
    # Resize and crop in one step: an extreme aspect ratio must not inflate the image first.
    source = (left / size[0] * width, top / size[1] * height)
    box_f = (
        source[0],
        source[1],
        source[0] + view.size / size[0] * width,
        source[1] + view.size / size[1] * height,
    )
    resized = image.resize((view.size, view.size), _RESAMPLING[view.interpolation], box=box_f)
    return np.asarray(resized)
