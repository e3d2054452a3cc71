"""What a picture's file says of itself before anything of it is decoded, and which parts of it a decoder sees.

A file may come from anywhere. So each format's own structure is walked here, in steps that are counted: size and number
of frames are known before a decoder is called, and the decoder never sees metadata, in which much can be hidden that
costs memory or time; of these only the orientation is read. What stands behind the end of a picture (cameras put films
there) is ignored, as by every viewer.
"""

import re
import struct
from collections.abc import Callable
from typing import NamedTuple

from kilter.service.detector.errors import PictureError

ORDERS = {b"II*\0": "<", b"MM\0*": ">"}  # first bytes of a TIFF of each byte order, and the order's sign in `struct`
ORIENTATION = 0x0112
PREFIX = b"Exif\0\0"
MOST_TAGS = 1024
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
"""Bytes of a value of each type."""
CUT_SHORT = "the picture is cut short"
SEVERAL = "the picture has several frames or pages: send one of them"
MOST_PARTS = 65_536  # chunks or segments of a file; an encoder that writes 8 kB each makes half a gigabyte of so many
MOST_SCANS = 64
"""Passes of a progressive JPEG over the whole of it: encoders make ten, and each costs time, however short it is."""
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_JPEG_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_DROPPED = frozenset({*range(0xE1, 0xF0), 0xFE}) - {0xEE}
"""Metadata; the segments of JFIF and Adobe stay, which tell the colours."""
_JPEG_FILL = re.compile(rb"\xff+")
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_TILE = 256, 257, (322, 323)
_TIFF_SUBFILE, _TIFF_COMPRESSION = 254, 259
_TIFF_SINGLE = frozenset({256, 257, 259, 262, 266, 277, 278, 284, 292, 293, 317, 322, 323})
"""Tags that a decoder needs, and that have one value."""
_TIFF_KEPT = _TIFF_SINGLE | {258, 273, 279, 320, 324, 325, 338, 339, 347, 529, 530, 531, 532}
"""All tags that a decoder needs."""
_TIFF_COMPRESSIONS = {1, 2, 3, 4, 5, 7, 8, 32773, 32946}
"""None, three of fax machines, LZW, JPEG, Deflate, PackBits, Deflate under its old number."""
_TIFF_BYTES = 1 << 18  # most bytes of the values of all tags that are kept: the places of 30,000 strips
_TIFF_PAGES = 64


class Picture(NamedTuple):
    """A file as its own structure describes it."""

    format: str
    """Its name in Pillow."""
    width: int
    """Width and height in pixels, as they are stored; `orientation`, 1 to 8 as in EXIF, may swap them."""
    height: int
    orientation: int
    content: bytes
    """The part of the file that is decoded."""
    tile: int = 0
    """Number of pixels of a tile, for which a decoder makes room at once; 0 in a file without tiles."""


def format_of(head: bytes) -> str | None:
    """Pillow's name of the format of a file with such first 16 bytes; None if it is not known."""
    return next((name for name, (fits, _) in _READERS.items() if fits(head)), None)


def describe(content: bytes) -> Picture:
    """What a file says of itself. Raises PictureError if it is damaged, or its format is not known."""
    form = format_of(content[:16])
    if form is None:
        raise PictureError("it is no picture")
    try:
        return _READERS[form][1](content)
    except (struct.error, IndexError):
        raise PictureError(CUT_SHORT) from None
    except ValueError as error:
        raise PictureError(f"the picture is damaged: {error}") from None


class TiffTag(NamedTuple):
    """An entry of a TIFF's directory: all twelve bytes, the number of its values, and their bytes."""

    tag: int
    raw: bytes
    values: int
    size: int
    first: int
    """The first value, if that is a whole number without a sign and stands in the entry itself; else 0."""
    place: int
    """Where the values stand in the file; 0 if they stand in the entry itself."""


