"""Where a picture is strange: the regions in which the evidence against it lies."""

from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from kilter.service.detector.arrays import Floats, Mask
from kilter.service.detector.pictures.pixels import library, strips

if TYPE_CHECKING:
    from PIL import Image

LEVEL = 1.0
"""Evidence that is stronger than nearly all of what is normal at a place."""
CORE = 0.6
"""The evidence of a region is at least this part of the strongest: what is around it is its halo."""
FAINT, FULL = 1.0, 8.0
"""The evidence that begins to show, and that from which on the colour is the same: one scale for all pictures."""
OPAQUE = 0.75
"""The strongest opacity of the colours: the picture is to be seen below them."""
_COLOURS = ((84, 2, 163), (156, 23, 158), (204, 71, 120), (237, 121, 83), (253, 180, 47), (240, 249, 33))
"""From matplotlib's `plasma`, which the colour-blind can read, and which can be printed: lighter is stranger."""


class Box(msgspec.Struct, frozen=True):
    """A rectangle of a picture in pixels, from its upper left corner."""

    left: int
    top: int
    width: int
    height: int


class Region(msgspec.Struct, frozen=True):
    """One place's part in a picture's score."""

    box: Box
    share: float
    """This region's part of all that speaks against the picture, in [0, 1]."""


class Grid(NamedTuple):
    """The number of rows and columns of the cells, all over the picture, in which evidence is given."""

    rows: int
    columns: int


def find_regions(evidence: Floats, grid: Grid, width: int, height: int, limit: int) -> list[Region]:
    """Up to `limit` regions of a picture of that size in pixels, that with the strongest evidence first.

    A faint one that is spread over much of the picture may have the larger share. `evidence`, (rows * columns), is in
    units of which 1 is beyond nearly all that is normal; where no place reaches that, the regions are those of the
    strongest places.
    """
    cells = evidence.reshape(grid)
    peak = float(cells.max())
    if not peak > 0:
        return []
    level = min(LEVEL, peak / 2)
    total = float(cells[cells >= level].sum())
    strongest = []
    parts = _connected(cells >= max(level, CORE * peak))
    for part in sorted(parts, key=lambda part: (-max(cells[cell] for cell in part), part))[:limit]:
        rows, columns = zip(*part, strict=True)
        left, top = min(columns) * width // grid.columns, min(rows) * height // grid.rows
        right, bottom = -(-(max(columns) + 1) * width // grid.columns), -(-(max(rows) + 1) * height // grid.rows)
        share = sum(float(cells[cell]) for cell in part) / total
        strongest.append(Region(Box(left, top, right - left, bottom - top), round(share, 4)))
    return strongest


def _connected(marked: Mask) -> list[list[tuple[int, int]]]:
    """The marked cells in groups that touch by an edge or a corner."""
    left = {(int(row), int(column)) for row, column in np.argwhere(marked)}
    groups = []
    while left:
        group = [left.pop()]
        for row, column in group:
            near = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            group += sorted(near)
        groups.append(group)
    return groups


def heatmap(picture: "Image.Image", evidence: Floats, grid: Grid) -> bytes:
    """A PNG of a picture, in RGB and at its own size, with the evidence, (rows * columns), over it.

    Nothing is drawn where a place looks as usual. The picture itself is changed.
    """
    image = library()
    strength = np.log(np.maximum(evidence, FAINT) / FAINT) / np.log(FULL / FAINT)
    cells = image.fromarray(np.minimum(strength, 1.0).reshape(grid).astype(np.float32))
    width, height = picture.size
    colours = np.stack([np.interp(np.linspace(0, 1, 256), np.linspace(0, 1, 6), c) for c in np.array(_COLOURS).T], 1)
    table = np.rint(colours).astype(np.uint8)
    for box in strips(width, height):
        part = (0.0, box[1] * grid.rows / height, float(grid.columns), box[3] * grid.rows / height)
        drawn = cells.resize((width, box[3] - box[1]), image.Resampling.BICUBIC, box=part)
        level = np.rint(np.clip(np.asarray(drawn), 0.0, 1.0) * 255).astype(np.uint8)
        opacity = np.rint(np.minimum(level * 1.5, 255.0) * OPAQUE).astype(np.uint8)
        picture.paste(image.fromarray(table[level]), box, image.fromarray(opacity))
    content = BytesIO()
    picture.save(content, "PNG", compress_level=1)
    return content.getvalue()
