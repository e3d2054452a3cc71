"""A picture is the same to the last bit wherever it comes from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from kilter.service.detector.errors import PictureError
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.pictures.pixels import STRIP, from_array, strips, to_pixels, upright
from tests.support.pictures import COLOUR, GREY, Pixels, encoded, lossless, scene

SIDES = st.integers(1, 40)


@settings(max_examples=60)
@given(
    picture=hnp.arrays(np.uint8, st.tuples(SIDES, SIDES, st.sampled_from([1, 3]))),
    column=st.builds(ImageColumn, st.just("image"), SIDES, SIDES, st.sampled_from([1, 3])),
)
def test_a_file_an_array_and_a_batch_are_the_same_picture(picture: Pixels, column: ImageColumn) -> None:
    """Of any size, and for a model of any size, grey or in colour."""
    wanted = to_pixels(picture, column)
    assert wanted.shape == column.shape
    for form, content in lossless(picture).items():
        np.testing.assert_array_equal(to_pixels(content, column), wanted, form)
    batch = np.stack([picture, 255 - picture, picture])
    np.testing.assert_array_equal(from_array(batch, column)[[0, 2]], np.stack([wanted, wanted]))


def test_the_shape_tells_what_an_array_is() -> None:
    """One picture or many, with and without channels, or flat as the model has it."""
    grey, colour = scene(20, 30, 1)[:, :, 0], scene(20, 30)
    flat = np.arange(2 * 256, dtype=np.uint8).reshape(2, 256)
    for array, count in ((grey, 1), (grey[None], 1), (np.stack([grey] * 5), 5), (grey[:, :, None], 1), (colour, 1)):
        assert from_array(array, GREY).shape == (count, 16, 16, 1)
    assert from_array(np.stack([colour] * 4), COLOUR).shape == (4, 16, 16, 3)
    np.testing.assert_array_equal(from_array(flat, GREY), flat.reshape(2, 16, 16, 1))
    assert from_array(np.zeros((0, 256)), GREY).shape == (0, 16, 16, 1)
    for shape in ((5,), (2, 3, 4, 5, 1), (2, 9, 9, 5), (3, 0, 5), ()):
        with pytest.raises(PictureError):
            from_array(np.zeros(shape), GREY)


@pytest.mark.parametrize(("low", "high"), [(0.0, 16.0), (-1.0, 1.0), (100.0, 4000.0)])
def test_numbers_are_taken_by_the_columns_range(low: float, high: float) -> None:
    """Low is black, high is white, and what is a little beyond them is no more than that."""
    column = ImageColumn("image", 16, 16, 1, low, high)
    eight = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    numbers = low + (high - low) * eight / 255.0
    np.testing.assert_array_equal(to_pixels(numbers, column), eight)
    np.testing.assert_array_equal(to_pixels(numbers.astype(np.float32), column), eight)
    over = numbers + 0.5 * (high - low)
    assert to_pixels(over, column).max() == 255


def test_numbers_of_another_scale_are_refused() -> None:
    """16 bits for a model of 8, and what is no number; both would be judged as something else."""
    grey = np.full((16, 16), 60_000, np.uint16)
    with pytest.raises(PictureError, match=r"from 60000 to 60000, and the model takes 0 as black and 255 as white"):
        to_pixels(grey, GREY)
    assert to_pixels(grey, ImageColumn("image", 16, 16, 1, 0, 65_535)).max() == round(60_000 / 257)
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(PictureError, match="finite numbers"):
            to_pixels(np.where(np.eye(16) > 0, bad, 1.0), GREY)
    for dtype in (np.bool_, np.complex64, object, "datetime64[s]", "U1"):
        with pytest.raises(PictureError, match="array of numbers"):
            to_pixels(np.zeros((16, 16), dtype), GREY)
    with pytest.raises(PictureError, match="are accepted"):
        to_pixels(np.zeros((16, 16)), GREY, pixels=255)


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    """65,535 is white, and each value is its 257th part, as a file and as an array of the same range."""
    deep = np.linspace(0, 65_535, 256).reshape(16, 16).astype(np.uint16)
    wanted = np.rint(deep / 257).astype(np.uint8)[:, :, None]
    column = ImageColumn("image", 16, 16, 1, 0, 65_535)
    np.testing.assert_array_equal(to_pixels(deep, column), wanted)
    for form in ("PNG", "TIFF"):
        np.testing.assert_array_equal(to_pixels(encoded(Image.fromarray(deep), form), GREY), wanted)


def test_a_tiff_of_floats_is_taken_by_the_columns_range() -> None:
    """It says no range of its own, so that it is as an array is."""
    floats = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    content = encoded(Image.fromarray(floats), "TIFF")
    column = ImageColumn("image", 16, 16, 1, 0.0, 1.0)
    np.testing.assert_array_equal(to_pixels(content, column), to_pixels(floats, column))
    assert to_pixels(content, column).max() == 255
    whole = encoded(Image.fromarray((floats * 1000).astype(np.int32)), "TIFF")
    with pytest.raises(PictureError, match="from 0 to 1000"):
        to_pixels(whole, GREY)
    with pytest.raises(PictureError, match="finite numbers"):
        to_pixels(encoded(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"), GREY)


def test_what_is_transparent_is_white() -> None:
    """As a viewer shows it; what colour is hidden below makes no difference."""
    clear = np.zeros((16, 16, 4), np.uint8)
    clear[:8] = [200, 10, 10, 255]
    for form in ("PNG", "TIFF", "WEBP"):
        options = {"lossless": True} if form == "WEBP" else {}
        seen = to_pixels(encoded(Image.fromarray(clear), form, **options), COLOUR)
        assert seen[0, 0].tolist() == [200, 10, 10]
        assert seen[-1, -1].tolist() == [255, 255, 255]
        np.testing.assert_array_equal(seen, to_pixels(clear, COLOUR))
    half = np.full((16, 16, 2), 128, np.uint8)
    half[:, :, 0] = 0
    assert to_pixels(half, GREY)[0, 0, 0] == 127
    palette = Image.fromarray(clear[:, :, 0]).convert("P")
    seen = to_pixels(encoded(palette, transparency=0), COLOUR)
    assert seen[-1, -1].tolist() == [255, 255, 255]
    grey = to_pixels(encoded(Image.fromarray(clear[:, :, 0]), transparency=0), GREY)
    assert grey[-1, -1, 0] == 255


@pytest.mark.parametrize(
    ("mode", "form", "near"),
    [
        ("1", "PNG", 127),
        ("P", "PNG", 16),
        ("L", "BMP", 1),
        ("LA", "PNG", 1),
        ("CMYK", "JPEG", 8),
        ("CMYK", "TIFF", 1),
        ("YCbCr", "JPEG", 8),
        ("LAB", "TIFF", 8),
        ("RGBA", "WEBP", 8),
        ("I", "TIFF", 1),
        ("F", "TIFF", 1),
    ],
)
def test_every_kind_of_colour_becomes_grey_or_red_green_and_blue(mode: str, form: str, near: float) -> None:
    """Whatever a file calls its colours, the picture is the one that was drawn."""
    drawn = Image.fromarray(scene(16, 16))
    grey = drawn.convert("L")
    stored = grey.convert(mode) if mode in ("I", "F", "LA") else drawn.convert(mode)
    content = encoded(stored, form)
    assert np.abs(to_pixels(content, GREY)[:, :, 0].astype(int) - np.asarray(grey)).mean() < near
    assert to_pixels(content, COLOUR).shape == (16, 16, 3)


def test_grey_is_the_luma_of_the_standard() -> None:
    """0.299 red + 0.587 green + 0.114 blue."""
    for colour, luma in (((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29)):
        assert to_pixels(np.full((16, 16, 3), colour, np.uint8), GREY)[3, 3, 0] == luma


def test_a_reduction_looks_at_every_pixel() -> None:
    """Fine stripes become grey, and not whichever of them is hit."""
    stripes = np.zeros((160, 160, 1), np.uint8)
    stripes[::2] = 255
    inner = to_pixels(stripes, GREY)[1:-1]
    assert abs(inner.astype(int) - 127).max() <= 2


def test_a_picture_at_its_own_size() -> None:
    """For what is drawn over it: upright, in colour, as large as it came."""
    picture = scene(33, 21)
    assert upright(encoded(picture), GREY).size == (21, 33)
    np.testing.assert_array_equal(np.asarray(upright(encoded(picture), GREY)), picture)
    np.testing.assert_array_equal(np.asarray(upright(picture, GREY)), picture)
    assert upright(picture[:, :, 0], GREY).mode == "RGB"


def test_a_large_picture_is_worked_on_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which make no difference."""
    assert strips(STRIP * 2, 3) == [(0, row, STRIP * 2, row + 1) for row in range(3)]
    clear = np.dstack([scene(40, 30), np.arange(1200).reshape(40, 30).astype(np.uint8)])
    deep = scene(40, 30, 1)[:, :, 0].astype(np.uint16) * 250
    floats = deep.astype(np.float32) / 250

    def seen() -> list[Pixels]:
        files = [encoded(Image.fromarray(array), "TIFF") for array in (clear, deep, floats)]
        return [*(to_pixels(content, COLOUR) for content in files), to_pixels(floats, GREY)]

    whole = seen()
    monkeypatch.setattr("kilter.service.detector.pictures.pixels.STRIP", 70)
    for one, other in zip(whole, seen(), strict=True):
        np.testing.assert_array_equal(one, other)