class TiffDirectory(NamedTuple):
    """Entries, and where the next directory begins; 0 if there is none."""

    entries: list[TiffTag]
    following: int

    def first(self, tag: int) -> int:
        """The first value of a tag, 0 if there is none."""
        return next((entry.first for entry in self.entries if entry.tag == tag), 0)

    def orientation(self) -> int:
        """The orientation, 1 to 8; 1 means upright."""
        turn = self.first(ORIENTATION)
        return turn if 1 <= turn <= 8 else 1


def read_directory(content: bytes, at: int | None = None) -> TiffDirectory:
    """The directory of a TIFF at a position, or its first one. Raises ValueError or struct.error if it is damaged."""
    if content[:4] not in ORDERS:
        raise ValueError("it has no byte order")
    order = ORDERS[content[:4]]
    start = struct.unpack_from(f"{order}I", content, 4)[0] if at is None else at
    (count,) = struct.unpack_from(f"{order}H", content, start)
    if count > MOST_TAGS:
        raise ValueError(f"a directory has {count} tags")
    entries = []
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(f"{order}HHI", content, place)
        short = {1: "B", 3: "H", 4: "I"}.get(kind, "")
        size = _SIZES.get(kind, 1) * values
        first = int(struct.unpack_from(order + short, content, place + 8)[0]) if short and 0 < size <= 4 else 0
        offset = int(struct.unpack_from(f"{order}I", content, place + 8)[0]) if size > 4 else 0
        entries.append(TiffTag(tag, content[place : place + 12], values, size, first, offset))
    return TiffDirectory(entries, *struct.unpack_from(f"{order}I", content, start + 2 + 12 * count))


def orientation(exif: bytes) -> int:
    """The orientation of a picture by its EXIF data, 1 to 8; 1, upright, if they have none or are damaged."""
    try:
        return read_directory(exif.removeprefix(PREFIX)).orientation()
    except (struct.error, ValueError):
        return 1


def _png(content: bytes) -> Picture:
    width, height = struct.unpack_from(">II", content, 16)
    if content[12:16] != b"IHDR":
        raise ValueError("its first chunk is not IHDR")
    kept, exif, at = [_PNG], b"", len(_PNG)
    for _ in range(MOST_PARTS):
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + length
        if end > len(content):
            raise PictureError(CUT_SHORT)
        if kind in _PNG_KEPT:
            kept.append(content[at:end])
        elif kind == b"eXIf":
            exif = content[at + 8 : end - 4]
        elif kind == b"acTL" and struct.unpack_from(">I", content, at + 8)[0] > 1:
            raise PictureError(SEVERAL)
        if kind == b"IEND":
            return Picture("PNG", width, height, orientation(exif), b"".join(kept))
        at = end
    raise ValueError(f"it has more than {MOST_PARTS:,} chunks")


def _jpeg(content: bytes) -> Picture:
    kept, exif, size, scans, at = [content[:2]], b"", (0, 0), 0, 2
    for _ in range(MOST_PARTS):
        if at >= len(content) and scans:  # without its end mark, which many decoders forgive
            break
        filled = _JPEG_FILL.match(content, at)
        if filled is None:
            raise ValueError("it has no marker where one must be")
        at = filled.end() - 1
        marker = content[at + 1]
        if marker == 0xD9:
            kept.append(content[at : at + 2])
            break
        end = at + 2
        if marker not in _JPEG_STANDALONE:
            end += struct.unpack_from(">H", content, end)[0]
        if end > len(content):
            raise PictureError(CUT_SHORT)
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", content, at + 5)
            if size != (0, 0):
                raise ValueError("it has two frame headers")
            size = width, height
        elif marker == 0xE1 and not exif and content.startswith(PREFIX, at + 4):
            exif = content[at + 4 : end]
        elif marker == 0xDA:
            scans += 1
            if scans > MOST_SCANS:
                raise ValueError(f"it has more than {MOST_SCANS} scans")
            following = _JPEG_MARKER.search(content, end)
            end = following.start() if following else len(content)
        if marker not in _JPEG_DROPPED:
            kept.append(content[at:end])
        at = end
    else:
        raise ValueError(f"it has more than {MOST_PARTS:,} segments")
    return Picture("JPEG", *size, orientation(exif), b"".join(kept))


