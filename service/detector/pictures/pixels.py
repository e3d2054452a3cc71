"""Brings pictures, from files or arrays, to what a model sees: uint8 (height, width, channels) of its size.

What a file, which may come from anywhere, says of itself is checked (`detector.pictures.containers`) before Pillow
decodes it. Pillow is the extra `images`, imported when the first picture comes.

Every picture goes the same way: to 8 bits, its transparency over white, to grey (0.299 red + 0.587 green + 0.114 blue,
ITU-R BT.601) or to red, green and blue, and then to the model's size, by a triangle filter that is as wide as the
reduction asks for. So a picture is the same to the last bit as a file, as an array and in a batch. Numbers without a
range of their own (arrays, TIFF of floats or of 32 bits) are taken by the column's `low` and `high`, and those of files
of 16 bits by its `deep`.
"""

import ctypes
import logging
import re
import warnings
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from io import BytesIO
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kilter.service.detector.arrays import Array, Pixels
from kilter.service.detector.columns.base import describe_value
from kilter.service.detector.errors import KilterError, PictureError
from kilter.service.detector.pictures import containers, depths

if TYPE_CHECKING:
    from PIL import Image, ImageFile

    from kilter.service.detector.pictures.column import ImageColumn

PIXELS = 40_000_000  # most pixels of a picture by default; in memory each takes four bytes or more
MOST_PIXELS = 89_000_000  # the highest limit that may be set: Pillow takes larger pictures for an attack
BYTES = 256 * 1024 * 1024  # longest file: the most pixels in three channels of 16 bits
SIDE = 65_500  # longest side: that of JPEG, so that a picture is none that only one format can hold
STRIP = 1 << 22  # most pixels of a strip, the part of a picture that is copied at once where a step needs copies
_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_BLANKS = str.maketrans("", "", " \t\r\n")
CHANNELS = (1, 2, 3, 4)  # numbers of channels of an array: grey, grey and alpha, colour, colour and alpha
DEEPEST = (0.0, 65535.0)  # black and white of a file of 16 bits that says nothing else
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""Orientations in EXIF, and the numbers in `PIL.Image.Transpose` of the turns that make a picture upright."""


def limits_in_words(pixels: int = PIXELS) -> str:
    """The limits of pictures in words, with which every refusal ends."""
    return f"accepted are PNG, JPEG, WebP, TIFF and BMP of one frame, up to {pixels:,} pixels"


def decode(content: bytes, pixels: int = PIXELS) -> "Image.Image":
    """The picture in a file, upright, in whatever mode it has; colours of 16 bits a channel are cut to 8.

    Raises PictureError if it is not accepted.
    """
    file = check_file(content, pixels)
    with decoder_errors(pixels):
        return _loaded(_opened(file), file)


def decode_whole(content: bytes, pixels: int = PIXELS) -> "Image.Image | Array":
    """The same, but colours of 16 bits a channel, with transparency or without, as an array, (h, w, 2 to 4)."""
    file = check_file(content, pixels)
    with decoder_errors(pixels):
        picture = _opened(file)
        passes = depths.passes(picture)
        if not passes:
            return _loaded(picture, file)
        return depths.composed(_loaded(tune(_opened(file)), file) for tune in passes)


def _opened(file: containers.Picture) -> "ImageFile.ImageFile":
    picture: ImageFile.ImageFile = library().open(BytesIO(file.content), formats=[file.format])
    if picture.size != (file.width, file.height) or getattr(picture, "n_frames", 1) != 1:
        raise ValueError("it contradicts itself")
    return picture


def _loaded(picture: "ImageFile.ImageFile", file: containers.Picture) -> "Image.Image":
    picture.load()
    turn = _TURNS.get(file.orientation)
    return picture if turn is None else picture.transpose(library().Transpose(turn))


@contextmanager
def decoder_errors(pixels: int = PIXELS) -> Iterator[None]:
    """Turn whatever is raised in here, by a decoder or about its picture, into a PictureError."""
    try:
        yield
    except KilterError:
        raise
    except MemoryError:
        raise PictureError(f"the picture needs more memory than there is; {limits_in_words(pixels)}") from None
    except Exception as error:  # a decoder raises whatever it runs into
        reason = str(error).partition("\n")[0][:100] or type(error).__name__
        raise PictureError(f"the picture cannot be decoded ({reason}); {limits_in_words(pixels)}") from error


def file_size(content: bytes, pixels: int = PIXELS) -> tuple[int, int]:
    """Width and height of the picture in a file, upright; nothing is decoded. Raises PictureError."""
    file = check_file(content, pixels)
    return (file.height, file.width) if file.orientation >= 5 else (file.width, file.height)


def check_file(content: bytes, pixels: int = PIXELS) -> containers.Picture:
    """What a file says of itself. Raises PictureError if it is damaged, or beyond the limits."""
    limits = limits_in_words(pixels)
    if not content:
        raise PictureError(f"the picture is empty; {limits}")
    if len(content) > BYTES:
        raise PictureError(f"the picture's file is longer than {BYTES:,} bytes; {limits}")
    try:
        file = containers.describe(content)
    except PictureError as error:
        raise PictureError(f"{error}; {limits}") from None
    width, height = file.width, file.height
    if width < 1 or height < 1:
        raise PictureError(f"the picture is {width} x {height} pixels, and has none; {limits}")
    if max(width * height, file.tile) > pixels or max(width, height) > SIDE:
        raise PictureError(f"the picture is {width:,} x {height:,} pixels, which is too large; {limits}")
    return file


@cache
def library() -> ModuleType:
    """`PIL.Image` with the accepted formats, and its warnings of bombs as errors. Raises KilterError without Pillow.

    What is wrong with a picture is for whoever sent it, so neither Pillow nor libtiff writes of it to the log.
    """
    try:
        for name in ("Png", "Jpeg", "WebP", "Tiff", "Bmp"):
            import_module(f"PIL.{name}ImagePlugin")
    except ImportError:
        raise KilterError("pictures need Pillow: pip install 'kilter[images]'") from None
    image = import_module("PIL.Image")
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    warnings.filterwarnings("error", category=image.DecompressionBombWarning)
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    with suppress(AttributeError, OSError):  # a build of Pillow that hides its libtiff
        libtiff = ctypes.CDLL(image.core.__file__)
        libtiff.TIFFSetErrorHandler(None)
        libtiff.TIFFSetWarningHandler(None)
    return image


def to_pixels(value: Any, column: "ImageColumn", pixels: int = PIXELS) -> Pixels:
    """A picture as the model sees it, uint8 (height, width, channels). Raises PictureError.

    It is a file's bytes, those in base64, or an array of numbers, (h, w) or (h, w, c); of `pixels` pixels at most.
    """
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 and column.eight_bits and value.shape == column.shape:
        return value
    with decoder_errors(pixels):
        image = _image(value, column, column.channels, pixels)
        if image.size != (column.width, column.height):
            image = image.resize((column.width, column.height), library().Resampling.BILINEAR)
        return np.array(image).reshape(column.shape)


def upright(value: Any, column: "ImageColumn", pixels: int = PIXELS) -> "Image.Image":
    """A picture, as in `to_pixels`, at its own size, in RGB. Raises PictureError."""
    with decoder_errors(pixels):
        return _image(value, column, 3, pixels)


def size_of(value: Any, pixels: int = PIXELS) -> tuple[int, int]:
    """Width and height of a picture at its own size, upright; nothing is decoded. Raises PictureError."""
    if isinstance(value, np.ndarray):
        return value.shape[1], value.shape[0]
    return file_size(content_of(value), pixels)


def image_of(pixels: Pixels) -> "Image.Image":
    """Pixels, (height, width) or (height, width, 1 to 4), as an image."""
    image: Image.Image = library().fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)
    return image


def _image(value: Any, column: "ImageColumn", channels: Literal[1, 3], pixels: int) -> "Image.Image":
    if isinstance(value, np.ndarray):
        _check_array(value, pixels)
        return _flat(image_of(_eight(_rows(value), column.low, column.high)), column, channels)
    content = content_of(value)
    # Models from before `deep` was stored see colours of 16 bits as Pillow cuts them.
    picture = decode(content, pixels) if column.deep is None else decode_whole(content, pixels)
    return _flat(_shallow(picture, column) if isinstance(picture, np.ndarray) else picture, column, channels)


def _shallow(array: Array, column: "ImageColumn") -> "Image.Image":
    """The numbers of a file with colours of 16 bits as an image; its transparency, if any, is the last channel."""
    colours = array.shape[2] - (array.shape[2] % 2 == 0)
    made = _eight(_rows(array[..., :colours]), *column.deep_range)
    if colours < array.shape[2]:
        made = np.concatenate([made, _eight(_rows(array[..., colours:]), *DEEPEST)], axis=2)
    return image_of(made)


def _check_array(array: Array, pixels: int) -> None:
    """Raise PictureError for an array that is no picture."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in CHANNELS):
        raise PictureError(f"a picture is an array of shape (h, w) or (h, w, c), c from 1 to 4, not {array.shape}")
    height, width = array.shape[:2]
    if not 0 < height * width <= pixels:
        raise PictureError(f"the picture is {width:,} x {height:,} pixels: 1 to {pixels:,} are accepted")
    if array.dtype.kind not in "fiu":
        raise PictureError(f"a picture is an array of numbers, not of dtype {array.dtype}")


