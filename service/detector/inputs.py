"""From what a caller holds (records, a matrix, a frame) to typed columns, with every problem found on the way.

Typed columns are NumPy arrays of n values: float64 with NaN for numeric, float64 of 0, 1 and NaN for boolean, objects
(str or None) for categorical, datetime64[us] with NaT for timestamp, uint8 (n, height, width, channels) for an image.
Files are read by `files` into the same.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kilter.service.detector.errors import KilterError, PictureError, Problem, RecordsError
from kilter.service.detector.grid import Grid, stack
from kilter.service.detector.picture_cells import read_cell
from kilter.service.detector.pictures import Pixels, from_array
from kilter.service.detector.schema import (
    BooleanColumn,
    CategoricalColumn,
    Column,
    ImageColumn,
    NumericColumn,
    Schema,
    TimestampColumn,
)

ReadPicture = Callable[[Any, ImageColumn], Pixels]
"""Reads the picture of a record; it raises PictureError for what is none."""
FLOAT32_MAX = float(np.finfo(np.float32).max)
_ABSENT = object()


class Table(NamedTuple):
    """Typed columns of n records, and what is wrong with some of them."""

    columns: Mapping[str, npt.NDArray[Any]]
    rows: int
    problems: list[Problem]


def join(tables: Sequence[Table]) -> Table:
    """Tables of one schema, one below the other, without their problems."""
    if len(tables) == 1:
        return tables[0]
    rows = sum(table.rows for table in tables)
    grids = [table.columns for table in tables if isinstance(table.columns, Grid)]
    if len(grids) == len(tables) and len({grid.layout for grid in grids}) == 1:
        return Table(stack(grids), rows, [])
    names = tables[0].columns
    return Table({name: np.concatenate([table.columns[name] for table in tables]) for name in names}, rows, [])


def cut(table: Table, start: int, stop: int) -> Table:
    """The rows of a table without problems from `start` up to `stop`, or to its end."""
    if start == 0 and stop >= table.rows:
        return table
    rows = slice(start, stop)
    columns = table.columns
    if isinstance(columns, Grid):
        others = {name: values[rows] for name, values in columns.others.items()}
        return Table(Grid(columns.layout, columns.matrix[rows], others), min(stop, table.rows) - start, [])
    return Table({name: values[rows] for name, values in columns.items()}, min(stop, table.rows) - start, [])


def from_records(schema: Schema, records: Sequence[Any], read_picture: ReadPicture = read_cell) -> Table:
    """Read records as JSON gives them: numbers, strings, booleans and None for a missing value.

    A picture is base64 text, the bytes of a file, or an array.
    """
    problems: list[Problem] = []
    usable: list[Mapping[str, Any]] = []
    known = set(schema.names)
    ignored = {column.name for column in schema.left_out}
    for row, record in enumerate(records):
        if not isinstance(record, Mapping):
            message = f"a record is an object of fields, not {_kind(record)}"
            problems.append(Problem(row, None, message))
            usable.append({})
            continue
        usable.append(record)
        if record.keys() != known:
            problems.extend(_wrong_fields(row, record, known, ignored))
    columns = {}
    for column in schema.fields:
        values = [record.get(column.name, _ABSENT) for record in usable]
        columns[column.name] = _typed(column, values, problems, read_picture)
    problems.sort(key=lambda problem: (problem.row is not None, problem.row or 0))
    return Table(columns, len(records), problems)


def from_columns(schema: Schema, columns: Mapping[str, list[Any]], read_picture: ReadPicture = read_cell) -> Table:
    """Read columns of the same length, of values as JSON gives them."""
    problems = [
        Problem(None, name, "the column is missing: send nulls if its values are not known")
        for name in schema.names
        if name not in columns
    ]
    ignored = {column.name for column in schema.left_out}
    extra = sorted(columns.keys() - set(schema.names) - ignored)
    problems += [Problem(None, name, "the model has no such field: leave it out") for name in extra]
    rows = max(map(len, columns.values()), default=0)
    if problems:
        return Table({}, rows, problems)
    typed = {column.name: _typed(column, columns[column.name], problems, read_picture) for column in schema.fields}
    problems.sort(key=lambda problem: (problem.row is not None, problem.row or 0))
    return Table(typed, rows, problems)


def _wrong_fields(row: int, record: Mapping[str, Any], known: set[str], ignored: set[str]) -> list[Problem]:
    missing = sorted(known - record.keys())
    extra = sorted(str(name) for name in record.keys() - known - ignored)
    return [
        *(Problem(row, name, "the field is missing: send null if its value is not known") for name in missing),
        *(Problem(row, name, "the model has no such field: leave it out") for name in extra),
    ]


def from_matrix(schema: Schema, matrix: npt.ArrayLike) -> Table:
    """Read an (n, columns) matrix of numbers, its columns in the schema's order; NaN is a missing value.

    Pictures are what `detector.pictures.from_array` takes. Raises KilterError if the shape does not fit, or
    the schema has columns that are not numbers or flags.
    """
    x = np.asarray(matrix)
    if schema.image is not None:
        pictures = from_array(x, schema.image)
        return Table({schema.image.name: pictures}, len(pictures), [])
    names = schema.names
    if x.ndim != 2 or x.shape[1] != len(names):
        raise KilterError(f"the model takes a matrix of shape (n, {len(names)}), not {x.shape}")
    other = [c.name for c in schema.fields if not isinstance(c, NumericColumn | BooleanColumn)]
    if other:
        raise KilterError(f"a matrix holds numbers alone, but {other[0]!r} is not numeric: send a frame or records")
    if x.dtype.kind not in "fiub":
        raise KilterError(f"the model takes a matrix of numbers, not of dtype {x.dtype}")
    x = x.astype(np.float64)
    problems: list[Problem] = []
    for i, column in enumerate(schema.fields):
        check = check_numbers if isinstance(column, NumericColumn) else check_flags
        problems.extend(check(column.name, x[:, i]))
    return Table({name: x[:, i] for i, name in enumerate(names)}, len(x), problems)


def from_frame(schema: Schema, frame: Any) -> Table:
    """Read any frame with `columns` and indexable by name: pandas, or what the Arrow C stream interface gives.

    Columns that the model does not know are ignored. Raises RecordsError if one that it needs is not there.
    """
    if hasattr(frame, "__arrow_c_stream__") and type(frame).__module__.split(".")[0] != "pandas":
        import polars as pl

        frame = pl.DataFrame(frame)
    present = [str(name) for name in frame.columns]
    absent = [name for name in schema.names if name not in present]
    if absent:
        raise RecordsError([Problem(None, name, "the column is missing") for name in absent])
    twice = sorted({name for name in schema.names if present.count(name) > 1})
    if twice:
        raise RecordsError([Problem(None, name, "the column stands in the table twice") for name in twice])
    problems: list[Problem] = []
    columns = {}
    for column in schema.fields:
        values = frame[column.name].to_numpy()
        columns[column.name] = typed_array(column, values, problems)
    return Table(columns, len(frame), problems)


def typed_array(column: Column, values: npt.NDArray[Any], problems: list[Problem]) -> npt.NDArray[Any]:
    """Read one column of a frame from a NumPy array of any dtype; what does not fit is appended to `problems`."""
    kind = values.dtype.kind
    if isinstance(column, NumericColumn) and kind in "fiu":
        numbers = values.astype(np.float64)
        problems.extend(check_numbers(column.name, numbers))
        return numbers
    if isinstance(column, BooleanColumn) and kind in "fiub":
        flags = values.astype(np.float64)
        problems.extend(check_flags(column.name, flags))
        return flags
    if isinstance(column, TimestampColumn) and kind == "M":
        return values.astype("datetime64[us]")
    return _typed(column, [_plain(value) for value in values.tolist()], problems)


def _plain(value: Any) -> Any:
    """A frame's cell as JSON would hold it: its several kinds of missing are all None."""
    if value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value):
        return None
    return value


