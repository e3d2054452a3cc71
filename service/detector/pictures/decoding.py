"""Decodes pictures from files, which may come from anywhere.

PNG, JPEG, WebP, TIFF and BMP of one frame. What a file says of itself is checked (`detector.pictures.containers`)
before Pillow decodes it; the decoder sees no metadata, and only the orientation is applied. Pillow is the extra
`images`, imported when the first picture comes.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from io import BytesIO
from types import ModuleType
from typing import TYPE_CHECKING

from kilter.service.detector.errors import KilterError, PictureError
from kilter.service.detector.pictures import containers

if TYPE_CHECKING:
    from PIL import Image

PIXELS = 40_000_000
"""Most pixels of a picture by default; in memory each takes four bytes or more."""
MOST_PIXELS = 89_000_000
"""The highest limit that may be set: Pillow takes larger pictures for an attack."""
BYTES = 256 * 1024 * 1024
"""Longest file: the most pixels in three channels of 16 bits."""
SIDE = 65_500
"""Longest side: that of JPEG, so that a picture is none that only one format can hold."""


def accepted(pixels: int = PIXELS) -> str:
    """The limits of pictures in words, with which every refusal ends."""
    return f"accepted are PNG, JPEG, WebP, TIFF and BMP of one frame, up to {pixels:,} pixels"


def decode(content: bytes, pixels: int = PIXELS) -> "Image.Image":
    """The picture in a file, upright, in whatever mode it has. Raises PictureError if it is not accepted."""
    file = checked(content, pixels)
    with refusing(pixels):
        picture: Image.Image = library().open(BytesIO(file.content), formats=[file.format])
        if picture.size != (file.width, file.height) or getattr(picture, "n_frames", 1) != 1:
            raise ValueError("it contradicts itself")
        picture.load()
        turn = _TURNS.get(file.orientation)
        return picture if turn is None else picture.transpose(library().Transpose(turn))


@contextmanager
def refusing(pixels: int = PIXELS) -> Iterator[None]:
    """Turn whatever is raised in here, by a decoder or about its picture, into a PictureError."""
    try:
        yield
    except KilterError:
        raise
    except MemoryError:
        raise PictureError(f"the picture needs more memory than there is; {accepted(pixels)}") from None
    except Exception as error:  # a decoder raises whatever it runs into
        reason = str(error).partition("\n")[0][:100] or type(error).__name__
        raise PictureError(f"the picture cannot be decoded ({reason}); {accepted(pixels)}") from error


def file_size(content: bytes, pixels: int = PIXELS) -> tuple[int, int]:
    """Width and height of the picture in a file, upright; nothing is decoded. Raises PictureError."""
    file = checked(content, pixels)
    return (file.height, file.width) if file.orientation >= 5 else (file.width, file.height)


def checked(content: bytes, pixels: int = PIXELS) -> containers.Picture:
    """What a file says of itself. Raises PictureError if it is damaged, or beyond the limits."""
    if not content:
        raise PictureError(f"the picture is empty; {accepted(pixels)}")
    if len(content) > BYTES:
        raise PictureError(f"the picture's file is longer than {BYTES:,} bytes; {accepted(pixels)}")
    try:
        file = containers.describe(content)
    except PictureError as error:
        raise PictureError(f"{error}; {accepted(pixels)}") from None
    width, height = file.width, file.height
    if width < 1 or height < 1:
        raise PictureError(f"the picture is {width} x {height} pixels, and has none; {accepted(pixels)}")
    if max(width * height, file.tile) > pixels or max(width, height) > SIDE:
        raise PictureError(f"the picture is {width:,} x {height:,} pixels, which is too large; {accepted(pixels)}")
    return file


_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""Orientations in EXIF, and the numbers in `PIL.Image.Transpose` of the turns that make a picture upright."""


@cache
def library() -> ModuleType:
    """`PIL.Image` with the accepted formats, and its warnings of bombs as errors. Raises KilterError without Pillow."""
    try:
        for name in ("Png", "Jpeg", "WebP", "Tiff", "Bmp"):
            import_module(f"PIL.{name}ImagePlugin")
    except ImportError:
        raise KilterError("pictures need Pillow: pip install 'kilter[images]'") from None
    image = import_module("PIL.Image")
    warnings.filterwarnings("error", category=image.DecompressionBombWarning)
    return image