def _rows(array: Array) -> Iterator[Array]:
    """An array strip by strip."""
    rows = max(1, STRIP // array[0].size)
    return (array[top : top + rows] for top in range(0, len(array), rows))


def _flat(image: "Image.Image", column: "ImageColumn", channels: Literal[1, 3]) -> "Image.Image":
    """A picture in mode L or RGB, whatever it was in. Raises PictureError if that is not possible."""
    wanted = "L" if channels == 1 else "RGB"
    mode = image.mode
    if mode.startswith("I;16"):
        image = image_of(_eight(_parts(image), *column.deep_range))
    elif mode in ("I", "F"):
        image = image_of(_eight(_parts(image), column.low, column.high))
    elif image.has_transparency_data:
        return _over_white(image, wanted)
    elif mode not in ("1", "L", "RGB") or (mode, wanted) == ("1", "RGB"):
        image = _converted(image, "RGB")
    return image if image.mode == wanted else _converted(image, wanted)


def _converted(image: "Image.Image", mode: str) -> "Image.Image":
    try:
        return image.convert(mode)
    except (ValueError, OSError):
        raise PictureError(f"the picture's colours are of the kind {image.mode}; {limits_in_words()}") from None


def _over_white(image: "Image.Image", mode: str) -> "Image.Image":
    """A picture with transparency in front of white."""
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
    """The numbers of a picture of one channel, strip by strip."""
    return (np.asarray(image.crop(box)) for box in strips(*image.size))


def _eight(parts: Iterable[Array], low: float, high: float) -> Pixels:
    """Numbers, part by part, as 8 bits, `low` as 0 and `high` as 255; what is beyond these is black or white.

    A hot spot may be far beyond. Raises PictureError if a number is not finite, or if more than a quarter of them are
    of another scale: further beyond than the range is wide, and than the depth in bits that `high` needs.
    """
    span = high - low
    least = min(0.0, low - span)
    most = max(high + span, next((float(white) for white in depths.WHITES if high <= white), high))
    made, count, beyond, lows, highs = [], 0, 0, [], []
    for part in parts:
        if part.dtype == np.uint8 and (low, high) == (0.0, 255.0):
            made.append(part)
            continue
        lows.append(float(part.min()))
        highs.append(float(part.max()))
        if not (lows[-1] >= least and highs[-1] <= most):
            beyond += int(((part < least) | (part > most)).sum())
        count += part.size
        with np.errstate(invalid="ignore"):  # what is not finite is refused below
            scaled = np.clip((part.astype(np.float64) - low) * (255.0 / span), 0.0, 255.0)
            made.append(np.rint(scaled).astype(np.uint8))
    if 4 * beyond > count or not np.isfinite([*lows, *highs]).all():
        raise PictureError(
            f"the picture's numbers go from {min(lows):g} to {max(highs):g}, and the model takes {low:g} as black and "
            f"{high:g} as white: send finite numbers of that scale"
        )
    return np.concatenate(made)


def content_of(value: Any) -> bytes:
    """The bytes of a picture's file; text is base64, or a `data:` URL of it. Raises PictureError."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if not isinstance(value, str):
        raise PictureError(f"a picture is expected as base64 text, not {describe_value(value)}; {limits_in_words()}")
    text = _URL.sub("", value, count=1) if value[:5].lower() == "data:" else value
    try:
        return b64decode(text.translate(_BLANKS), validate=True)
    except (Base64Error, ValueError):
        raise PictureError(f"the text is no base64 of a picture's file; {limits_in_words()}") from None