def check_numbers(name: str, values: npt.NDArray[np.float64]) -> list[Problem]:
    """The problems of a column of numbers: what is infinite or does not fit a float32."""
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero(np.abs(values) > FLOAT32_MAX)
    return [Problem(int(row), name, _out_of_range(float(values[row]))) for row in bad]


def check_flags(name: str, values: npt.NDArray[np.float64]) -> list[Problem]:
    """The problems of a column of flags given as numbers: anything but 0, 1 and NaN."""
    bad = np.flatnonzero(~np.isnan(values) & (values != 0) & (values != 1))
    return [Problem(int(row), name, f"a flag is 0 or 1, not {values[row]:g}") for row in bad]


def _out_of_range(value: float) -> str:
    what = "infinite" if np.isinf(value) else f"{value:g}"
    return f"the number is {what}: only finite numbers up to 3.4e38 can be scored; use null for an unknown value"


def _typed(
    column: Column, values: list[Any], problems: list[Problem], read_picture: ReadPicture = read_cell
) -> npt.NDArray[Any]:
    match column:
        case NumericColumn():
            return _numbers(column, values, problems)
        case BooleanColumn():
            return _each(column, values, problems, _flag, np.dtype(np.float64), np.nan)
        case CategoricalColumn():
            return _levels(column, values, problems)
        case TimestampColumn():
            read = timestamp_reader(column.format)
            return _each(column, values, problems, read, np.dtype("datetime64[us]"), np.datetime64("NaT"))
        case ImageColumn():
            return _pictures(column, values, problems, read_picture)


