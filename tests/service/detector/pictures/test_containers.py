"""Tests of `pictures.containers`: each bound that a hostile file meets, one step inside it and one step beyond.

The files are made by hand, of no more than what is looked at, and are never decoded.
"""

import struct
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.errors import PictureError
from kilter.service.detector.pictures import containers
from kilter.service.detector.pictures.containers import (
    CUT_SHORT,
    MOST_PARTS,
    MOST_SCANS,
    MOST_TAGS,
    SEVERAL,
    Picture,
    describe,
    format_of,
    orientation,
    read_directory,
)
from tests.support.pictures import chunk, encoded, exif, scene

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = chunk(b"IHDR", struct.pack(">IIBBBBB", 7, 5, 8, 0, 0, 0, 0))
DATA, END = chunk(b"IDAT", b"data"), chunk(b"IEND", b"")


def picture(content: bytes) -> Picture:
    """What a file of a known format says of itself."""
    return describe(content)


def refused(content: bytes, reason: str) -> None:
    """It is refused for that reason."""
    with pytest.raises(PictureError, match=reason):
        describe(content)


@pytest.mark.parametrize(
    ("head", "known"),
    [
        (SIGNATURE, True),
        (SIGNATURE[:-1], False),
        (b"\xff\xd8\xff", True),
        (b"\xff\xd8\xfe", False),
        (b"II*\0", True),
        (b"MM\0*", True),
        (b"II\0*", False),
        (b"MM*\0", False),
        (b"RIFF\0\0\0\0WEBP", True),
        (b"RIFF\0\0\0\0WAVE", False),
        (b"RIFX\0\0\0\0WEBP", False),
        (b"BM", True),
        (b"BA", False),
        (b"", False),
        (b"GIF89a", False),
    ],
)
def test_a_format_is_told_by_the_first_bytes_of_a_file(head: bytes, known: bool) -> None:
    """A file of no known format is no picture."""
    assert (format_of(head) is not None) == known
    if not known:
        refused(head + bytes(100), "it is no picture")


# PNG


def test_a_png_is_its_header_its_palette_and_its_data() -> None:
    """Texts, times and profiles are left out; what stands behind the end is not looked at."""
    parts = [HEADER, chunk(b"PLTE", b"abc"), chunk(b"tRNS", b"t"), DATA, DATA, END]
    metadata = [chunk(kind, b"x" * 50) for kind in (b"tEXt", b"iTXt", b"zTXt", b"iCCP", b"tIME", b"eXIf", b"gAMA")]
    content = SIGNATURE + HEADER + b"".join(metadata[:3]) + b"".join(parts[1:4]) + b"".join(metadata[3:]) + DATA + END
    assert picture(content + b"anything") == Picture("PNG", 7, 5, 1, SIGNATURE + b"".join(parts))


def test_a_png_begins_with_its_header() -> None:
    """No other chunk says how large it is."""
    refused(SIGNATURE + DATA + HEADER + END, "its first chunk is not IHDR")


@pytest.mark.parametrize("missing", [1, 4, len(END), len(END) + 1, len(END) + len(DATA)])
def test_a_png_without_its_end_is_cut_short(missing: int) -> None:
    """Whether it ends within a chunk or between two."""
    content = SIGNATURE + HEADER + DATA + END
    refused(content[:-missing], CUT_SHORT)
    assert picture(content).width == 7


def test_a_chunk_that_claims_more_than_the_file_has_is_cut_short() -> None:
    """By a single byte, too."""
    head = SIGNATURE + HEADER
    whole = chunk(b"tEXt", b"12345678") + END
    assert picture(head + whole)
    longer = struct.pack(">I", 8 + len(END) + 1) + whole[4:]
    refused(head + longer, CUT_SHORT)


@pytest.mark.parametrize(("frames", "refuses"), [(0, False), (1, False), (2, True), (1 << 31, True)])
def test_an_animated_png_has_more_than_one_frame(frames: int, refuses: bool) -> None:
    """One frame is a picture."""
    content = SIGNATURE + HEADER + chunk(b"acTL", struct.pack(">II", frames, 0)) + DATA + END
    if refuses:
        refused(content, SEVERAL)
    else:
        assert picture(content).content == SIGNATURE + HEADER + DATA + END


