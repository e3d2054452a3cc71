"""Tables: records of numbers, flags, categories and times, explained by hiding one column after the other."""

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import msgspec
import numpy as np

from kilter.service.detector.arrays import Array, Floats, Matrix
from kilter.service.detector.columns.base import LIMIT, Value
from kilter.service.detector.inputs import NumberColumns, Table, from_matrix
from kilter.service.detector.modalities.base import Modality, Scores, Watched
from kilter.service.detector.runtime import OUTPUTS, Program
from kilter.service.detector.schema import Schema

CHUNK = 256  # rows per call on a CPU: larger batches go no faster, and hold several times the memory
GPU_ROWS = 65_536
CANDIDATES = 32  # columns of a record that are hidden in turn: those that surprise the network most
CELLS = 1_000_000  # cells of the encoded records that are judged at once with a column hidden


class TableModality(Modality):
    """Encodes all rows together, and all standardised numbers at once."""

    name = "table"
    has_fields = True

    def __init__(self, schema: Schema, grid: tuple[int, int] | None = None) -> None:
        super().__init__(schema, grid)
        sizes = (sum(feature.size for feature in column.features(0)) for column in schema.columns)
        *starts, self._width = accumulate(sizes, initial=0)
        plain = {i: column.affine for i, column in enumerate(schema.columns) if column.affine}
        self._others = [(starts[i], column) for i, column in enumerate(schema.columns) if i not in plain]
        self._positions = np.array([starts[i] for i in plain], np.int64)
        self._center, self._scale = np.array([*plain.values()], np.float64).reshape(-1, 2).T.copy()
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
            if not self._others:
                return self._standardise(values).astype(np.float32)
            x[:, self._positions] = self._standardise(values)
        for position, column in self._others:
            features = column.encode(columns[column.name])
            x[:, position : position + features.shape[1]] = features
        return x

    def _standardise(self, values: Floats) -> Floats:
        """The numbers of (n, numeric) as features; `numpy.clip` takes as long as all the rest for one record."""
        standard: Floats = values - self._center
        standard /= self._scale
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

    def likelier(self, program: Program, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What is expected of a time is no moment, so that times are left as they are."""
        (expected,) = program.run(self.matrix(self.read(records)), ("expected",))
        first = [0, *accumulate(len(column.features(0)) for column in self.schema.columns)]
        return [
            record
            | {
                column.name: column.expected(features[first[i] : first[i + 1]])
                for i, column in enumerate(self.schema.columns)
                if not column.is_time
            }
            for record, features in zip(records, expected, strict=True)
        ]


def _watch(schema: Schema, index: int, position: int) -> Watched:
    """A column by its first feature.

    The chance of a new level is estimated by the share of rows whose level came once (Good, Biometrika, 1953).
    """
    column = schema.columns[index]
    unseen = None if column.counts is None else column.counts.count(1) / schema.rows
    missing = column.missing / schema.rows if schema.rows else 0.0
    feature, low, high = column.features(index)[0], -np.inf, np.inf
    if column.extremes is not None:
        low, high = column.encode(np.array(column.extremes, np.float64))[:, 0].tolist()
    elif feature.kind == "level":
        low, high = 0.0, feature.levels - 1.0
    return Watched(column.name, position, feature, not column.is_time, missing, unseen, low, high)


class Reason(msgspec.Struct, frozen=True):
    """One column's part in a record's score."""

    feature: str
    observed: Value
    expected: Value
    share: float
    """This column's part of all that speaks against the record, in [0, 1]."""


def attribute(
    schema: Schema, program: Program, x: Matrix, score: Floats, surprise: Floats, terms: Floats, expected: Floats
) -> tuple[Floats, Floats]:
    """How much each column speaks against each record, (n, columns), and what is expected of it, (n, features).

    The columns of the records, x of shape (n, features), are hidden in turn. A column counts with how far the score
    falls when it is hidden, and with log(1 + d) if the negative ELBO falls by d nats then: that is how surprising its
    value is among the others, and tells the wrong column where the score, led by the nearest remembered record, falls
    about as far for a column that the wrong one has pulled along. This is the plainest attribution by perturbation
    (Robnik-Sikonja and Kononenko, 2008; Zeiler and Fergus, 2014).

    `score`, (n,), `surprise`, (n,), the negative ELBO, and `expected`, (n, features), are those of the records with
    nothing hidden; `terms`, (n, columns), the surprise of each column, tells which are tried. Others count as 0.
    """
    belongs = np.array([feature.column for feature in schema.features()])
    candidates = np.argsort(-terms, axis=1, kind="stable")[:, :CANDIDATES]
    against, guess = np.zeros(terms.shape), expected.copy()
    step = max(1, CELLS // (candidates.shape[1] * x.shape[1]))
    for start in range(0, len(x), step):
        picked = candidates[start : start + step]
        hidden = np.repeat(x[start : start + step], picked.shape[1], axis=0)
        own = belongs == picked.reshape(-1, 1)
        hidden[own] = np.inf
        without, reconstruction, kl, anew = program.run(hidden, ("score", "reconstruction", "kl", "expected"))
        fall = score[start : start + step, None] - without.reshape(picked.shape)
        relief = surprise[start : start + step, None] - (reconstruction + kl).reshape(picked.shape)
        np.put_along_axis(against[start : start + step], picked, fall + np.log1p(np.maximum(relief, 0)), axis=1)
        record, feature = np.nonzero(own)
        guess[start + record // picked.shape[1], feature] = anew[record, feature]
    return against, guess


def explain(schema: Schema, table: Table, against: Floats, expected: Floats, limit: int) -> list[list[Reason]]:
    """Up to `limit` reasons for each record from `attribute`, strongest first; none for a column that speaks for it."""
    against = np.maximum(against, 0.0)
    total = against.sum(axis=1)
    order = np.argsort(-against, axis=1, kind="stable")[:, :limit]
    first = [0, *accumulate(len(column.features(0)) for column in schema.columns)]
    unread = {problem.row for problem in table.problems}
    explained: list[list[Reason]] = []
    for row in range(table.rows):
        reasons = []
        for i in order[row]:
            if row in unread or not against[row, i] > 0:
                break
            column = schema.columns[i]
            observed = column.shown(table.columns[column.name][row])
            usual = column.expected(expected[row, first[i] : first[i + 1]])
            reasons.append(Reason(column.name, observed, usual, round(float(against[row, i] / total[row]), 4)))
        explained.append(reasons)
    return explained