def _numbers(column: NumericColumn, values: list[Any], problems: list[Problem]) -> npt.NDArray[np.float64]:
    if set(map(type, values)) <= {float, int}:
        try:
            numbers = np.array(values, np.float64)
        except OverflowError:
            pass
        else:
            if np.all(np.abs(numbers) <= FLOAT32_MAX):
                return numbers
    return _each(column, values, problems, _number, np.dtype(np.float64), np.nan)


def _levels(column: CategoricalColumn, values: list[Any], problems: list[Problem]) -> npt.NDArray[np.object_]:
    if not set(map(type, values)) <= {str, type(None)}:
        return _each(column, values, problems, _level, np.dtype(object), None)
    levels = np.empty(len(values), object)
    levels[:] = values
    return levels


def _each(
    column: Column,
    values: list[Any],
    problems: list[Problem],
    read: Callable[[Any], Any],
    dtype: np.dtype[Any],
    missing: Any,
) -> npt.NDArray[Any]:
    """Read cell by cell; a cell that `read` refuses with a ValueError is a problem, and missing in the column."""
    out = np.full(len(values), missing, dtype)
    for row, value in enumerate(values):
        if value is None or value is _ABSENT:
            continue
        try:
            out[row] = read(value)
        except (ValueError, OverflowError) as error:
            problems.append(Problem(row, column.name, str(error)))
    return out


def _pictures(column: ImageColumn, values: list[Any], problems: list[Problem], read: ReadPicture) -> Pixels:
    """Read pictures; one that cannot be is a problem, as is none at all, and is black."""
    found = np.zeros((len(values), *column.shape), np.uint8)
    for row, value in enumerate(values):
        if value is _ABSENT:
            continue
        try:
            found[row] = read(value, column)
        except PictureError as error:
            problems.append(Problem(row, column.name, str(error)))
    return found


def _number(value: Any) -> float:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise ValueError(f"a number is expected, not {_kind(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = float("inf") if value > 0 else float("-inf")
    if np.isnan(number):
        raise ValueError("the number is NaN: use null for an unknown value")
    if abs(number) > FLOAT32_MAX:
        raise ValueError(_out_of_range(number))
    return number


def _flag(value: Any) -> float:
    if isinstance(value, bool | np.bool_) or (isinstance(value, int | float) and value in (0, 1)):
        return float(value)
    raise ValueError(f"true or false is expected, not {_kind(value)}")


def _level(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"text is expected, not {_kind(value)}")


def _kind(value: Any) -> str:
    """A value as an error message names it: its type, and the value itself where that is short."""
    names = {str: "the text", bool: "the boolean", int: "the number", float: "the number"}
    if type(value) not in names:
        return {dict: "an object", list: "a list", type(None): "null"}.get(type(value), type(value).__name__)
    shown = str(value).lower() if isinstance(value, bool) else repr(value)
    return f"{names[type(value)]} {shown if len(shown) <= 40 else shown[:37] + '...'}"


def timestamp_reader(form: str) -> Callable[[Any], np.datetime64]:
    """A function from a cell (text, number or datetime) to datetime64[us], for a `TimestampColumn.format`.

    It raises ValueError for what it cannot read.
    """

    def read(value: Any) -> np.datetime64:
        if isinstance(value, datetime):
            return _utc(value)
        if form in ("unix_s", "unix_ms"):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"a Unix time is expected, not {_kind(value)}")
            try:
                return _utc(datetime.fromtimestamp(value / (1000 if form == "unix_ms" else 1), UTC))
            except (OSError, ValueError, OverflowError):
                raise ValueError(f"the Unix time {value!r} is out of range") from None
        if not isinstance(value, str):
            raise ValueError(f"a time is expected, not {_kind(value)}")
        try:
            return _utc(datetime.fromisoformat(value) if form == "iso" else datetime.strptime(value, form))
        except ValueError:
            pattern = "like 2024-05-31T08:15:00 (ISO 8601)" if form == "iso" else f"of the form {form}"
            raise ValueError(f"a time {pattern} is expected, not {_kind(value)}") from None

    return read


def _utc(time: datetime) -> np.datetime64:
    return np.datetime64(time if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None), "us")
