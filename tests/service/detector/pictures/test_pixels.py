"""Tests of `pictures.pixels`: a file is a picture or is refused, and a picture is the same wherever it comes from."""

import struct
import subprocess
import sys
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from kilter.service.detector.arrays import Array
from kilter.service.detector.errors import PictureError
from kilter.service.detector.modalities.pictures import ImageModality
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.pictures.pixels import (
    STRIP,
    check_file,
    decode,
    file_size,
    limits_in_words,
    strips,
    to_pixels,
    upright,
)
from kilter.service.detector.schema import Schema
from tests.support.pictures import (
    COLOUR,
    GREY,
    Pixels,
    chunk,
    encoded,
    exif,
    lossless,
    lying,
    png_claiming,
    scene,
    tiff_of,
)

SCENE = scene()
FORMATS = {
    "PNG": encoded(SCENE),
    "JPEG": encoded(SCENE, "JPEG", quality=90),
    "progressive JPEG": encoded(SCENE, "JPEG", progressive=True),
    "WEBP": encoded(SCENE, "WEBP"),
    "lossless WEBP": encoded(SCENE, "WEBP", lossless=True),
    "TIFF": encoded(SCENE, "TIFF"),
    "LZW TIFF": encoded(SCENE, "TIFF", compression="tiff_lzw"),
    "JPEG TIFF": encoded(SCENE, "TIFF", compression="jpeg"),
    "BMP": encoded(SCENE, "BMP"),
    "palette PNG": encoded(Image.fromarray(SCENE).quantize(16)),
    "16-bit PNG": encoded(Image.fromarray(SCENE[:, :, 0].astype(np.uint16) * 257)),
}


def refused(content: bytes, reason: str) -> None:
    """It is refused for that reason, and told what is accepted."""
    with pytest.raises(PictureError, match=reason) as caught:
        to_pixels(content, GREY)
    assert limits_in_words() in str(caught.value)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_read(form: str) -> None:
    """Size and content are those of the picture."""
    assert file_size(FORMATS[form]) == (56, 40)
    seen = np.asarray(decode(FORMATS[form]).convert("L")).astype(int)
    if form != "16-bit PNG":
        assert np.abs(seen - np.asarray(Image.fromarray(SCENE).convert("L"))).mean() < 6


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"hello", "it is no picture"),
        (b"GIF89a" + bytes(100), "it is no picture"),
        (b"%PDF-1.4\n", "it is no picture"),
        (b"\0\0\0\x18ftypavif" + bytes(100), "it is no picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "it is no picture"),
        (b"\x89PNG\r\n\x1a\n", "cut short"),
        (b"\xff\xd8\xff", "cut short"),
        (b"BM", "cut short"),
        (b"II*\0", "cut short"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "cut short"),
        (b"\xff\xd8\xff\xd9", "0 x 0 pixels"),
    ],
)
def test_what_is_no_picture_is_refused(content: bytes, reason: str) -> None:
    """Other formats, mere beginnings, and nothing."""
    refused(content, reason)


@pytest.mark.parametrize("form", FORMATS)
def test_a_picture_that_is_cut_short_is_refused(form: str) -> None:
    """Wherever it is cut but for the last bytes, of which some formats need none."""
    content = FORMATS[form]
    for cut in (0.02, 0.1, 0.5, 0.8):
        with pytest.raises(PictureError):
            decode(content[: int(len(content) * cut)])


@pytest.mark.parametrize(
    "content",
    [
        png_claiming(60_000, 60_000),
        png_claiming(2**31 - 1, 2**31 - 1),
        png_claiming(40_000_001, 1),
        png_claiming(6_400, 6_400, zlib.compress(bytes(41_000_000), 9)),
        FORMATS["JPEG"].replace(struct.pack(">HH", 40, 56), struct.pack(">HH", 65_500, 65_500)),
        FORMATS["BMP"][:18] + struct.pack("<ii", 2**31 - 1, -(2**31)) + FORMATS["BMP"][26:],
        tiff_of([(256, 4, 1, 65_535), (257, 4, 1, 65_535)]),
        tiff_of([(256, 4, 1, 100), (257, 4, 1, 100), (322, 4, 1, 60_000), (323, 4, 1, 60_000)]),
        b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\x3f\0" * 2 + bytes(4),
        b"RIFF\x16\0\0\0WEBPVP8L\x0a\0\0\0\x2f" + struct.pack("<I", 0x0FFFFFFF) + bytes(5),
    ],
)
def test_a_bomb_is_refused_by_what_it_says_of_itself(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a decoder is called."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a decoder was called")

    monkeypatch.setattr(Image, "open", fail)
    refused(content, "too large")


