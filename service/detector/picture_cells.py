"""A picture as a record has it: the bytes of a file, these as base64 text, or an array of numbers."""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from typing import TYPE_CHECKING, Any

import numpy as np

from kilter.service.detector import decoding, pictures
from kilter.service.detector.decoding import PIXELS, accepted
from kilter.service.detector.errors import PictureError
from kilter.service.detector.pictures import Pixels
from kilter.service.detector.schema import ImageColumn

if TYPE_CHECKING:
    from PIL import Image

_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_BLANKS = str.maketrans("", "", " \t\r\n")


def read_cell(value: Any, column: ImageColumn, pixels: int = PIXELS) -> Pixels:
    """The picture as the model sees it, uint8 (height, width, channels). Raises PictureError."""
    if isinstance(value, np.ndarray):
        return pictures.picture_of(value, column, pixels)
    return pictures.read_picture(content_of(value), column, pixels)


def size_of(value: Any, pixels: int = PIXELS) -> tuple[int, int]:
    """Width and height of the picture as it came, upright; nothing is decoded. Raises PictureError."""
    if isinstance(value, np.ndarray):
        return value.shape[1], value.shape[0]
    return decoding.size_of(content_of(value), pixels)


def upright(value: Any, column: ImageColumn, pixels: int = PIXELS) -> "Image.Image":
    """The picture at its own size, in RGB. Raises PictureError."""
    if isinstance(value, np.ndarray):
        return pictures.upright_array(value, column, pixels)
    return pictures.upright(content_of(value), column, pixels)


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
