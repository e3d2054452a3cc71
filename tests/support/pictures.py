"""Pictures, well-formed and hostile, in the bytes of files."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from kilter.service.detector.pictures.column import ImageColumn

GREY = ImageColumn("image", 16, 16, 1)
COLOUR = ImageColumn("image", 16, 16, 3)
Pixels = npt.NDArray[np.uint8]


def scene(height: int = 40, width: int = 56, channels: int = 3, seed: int = 0) -> Pixels:
    """A smooth picture with a bright bar at its top left, so that each of the eight ways it can lie is another."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [120 + 60 * np.sin(x / 9 + a) * np.cos(y / 7 + b) for a, b in rng.uniform(0, 6, (channels, 2))]
    picture = np.stack(waves, axis=2) + rng.normal(0, 3, (height, width, channels))
    picture[: height // 4, : width // 2] = 240
    return np.clip(picture, 0, 255).astype(np.uint8)


def encoded(picture: Pixels | Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """A picture as a file of a format, as Pillow calls it."""
    image = (
        picture
        if isinstance(picture, Image.Image)
        else Image.fromarray(picture[:, :, 0] if picture.shape[2:] == (1,) else picture)
    )
    content = BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def lossless(picture: Pixels) -> dict[str, bytes]:
    """The same picture in every format that keeps it as it is."""
    return {
        "png": encoded(picture),
        "webp": encoded(picture, "WEBP", lossless=True),
        "bmp": encoded(picture, "BMP"),
        "tiff": encoded(picture, "TIFF"),
        "tiff, LZW": encoded(picture, "TIFF", compression="tiff_lzw"),
        "tiff, Deflate": encoded(picture, "TIFF", compression="tiff_adobe_deflate"),
    }


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_claiming(width: int, height: int, data: bytes = b"") -> bytes:
    """A small PNG that says it is large; `data` are its pixels, compressed."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = data or zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def deep_png(numbers: npt.NDArray[np.uint16], *, filtered: bool = False, exif: bytes = b"") -> bytes:
    """A PNG of 16 bits a channel, (h, w, 1 to 4), which Pillow writes in grey alone; `filtered` by the byte above."""
    height, width, channels = numbers.shape
    lines = numbers.astype(">u2").view(np.uint8).reshape(height, -1)
    if filtered:
        lines = np.diff(lines, axis=0, prepend=np.zeros((1, lines.shape[1]), np.uint8))
    data = b"".join(bytes([2 * filtered]) + line.tobytes() for line in lines)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    turned = chunk(b"eXIf", exif) if exif else b""
    return b"\x89PNG\r\n\x1a\n" + header + turned + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def deep_tiff(
    numbers: npt.NDArray[np.uint16], order: Literal["<", ">"] = "<", pack: Callable[[bytes], bytes] | None = None
) -> bytes:
    """A TIFF of 16 bits a channel, (h, w, 1, 3 or 4), compressed by Deflate where that is what packs it."""
    height, width, channels = numbers.shape
    data = numbers.astype(f"{order}u2").tobytes()
    content = pack(data) if pack else data
    bits = struct.pack(f"{order}{channels}H", *[16] * channels)
    values = 8 + 2 + 12 * (10 + (channels == 4)) + 4
    shorts = {258: 16, 259: 8 if pack else 1, 262: 2 if channels > 1 else 1, 277: channels, 338: 2, 339: 1}
    longs = {256: width, 257: height, 273: values + len(bits), 278: height, 279: len(content)}
    directory = []
    for tag in sorted({**shorts, **longs} if channels == 4 else {**shorts, **longs}.keys() - {338}):
        if tag == 258 and channels > 2:
            directory.append(struct.pack(f"{order}HHII", tag, 3, channels, values))
        elif tag in shorts:
            directory.append(struct.pack(f"{order}HHIHH", tag, 3, 1, shorts[tag], 0))
        else:
            directory.append(struct.pack(f"{order}HHII", tag, 4, 1, longs[tag]))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(directory))
    return head + b"".join(directory) + bytes(4) + bits + content


def tiff_of(entries: list[tuple[int, int, int, int]], after: bytes = b"", following: int = 0) -> bytes:
    """A TIFF with one directory of tags (tag, type, count, value), and then `after`."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + struct.pack("<I", following) + after


def exif(orientation: int, order: str = "<") -> bytes:
    """EXIF data that say how a picture lies."""
    start = b"II*\0" if order == "<" else b"MM\0*"
    tag = struct.pack(f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    return b"Exif\0\0" + start + tag


def lying(picture: Pixels, orientation: int) -> Pixels:
    """A picture as it is stored by a camera that was held so: what EXIF undoes."""
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }
    return np.ascontiguousarray(undo[orientation](picture))
