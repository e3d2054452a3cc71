"""Tests of `pictures.depths`: a file of 16 bits holds its numbers, whatever number of bits its camera fills."""

import logging
import struct
import zlib
from collections.abc import Callable
from functools import partial
from io import BytesIO

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kilter.service.detector.arrays import Array
from kilter.service.detector.errors import PictureError
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.pictures.depths import composed, passes
from kilter.service.detector.pictures.pixels import DEEPEST, decode, decode_whole, to_pixels, upright
from tests.support.pictures import GREY, deep_png, deep_tiff, encoded, scene

FILES: dict[str, Callable[[Array], bytes]] = {
    "png": deep_png,
    "png, filtered": partial(deep_png, filtered=True),
    "tiff": deep_tiff,
    "tiff, big-endian": partial(deep_tiff, order=">"),
    "tiff, Deflate": partial(deep_tiff, pack=zlib.compress),
    "tiff, Deflate, big-endian": partial(deep_tiff, order=">", pack=zlib.compress),
}


def taken(channels: int, bits: int) -> ImageColumn:
    """A column of a model of pictures of that depth."""
    white = float(2**bits - 1)
    return ImageColumn("image", 16, 16, 1 if channels < 3 else 3, 0.0, white, deep=(0.0, white))


@pytest.mark.parametrize("form", FILES)
@given(bits=st.integers(9, 16), channels=st.sampled_from([1, 3, 4]), seed=st.integers(0, 50), data=st.data())
def test_a_file_is_the_array_of_its_numbers(
    form: str, bits: int, channels: int, seed: int, data: st.DataObject
) -> None:
    """To the last bit, of any depth, in grey and in colour, with opaque transparency, of any size."""
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    numbers = np.random.default_rng(seed).integers(0, 2**bits, (height, width, channels)).astype(np.uint16)
    if channels == 4:
        numbers[..., 3] = 65_535
    column = taken(channels, bits)
    colours = numbers[..., :3]
    np.testing.assert_array_equal(to_pixels(FILES[form](numbers), column), to_pixels(colours, column))
    np.testing.assert_array_equal(np.asarray(upright(FILES[form](numbers), column)), upright(colours, column))


@given(bits=st.integers(9, 16), seed=st.integers(0, 50))
def test_what_is_transparent_is_white_in_any_depth(bits: int, seed: int) -> None:
    """The colours are taken by the range of the model, the transparency by all of its 16 bits."""
    rng = np.random.default_rng(seed)
    grey = rng.integers(0, 2**bits, (16, 16, 2)).astype(np.uint16)
    grey[..., 1] = np.where(np.eye(16) > 0, 0, 65_535)
    column = taken(1, bits)
    seen = to_pixels(deep_png(grey), column)[..., 0]
    opaque = to_pixels(grey[..., 0], column)[..., 0]
    np.testing.assert_array_equal(seen, np.where(np.eye(16) > 0, 255, opaque))


def test_the_bytes_are_those_of_the_file() -> None:
    """The passes of a picture put together are its numbers; a picture of 8 bits, or of one channel, has none."""
    rng = np.random.default_rng(0)
    for channels in (2, 3, 4):
        numbers = rng.integers(0, 65_536, (7, 5, channels)).astype(np.uint16)
        np.testing.assert_array_equal(decode_whole(deep_png(numbers)), numbers)
    for content in (encoded(scene()), encoded(scene(), "JPEG"), encoded(scene(), "WEBP"), deep_png(numbers[..., :1])):
        assert isinstance(decode_whole(content), Image.Image)
    with Image.open(BytesIO(encoded(scene()))) as eight:
        assert passes(eight) == ()
    assert composed([Image.new("RGB", (1, 1), (1, 2, 3)), Image.new("RGB", (1, 1), (4, 5, 6))]).tolist() == [
        [[260, 517, 774]]
    ]


def test_a_picture_of_16_bits_is_upright() -> None:
    """By its EXIF data, in all its passes."""
    numbers = np.arange(6 * 4 * 3, dtype=np.uint16).reshape(6, 4, 3) * 700
    turned = struct.pack("<4sIHHHIHHI", b"II*\0", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    seen = decode_whole(deep_png(numbers, exif=turned))
    np.testing.assert_array_equal(seen, np.rot90(numbers, -1))


def test_models_that_store_no_depth_see_what_they_saw() -> None:
    """All 16 bits, each number as its 257th part, and colours as Pillow cuts them; that is to the last bit."""
    every = np.arange(65_536).reshape(256, 256).astype(np.uint16)
    before = ImageColumn("image", 256, 256, 1)
    expected = ((every.astype(np.uint32) + 128) // 257).astype(np.uint8)
    np.testing.assert_array_equal(to_pixels(deep_png(every[..., None]), before)[..., 0], expected)
    new = msgspec.structs.replace(before, deep=DEEPEST)
    np.testing.assert_array_equal(to_pixels(deep_png(every[..., None]), new)[..., 0], expected)
    colours = np.stack([every] * 3, axis=2)
    cut = to_pixels(deep_png(colours), msgspec.structs.replace(before, channels=3))
    np.testing.assert_array_equal(cut, colours >> 8)
    np.testing.assert_array_equal(cut, np.asarray(decode(deep_png(colours))))
    stored = b'{"kind":"image","name":"image","height":16,"width":16,"channels":1}'
    assert msgspec.json.decode(stored, type=ImageColumn) == GREY


@given(share=st.floats(0.001, 0.2), bits=st.integers(9, 15))
def test_a_hot_spot_is_white_and_not_refused(share: float, bits: int) -> None:
    """However hot: it is what the model is to find. What is all of another scale is refused."""
    numbers = np.zeros((50, 50, 1), np.uint16)
    numbers.reshape(-1)[: max(1, int(2500 * share))] = 65_535
    column = msgspec.structs.replace(taken(1, bits), height=50, width=50)
    seen = to_pixels(deep_png(numbers), column)
    np.testing.assert_array_equal(seen, np.where(numbers > 0, 255, 0))
    np.testing.assert_array_equal(seen, to_pixels(numbers, column))
    if bits < 15:
        with pytest.raises(PictureError, match="go from 65535 to 65535, and the model takes 0 as black and"):
            to_pixels(deep_png(np.full_like(numbers, 65_535)), column)


def test_no_decoder_writes_to_the_log(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """What is wrong with a picture is said to whoever sent it, and not on standard error by libtiff."""
    caplog.set_level(logging.DEBUG)
    rng = np.random.default_rng(0)
    whole = [encoded(scene(), "TIFF", compression=kind) for kind in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")]
    whole.append(encoded(Image.fromarray(scene()).convert("1"), "TIFF", compression="group4"))
    to_pixels(whole[0], GREY)
    caplog.clear()
    refused = 0
    for _ in range(200):
        content = bytearray(whole[rng.integers(len(whole))])
        for at in rng.integers(8, len(content), 8):
            content[at] = rng.integers(256)
        try:
            to_pixels(bytes(content), GREY)
        except PictureError:
            refused += 1
    assert refused > 20
    assert capfd.readouterr().err == ""
    assert not [record for record in caplog.records if record.name.startswith("PIL")]
