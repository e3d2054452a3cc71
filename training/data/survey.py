"""What a model's pictures are to be, decided by what some of the training pictures are: size, colour, and range."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from kilter.service.detector.arrays import Pixels, Positions
from kilter.service.detector.errors import KilterError, PictureError
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.pictures.pixels import decode
from kilter.training.data.decoding import content_of_file
from kilter.training.data.source import ColumnDecision

if TYPE_CHECKING:
    from PIL import Image

SAMPLE = 128
"""Pictures that are looked at to decide."""
SIDE = 64
"""Longer sides than this are brought to it, unless another size is asked for."""
SIDES = (8, 256)
"""The shortest and the longest side that a model takes."""
THUMBNAIL = 128
"""Colour is looked for in a picture reduced to this."""
CHROMA = 16
"""A pixel has a colour if its channels differ by more than this, out of 255: JPEG tints grey pictures by less."""
COLOURED = 0.005
"""A picture has colour if more than this share of its pixels has one."""
ASPECT = 1.25
"""Proportions that differ by less are not worth a word."""
DEPTHS = (1, 255, 1023, 4095, 16383, 65535)
"""White in whole numbers of usual depths."""


class PictureTraits(NamedTuple):
    """What is seen of a picture at a first look."""

    height: int
    width: int
    coloured: bool
    low: float | None = None
    """Smallest and largest value of a picture that has no range of its own; None for all others."""
    high: float | None = None
    whole: bool = False
    """Whether those are whole numbers."""


def look_at_file(path: Path) -> PictureTraits:
    """PictureTraits at a picture. Raises PictureError if it cannot be read."""
    image = decode(content_of_file(path))
    width, height = image.size
    if image.mode not in ("I", "F"):
        return PictureTraits(height, width, has_colour(image))
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise PictureError("the picture holds numbers that are not finite")
    return PictureTraits(height, width, False, low, high, image.mode == "I")


def has_colour(image: "Image.Image") -> bool:
    """Whether a picture has colour to speak of, and not only channels for it."""
    if image.mode in ("1", "L", "LA") or image.mode.startswith("I;16"):
        return False
    image = image.convert("RGB")
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return coloured(np.asarray(image))


def coloured(pixels: Pixels) -> bool:
    """Whether the channels of (height, width, 3) differ to speak of."""
    return bool((np.ptp(pixels, axis=2) > CHROMA).mean() > COLOURED)


def decide_pictures(looks: Sequence[PictureTraits], size: tuple[int, int] | None) -> tuple[ImageColumn, ColumnDecision]:
    """The pictures of a model, by those that were seen; `size` is a height and width that were asked for.

    Raises KilterError if the size is none that a model takes, or all pictures are one shade.
    """
    heights, widths = ([getattr(one, side) for one in looks] for side in ("height", "width"))
    median = int(np.median(heights)), int(np.median(widths))
    height, width = check_size(size) if size else (int(np.clip(side, SIDES[0], SIDE)) for side in median)
    colours = sum(one.coloured for one in looks)
    channels: Literal[1, 3] = 3 if colours else 1
    low, high = _range(looks)
    count = f"{len(looks):,} of the pictures were looked at"
    why = [
        f"{height} x {width} (height x width), {'as was asked for' if size else _because(median, (height, width))}",
        f"in colour, as {colours:,} are" if colours else "grey, as all are",
        count,
    ]
    if (low, high) != (0.0, 255.0):
        why.insert(2, f"black is {low:g} and white {high:g} in numbers that say neither")
    column = ImageColumn("image", height, width, channels, low, high)
    return column, ColumnDecision(column.name, column.kind, "; ".join(why))


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    """A height and width that a model can have. Raises KilterError for any other."""
    if not all(SIDES[0] <= side <= SIDES[1] for side in size):
        raise KilterError(f"images are from {SIDES[0]} to {SIDES[1]} pixels high and wide, not {size[0]} x {size[1]}")
    return size


def _because(median: tuple[int, int], size: tuple[int, int]) -> str:
    if median == size:
        return "which is the median"
    bound = f"sides over {SIDE} are brought to {SIDE}: --image-size asks for more" if max(median) > SIDE else ""
    least = f"sides under {SIDES[0]} to {SIDES[0]}" if min(median) < SIDES[0] else ""
    return f"as the median is {median[0]} x {median[1]}, and {' and '.join(filter(None, (bound, least)))}"


def _range(looks: Sequence[PictureTraits]) -> tuple[float, float]:
    """What is black and what is white where values have no range of their own."""
    lows = [one.low for one in looks if one.low is not None]
    highs = [one.high for one in looks if one.high is not None]
    if not lows or not highs:
        return 0.0, 255.0
    low, high = min(lows), max(highs)
    if low == high:
        raise KilterError(f"there is nothing to learn from: every value of every picture is {low:g}")
    if low < 0:
        return (-1.0, 1.0) if low >= -1 and high <= 1 and not all(one.whole for one in looks) else (low, high)
    white = next((depth for depth in DEPTHS if high <= depth), None)
    return (0.0, float(white)) if white is not None and 2 * high > white else (low, high)


def sizes_in_words(sizes: Positions, column: ImageColumn) -> str:
    """What heights and widths, (n, 2), the pictures of a column had before they were brought to its own."""
    if not len(sizes):
        return "No picture could be read."
    count, size = len(sizes), f"{column.height} x {column.width}"
    distinct = np.unique(sizes, axis=0)
    if len(distinct) == 1:
        one = f"{distinct[0][0]} x {distinct[0][1]}"
        scaled = "" if one == size else f", brought to {size}"
        pictures = "1 picture" if count == 1 else f"{count:,} pictures, all"
        return f"{pictures} {one} (height x width){scaled}."
    areas = sizes.prod(axis=1)
    least, most = (sizes[at] for at in (areas.argmin(), areas.argmax()))
    text = (
        f"{count:,} pictures of {len(distinct):,} sizes, from {least[0]} x {least[1]} to {most[0]} x {most[1]} "
        f"(height x width), were brought to {size}"
    )
    aspects = sizes[:, 1] / sizes[:, 0]
    low, high = float(aspects.min()), float(aspects.max())
    if high >= ASPECT * low:
        text += f" whatever their proportions: width to height goes from {low:.2g} to {high:.2g}"
    smaller = int((sizes < (column.height, column.width)).any(axis=1).sum())
    if smaller:
        text += f"; {smaller:,} are smaller than that in height or width and were enlarged"
    return f"{text}."
