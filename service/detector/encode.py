"""From typed columns to the float32 matrix that the network takes."""

from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from kilter.service.detector.grid import Grid
from kilter.service.detector.inputs import Table
from kilter.service.detector.schema import (
    BooleanColumn,
    CalendarField,
    CategoricalColumn,
    Column,
    ImageColumn,
    NumericColumn,
    Schema,
    TimestampColumn,
)

LIMIT = 1e3
"""Standardised numbers are held within ± this many units: beyond, a float32 could no longer tell neighbours apart, and
a record's verdict would depend on its batch."""


class Encoder:
    """Encodes tables of one schema; numeric columns are taken all at once."""

    def __init__(self, schema: Schema) -> None:
        self.width = schema.width
        self._numeric: list[tuple[int, NumericColumn]] = []
        self._other: list[tuple[int, Column]] = []
        for position, column in zip(_starts(schema), schema.columns, strict=True):
            if isinstance(column, NumericColumn) and column.constant is None and column.transform == "identity":
                self._numeric.append((position, column))
            else:
                self._other.append((position, column))
        self._positions = np.array([position for position, _ in self._numeric], np.int64)
        self._center = np.array([column.center for _, column in self._numeric])
        self._scale = np.array([column.scale for _, column in self._numeric])
        self._names = [column.name for _, column in self._numeric]
        self._whole = self._names == [column.name for column in schema.fields]
        """Whether all that a record has are these numbers, so that the matrix of a grid is theirs."""

    def encode(self, table: Table) -> npt.NDArray[np.float32]:
        """The (n, width) matrix of `Schema.features`, NaN where missing. All arithmetic before it is in float64."""
        columns = table.columns
        if self._whole and isinstance(columns, Grid):
            return self._standardised(columns.matrix).astype(np.float32)
        x = np.empty((table.rows, self.width), np.float32)
        if self._numeric:
            if isinstance(columns, Grid):
                values = columns.matrix.take([columns.layout.places[name] for name in self._names], axis=1)
            else:
                values = np.stack([columns[name] for name in self._names], axis=1)
            x[:, self._positions] = self._standardised(values)
        for position, column in self._other:
            features = _encode_column(column, table.columns[column.name])
            x[:, position : position + features.shape[1]] = features
        return x

    def _standardised(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The numbers of (n, numeric) as features; `numpy.clip` takes as long as all the rest for one record."""
        held: npt.NDArray[np.float64] = (values - self._center) / self._scale
        np.maximum(held, -LIMIT, out=held)
        np.minimum(held, LIMIT, out=held)
        return held


def _starts(schema: Schema) -> list[int]:
    """Position of the first feature of each column."""
    sizes = (sum(feature.size for feature in column.features(0)) for column in schema.columns)
    return [0, *accumulate(sizes)][:-1]


def _encode_column(column: Column, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    match column:
        case NumericColumn():
            return standardise(column, values)[:, None]
        case BooleanColumn():
            return values[:, None]
        case CategoricalColumn():
            codes = {level: code for code, level in enumerate(column.levels)}
            unseen = len(codes)
            coded = [np.nan if value is None else codes.get(value, unseen) for value in values]
            return np.array(coded, np.float64).reshape(-1, 1)
        case TimestampColumn():
            return np.stack([calendar(field, values) for field in column.fields], axis=1)
        case ImageColumn():
            # A float64 would take eight times the pictures' memory.
            scaled: npt.NDArray[np.float32] = np.divide(values, np.float32(255), dtype=np.float32)
            return scaled.reshape(len(values), column.features(0)[0].size)


def standardise(column: NumericColumn, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The feature of a numeric column: standardised, or 0 (equal) and 1 (changed) where it was constant."""
    if column.constant is not None:
        return np.where(np.isnan(values), np.nan, values != column.constant)
    if column.transform == "asinh":
        values = np.arcsinh((values - column.shift) / column.unit)
    return np.clip((values - column.center) / column.scale, -LIMIT, LIMIT)


def restore(column: NumericColumn, feature: float) -> float:
    """The value whose feature is `feature`: the inverse of `standardise`, within what a float can hold."""
    if column.constant is not None:
        return column.constant
    value = feature * column.scale + column.center
    if column.transform == "asinh":
        value = float(np.sinh(np.clip(value, -80, 80))) * column.unit + column.shift
    return value


def calendar(field: CalendarField, times: npt.NDArray[np.datetime64]) -> npt.NDArray[np.float64]:
    """The code of a calendar field, from 0; Monday is weekday 0. NaN where the time is missing."""
    days = times.astype("datetime64[D]")
    months = times.astype("datetime64[M]")
    match field:
        case "hour":
            codes = (times.astype("datetime64[h]") - days).astype(np.int64)
        case "weekday":
            codes = (days.astype(np.int64) + 3) % 7
        case "day":
            codes = (days - months).astype(np.int64)
        case "month":
            codes = months.astype(np.int64) % 12
    return np.where(np.isnat(times), np.nan, codes)
