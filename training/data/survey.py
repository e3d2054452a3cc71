"""The size, colour and range of a model's pictures, decided by the traits of some of the training pictures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from kilter.service.detector.arrays import Array, Pixels, Positions
from kilter.service.detector.errors import KilterError, PictureError
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.pictures.depths import WHITES
from kilter.service.detector.pictures.pixels import DEEPEST, image_of
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
EIGHT = (0.0, 255.0)
ASPECT = 1.25  # proportions that differ by less are not worth a word
EXTREME = 0.001  # share of a picture's numbers, at either end, that may be dead or hot pixels, and set no range
ODD_PICTURES = 0.02  # share of the pictures, at either end, that may be broken or overexposed, and set none
HEADROOM = 0.5
"""Room beyond the numbers that were seen, as a share of their range at either end: what is strange may lie there."""
LOOKED_AT = 1_000_000  # most numbers of a picture by which its range is found


class PictureTraits(NamedTuple):
    """What is seen of a picture at a first look."""

    height: int
    width: int
    coloured: bool
    low: float | None = None
    """Smallest and largest value of a picture that has no range of its own, but for extremes; None for all others."""
    high: float | None = None
    whole: bool = False
    """Whether those are whole numbers."""
    deep: bool = False
    """Whether it is a file of 16 bits a channel."""


class DecodedPicture(NamedTuple):
    """A picture as the model sees it, (height, width, channels), and its own size."""

    pixels: Pixels
    height: int
    width: int


def image_traits(picture: "Image.Image | Array") -> PictureTraits:
    """The traits of a picture. Raises PictureError if it holds numbers that are not finite."""
    if isinstance(picture, np.ndarray):
        return number_traits(picture)._replace(deep=True)
    width, height = picture.size
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return number_traits(np.asarray(picture)[..., None])._replace(deep=picture.mode not in ("I", "F"))
    return PictureTraits(height, width, picture.mode not in ("1", "L", "LA") and coloured(picture))


def number_traits(numbers: Array) -> PictureTraits:
    """The traits of a picture of numbers, (h, w, 1 to 4). Raises PictureError if one of them is not finite."""
    height, width, channels = numbers.shape
    colours = numbers[..., : channels - (channels % 2 == 0)]
    whole = numbers.dtype.kind in "ui"
    low, high = _extent(colours)
    span = max(high - low, 1e-300)
    eight_bits = np.clip((colours.astype(np.float64) - low) * (255 / span), 0, 255).astype(np.uint8)
    in_colour = channels >= 3 and coloured(image_of(eight_bits))
    values = () if numbers.dtype == np.uint8 else (low, high, whole)
    return PictureTraits(height, width, in_colour, *values)


def _extent(values: Array) -> tuple[float, float]:
    """The smallest and the largest number of a picture, but for a few extremes. Raises PictureError."""
    lowest, highest = float(values.min()), float(values.max())
    if not np.isfinite([lowest, highest]).all():
        raise PictureError("the picture holds numbers that are not finite")
    some = values.reshape(-1)[:: -(-values.size // LOOKED_AT)]
    low = float(np.quantile(some, EXTREME, method="lower"))
    high = float(np.quantile(some, 1 - EXTREME, method="higher"))
    return (low, high) if low < high else (lowest, highest)


def coloured(image: "Image.Image") -> bool:
    """Whether the channels of a picture differ to speak of."""
    reduced = image.convert("RGB")
    reduced.thumbnail((THUMBNAIL, THUMBNAIL))
    return bool((np.ptp(np.asarray(reduced), axis=2) > CHROMA).mean() > COLOURED)


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
    numbers = [one for one in traits if one.low is not None]
    low, high, deep = _ranges(numbers) if numbers else (*EIGHT, DEEPEST)
    if len(numbers) < len(traits) and all(one.deep for one in numbers):
        low, high = EIGHT  # of arrays, as of the files of 8 bits
    why = [
        f"{height} x {width} (height x width), {'as was asked for' if size else _reason(median, (height, width))}",
        f"in colour, as {colours:,} are" if colours else "grey, as all are",
        f"{len(traits):,} of the pictures were looked at",
    ]
    if (low, high) != (0.0, 255.0):
        why.insert(2, f"black is {low:g} and white {high:g} in numbers that say neither")
    if deep not in ((low, high), DEEPEST):
        why.insert(2, f"black is {deep[0]:g} and white {deep[1]:g} in files of 16 bits")
    column = ImageColumn("image", height, width, channels, low, high, deep=deep)
    return column, ColumnDecision(column.name, column.kind, "; ".join(why))


def _reason(median: tuple[int, int], size: tuple[int, int]) -> str:
    if median == size:
        return "which is the median"
    bound = f"sides over {SIDE} are brought to {SIDE}: --image-size asks for more" if max(median) > SIDE else ""
    least = f"sides under {SIDES[0]} to {SIDES[0]}" if min(median) < SIDES[0] else ""
    return f"as the median is {median[0]} x {median[1]}, and {' and '.join(filter(None, (bound, least)))}"


def _ranges(traits: Sequence[PictureTraits]) -> tuple[float, float, tuple[float, float]]:
    """The numbers of black and of white by pictures that have no range of their own, and those in files of 16 bits.

    The latter are the same, unless the numbers are shares of white.
    """
    lows = [one.low for one in traits if one.low is not None]
    highs = [one.high for one in traits if one.high is not None]
    low = float(np.quantile(lows, ODD_PICTURES, method="lower"))
    high = float(np.quantile(highs, 1 - ODD_PICTURES, method="higher"))
    if low >= high:
        low, high = min(lows), max(highs)
    if low == high:
        raise KilterError(f"there is nothing to learn from: every value of every picture is {low:g}")
    shares = not all(one.whole for one in traits) and low >= -1 and high <= 1
    room = HEADROOM * (high - low)
    if low < 0:
        return (-1.0, 1.0, DEEPEST) if shares else (low - room, high + room, (low - room, high + room))
    unit = DEEPEST[1] if shares else 1.0
    white = next((depth for depth in WHITES if high <= depth), None)
    # Up to 8 bits nothing is lost by taking all of the depth.
    used = 0.0 if white is None else high if white <= 255 else high - low
    if white is not None and 2 * used > white:
        low, high = 0.0, float(white)
    else:
        low, high = max(0.0, low - room), min(high + room, high + room if white is None else float(white))
    return low, high, (low * unit, high * unit)


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