def test_the_orientation_of_a_png_is_that_of_its_exif_data() -> None:
    """Which stand in a chunk of their own, without the prefix that JPEG has."""
    content = SIGNATURE + HEADER + chunk(b"eXIf", exif(6).removeprefix(b"Exif\0\0")) + DATA + END
    assert picture(content).orientation == 6


def test_a_png_has_a_limited_number_of_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many, and not one more."""
    monkeypatch.setattr(containers, "MOST_PARTS", 5)
    assert picture(SIGNATURE + HEADER + 3 * DATA + END)
    refused(SIGNATURE + HEADER + 4 * DATA + END, "it has more than 5 chunks")


# JPEG

START, STOP = b"\xff\xd8", b"\xff\xd9"
QUANTISATION = b"\xff\xdb\0\x04qq"
SCAN = b"\xff\xda\0\x04ss" + b"data\xff\0more\xff\xd3still"
JFIF, ADOBE = b"\xff\xe0\0\x06JFIF", b"\xff\xee\0\x07Adobe"


def frame(height: int = 5, width: int = 7, marker: int = 0xC0) -> bytes:
    """A frame header."""
    return bytes([0xFF, marker]) + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"abc"


def segment(marker: int, data: bytes) -> bytes:
    """A segment with its length."""
    return bytes([0xFF, marker]) + struct.pack(">H", 2 + len(data)) + data


def test_a_jpeg_is_its_tables_its_frame_and_its_scans() -> None:
    """Metadata and comments are left out; JFIF and Adobe, which tell the colours, stay."""
    metadata = b"".join(segment(marker, b"secret") for marker in (0xE1, 0xE2, 0xED, 0xEF, 0xFE))
    content = START + JFIF + metadata + ADOBE + QUANTISATION + frame() + SCAN + STOP + b"behind"
    wanted = START + JFIF + ADOBE + QUANTISATION + frame() + SCAN + STOP
    assert picture(content) == Picture("JPEG", 7, 5, 1, wanted)


@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC9, 0xCF])
def test_every_kind_of_frame_header_says_the_size(marker: int) -> None:
    """Baseline, extended, progressive, lossless, and so on."""
    assert picture(START + frame(300, 400, marker) + SCAN + STOP)[:3] == ("JPEG", 400, 300)


@pytest.mark.parametrize("marker", [0xC4, 0xC8, 0xCC, 0xDB, 0xDD])
def test_tables_are_no_frame_headers(marker: int) -> None:
    """Huffman and arithmetic tables have markers among those of the frames."""
    content = START + segment(marker, bytes(9)) + frame() + SCAN + STOP
    assert picture(content) == Picture("JPEG", 7, 5, 1, content)


def test_two_frame_headers_contradict_each_other() -> None:
    """A decoder might believe the other one."""
    refused(START + frame() + frame(9000, 9000) + SCAN + STOP, "it has two frame headers")


def test_a_jpeg_without_its_end_mark_is_forgiven_once_a_scan_is_there() -> None:
    """Many cameras forget it, and decoders forgive it."""
    assert picture(START + frame() + SCAN).content == START + frame() + SCAN
    refused(START + frame(), "cut short|no marker")


def test_segments_follow_each_other_without_anything_between() -> None:
    """Fill bytes aside, of which there may be any number before a marker."""
    assert picture(START + b"\xff\xff\xff" + frame() + SCAN + STOP).width == 7
    refused(START + frame() + b"\0" + QUANTISATION + SCAN + STOP, "it has no marker where one must be")


@pytest.mark.parametrize("marker", [0x01, 0xD0, 0xD7])
def test_some_markers_stand_alone(marker: int) -> None:
    """They have no length, and are part of the picture."""
    content = START + bytes([0xFF, marker]) + frame() + SCAN + STOP
    assert picture(content).content == content


def test_a_segment_that_claims_more_than_the_file_has_is_cut_short() -> None:
    """By a single byte, too; and a scan's own data go up to the next marker."""
    head = START + frame()
    whole = segment(0xDB, b"12345678")
    assert picture(head + SCAN + whole)
    refused(head + SCAN + whole[:-1], CUT_SHORT)


