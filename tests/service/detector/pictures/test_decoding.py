"""What comes as a picture's file is a picture, or a PictureError that says what is accepted."""

import struct
import subprocess
import sys
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kilter.service.detector.errors import PictureError
from kilter.service.detector.pictures.decoding import accepted, checked, decode, file_size
from kilter.service.detector.pictures.pixels import to_pixels
from tests.support.pictures import GREY, chunk, encoded, exif, lying, png_claiming, scene, tiff_of

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
    assert accepted() in str(caught.value)


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
    assert b"iCCP" not in checked(hostile).content
    jpeg = encoded(SCENE, "JPEG", exif=exif(1), icc_profile=bytes(500), comment=b"hidden")
    for word in (b"Exif", b"ICC_PROFILE", b"hidden"):
        assert word in jpeg
        assert word not in checked(jpeg).content


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
    monkeypatch.setattr("kilter.service.detector.pictures.decoding.BYTES", 5000)
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
    assert not told or accepted(1_000_000) in told
    assert found.shape == GREY.shape
    assert found.dtype == np.uint8


def test_without_pillow_it_is_named() -> None:
    """With the extra that brings it."""
    place = "kilter.service.detector.pictures.decoding"
    code = f"import sys; sys.modules['PIL'] = None; from {place} import library; library()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "KilterError: pictures need Pillow: pip install 'kilter[images]'" in done.stderr
