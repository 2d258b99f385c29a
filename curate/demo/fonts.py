"""Font faces that come with matplotlib and Pillow, and single characters drawn with them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from curate.demo.digits import missing_extra

# Chosen by eye from all that matplotlib ships. Left out: symbol faces without digits (cmex, cmsy,
# DejaVu*Display, STIXNonUni*, STIXSiz*), LastResortHE (a placeholder box for every character), and
# cmmi10, whose old-style 0 and 1 look like the letters o and ı.
FACES = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-BoldOblique", "DejaVuSans-Oblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-BoldOblique"),
    *("DejaVuSansMono-Oblique", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-BoldItalic"),
    *("DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol", "STIXGeneralBolIta"),
    *("STIXGeneralItalic", "cmb10", "cmr10", "cmss10", "cmti10", "cmtt10"),
)
CANVAS = 128
_POINTS = 88


@cache
def faces() -> tuple[str, ...]:
    """Names of the usable faces found on this machine; "Aileron" is Pillow's own.

    Raises:
        UsageError: matplotlib is not installed.
    """
    folder = _folder()
    return (*(name for name in FACES if (folder / f"{name}.ttf").is_file()), "Aileron")


def glyph(character: str, face: str, thickness: int = 0) -> Image.Image:
    """A character as a (128, 128) mask, mode L: 255 where there is ink; centred by its box.

    `thickness` adds that many pixels to each side of every stroke.
    """
    mask = Image.new("L", (CANVAS, CANVAS))
    left, top, right, bottom = _font(face).getbbox(character, stroke_width=thickness)
    corner = ((CANVAS - left - right) / 2, (CANVAS - top - bottom) / 2)
    ImageDraw.Draw(mask).text(corner, character, fill=255, font=_font(face), stroke_width=thickness)
    return mask


@cache
def _font(face: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    if face == "Aileron":
        return ImageFont.load_default(_POINTS)
    return ImageFont.truetype(str(_folder() / f"{face}.ttf"), _POINTS)


@cache
def _folder() -> Path:
    try:
        import matplotlib
    except ImportError as error:
        raise missing_extra("matplotlib") from error
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"