@pytest.mark.parametrize(("prefix", "turned"), [(b"", 3), (b"Other\0", 1)])
def test_the_orientation_of_a_jpeg_is_that_of_its_first_exif_data(prefix: bytes, turned: int) -> None:
    """Segments of the same marker that hold something else do not count, nor do later ones."""
    first = segment(0xE1, prefix + exif(3))
    content = START + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0") + first + frame() + SCAN + STOP
    assert picture(content).orientation == turned
    later = START + first + segment(0xE1, exif(8)) + frame() + SCAN + STOP
    assert picture(later).orientation == (3 if turned == 3 else 8)


def test_a_jpeg_has_a_limited_number_of_scans() -> None:
    """So many, and not one more."""
    assert picture(START + frame() + MOST_SCANS * SCAN + STOP)
    refused(START + frame() + (MOST_SCANS + 1) * SCAN + STOP, f"it has more than {MOST_SCANS} scans")


def test_a_jpeg_has_a_limited_number_of_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many, its end included, and not one more."""
    monkeypatch.setattr(containers, "MOST_PARTS", 6)
    assert picture(START + 3 * QUANTISATION + frame() + SCAN + STOP)
    refused(START + 4 * QUANTISATION + frame() + SCAN + STOP, "it has more than 6 segments")


# TIFF

Tag = tuple[int, int, int, int]
BASE: list[Tag] = [(256, 3, 1, 7), (257, 3, 1, 5), (273, 4, 1, 8), (279, 4, 1, 8)]


def tiff(*directories: Sequence[Tag], order: str = "<", data: bytes = b"pixels..") -> bytes:
    """A TIFF of some directories of tags (tag, type, count, value), its data after the header."""
    start = {"<": b"II*\0", ">": b"MM\0*"}[order]
    places, at = [], 8 + len(data)
    for entries in directories:
        places.append(at)
        at += 6 + 12 * len(entries)
    content = start + struct.pack(f"{order}I", places[0]) + data
    for entries, following in zip(directories, [*places[1:], 0], strict=True):
        content += struct.pack(f"{order}H", len(entries))
        for tag, kind, count, value in entries:
            content += struct.pack(f"{order}HHI", tag, kind, count)
            small = kind == 3 and count <= 2
            content += struct.pack(f"{order}HH", value, 0) if small else struct.pack(f"{order}I", value)
        content += struct.pack(f"{order}I", following)
    return content


def entries_of(content: bytes) -> list[int]:
    """The tags of the directory that a decoder will see."""
    return [entry.tag for entry in read_directory(content).entries]


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_is_its_first_directory_without_metadata(order: str) -> None:
    """The tags that a decoder needs, in a new directory at an even place, after all that stood there."""
    metadata = [(270, 2, 3, 0), (306, 2, 4, 0), (34665, 4, 1, 8), (34377, 1, 4, 0)]
    for data in (b"pixels..", b"pixels..."):
        content = tiff([*BASE, (274, 3, 1, 8), *metadata], order=order, data=data)
        described = picture(content)
        assert described[:4] == ("TIFF", 7, 5, 8)
        assert entries_of(described.content) == [256, 257, 273, 279]
        (at,) = struct.unpack_from(f"{order}I", described.content, 4)
        assert at == len(content) + len(content) % 2
        assert described.content[8 : len(content)] == content[8:]
        assert described.content[:4] == content[:4]
        assert len(described.content) == at + 2 + 4 * 12 + 4
        assert described.content[-4:] == bytes(4)


@pytest.mark.parametrize(("turned", "wanted"), [(0, 1), (1, 1), (2, 2), (8, 8), (9, 1), (65535, 1)])
def test_an_orientation_that_there_is_not_turns_nothing(turned: int, wanted: int) -> None:
    """In a TIFF as in EXIF data."""
    assert picture(tiff([*BASE, (274, 3, 1, turned)])).orientation == wanted
    assert orientation(exif(turned)) == wanted


@pytest.mark.parametrize(("subfile", "refuses"), [(0, True), (1, False), (2, True), (4, False), (5, False), (8, True)])
def test_another_directory_is_a_smaller_version_or_a_mask_or_another_page(subfile: int, refuses: bool) -> None:
    """Only the last is another picture."""
    content = tiff(BASE, [(254, 4, 1, subfile)])
    if refuses:
        refused(content, SEVERAL)
    else:
        assert picture(content).width == 7


def test_a_tiff_has_a_limited_number_of_directories() -> None:
    """Fewer than 64 smaller versions; and none that lies nowhere is looked for."""
    smaller = [(254, 4, 1, 1)]
    assert picture(tiff(BASE, *[smaller] * 63)).width == 7
    refused(tiff(BASE, *[smaller] * 64), SEVERAL)
    nowhere = bytearray(tiff(BASE))
    nowhere[-4:] = struct.pack("<I", len(nowhere))
    assert picture(bytes(nowhere)).width == 7
    nowhere[-4:] = struct.pack("<I", len(nowhere) - 1)
    refused(bytes(nowhere), CUT_SHORT)


@pytest.mark.parametrize("compression", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 34712, 32773, 32946, 32947, 50001])
def test_only_compressions_that_are_safe_to_decode_are_taken(compression: int) -> None:
    """A tag that is not there means none."""
    content = tiff([*BASE, (259, 3, 1, compression)])
    if compression in {0, 1, 2, 3, 4, 5, 7, 8, 32773, 32946}:
        assert picture(content).width == 7
    else:
        refused(content, "its compression is not supported")


def test_the_values_of_tags_take_limited_room() -> None:
    """All that are kept together: 256 KiB, and not a byte more; those of metadata do not count."""
    room = 1 << 18
    data = bytes(room)
    used = 2 + 2 + 4 + 4
    fits = [*BASE, (320, 1, room - used, 8)]
    assert picture(tiff([*fits, (700, 1, room, 8)], data=data)).width == 7
    refused(tiff([*BASE, (320, 1, room - used + 1, 8)], data=data), "its tags are longer than those of any picture")


def test_the_values_of_a_tag_lie_in_the_file() -> None:
    """Up to its last byte."""
    content = tiff([*BASE, (320, 3, 10, 0)])
    length = len(content)
    fits = tiff([*BASE, (320, 3, 10, length - 20)])
    assert picture(fits).width == 7
    refused(tiff([*BASE, (320, 3, 10, length - 19)]), "its tag 320 is not what it must be")


@pytest.mark.parametrize("tag", [256, 257, 259, 262, 266, 277, 278, 284, 292, 293, 317, 322, 323])
def test_a_tag_of_one_value_has_one(tag: int) -> None:
    """A decoder may take another of them than is looked at here."""
    others = [entry for entry in BASE if entry[0] != tag]
    assert picture(tiff([*others, (tag, 3, 1, 1)]))
    for count in (0, 2):
        refused(tiff([*others, (tag, 3, count, 1)]), f"its tag {tag} is not what it must be")


@pytest.mark.parametrize("tag", [258, 273, 279, 320, 324, 325, 338, 339, 347, 529, 530, 531, 532])
def test_other_tags_that_a_decoder_needs_may_have_several(tag: int) -> None:
    """And are kept."""
    others = [entry for entry in BASE if entry[0] != tag]
    described = picture(tiff([*others, (tag, 3, 2, 1)]))
    assert tag in entries_of(described.content)


def test_a_tile_is_what_a_decoder_makes_room_for() -> None:
    """Its width times its height, in pixels."""
    assert picture(tiff(BASE)).tile == 0
    assert picture(tiff([*BASE, (322, 3, 1, 300), (323, 4, 1, 70_000)])).tile == 21_000_000


@pytest.mark.parametrize(
    ("kind", "count", "value", "first", "size", "place"),
    [
        (1, 1, 9, 9, 1, 0),
        (1, 4, 9, 9, 4, 0),
        (1, 5, 8, 0, 5, 8),
        (3, 1, 9, 9, 2, 0),
        (3, 2, 9, 9, 4, 0),
        (3, 3, 8, 0, 6, 8),
        (4, 1, 9, 9, 4, 0),
        (4, 2, 8, 0, 8, 8),
        (3, 0, 9, 0, 0, 0),
        (2, 4, 9, 0, 4, 0),
        (6, 2, 9, 0, 2, 0),
        (7, 2, 9, 0, 2, 0),
        (5, 1, 8, 0, 8, 8),
        (8, 2, 9, 0, 4, 0),
        (9, 1, 9, 0, 4, 0),
        (10, 2, 8, 0, 16, 8),
        (11, 1, 9, 0, 4, 0),
        (12, 1, 8, 0, 8, 8),
        (13, 1, 9, 0, 4, 0),
        (99, 3, 9, 0, 3, 0),
    ],
)
def test_a_tag_is_read_by_its_type(kind: int, count: int, value: int, first: int, size: int, place: int) -> None:
    """Values of four bytes or less stand in the tag itself, others where it says; only whole numbers are read."""
    content = tiff([(300, kind, count, value)])
    (entry,) = read_directory(content).entries
    assert (entry.tag, entry.values, entry.size, entry.first, entry.place) == (300, count, size, first, place)
    assert entry.raw == content[18:30]


def test_a_directory_has_a_limited_number_of_tags() -> None:
    """So many, and not one more."""
    most = [(1000, 3, 1, 0)] * MOST_TAGS
    assert len(read_directory(tiff(most)).entries) == MOST_TAGS
    refused(tiff([*most, (1001, 3, 1, 0)]), f"a directory has {MOST_TAGS + 1} tags")
    assert read_directory(tiff(most)).first(1) == 0


# EXIF


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("turned", range(1, 9))
def test_an_orientation_is_read_in_both_byte_orders(order: str, turned: int) -> None:
    """With and without the prefix."""
    assert orientation(exif(turned, order)) == turned
    assert orientation(exif(turned, order).removeprefix(b"Exif\0\0")) == turned


@pytest.mark.parametrize("data", [b"", b"Exif\0\0", b"Exif\0\0XX*\0", exif(6)[:12], exif(6)[:20]])
def test_damaged_exif_data_say_that_a_picture_is_upright(data: bytes) -> None:
    """They are no reason to refuse one."""
    assert orientation(data) == 1


def test_exif_data_of_too_many_tags_say_that_a_picture_is_upright() -> None:
    """They are not read to their end."""
    assert orientation(tiff([(274, 3, 1, 6), *[(1000, 3, 1, 0)] * (MOST_TAGS - 1)])) == 6
    assert orientation(tiff([(274, 3, 1, 6), *[(1000, 3, 1, 0)] * MOST_TAGS])) == 1


# WebP


def webp(kind: bytes, body: bytes) -> bytes:
    """A WebP of one chunk."""
    content = b"WEBP" + kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def extended(flags: int, width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP of the extended kind."""
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    parts = [(b"VP8X", bytes([flags, 0, 0, 0]) + sides), *chunks]
    body = b"".join(k + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for k, data in parts)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


