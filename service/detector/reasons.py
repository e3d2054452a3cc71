"""Why a record is strange: its columns, strongest first, with what was observed and what the network expected."""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from kilter.service.detector.encode import restore
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

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
Value = float | int | str | bool | None
_NO_COLUMN = "the reasons of a picture are regions, not columns"


class Reason(msgspec.Struct, frozen=True):
    """One column's part in a record's score."""

    feature: str
    observed: Value
    expected: Value
    share: float
    """This column's part of all that speaks against the record, in [0, 1]."""


def explain(
    schema: Schema,
    table: Table,
    terms: npt.NDArray[np.float64],
    expected: npt.NDArray[np.float64],
    *,
    limit: int,
) -> list[list[Reason]]:
    """Up to `limit` reasons for each of n records.

    `terms`, (n, columns), is how much each column speaks against a record, and `expected`, (n, features), what was
    expected of each feature (`detector.attribution`). Only columns that speak against a record count.
    """
    against = np.maximum(terms, 0.0)
    total = against.sum(axis=1)
    order = np.argsort(-against, axis=1, kind="stable")[:, :limit]
    first = [0]
    for column in schema.columns:
        first.append(first[-1] + len(column.features(0)))
    wrong = {problem.row for problem in table.problems}
    found: list[list[Reason]] = []
    for row in range(table.rows):
        reasons = []
        for i in order[row]:
            if row in wrong or not against[row, i] > 0:
                break
            column = schema.columns[i]
            features = slice(first[i], first[i + 1])
            reasons.append(
                Reason(
                    column.name,
                    _observed(column, table.columns[column.name][row]),
                    _expected(column, expected[row, features]),
                    round(float(against[row, i] / total[row]), 4),
                )
            )
        found.append(reasons)
    return found


def _observed(column: Column, value: Any) -> Value:
    match column:
        case NumericColumn():
            return None if np.isnan(value) else _number(column, float(value))
        case BooleanColumn():
            return None if np.isnan(value) else bool(value)
        case CategoricalColumn():
            return None if value is None else str(value)
        case TimestampColumn():
            return None if np.isnat(value) else str(value.astype("datetime64[s]"))
        case ImageColumn():
            raise TypeError(_NO_COLUMN)


def _expected(column: Column, features: npt.NDArray[np.float64]) -> Value:
    match column:
        case NumericColumn():
            value = min(max(restore(column, float(features[0])), column.minimum), column.maximum)
            return _number(column, float(f"{value:.4g}") if column.constant is None else value)
        case BooleanColumn():
            return bool(features[0] >= 0.5)
        case CategoricalColumn():
            return column.levels[int(features[0])]
        case TimestampColumn():
            return ", ".join(
                WEEKDAYS[int(code)] if field == "weekday" else f"{field} {int(code) + (field in ('day', 'month'))}"
                for field, code in zip(column.fields, features, strict=True)
            )
        case ImageColumn():
            raise TypeError(_NO_COLUMN)


def _number(column: NumericColumn, value: float) -> float | int:
    return round(value) if column.integer and abs(value) < 2**53 else value