def _tiff(content: bytes) -> Picture:
    order = ORDERS[content[:4]]
    tags = read_directory(content)
    following = tags.following
    for _ in range(_TIFF_PAGES):
        if not 0 < following < len(content):
            break
        other = read_directory(content, following)
        if not other.first(_TIFF_SUBFILE) & 5:  # neither a smaller version of the picture nor its mask
            raise PictureError(SEVERAL)
        following = other.following
    else:
        raise PictureError(SEVERAL)
    if tags.first(_TIFF_COMPRESSION) not in _TIFF_COMPRESSIONS | {0}:
        raise ValueError("its compression is not supported: write it with LZW, Deflate, or none")
    kept = [entry for entry in tags.entries if entry.tag in _TIFF_KEPT]
    if sum(entry.size for entry in kept) > _TIFF_BYTES:
        raise ValueError("its tags are longer than those of any picture")
    for entry in kept:
        if entry.place + entry.size > len(content) or (entry.tag in _TIFF_SINGLE and entry.values != 1):
            raise ValueError(f"its tag {entry.tag} is not what it must be")
    # The new directory stands at the end: the places of values are told from the start of the file.
    start = len(content) + len(content) % 2
    head = (content[:4], struct.pack(f"{order}I", start), content[8:], b"\0" * (start - len(content)))
    entries = (struct.pack(f"{order}H", len(kept)), *(entry.raw for entry in kept), b"\0\0\0\0")
    tile = tags.first(_TIFF_TILE[0]) * tags.first(_TIFF_TILE[1])
    size = tags.first(_TIFF_WIDTH), tags.first(_TIFF_HEIGHT)
    return Picture("TIFF", *size, tags.orientation(), b"".join(head + entries), tile)


def _webp(content: bytes) -> Picture:
    end = 8 + struct.unpack_from("<I", content, 4)[0]
    if end > len(content):
        raise PictureError(CUT_SHORT)
    kind, exif = content[12:16], b""
    if kind == b"VP8X":
        flags = content[20]
        width, height = (1 + int.from_bytes(content[i : i + 3], "little") for i in (24, 27))
        if flags & 2:
            raise PictureError(SEVERAL)
        at = 12
        for _ in range(MOST_PARTS):
            if at + 8 > end:
                break
            name, size = struct.unpack_from("<4sI", content, at)
            if name == b"EXIF":
                exif = content[at + 8 : at + 8 + size]
            at += 8 + size + size % 2
    elif kind == b"VP8L":
        bits = struct.unpack_from("<I", content, 21)[0]
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", content, 26))
    return Picture("WEBP", width, height, orientation(exif), content[:end])


def _bmp(content: bytes) -> Picture:
    (header,) = struct.unpack_from("<I", content, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", content, 18)
    if header != 12 and struct.unpack_from("<I", content, 30)[0] in (1, 2):
        raise ValueError("it is compressed by RLE: write it without compression, or as PNG")
    return Picture("BMP", width, abs(height), 1, content)


_READERS: dict[str, tuple[Callable[[bytes], bool], Callable[[bytes], Picture]]] = {
    "PNG": (lambda head: head.startswith(_PNG), _png),
    "JPEG": (lambda head: head.startswith(b"\xff\xd8\xff"), _jpeg),
    "TIFF": (lambda head: head[:4] in ORDERS, _tiff),
    "WEBP": (lambda head: head.startswith(b"RIFF") and head[8:12] == b"WEBP", _webp),
    "BMP": (lambda head: head.startswith(b"BM"), _bmp),
}