@given(st.integers(1, 1 << 14), st.integers(1, 1 << 14))
def test_the_size_of_a_webp_is_read_in_each_of_its_kinds(width: int, height: int) -> None:
    """Lossless: 14 bits each, from 1; lossy: 14 bits each; extended: 24 bits each, from 1."""
    bits = (width - 1) | (height - 1) << 14 | 1 << 28
    assert picture(webp(b"VP8L", b"\x2f" + struct.pack("<I", bits)))[:3] == ("WEBP", width, height)
    lossy = bytes(6) + struct.pack("<HH", width - 1 | 1 << 14, height - 1 | 2 << 14)
    assert picture(webp(b"VP8 ", lossy))[:3] == ("WEBP", width - 1, height - 1)
    assert picture(extended(0, 100 * width, 100 * height))[:3] == ("WEBP", 100 * width, 100 * height)


def test_a_webp_is_as_long_as_it_says() -> None:
    """What stands behind it is left out, and one that is a byte shorter is cut short."""
    content = webp(b"VP8L", b"\x2f" + bytes(4))
    assert picture(content + b"behind").content == content
    assert picture(content).content == content
    refused(content[:-1], CUT_SHORT)


@pytest.mark.parametrize(
    ("flags", "refuses"), [(0, False), (1, False), (2, True), (3, True), (4, False), (0x3D, False)]
)
def test_an_animated_webp_says_so(flags: int, refuses: bool) -> None:
    """By one bit among those of transparency, profile and metadata."""
    content = extended(flags, 7, 5)
    if refuses:
        refused(content, SEVERAL)
    else:
        assert picture(content)[:3] == ("WEBP", 7, 5)


