"""The size, colour and range of a model's pictures, decided by the traits of some of the training pictures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from kilter.service.detector.arrays import Array, Pixels, Positions
from kilter.service.detector.errors import KilterError, PictureError
from kilter.service.detector.pictures.column import ImageColumn
from kilter.training.data.source import ColumnDecision

if TYPE_CHECKING:
    from PIL import Image

SAMPLED_PICTURES = 128
SIDE = 64  # longer sides than this are brought to it, unless another size is asked for
SIDES = (8, 256)  # the shortest and the longest side that a model takes
THUMBNAIL = 128  # colour is looked for in a picture reduced to this
CHROMA = 16
"""A pixel has a colour if its channels differ by more than this, out of 255: JPEG tints grey pictures by less."""
COLOURED = 0.005  # a picture has colour if more than this share of its pixels has one
ASPECT = 1.25  # proportions that differ by less are not worth a word
DEPTHS = (1, 255, 1023, 4095, 16383, 65535)  # white in whole numbers of usual depths


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


class DecodedPicture(NamedTuple):
    """A picture as the model sees it, (height, width, channels), and its own size."""

    pixels: Pixels
    height: int
    width: int


def image_traits(image: "Image.Image") -> PictureTraits:
    """The traits of a picture. Raises PictureError if it holds numbers that are not finite."""
    width, height = image.size
    if image.mode in ("I", "F"):
        return PictureTraits(height, width, False, *finite_range(np.asarray(image)), image.mode == "I")
    if image.mode in ("1", "L", "LA") or image.mode.startswith("I;16"):
        return PictureTraits(height, width, False)
    image = image.convert("RGB")
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return PictureTraits(height, width, coloured(np.asarray(image)))


def finite_range(values: Array) -> tuple[float, float]:
    """The smallest and the largest value of a picture. Raises PictureError if one is not finite."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise PictureError("the picture holds numbers that are not finite")
    return low, high


def coloured(pixels: Pixels) -> bool:
    """Whether the channels of (height, width, 3) differ to speak of."""
    return bool((np.ptp(pixels, axis=2) > CHROMA).mean() > COLOURED)


def decide_pictures(
    traits: Sequence[PictureTraits], size: tuple[int, int] | None
) -> tuple[ImageColumn, ColumnDecision]:
    """The column of a model of pictures, by the traits of some; `size` is a height and width that were asked for.

    Raises KilterError if the size is none that a model takes, or all pictures are one shade.
    """
    median = int(np.median([one.height for one in traits])), int(np.median([one.width for one in traits]))
    if size and not all(SIDES[0] <= side <= SIDES[1] for side in size):
        raise KilterError(f"images are from {SIDES[0]} to {SIDES[1]} pixels high and wide, not {size[0]} x {size[1]}")
    height, width = size or (int(np.clip(side, SIDES[0], SIDE)) for side in median)
    colours = sum(one.coloured for one in traits)
    channels: Literal[1, 3] = 3 if colours else 1
    low, high = _range(traits)
    why = [
        f"{height} x {width} (height x width), {'as was asked for' if size else _reason(median, (height, width))}",
        f"in colour, as {colours:,} are" if colours else "grey, as all are",
        f"{len(traits):,} of the pictures were looked at",
    ]
    if (low, high) != (0.0, 255.0):
        why.insert(2, f"black is {low:g} and white {high:g} in numbers that say neither")
    column = ImageColumn("image", height, width, channels, low, high)
    return column, ColumnDecision(column.name, column.kind, "; ".join(why))


def _reason(median: tuple[int, int], size: tuple[int, int]) -> str:
    if median == size:
        return "which is the median"
    bound = f"sides over {SIDE} are brought to {SIDE}: --image-size asks for more" if max(median) > SIDE else ""
    least = f"sides under {SIDES[0]} to {SIDES[0]}" if min(median) < SIDES[0] else ""
    return f"as the median is {median[0]} x {median[1]}, and {' and '.join(filter(None, (bound, least)))}"


def _range(traits: Sequence[PictureTraits]) -> tuple[float, float]:
    """The values of black and of white where pictures have no range of their own."""
    values = [value for one in traits for value in (one.low, one.high) if value is not None]
    if not values:
        return 0.0, 255.0
    low, high = min(values), max(values)
    if low == high:
        raise KilterError(f"there is nothing to learn from: every value of every picture is {low:g}")
    if low < 0:
        return (-1.0, 1.0) if low >= -1 and high <= 1 and not all(one.whole for one in traits) else (low, high)
    white = next((depth for depth in DEPTHS if high <= depth), None)
    return (0.0, float(white)) if white is not None and 2 * high > white else (low, high)


def sizes_in_words(sizes: Positions, column: ImageColumn) -> str:
    """A sentence about the heights and widths, (n, 2), that pictures had before they were brought to a column's own."""
    if not len(sizes):
        return "No picture could be read."
    count, size = len(sizes), f"{column.height} x {column.width}"
    distinct = [f"{height} x {width}" for height, width in np.unique(sizes, axis=0)]
    if len(distinct) == 1:
        scaled = "" if distinct == [size] else f", brought to {size}"
        return f"{'1 picture' if count == 1 else f'{count:,} pictures, all'} {distinct[0]} (height x width){scaled}."
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
