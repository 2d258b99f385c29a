"""Decoding: every mode ends as the RGB pixels that were worked out by hand."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from index.decoding import Decoded, DecodeError, View, decode

from .helpers import encode, noise

A, B, C, D = (250, 10, 20), (30, 240, 40), (50, 60, 230), (200, 190, 180)
WHITE = (255, 255, 255)


def grid(*lines: tuple[tuple[int, ...], ...]) -> NDArray[np.uint8]:
    return np.array(lines, dtype=np.uint8)


def pixels(data: bytes, size: int = 2) -> NDArray[np.uint8]:
    return decode(data, View(size)).pixels


def test_rgb_is_kept_and_the_header_reported() -> None:
    found = decode(encode(grid((A, B), (C, D))), View(2))
    np.testing.assert_array_equal(found.pixels, grid((A, B), (C, D)))
    assert (found.format, found.width, found.height, found.mode) == ("PNG", 2, 2, "RGB")


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, ((A, B), (C, D))),
        (2, ((B, A), (D, C))),  # mirrored left to right
        (3, ((D, C), (B, A))),  # upside down
        (4, ((C, D), (A, B))),
        (5, ((A, C), (B, D))),  # transposed
        (6, ((C, A), (D, B))),  # to be turned clockwise
        (7, ((D, B), (C, A))),
        (8, ((B, D), (A, C))),
    ],
)
def test_exif_orientation_is_applied(
    orientation: int, upright: tuple[tuple[tuple[int, ...], ...], ...]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    for format in ("PNG", "WEBP"):
        lossless = {"lossless": True} if format == "WEBP" else {}
        data = encode(grid((A, B), (C, D)), format, exif=exif, **lossless)
        np.testing.assert_array_equal(pixels(data), grid(*upright))


def test_orientation_of_a_photo_is_applied_before_cropping() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.zeros((16, 48, 3), np.uint8)
    stored[:, :16] = 255  # the left third, which turned upright is the top
    found = decode(encode(stored, "JPEG", exif=exif, quality=100, subsampling=0), View(48))
    assert (found.width, found.height) == (48, 16)
    square = found.pixels.astype(int)
    assert square.shape == (48, 48, 3)
    assert square[2:-2].max() < 30  # the centre of the tall picture is its dark middle third


def test_damaged_exif_does_not_lose_the_image() -> None:
    data = encode(grid((A, B), (C, D)), exif=b"Exif\x00\x00garbage")
    np.testing.assert_array_equal(pixels(data), grid((A, B), (C, D)))


@pytest.mark.parametrize(
    ("cmyk", "rgb"),
    [
        ((0, 0, 0, 0), (255, 255, 255)),
        ((255, 0, 0, 0), (0, 255, 255)),
        ((51, 0, 102, 0), (204, 255, 153)),
        ((0, 0, 0, 55), (200, 200, 200)),
        ((255, 255, 255, 255), (0, 0, 0)),
    ],
)
def test_cmyk_is_ink_on_white(cmyk: tuple[int, ...], rgb: tuple[int, ...]) -> None:
    image = Image.new("CMYK", (16, 16), cmyk)
    assert (pixels(encode(image, "TIFF")) == rgb).all()
    # In JPEG, Adobe's inverted CMYK, a step of quantisation may be lost.
    assert abs(pixels(encode(image, "JPEG", quality=100)).astype(int) - rgb).max() <= 3
    assert decode(encode(image, "JPEG"), View(2)).mode == "CMYK"


def paletted() -> Image.Image:
    image = Image.new("P", (2, 2))
    image.putpalette([*A, *B, *C, *D])
    image.putdata([0, 1, 2, 3])
    return image


def test_a_palette_is_looked_up() -> None:
    np.testing.assert_array_equal(pixels(encode(paletted())), grid((A, B), (C, D)))


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_a_transparent_colour_of_a_palette_becomes_white(format: str) -> None:
    data = encode(paletted(), format, transparency=1)
    np.testing.assert_array_equal(pixels(data), grid((A, WHITE), (C, D)))


def test_half_transparent_entries_of_a_palette_are_blended() -> None:
    data = encode(paletted(), transparency=bytes([255, 0, 51, 255]))
    # 51/255 is a fifth: 255 - (255 - c) / 5
    np.testing.assert_array_equal(pixels(data), grid((A, WHITE), ((214, 216, 250), D)))


def test_alpha_is_laid_on_white() -> None:
    rgba = grid(((0, 0, 0, 255), (0, 0, 0, 0)), ((0, 0, 0, 51), (255, 0, 0, 102)))
    expected = grid(((0, 0, 0), WHITE), ((204, 204, 204), (255, 153, 153)))
    np.testing.assert_array_equal(pixels(encode(rgba)), expected)
    la = Image.fromarray(rgba[..., [0, 3]][:1].repeat(2, 0))
    assert la.mode == "LA"
    np.testing.assert_array_equal(pixels(encode(la)), expected[:1].repeat(2, 0))


def test_a_transparent_colour_of_an_rgb_png_becomes_white() -> None:
    data = encode(grid((A, B), (C, D)), transparency=C)
    np.testing.assert_array_equal(pixels(data), grid((A, B), (WHITE, D)))


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_cut(format: str) -> None:
    # A byte v is the 16-bit value 257 v, so 25700 is 100; 25829 / 257 = 100.502 rounds up.
    deep = np.array([[0, 65535], [25700, 25829]], dtype=np.uint16)
    found = pixels(encode(deep, format))
    np.testing.assert_array_equal(found[..., 0], [[0, 255], [100, 101]])
    assert (found == found[..., :1]).all()


def test_float_tiffs_are_clipped_and_nan_is_black() -> None:
    values = np.array([[0.4, 254.6], [np.nan, -3.0]], dtype=np.float32)
    np.testing.assert_array_equal(pixels(encode(values, "TIFF"))[..., 0], [[0, 255], [0, 0]])


def test_grey_and_black_and_white_have_three_equal_channels() -> None:
    grey = np.array([[0, 77], [128, 255]], dtype=np.uint8)
    np.testing.assert_array_equal(pixels(encode(grey)), grey[..., None].repeat(3, 2))
    bits = Image.new("1", (2, 2))
    bits.putdata([0, 255, 255, 0])
    np.testing.assert_array_equal(pixels(encode(bits))[..., 1], [[0, 255], [255, 0]])


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(format: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (A, B, C)]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(data)) as opened:
        assert getattr(opened, "n_frames", 1) == 3
    assert (pixels(data, 4) == A).all()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_listed_format_opens(format: str) -> None:
    found = decode(encode(Image.new("RGB", (16, 16), D), format), View(4))
    assert found.format == format
    assert abs(found.pixels.astype(int) - D).max() <= 6


@pytest.mark.parametrize("format", ["PPM", "TGA", "ICO", "PCX", "EPS", "PDF", "JPEG2000"])
def test_no_other_format_opens(format: str) -> None:
    data = encode(Image.new("RGB", (16, 16), D), format)
    with pytest.raises(DecodeError, match="not an image of a known format"):
        decode(data, View(4))


def test_the_centre_is_cropped() -> None:
    wide = noise(0, 6)[:4]
    np.testing.assert_array_equal(pixels(encode(wide), 4), wide[:, 1:5])
    tall = wide.transpose(1, 0, 2)
    np.testing.assert_array_equal(pixels(encode(tall), 4), tall[1:5])
    found = decode(encode(noise(0, 8)), View(4, resize=8)).pixels
    np.testing.assert_array_equal(found, noise(0, 8)[2:6, 2:6])


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(20, 40), (40, 20), (33, 60), (5, 7)])
def test_resizing_in_one_step_equals_resizing_and_cropping(
    shape: tuple[int, int], interpolation: str
) -> None:
    image = Image.fromarray(noise(1, 64)[: shape[0], : shape[1]])
    view = View(8, resize=10, interpolation=interpolation)  # type: ignore[arg-type]
    scale = 10 / min(image.size)
    size = (max(10, round(image.width * scale)), max(10, round(image.height * scale)))
    filter = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    whole = np.asarray(image.resize(size, filter[interpolation]), dtype=int)
    left, top = (size[0] - 8) / 2, (size[1] - 8) / 2
    found = decode(encode(image), view).pixels.astype(int)
    assert left % 1 == top % 1 == 0
    expected = whole[int(top) : int(top) + 8, int(left) : int(left) + 8]
    np.testing.assert_allclose(found, expected, atol=1)


def test_nearest_repeats_pixels() -> None:
    found = decode(encode(grid((A, B), (C, D))), View(4, interpolation="nearest")).pixels
    np.testing.assert_array_equal(found, grid((A, B), (C, D)).repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("shape", [(1, 1), (1, 20_000), (20_000, 1), (3, 2)])
def test_odd_shapes_end_as_a_square(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), D, np.uint8)
    assert (pixels(encode(image), 8) == D).all()


def test_decoding_twice_gives_the_same_pixels() -> None:
    data = encode(noise(2, 50), "JPEG")
    first: Decoded = decode(data, View(32))
    np.testing.assert_array_equal(first.pixels, decode(data, View(32)).pixels)


def photographs() -> list[Image.Image]:
    datasets = pytest.importorskip("sklearn.datasets")
    found = [Image.fromarray(datasets.load_sample_image(f"{n}.jpg")) for n in ("china", "flower")]
    return [image.resize((1923, 1281), Image.Resampling.LANCZOS) for image in found]


@pytest.mark.parametrize(
    "view", [View(224, 256), View(224, 224, "bicubic"), View(32)], ids=["256", "224", "32"]
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_large_jpeg_is_decoded_small_and_looks_the_same(
    view: View, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for photograph in photographs():
        data = encode(photograph.convert(mode), "JPEG", quality=90)
        small = decode(data, view)
        with monkeypatch.context() as patch:
            patch.setattr("index.decoding._DRAFT_MARGIN", 10_000)
            full = decode(data, view)
        assert replace(small, pixels=full.pixels) == full  # what the header said
        assert (full.width, full.height, full.mode) == (1923, 1281, mode)
        difference = np.abs(small.pixels.astype(int) - full.pixels)
        assert 0 < difference.mean() < 0.6
        assert difference.max() <= 20


@pytest.mark.parametrize(
    ("view", "orientation"),
    [(View(224, 256, "nearest"), 1), (View(400), 1), (View(640, 641), 1), (View(32), 6)],
)
def test_what_is_not_four_times_too_large_or_lies_is_decoded_in_full(
    view: View, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(photographs()[0], "JPEG", exif=exif)
    small = decode(data, view)
    monkeypatch.setattr("index.decoding._DRAFT_MARGIN", 10_000)
    np.testing.assert_array_equal(small.pixels, decode(data, view).pixels)


def test_a_truncated_large_jpeg_is_still_damaged() -> None:
    data = encode(noise(3, 800), "JPEG")
    with pytest.raises(DecodeError, match="damaged"):
        decode(data[: len(data) // 2], View(32))


@pytest.mark.parametrize(
    ("format", "formats"), [("GIF", ("JPEG", "PNG")), ("PNG", ("WEBP",)), ("JPEG", ("PNG",))]
)
def test_a_format_that_is_not_asked_for_is_named(format: str, formats: tuple[str, ...]) -> None:
    data = encode(noise(0), format)
    with pytest.raises(DecodeError, match=f"^format {format} is not in --formats$"):
        decode(data, View(8), formats)
    assert decode(data, View(8), (*formats, format)).format == format


def test_a_jpeg_with_a_preview_appended_is_a_jpeg() -> None:
    first, preview = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (20, 15), "red")
    file = io.BytesIO()
    first.save(file, "MPO", save_all=True, append_images=[preview])
    decoded = decode(file.getvalue(), View(8))
    assert (decoded.format, decoded.width, decoded.height) == ("JPEG", 40, 30)
    assert abs(decoded.pixels.astype(int) - [254, 0, 0]).max() < 8
