"""Reads records, matrices and frames to typed columns, and finds every problem in them, not only the first."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from kilter.service.detector.arrays import Array, Floats
from kilter.service.detector.columns.base import ABSENT, Column, Read, describe_value, read_cells
from kilter.service.detector.errors import KilterError, Problem, RecordsError
from kilter.service.detector.names import name_form, own_names, suggestion, with_own_names
from kilter.service.detector.schema import Schema


class Table(NamedTuple):
    """Typed columns of records, and the problems of some of them."""

    columns: Mapping[str, Array]
    rows: int
    problems: list[Problem]


class Layout:
    """The places of a schema's fields in a matrix of numbers, and the fields that are not numbers."""

    def __init__(self, schema: Schema) -> None:
        numbers = [column.name for column in schema.fields if column.is_number]
        self.places = {name: place for place, name in enumerate(numbers)}
        self.others = tuple(name for name in schema.names if name not in self.places)


@dataclass(slots=True, eq=False)
class NumberColumns(Mapping[str, Array]):
    """The columns of a table by name, those of numbers side by side in one matrix, so that they are encoded at once."""

    layout: Layout
    matrix: Floats
    """float64 (n, numbers), NaN where a value is missing."""
    others: Mapping[str, Array] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Array:
        place = self.layout.places.get(name)
        return self.others[name] if place is None else self.matrix[:, place]

    def __iter__(self) -> Iterator[str]:
        yield from self.layout.places
        yield from self.layout.others

    def __len__(self) -> int:
        return len(self.layout.places) + len(self.layout.others)


def join(tables: Sequence[Table]) -> Table:
    """Tables of one schema, one below the other, without their problems."""
    if len(tables) == 1:
        return tables[0]
    rows = sum(table.rows for table in tables)
    parts = [table.columns for table in tables if isinstance(table.columns, NumberColumns)]
    if len(parts) == len(tables) and len({part.layout for part in parts}) == 1:
        layout = parts[0].layout
        others = {name: np.concatenate([part.others[name] for part in parts]) for name in layout.others}
        return Table(NumberColumns(layout, np.concatenate([part.matrix for part in parts]), others), rows, [])
    names = tables[0].columns
    return Table({name: np.concatenate([table.columns[name] for table in tables]) for name in names}, rows, [])


def cut(table: Table, start: int, stop: int) -> Table:
    """The rows of a table without problems from `start` up to `stop`, or to its end."""
    if start == 0 and stop >= table.rows:
        return table
    rows = slice(start, stop)
    columns = table.columns
    others = columns.others if isinstance(columns, NumberColumns) else columns
    part: Mapping[str, Array] = {name: values[rows] for name, values in others.items()}
    if isinstance(columns, NumberColumns):
        part = NumberColumns(columns.layout, columns.matrix[rows], part)
    return Table(part, min(stop, table.rows) - start, [])


def take(table: Table, rows: Array) -> Table:
    """The rows of a mask, (rows,), or of positions, in their order, with those of their problems that name a row."""
    positions = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
    problems_of: dict[int | None, list[Problem]] = {}
    for problem in table.problems:
        problems_of.setdefault(problem.row, []).append(problem)
    problems = [
        problem._replace(row=row) for row, old in enumerate(positions.tolist()) for problem in problems_of.get(old, ())
    ]
    return Table({name: values[positions] for name, values in table.columns.items()}, len(positions), problems)


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Problems by their rows, those of no row first."""
    return sorted(problems, key=lambda problem: -1 if problem.row is None else problem.row)


def from_records(schema: Schema, records: Sequence[Any], read: Read | None = None) -> Table:
    """Read mappings, pandas Series, or named tuples as pandas' `itertuples` gives them."""
    problems: list[Problem] = []
    usable: list[Mapping[Any, Any]] = []
    names: set[Any] = set(schema.names)
    for row, record in enumerate(records):
        fields: Mapping[Any, Any] | None = record if isinstance(record, Mapping) else _fields(record)
        if fields is None:
            problems.append(Problem(row, None, f"a record is an object of fields, not {describe_value(record)}"))
        elif fields.keys() != names:
            fields = with_own_names(schema.names, fields)
            problems.extend(_wrong_fields(row, fields, names, schema))
        usable.append(fields or {})
    columns = {}
    for column in schema.fields:
        cells = [record.get(column.name, ABSENT) for record in usable]
        columns[column.name] = read_cells(column, cells, problems, read)
    return Table(columns, len(records), in_order(problems))