@pytest.mark.parametrize("before", [b"", b"x", b"xx"])
def test_the_orientation_of_a_webp_is_that_of_its_exif_data(before: bytes) -> None:
    """In a chunk anywhere, those before it being of odd or even length."""
    content = extended(8, 7, 5, (b"ICCP", before), (b"EXIF", exif(5)), (b"XMP ", b"<x/>"))
    assert picture(content).orientation == 5


def test_of_a_webp_a_limited_number_of_chunks_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """An orientation behind them is not found, and no header is looked for beyond the end."""
    monkeypatch.setattr(containers, "MOST_PARTS", 3)
    assert picture(extended(8, 7, 5, (b"ALPH", b"aa"), (b"EXIF", exif(5)))).orientation == 5
    assert picture(extended(8, 7, 5, (b"ALPH", b"aa"), (b"ALPH", b"aa"), (b"EXIF", exif(5)))).orientation == 1
    assert picture(extended(0, 7, 5) + b"EXIF" + struct.pack("<I", 40) + exif(5)).orientation == 1


# BMP


@pytest.mark.parametrize(
    ("header", "sides", "wanted"),
    [
        (12, struct.pack("<HH", 7, 5), (7, 5)),
        (40, struct.pack("<ii", 7, 5), (7, 5)),
        (40, struct.pack("<ii", 7, -5), (7, 5)),
        (124, struct.pack("<ii", 70_000, 5), (70_000, 5)),
        (12, struct.pack("<HH", 65_535, 40_000), (65_535, 40_000)),
        (40, struct.pack("<ii", -7, 5), (-7, 5)),
    ],
)
def test_the_size_of_a_bmp_is_read_by_its_header(header: int, sides: bytes, wanted: tuple[int, int]) -> None:
    """The oldest has two bytes for each side; of the others a negative height means from the top."""
    content = b"BM" + bytes(12) + struct.pack("<I", header) + sides + bytes(30)
    assert picture(content) == Picture("BMP", *wanted, 1, content)


