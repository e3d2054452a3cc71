"""Pictures: each is a record, explained by the regions in which the evidence against it lies."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from kilter.service.detector.arrays import Array, Floats, Mask, Matrix, Pixels
from kilter.service.detector.columns import Feature
from kilter.service.detector.errors import ArtifactError
from kilter.service.detector.inputs import Table, cut
from kilter.service.detector.modalities.base import Modality, Scores, Watched
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.pictures.pixels import PIXELS, library, size_of, strips, to_pixels, upright
from kilter.service.detector.runtime import Program
from kilter.service.detector.schema import Schema

if TYPE_CHECKING:
    from PIL import Image

    from kilter.service.detector.modalities.tables import Reason
    from kilter.service.detector.verdicts import Verdicts

FLOATS = 1 << 22  # most values of the pictures that are encoded at once
VALUES = 65_536  # values per call on a CPU: the comparison with other pictures takes many times a picture's own memory
GPU_VALUES = 64 * VALUES
VALUES_OF_A_RECORD = 8192
"""Values of a picture that count as a record, where records are counted for the memory that they take."""
MOST_BYTES = 64 * 1024 * 1024  # most bytes of all pictures of a request, at the model's size
FIGURES = ("brightness", "contrast", "sharpness")
EXAMPLE = "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAAAAAA6mKC9AAAAEUlEQVR42mNk4EAFTBwjWgAASdQIGDOfFtMAAAAASUVORK5CYII="
"""A small picture in base64: from black to white across its corners."""
LEVEL = 1.0  # evidence that is stronger than nearly all of what is normal at a place
CORE = 0.6  # the evidence of a region is at least this part of the strongest: what is around it is its halo
FAINT, FULL = 1.0, 8.0
"""The evidence that begins to show, and that from which on the colour is the same: one scale for all pictures."""
OPAQUE = 0.75  # the strongest opacity of the colours: the picture is to be seen below them
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


class ImageModality(Modality):
    """Watches three figures of a picture, which tell when a camera or its light changes."""

    name = "image"
    decodes = True
    draws = True

    def __init__(self, schema: Schema, grid: tuple[int, int] | None = None) -> None:
        """Raises ArtifactError if the schema is not that of a picture."""
        super().__init__(schema, grid)
        column = schema.columns[0]
        if not isinstance(column, ImageColumn) or len(schema.fields) > 1 or min(column.shape) < 1:
            raise ArtifactError("a picture is the only field, and has pixels")
        if not column.low < column.high:
            raise ArtifactError(f"black is {column.low:g} and white {column.high:g}: black is below white")
        self.column = column
        watched = enumerate(FIGURES)
        self.watched = tuple(Watched(f"{column.name}.{name}", i, Feature(0, "gaussian")) for i, name in watched)

    @property
    def cells(self) -> Grid:
        """The cells of a picture in which evidence is given. Raises ArtifactError if the model has no such grid."""
        match self.grid:
            case [int(rows), int(columns)] if rows > 0 and columns > 0:
                return Grid(rows, columns)
        raise ArtifactError(f"the evidence against a picture has a grid of [rows, columns], not {self.grid!r}")

    @property
    def weight(self) -> int:
        return max(1, self.column.size // VALUES_OF_A_RECORD)

    def most_records(self, limit: int) -> int:
        return max(1, min(limit, MOST_BYTES // self.column.size))

    def rows_per_call(self, device: str) -> int:
        return max(1, (VALUES if device == "cpu" else GPU_VALUES) // self.column.size)

    def read_array(self, data: Array) -> Table:
        pictures = [to_pixels(picture, self.column) for picture in self.column.split(data)]
        values = np.array(pictures, np.uint8).reshape(-1, *self.column.shape)
        return Table({self.column.name: values}, len(pictures), [])

    def encode(self, table: Table) -> Iterator[Matrix]:
        step = max(1, FLOATS // self.column.size)
        for start in range(0, max(1, table.rows), step):
            yield self.column.encode(cut(table, start, start + step).columns[self.column.name])

    def given(self, table: Table) -> Pixels:
        """(n, height, width, channels)."""
        return table.columns[self.column.name]

    def figures(self, x: Matrix) -> Matrix:
        """Brightness, contrast and sharpness of encoded pictures: (n, 3).

        Brightness is the mean, contrast the standard deviation. Sharpness is the mean second difference along rows and
        columns over the mean first one: blur lowers it, noise raises it, and light and contrast leave it as it is.
        """
        grey = x.reshape(-1, *self.column.shape).mean(axis=3)
        brightness, contrast = grey.mean(axis=(1, 2)), grey.std(axis=(1, 2))
        first, second = (
            sum(np.abs(np.diff(grey, order, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2)) / 2 for order in (1, 2)
        )
        sharpness = np.divide(second, first, out=np.zeros_like(first), where=first > 1e-6)
        return np.stack([brightness, contrast, sharpness], axis=1).astype(np.float32)

    def score(self, program: Program, table: Table, reasons: int) -> Scores:
        names = ("score", "terms") if reasons else ("score",)
        parts = [(self.figures(x), *program.run(x, names)) for x in self.encode(table)]
        figures, score, *terms = (np.concatenate(part) for part in zip(*parts, strict=True))
        if not reasons:
            return Scores(score, None, table, figures)
        unread = {problem.row for problem in table.problems}
        explained = [
            [] if row in unread else find_regions(evidence, self.cells, self.column.width, self.column.height, reasons)
            for row, evidence in enumerate(terms[0])
        ]
        return Scores(score, explained, table, figures, terms[0])

    def reasons(
        self, verdicts: "Verdicts", rows: Iterable[int], limit: int, sizes: Sequence[Any] | None = None
    ) -> "list[Sequence[Reason | Region]]":
        if sizes is None or verdicts.evidence is None:
            return super().reasons(verdicts, rows, limit)
        return [
            find_regions(verdicts.evidence[row], self.cells, size[0], size[1], limit)
            for row, size in zip(rows, sizes, strict=True)
        ]

    def size(self, cell: Any) -> tuple[int, int]:
        return size_of(cell)

    def draw(self, cell: Any, evidence: Floats, pixels: int | None = None) -> bytes:
        return heatmap(upright(cell, self.column, pixels or PIXELS), evidence, self.cells)

    def check(self, program: Program, x: Matrix) -> None:
        places = program.run(x, ("terms",))[0].shape[1]
        if places != prod(self.cells):
            raise ArtifactError(f"the grid is {list(self.cells)}, and the program gives evidence of {places} places")

    def example_tensors(self, probe: Mapping[str, Any]) -> list[tuple[str, list[int], list[Any]]]:
        column = self.column
        shades = [column.low + (column.high - column.low) * i // 64 for i in range(64) for _ in range(column.channels)]
        return [(column.name, [1, 8, 8, column.channels], shades)]

    def example(self, probe: Mapping[str, Any]) -> dict[str, Any]:
        return {self.column.name: EXAMPLE}


def find_regions(evidence: Floats, grid: Grid, width: int, height: int, limit: int) -> list[Region]:
    """Up to `limit` regions of a picture of that size in pixels, that with the strongest evidence first.

    A faint one may have the larger share. `evidence`, (rows * columns), is in units of which 1 is beyond nearly all
    that is normal; where no place reaches that, the regions are those of the strongest places.
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
    """A PNG of an RGB picture, which is changed, with the evidence, (rows * columns), over its unusual places."""
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
