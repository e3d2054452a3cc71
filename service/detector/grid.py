"""Typed columns whose numbers lie side by side in one matrix, so that they are encoded all at once."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kilter.service.detector.schema import BooleanColumn, NumericColumn, Schema


class Layout:
    """Which fields of a schema are columns of the matrix, numbers and flags, and where; and which are not."""

    def __init__(self, schema: Schema) -> None:
        numbers = [column.name for column in schema.fields if isinstance(column, NumericColumn | BooleanColumn)]
        self.places = {name: place for place, name in enumerate(numbers)}
        self.others = tuple(name for name in schema.names if name not in self.places)


class Grid(Mapping[str, npt.NDArray[Any]]):
    """The columns of a table by name: a matrix of numbers (n, numbers), NaN where missing, and columns of other kinds.

    As in every table, the values of a numeric or boolean column are float64.
    """

    __slots__ = ("layout", "matrix", "others")

    def __init__(
        self, layout: Layout, matrix: npt.NDArray[np.float64], others: Mapping[str, npt.NDArray[Any]] | None = None
    ) -> None:
        self.layout = layout
        self.matrix = matrix
        self.others = others or {}

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        place = self.layout.places.get(name)
        return self.others[name] if place is None else self.matrix[:, place]

    def __iter__(self) -> Iterator[str]:
        yield from self.layout.places
        yield from self.layout.others

    def __len__(self) -> int:
        return len(self.layout.places) + len(self.layout.others)


def stack(grids: Sequence[Grid]) -> Grid:
    """Grids of one layout, one below the other."""
    layout = grids[0].layout
    others = {name: np.concatenate([grid.others[name] for grid in grids]) for name in layout.others}
    return Grid(layout, np.concatenate([grid.matrix for grid in grids]), others)
