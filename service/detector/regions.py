"""Where a picture is strange: the regions in which the evidence against it lies."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from kilter.service.detector.errors import ArtifactError

Floats = npt.NDArray[np.float64]
LEVEL = 1.0
"""Evidence beyond nearly all of what is normal at a place."""
CORE = 0.6
"""A region is where the evidence is at least this part of the strongest: what is around it is its halo."""


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
    """The cells in which evidence is given: so many rows and columns over the whole picture."""

    rows: int
    columns: int


def grid_of(network: Mapping[str, Any]) -> Grid:
    """The grid of a manifest's `network` entry. Raises ArtifactError if it has none."""
    match network.get("grid"):
        case [int(rows), int(columns)] if rows > 0 and columns > 0:
            return Grid(rows, columns)
        case other:
            raise ArtifactError(f"the network of an image model has a grid of [rows, columns], not {other!r}")


def regions(evidence: Floats, grid: Grid, width: int, height: int, limit: int) -> list[Region]:
    """Up to `limit` regions of a picture of that size in pixels, that with the strongest evidence first.

    A faint one that is spread over much of the picture may have the larger share. `evidence`, (rows * columns), is in
    units of which 1 is beyond nearly all that is normal; where no place reaches that, the strongest ones are told all
    the same.
    """
    cells = evidence.reshape(grid)
    peak = float(cells.max())
    if not peak > 0:
        return []
    level = min(LEVEL, peak / 2)
    total = float(cells[cells >= level].sum())
    found = []
    parts = _connected(cells >= max(level, CORE * peak))
    for part in sorted(parts, key=lambda part: (-max(cells[cell] for cell in part), part))[:limit]:
        rows, columns = zip(*part, strict=True)
        left, top = min(columns) * width // grid.columns, min(rows) * height // grid.rows
        right, bottom = -(-(max(columns) + 1) * width // grid.columns), -(-(max(rows) + 1) * height // grid.rows)
        share = sum(float(cells[cell]) for cell in part) / total
        found.append(Region(Box(left, top, right - left, bottom - top), round(share, 4)))
    return found


def _connected(marked: npt.NDArray[np.bool_]) -> list[list[tuple[int, int]]]:
    """The marked cells in groups of such as touch, by an edge or a corner."""
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