def from_columns(schema: Schema, columns: Mapping[str, list[Any]], read: Read | None = None) -> Table:
    """Read columns of the same length, of values as JSON gives them."""
    columns = with_own_names(schema.names, columns)
    problems = _wrong_fields(None, columns, set(schema.names), schema)
    rows = max(map(len, columns.values()), default=0)
    if problems:
        return Table({}, rows, problems)
    typed = {column.name: read_cells(column, columns[column.name], problems, read) for column in schema.fields}
    return Table(typed, rows, in_order(problems))


def _fields(record: Any) -> Mapping[str, Any] | None:
    """The fields of a record that is no mapping; None if it has none."""
    if hasattr(record, "_asdict"):
        return {name: value for name, value in record._asdict().items() if name != "Index"}
    if hasattr(record, "to_dict") and hasattr(record, "index") and not hasattr(record, "columns"):
        return {str(name): value for name, value in record.to_dict().items()}
    return None


def _wrong_fields(row: int | None, fields: Mapping[Any, Any], names: set[Any], schema: Schema) -> list[Problem]:
    missing = sorted(names - fields.keys())
    extra = sorted(str(name) for name in fields.keys() - names - schema.ignored)
    if not all(map(str.isascii, extra)):
        ignored = {*map(name_form, schema.ignored)}
        extra = [name for name in extra if name_form(name) not in ignored]
    what = "column" if row is None else "field"
    message = f"the {what} is missing: send null if its value is not known"
    return [
        *(Problem(row, name, message + suggestion(name, extra)) for name in missing),
        *(Problem(row, name, "the model has no such field: leave it out") for name in extra),
    ]


def from_matrix(schema: Schema, matrix: Array) -> Table:
    """Read an (n, columns) matrix of numbers and flags, NaN where missing. Raises KilterError if it does not fit."""
    names = schema.names
    if matrix.ndim != 2 or matrix.shape[1] != len(names):
        raise KilterError(f"the model takes a matrix of shape (n, {len(names)}), not {matrix.shape}")
    other = [column.name for column in schema.fields if not column.is_number]
    if other:
        raise KilterError(f"a matrix holds numbers alone, but {other[0]!r} is not numeric: send a frame or records")
    if matrix.dtype.kind not in "fiub":
        raise KilterError(f"the model takes a matrix of numbers, not of dtype {matrix.dtype}")
    numbers = matrix.astype(np.float64)
    problems = [problem for i, column in enumerate(schema.fields) for problem in column.problems(numbers[:, i])]
    return Table({name: numbers[:, i] for i, name in enumerate(names)}, len(numbers), problems)


def absent_columns(schema: Schema, given: Iterable[str]) -> list[Problem]:
    """The columns that a model needs and a table lacks."""
    there = {*given}
    spare = sorted(there - {*schema.names})
    return [
        Problem(None, name, "the column is missing" + suggestion(name, spare))
        for name in schema.names
        if name not in there
    ]


def from_frame(schema: Schema, frame: Any) -> Table:
    """Read a frame of pandas, or with an Arrow C stream. Raises RecordsError if a column is missing, or there twice."""
    if hasattr(frame, "__arrow_c_stream__") and type(frame).__module__.split(".")[0] != "pandas":
        import polars as pl

        frame = pl.DataFrame(frame)
    count = Counter(map(str, frame.columns))
    own = own_names(schema.names, count)
    count.update({name: count[given] for name, given in own.items()})
    wrong = absent_columns(schema, count)
    wrong += [Problem(None, name, "the column stands in the table twice") for name in schema.names if count[name] > 1]
    if wrong:
        raise RecordsError(wrong)
    problems: list[Problem] = []
    keys = {str(name): name for name in frame.columns}  # those of pandas need not be texts
    values = {column: _as_array(column, frame[keys[own.get(column.name, column.name)]]) for column in schema.fields}
    columns = {column.name: read_array(column, array, problems) for column, array in values.items()}
    return Table(columns, len(frame), in_order(problems))


def _as_array(column: Column, cells: Any) -> Array:
    """A column of a frame as an array; times of polars that have a time zone by the column's clock, if it has one.

    Whole numbers of polars that are names stay whole where some are missing.
    """
    if column.is_time and getattr(cells.dtype, "time_zone", None) is not None:
        return column.from_series(cells)
    if not column.is_number and hasattr(cells, "null_count") and cells.dtype.is_integer() and cells.null_count():
        return np.array(cells.to_list(), object)
    array: Array = cells.to_numpy()
    return array


def read_array(column: Column, values: Array, problems: list[Problem]) -> Array:
    """The typed values of one column of a frame, from a NumPy array of any dtype; what does not fit is a problem."""
    typed = column.from_array(values)
    if typed is None:
        return read_cells(column, values.tolist(), problems)
    problems.extend(column.problems(typed))
    return typed