def test_the_number_of_pixels_is_the_callers() -> None:
    """Another limit than the default one."""
    with pytest.raises(PictureError, match=r"56 x 40 pixels, which is too large; .* up to 2,239 pixels"):
        decode(FORMATS["PNG"], 2239)
    assert decode(FORMATS["PNG"], 2240).size == (56, 40)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
def test_a_picture_without_pixels_is_refused(size: tuple[int, int]) -> None:
    """A side of zero."""
    refused(png_claiming(*size), "and has none")


def test_what_has_several_frames_is_refused() -> None:
    """Animated PNG and WebP, and TIFF of several pages; which of them was meant, nobody can know."""
    frames = [Image.fromarray(scene(seed=seed)) for seed in range(3)]
    for form in ("PNG", "WEBP", "TIFF"):
        refused(encoded(frames[0], form, save_all=True, append_images=frames[1:]), "several frames or pages")


def test_a_tiff_may_have_a_smaller_version_of_its_picture() -> None:
    """That is no second page."""
    tags = [(254, 4, 1, 1), (256, 4, 1, 1), (257, 4, 1, 1)]
    small = struct.pack("<H", 3) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    content = bytearray(FORMATS["TIFF"])
    content += bytes(len(content) % 2)
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    struct.pack_into("<I", content, start + 2 + 12 * count, len(content))
    assert decode(bytes(content + small)).size == (56, 40)


@pytest.mark.parametrize("form", FORMATS)
def test_what_stands_behind_a_picture_is_not_looked_at(form: str) -> None:
    """A polyglot is judged as the picture that every viewer shows: the film that a camera appends does not count."""
    alone, more = decode(FORMATS[form]), decode(FORMATS[form] + b"PK\x03\x04" + FORMATS["JPEG"] + b"<?php evil() ?>")
    assert alone.tobytes() == more.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_the_orientation_is_applied(form: str, orientation: int) -> None:
    """However the camera was held, the picture is upright, and so is its size."""
    stored = Image.fromarray(lying(SCENE, orientation))
    options = {"quality": 95} if form == "JPEG" else {"lossless": True} if form == "WEBP" else {}
    data = exif(orientation, "<" if orientation % 2 else ">")
    content = encoded(stored, form, exif=data[6:] if form == "TIFF" else data, **options)
    assert file_size(content) == (56, 40)
    seen = np.asarray(decode(content)).astype(int)
    assert np.abs(seen - SCENE).mean() < (4 if form == "JPEG" else 1e-9)


@pytest.mark.parametrize(
    "data", [b"Exif\0\0", b"Exif\0\0II*\0", exif(9), exif(0), exif(6)[:-9], b"Exif\0\0" + b"\xff" * 99]
)
def test_damaged_exif_data_turn_nothing(data: bytes) -> None:
    """Metadata are never trusted: what cannot be read is not there."""
    assert decode(encoded(SCENE, exif=data)).size == (56, 40)


def test_metadata_never_reach_the_decoder() -> None:
    """Colour profiles, texts and EXIF data may be damaged, or cost memory; none changes a pixel."""
    plain = encoded(SCENE)
    start, rest = plain[:33], plain[33:]
    hostile = start + chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(10_000_000))) + chunk(b"zTXt", b"\xff" * 99) + rest
    assert decode(hostile).tobytes() == decode(plain).tobytes()
    assert b"iCCP" not in check_file(hostile).content
    jpeg = encoded(SCENE, "JPEG", exif=exif(1), icc_profile=bytes(500), comment=b"hidden")
    for word in (b"Exif", b"ICC_PROFILE", b"hidden"):
        assert word in jpeg
        assert word not in check_file(jpeg).content


def test_a_photograph_with_a_second_picture_behind_it_is_one() -> None:
    """What phones write as MPO is a JPEG with a map of its brightness appended."""
    frames = [Image.fromarray(scene(seed=seed)) for seed in range(2)]
    several = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:], quality=90)
    assert decode(several).tobytes() == decode(encoded(frames[0], "JPEG", quality=90)).tobytes()


