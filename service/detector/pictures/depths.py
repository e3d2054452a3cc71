"""Colours of 16 bits a channel, of which Pillow by itself gives the upper 8 alone.

It decodes as a file's raw mode says, and has one for each order of the two bytes. So a second pass, with the other
order, gives the lower 8.
"""

import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from kilter.service.detector.arrays import Array

if TYPE_CHECKING:
    from PIL import Image, ImageFile

WHITES = (1, 255, 1023, 4095, 16383, 65535)
"""White in numbers of usual depths: a share, and 8 to 16 bits."""
_SWAPPED = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
_COLOURS = ("RGB;16", "RGBX;16", "RGBA;16")
_GREY_ALPHA = "LA;16B"
_BYTES = "RGBA"  # reads the four bytes of a grey value and its transparency as they stand

Tune = Callable[["ImageFile.ImageFile"], "ImageFile.ImageFile"]
"""Has an opened picture decoded to certain bytes of its channels."""


def passes(picture: "ImageFile.ImageFile") -> tuple[Tune, ...]:
    """How to decode a picture, opened anew each time, for `composed`; nothing where Pillow gives all of it."""
    modes = {_raw_mode(tile.args) for tile in picture.tile}
    if modes == {_GREY_ALPHA}:
        return (partial(_tuned, lambda _: _BYTES),)
    if len(modes) == 1 and modes.pop()[:-1] in _COLOURS:
        return (partial(_tuned, str), partial(_tuned, lambda mode: mode[:-1] + _SWAPPED[mode[-1]]))
    return ()


def composed(decoded: Iterable["Image.Image"]) -> Array:
    """The numbers of a picture, uint16 (h, w, channels), by its passes."""
    first, *others = (np.asarray(image) for image in decoded)
    if not others:
        return first.reshape(*first.shape[:2], 2, 2).astype(np.uint16) @ np.array([256, 1], np.uint16)
    numbers = first.astype(np.uint16)
    numbers <<= 8
    numbers |= others[0]
    return numbers


def _raw_mode(args: Any) -> str:
    """The raw mode in the arguments of a decoder: the first of them, or the only one."""
    return str(args[0] if isinstance(args, tuple) else args)


def _tuned(change: Callable[[str], str], picture: "ImageFile.ImageFile") -> "ImageFile.ImageFile":
    picture.tile = [tile._replace(args=_changed(change, tile.args)) for tile in picture.tile]
    return picture


def _changed(change: Callable[[str], str], args: Any) -> Any:
    return (change(_raw_mode(args)), *args[1:]) if isinstance(args, tuple) else change(_raw_mode(args))
