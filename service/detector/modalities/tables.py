"""Tables: records of numbers, flags, categories and times."""

from collections.abc import Iterator
from itertools import accumulate

import numpy as np

from kilter.service.detector.arrays import Array, Floats, Matrix
from kilter.service.detector.columns.base import LIMIT
from kilter.service.detector.explanation import attribute, explain
from kilter.service.detector.inputs import NumberColumns, Table, from_matrix
from kilter.service.detector.modalities.base import Modality, Scores, Watched
from kilter.service.detector.runtime import OUTPUTS, Program
from kilter.service.detector.schema import Schema

CHUNK = 256
"""Rows per call on a CPU: larger batches go no faster, and hold several times the memory."""
GPU_ROWS = 65_536


class TableModality(Modality):
    """Encodes all rows together, and all standardised numbers at once."""

    name = "table"

    def __init__(self, schema: Schema, grid: tuple[int, int] | None = None) -> None:
        super().__init__(schema, grid)
        sizes = (sum(feature.size for feature in column.features(0)) for column in schema.columns)
        *starts, self._width = accumulate(sizes, initial=0)
        affine = {i: column.affine for i, column in enumerate(schema.columns)}
        plain = {i: standard for i, standard in affine.items() if standard is not None}
        self._others = [(starts[i], column) for i, column in enumerate(schema.columns) if i not in plain]
        self._positions = np.array([starts[i] for i in plain], np.int64)
        self._center = np.array([standard.center for standard in plain.values()])
        self._scale = np.array([standard.scale for standard in plain.values()])
        self._names = [schema.columns[i].name for i in plain]
        self._whole = self._names == [column.name for column in schema.fields]
        """Whether a record has no other fields than these numbers, so that they are the matrix of `NumberColumns`."""
        self.watched = tuple(_watch(schema, i, start) for i, start in enumerate(starts))

    def rows_per_call(self, device: str) -> int:
        return CHUNK if device == "cpu" else GPU_ROWS

    def read_array(self, data: Array) -> Table:
        return from_matrix(self.schema, data)

    def encode(self, table: Table) -> Iterator[Matrix]:
        yield self.matrix(table)

    def matrix(self, table: Table) -> Matrix:
        """The (n, width) matrix of `Schema.features`, NaN where missing. All arithmetic before it is in float64."""
        columns = table.columns
        if self._whole and isinstance(columns, NumberColumns):
            return self._standardise(columns.matrix).astype(np.float32)
        x = np.empty((table.rows, self._width), np.float32)
        if self._names:
            if isinstance(columns, NumberColumns):
                values = columns.matrix.take([columns.layout.places[name] for name in self._names], axis=1)
            else:
                values = np.stack([columns[name] for name in self._names], axis=1)
            x[:, self._positions] = self._standardise(values)
        for position, column in self._others:
            features = column.encode(columns[column.name])
            x[:, position : position + features.shape[1]] = features
        return x

    def _standardise(self, values: Floats) -> Floats:
        """The numbers of (n, numeric) as features; `numpy.clip` takes as long as all the rest for one record."""
        standard: Floats = (values - self._center) / self._scale
        np.maximum(standard, -LIMIT, out=standard)
        np.minimum(standard, LIMIT, out=standard)
        return standard

    def figures(self, x: Matrix) -> Matrix:
        return x

    def score(self, program: Program, table: Table, reasons: int) -> Scores:
        x = self.matrix(table)
        if not reasons:
            return Scores(program.run(x, ("score",))[0], None, table, x)
        score, reconstruction, kl, terms, expected = program.run(x, OUTPUTS)
        against, expected = attribute(self.schema, program, x, score, reconstruction + kl, terms, expected)
        return Scores(score, explain(self.schema, table, against, expected, reasons), table, x)


def _watch(schema: Schema, index: int, position: int) -> Watched:
    """A column by its first feature, which stands at a position of the matrix.

    The chance that the next level is a new one is estimated by the share of rows whose level came once (Good,
    Biometrika, 1953).
    """
    column, once = schema.columns[index], schema.columns[index].levels_seen_once
    unseen = None if once is None else once / schema.rows
    missing = column.missing / schema.rows if schema.rows else 0.0
    return Watched(column.name, position, column.features(index)[0], column.comparable, missing, unseen)