def test_tags_that_claim_the_file_many_times_cost_nothing() -> None:
    """Each of a thousand tags says that all of the file is its value."""
    after = bytes(100_000)
    tags = [(256, 4, 1, 10), (257, 4, 1, 10), *((1000 + i, 7, len(after), 8) for i in range(1000))]
    refused(tiff_of(tags, after), "cannot be decoded")
    refused(tiff_of([(256, 4, 1, 10), (257, 4, 1, 10), (273, 4, 10**6, 8)], after), "tags are longer")
    refused(tiff_of([(i, 4, 1, 1) for i in range(5000)]), "5000 tags")


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    """Each pass costs as much as all of the picture."""
    content = FORMATS["progressive JPEG"]
    last = content.rindex(b"\xff\xda")
    refused(content[:last] + content[last:-2] * 100 + b"\xff\xd9", "more than 64 scans")


def test_a_file_of_endless_parts_is_refused() -> None:
    """Empty chunks and segments cost steps."""
    png, jpeg = FORMATS["PNG"], FORMATS["JPEG"]
    refused(png[:33] + chunk(b"IDAT", b"") * 70_000 + png[33:], "more than 65,536 chunks")
    refused(jpeg[:2] + b"\xff\xfe\0\2" * 70_000 + jpeg[2:], "more than 65,536 segments")
    assert decode(jpeg[:2] + b"\xff" * 3_000_000 + jpeg[2:]).size == (56, 40)


def test_a_bmp_in_rle_is_refused() -> None:
    """It is decoded in Python, byte by byte."""
    content = bytearray(encoded(Image.fromarray(SCENE).quantize(16), "BMP"))
    struct.pack_into("<I", content, 30, 1)
    refused(bytes(content), "RLE")


def test_a_warning_of_the_decoder_is_an_error() -> None:
    """Where Pillow only warns of a bomb, it is one all the same."""
    decode(FORMATS["PNG"])
    image = Image.new("1", (10_000, 10_000))
    with pytest.raises(Image.DecompressionBombWarning):
        Image.open(BytesIO(encoded(image)))


@pytest.mark.parametrize(
    "error", [SyntaxError, struct.error, OSError, ValueError, MemoryError, EOFError, zlib.error, KeyError]
)
def test_whatever_a_decoder_raises_is_told_as_one_error(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoders raise exceptions of any kind."""

    def fail(*_: object, **__: object) -> None:
        raise error("it burns")

    monkeypatch.setattr(Image, "open", fail)
    refused(FORMATS["PNG"], "more memory" if error is MemoryError else "it burns")


def test_a_file_may_not_be_longer_than_any_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little of it is the picture."""
    monkeypatch.setattr("kilter.service.detector.pictures.pixels.BYTES", 5000)
    refused(FORMATS["PNG"] + bytes(5000), "longer than 5,000 bytes")


@settings(max_examples=400)
@given(data=st.data())
def test_damage_of_any_kind_gives_a_picture_or_a_picture_error(data: st.DataObject) -> None:
    """Bits are flipped, bytes are replaced, left out or repeated: never another exception, and never a hang."""
    content = bytearray(FORMATS[data.draw(st.sampled_from(sorted(FORMATS)))])
    for _ in range(data.draw(st.integers(1, 6))):
        if not content:
            break
        # Most of what can go wrong is decided by the first bytes.
        most = data.draw(st.sampled_from([min(120, len(content)), len(content)]))
        at = data.draw(st.integers(0, most - 1))
        match data.draw(st.sampled_from(["flip", "set", "cut", "out", "again", "number"])):
            case "flip":
                content[at] ^= 1 << data.draw(st.integers(0, 7))
            case "set":
                content[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xD8, 0xDA, 0xFF]))
            case "cut":
                del content[at:]
            case "out":
                del content[at : at + data.draw(st.integers(1, 40))]
            case "again":
                content[at:at] = content[at : at + data.draw(st.integers(1, 400))]
            case _:
                content[at : at + 4] = data.draw(
                    st.sampled_from([b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(4), b"\0\0\1\0"])
                )
    told = ""
    found = np.zeros(GREY.shape, np.uint8)
    try:
        found = to_pixels(bytes(content), GREY, 1_000_000)
    except PictureError as error:
        told = str(error)
    assert not told or limits_in_words(1_000_000) in told
    assert found.shape == GREY.shape
    assert found.dtype == np.uint8


def test_without_pillow_it_is_named() -> None:
    """With the extra that brings it."""
    place = "kilter.service.detector.pictures.pixels"
    code = f"import sys; sys.modules['PIL'] = None; from {place} import library; library()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "KilterError: pictures need Pillow: pip install 'kilter[images]'" in done.stderr


SIDES = st.integers(1, 40)


def from_array(array: Array, column: ImageColumn) -> Array:
    """The pictures of an array as a model of the column sees them."""
    return ImageModality(Schema((column,), 9)).read_array(array).columns[column.name]


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
