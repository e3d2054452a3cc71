"""What the fitting rows say of each column: centre and scale, levels, constants, missing values."""

from collections import Counter
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from kilter.service.detector.inputs import Table
from kilter.service.detector.schema import (
    BooleanColumn,
    CategoricalColumn,
    Column,
    ImageColumn,
    NumericColumn,
    Schema,
    TimestampColumn,
)

HEAVY = 10.0
"""Standard deviations from the median beyond which a column's tail is heavy."""
HEAVY_COUNT = 5.0
"""The same for a column of whole numbers."""
LEAST_SPREAD = 0.2
"""A count's standard deviation, after its transform, is taken no smaller: one rare event must not drown all else."""
MAX_LEVELS = 512
"""Rarer levels than these count as unseen, in training as in scoring."""


def fit_schema(draft: Schema, table: Table, rows: npt.NDArray[np.int64]) -> Schema:
    """The schema with its statistics, from the fitting rows of a table alone.

    Calibration and evaluation rows must have no part in it: a level that only they hold is unseen.
    """
    columns = tuple(_fit(column, table, rows) for column in draft.columns)
    return fit_aside(msgspec.structs.replace(draft, columns=columns, rows=len(rows)), table, rows)


def fit_aside(schema: Schema, table: Table, rows: npt.NDArray[np.int64]) -> Schema:
    """The schema with statistics of the columns that the network does not see."""
    aside = tuple(_fit(column, table, rows) for column in schema.aside)
    return msgspec.structs.replace(schema, aside=aside)


def _fit(column: Column, table: Table, rows: npt.NDArray[np.int64]) -> Column:
    if isinstance(column, ImageColumn):
        return column
    values: npt.NDArray[Any] = table.columns[column.name][rows]
    match column:
        case NumericColumn():
            return _numeric(column, values)
        case BooleanColumn():
            return msgspec.structs.replace(column, missing=int(np.isnan(values).sum()))
        case CategoricalColumn():
            counts = Counter(value for value in values if value is not None)
            kept = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MAX_LEVELS]
            return msgspec.structs.replace(
                column,
                levels=tuple(level for level, _ in kept),
                counts=tuple(count for _, count in kept),
                missing=len(values) - counts.total(),
            )
        case TimestampColumn():
            return msgspec.structs.replace(column, missing=int(np.isnat(values).sum()))


def _numeric(column: NumericColumn, values: npt.NDArray[np.float64]) -> NumericColumn:
    present = values[~np.isnan(values)]
    missing = len(values) - len(present)
    if not len(present):
        return msgspec.structs.replace(column, missing=missing, minimum=0.0, maximum=0.0)
    low, high = float(present.min()), float(present.max())
    column = msgspec.structs.replace(column, missing=missing, minimum=low, maximum=high)
    # Divided before it is squared: a column of 1e300 must not overflow.
    unit = max(abs(low), abs(high)) or 1.0
    scale = float((present / unit).std()) * unit
    if low == high or scale <= 1e-12 * unit:
        return msgspec.structs.replace(column, constant=low, center=low, scale=1.0)
    column = _tamed(column, present, scale)
    if column.transform == "asinh":
        present = np.arcsinh((present - column.shift) / column.unit)
        deviation = float(present.std())
        scale = max(deviation, LEAST_SPREAD) if column.unit == 1 else deviation
        return msgspec.structs.replace(column, center=float(present.mean()), scale=scale)
    return msgspec.structs.replace(column, center=float((present / unit).mean()) * unit, scale=scale)


def _tamed(column: NumericColumn, present: npt.NDArray[np.float64], deviation: float) -> NumericColumn:
    """The column with a transform that tames its tail, if it has a heavy one: counts, amounts and durations do.

    That is a column of no negative number whose largest lies many standard deviations from the median. Whole
    numbers are taken as they are, others from the median in units of the median distance from it.
    """
    median = float(np.median(present))
    whole = bool((present == np.round(present)).all())
    if present.min() < 0 or np.abs(present - median).max() <= (HEAVY_COUNT if whole else HEAVY) * deviation:
        return column
    if whole:
        return msgspec.structs.replace(column, transform="asinh")
    distance = np.abs(present - median)
    unit = float(np.median(distance[distance > 0]))
    return msgspec.structs.replace(column, transform="asinh", shift=median, unit=unit)
