"""Pictures, from files or arrays, to what a model sees: uint8 (height, width, channels) of its size.

Whatever a picture comes from, it goes the same way: to 8 bits, out of its transparency over white, as a viewer shows
it, to grey (0.299 red + 0.587 green + 0.114 blue, ITU-R BT.601) or to red, green and blue, and then to the model's
size, by a triangle filter that is as wide as the reduction asks for. So a picture is the same to the last bit as a
file, as an array and in a batch. Numbers without a range of their own (arrays, TIFF of floats or of 32 bits) are taken
by the column's `low` and `high`.
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kilter.service.detector.arrays import Array, Pixels
from kilter.service.detector.errors import PictureError
from kilter.service.detector.pictures.decoding import PIXELS, accepted, decode, file_size, library, refusing

if TYPE_CHECKING:
    from PIL import Image

    from kilter.service.detector.pictures.column import ImageColumn

STRIP = 1 << 22
"""Pixels that are worked on at once where a step would need a copy of the picture."""
_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_BLANKS = str.maketrans("", "", " \t\r\n")
_CHANNELS = (1, 2, 3, 4)
"""Of an array: grey, grey and alpha, colour, colour and alpha."""


def read_picture(content: bytes, column: "ImageColumn", pixels: int = PIXELS) -> Pixels:
    """The picture in a file as uint8 (height, width, channels). Raises PictureError, which says what is accepted."""
    picture = decode(content, pixels)
    with refusing(pixels):
        return _fitted(_flat(picture, column, column.channels), column)


def from_array(array: Array, column: "ImageColumn", pixels: int = PIXELS) -> Pixels:
    """Pictures of numbers, each of any size, as uint8 (n, height, width, channels); 1 x one picture is n = 1.

    What is meant is told by the shape: see `several`. Raises PictureError for numbers that do not fit, too.
    """
    pictures = [picture_of(picture, column, pixels) for picture in several(array, column)]
    return np.array(pictures, np.uint8).reshape(-1, *column.shape)


def several(array: Array, column: "ImageColumn") -> Array:
    """An array of pictures as (n, h, w) or (n, h, w, c).

    It is (n, height * width * channels) of the model, else (h, w); (h, w, c) where the last is up to 4, else (n, h, w);
    or (n, h, w, c). Raises PictureError for any other shape.
    """
    if array.ndim == 2 and array.shape[1] == column.size:
        array = array.reshape(-1, *column.shape)
    elif array.ndim == 2 or (array.ndim == 3 and array.shape[2] in _CHANNELS):
        array = array[None]
    if array.ndim not in (3, 4):
        flat = column.size
        raise PictureError(f"pictures are an array of shape (n, h, w), (n, h, w, c) or (n, {flat}), not {array.shape}")
    return array


def picture_of(array: Array, column: "ImageColumn", pixels: int = PIXELS) -> Pixels:
    """One picture of numbers, (h, w) or (h, w, c), as uint8 (height, width, channels). Raises PictureError."""
    if array.dtype == np.uint8 and column.eight_bits and array.shape == column.shape:
        return array
    return _fitted(_flat(_of_array(array, column, pixels), column, column.channels), column)


def _of_array(array: Array, column: "ImageColumn", pixels: int) -> "Image.Image":
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in _CHANNELS):
        raise PictureError(f"a picture is an array of shape (h, w) or (h, w, c), c from 1 to 4, not {array.shape}")
    height, width = array.shape[:2]
    if not 0 < height * width <= pixels:
        raise PictureError(f"the picture is {width:,} x {height:,} pixels: 1 to {pixels:,} are accepted")
    eight = _scaled(array, column)
    image: Image.Image = library().fromarray(eight[:, :, 0] if eight.shape[2:] == (1,) else eight)
    return image


def _fitted(image: "Image.Image", column: "ImageColumn") -> Pixels:
    if image.size != (column.width, column.height):
        image = image.resize((column.width, column.height), library().Resampling.BILINEAR)
    return np.array(image).reshape(column.shape)


def _flat(image: "Image.Image", column: "ImageColumn", channels: Literal[1, 3]) -> "Image.Image":
    """A picture in mode L or RGB, whatever it was in. Raises PictureError if that is not possible."""
    wanted = "L" if channels == 1 else "RGB"
    mode = image.mode
    if mode.startswith("I;16"):
        image = library().fromarray(np.concatenate([_sixteen(part) for part in _parts(image)]))
    elif mode in ("I", "F"):
        for part in _parts(image):
            _check_scale(part, column)
        image = library().fromarray(np.concatenate([_eight(part, column) for part in _parts(image)]))
    elif image.has_transparency_data:
        return _over_white(image, wanted)
    elif mode not in ("1", "L", "RGB") or (mode, wanted) == ("1", "RGB"):
        image = _converted(image, "RGB")
    return image if image.mode == wanted else _converted(image, wanted)


def _converted(image: "Image.Image", mode: str) -> "Image.Image":
    try:
        return image.convert(mode)
    except (ValueError, OSError):
        raise PictureError(f"the picture's colours are of the kind {image.mode}; {accepted()}") from None


def _over_white(image: "Image.Image", mode: str) -> "Image.Image":
    """A picture with transparency in front of white, some rows at a time."""
    white: Image.Image = library().new(mode, image.size, "white")
    for box in strips(*image.size):
        part = _converted(image.crop(box), "RGBA")
        under = library().new("RGB", part.size, "white")
        under.paste(part, mask=part)
        white.paste(under.convert(mode), box)
    return white


def strips(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Boxes of consecutive rows (left, top, right, bottom), of `STRIP` pixels at most."""
    rows = max(1, STRIP // width)
    return [(0, top, width, min(top + rows, height)) for top in range(0, height, rows)]


def _parts(image: "Image.Image") -> Iterator[Array]:
    """The numbers of a picture of one channel, some rows at a time."""
    return (np.asarray(image.crop(box)) for box in strips(*image.size))


def _sixteen(values: Array) -> Pixels:
    """16 bits as 8: 65,535 is 257 times 255."""
    scaled: Pixels = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return scaled


def _scaled(values: Array, column: "ImageColumn") -> Pixels:
    """Numbers as 8 bits, `low` as 0 and `high` as 255. Raises PictureError for what are no such numbers."""
    if values.dtype.kind not in "fiu":
        raise PictureError(f"a picture is an array of numbers, not of dtype {values.dtype}")
    _check_scale(values, column)
    rows = max(1, STRIP // values[0].size)
    parts = [_eight(values[start : start + rows], column) for start in range(0, len(values), rows)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _check_scale(values: Array, column: "ImageColumn") -> None:
    """Raise PictureError for numbers that are not finite, or as far beyond black or white as these are apart."""
    low, high = float(values.min()), float(values.max())
    span = column.high - column.low
    if not (low >= column.low - span and high <= column.high + span):
        raise PictureError(
            f"the picture's numbers go from {low:g} to {high:g}, and the model takes {column.low:g} as black and "
            f"{column.high:g} as white: send finite numbers of that scale"
        )


def _eight(values: Array, column: "ImageColumn") -> Pixels:
    if values.dtype == np.uint8 and column.eight_bits:
        return values
    part = (values.astype(np.float64) - column.low) * (255.0 / (column.high - column.low))
    return np.rint(np.clip(part, 0.0, 255.0)).astype(np.uint8)


def read_cell(value: Any, column: "ImageColumn", pixels: int = PIXELS) -> Pixels:
    """The picture as the model sees it, uint8 (height, width, channels). Raises PictureError."""
    if isinstance(value, np.ndarray):
        return picture_of(value, column, pixels)
    return read_picture(content_of(value), column, pixels)


def size_of(value: Any, pixels: int = PIXELS) -> tuple[int, int]:
    """Width and height of the picture as it came, upright; nothing is decoded. Raises PictureError."""
    if isinstance(value, np.ndarray):
        return value.shape[1], value.shape[0]
    return file_size(content_of(value), pixels)


def upright(value: Any, column: "ImageColumn", pixels: int = PIXELS) -> "Image.Image":
    """The picture at its own size, in RGB. Raises PictureError."""
    if isinstance(value, np.ndarray):
        return _flat(_of_array(value, column, pixels), column, 3)
    picture = decode(content_of(value), pixels)
    with refusing(pixels):
        return _flat(picture, column, 3)


def content_of(value: Any) -> bytes:
    """The bytes of a picture's file; text is base64, with or without `data:image/png;base64,` before it.

    Raises PictureError if it is neither.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if not isinstance(value, str):
        kind = {type(None): "null", dict: "an object", list: "a list", bool: "a boolean"}.get(type(value), "a number")
        raise PictureError(f"a picture is expected as base64 text, not {kind}; {accepted()}")
    text = _URL.sub("", value, count=1) if value[:5].lower() == "data:" else value
    try:
        return b64decode(text.translate(_BLANKS), validate=True)
    except (Base64Error, ValueError):
        raise PictureError(f"the text is no base64 of a picture's file; {accepted()}") from None