@pytest.mark.parametrize(("compression", "refuses"), [(0, False), (1, True), (2, True), (3, False), (6, False)])
def test_a_bmp_in_rle_is_refused(compression: int, refuses: bool) -> None:
    """A few bytes of it would fill any picture; the oldest header has no such field."""
    tail = struct.pack("<iiHHI", 7, 5, 1, 8, compression) + bytes(30)
    content = b"BM" + bytes(12) + struct.pack("<I", 40) + tail
    if refuses:
        refused(content, "it is compressed by RLE")
    else:
        assert picture(content).width == 7
    oldest = b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 7, 5, 1, 8) + struct.pack("<II", compression, compression)
    assert picture(oldest).height == 5


# All of them


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
def test_a_real_picture_is_described(form: str) -> None:
    """As Pillow wrote it."""
    described = picture(encoded(scene(20, 33), form))
    assert described[:4] == (form, 33, 20, 1)


@given(st.sampled_from([SIGNATURE, START + b"\xff", b"II*\0", b"MM\0*", b"RIFF\0\0\0\0WEBP", b"BM"]), st.binary())
def test_no_file_is_anything_but_a_picture_or_a_picture_error(head: bytes, rest: bytes) -> None:
    """Whatever follows the first bytes."""
    with suppress(PictureError):
        assert describe(head + rest).content


def test_the_bounds_are_those_that_real_pictures_keep() -> None:
    """Chunks of 8 kB of half a gigabyte, six times as many scans as encoders make, and all tags that there are."""
    assert (MOST_PARTS, MOST_SCANS, MOST_TAGS) == (65_536, 64, 1024)
