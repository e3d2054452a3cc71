"""From the cells of a file to the typed columns of the detector, for text and for typed tables alike.

Every text is stripped of blanks before it is compared with a null token or read as a number, a flag or a time. A
categorical text that is no null token is taken as it stands. A typed cell whose type is not the column's own is read
as the text that it would be in a CSV file.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from polars.exceptions import PolarsError

from kilter.service.detector import inputs
from kilter.service.detector.errors import Problem, RecordsError
from kilter.service.detector.schema import (
    BooleanColumn,
    CategoricalColumn,
    Column,
    ImageColumn,
    NumericColumn,
    Schema,
    TimestampColumn,
)

NUMBERS = {
    ".": re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"),
    ",": re.compile(r"[+-]?([0-9]+,?[0-9]*|,[0-9]+)([eE][+-]?[0-9]+)?"),
}
INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE | re.ASCII)
FLAGS = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}
"""Flags as every source but a text table has them; a column's own words go before."""
UNKNOWN = "leave the cell empty if it is unknown"
NO_PICTURES = "a table holds no pictures, and the model judges nothing else: name a folder of pictures, or one"
CELLS = 1 << 22
"""About the most cells of which copies are held at a time."""
Decimal = Literal[".", ","]
Read = Callable[[str], Any]
Work = Callable[[pl.Expr], pl.Expr]


def to_table(schema: Schema, frame: pl.DataFrame, *, faults: Sequence[Problem] = ()) -> inputs.Table:
    """The typed columns that `schema` needs, and the problems of cells; other columns of `frame` are passed over.

    `faults` are problems of whole rows, beside which those of their cells do not count. Raises RecordsError if a
    column that is needed is not there.
    """
    absent = [name for name in schema.names if name not in frame.columns]
    if absent:
        message = "the table has no such column, and the model needs it"
        raise RecordsError([Problem(None, name, message) for name in absent])
    problems: list[Problem] = []
    columns: dict[str, npt.NDArray[Any]] = {}
    step = max(1, CELLS // max(1, frame.height))
    for start in range(0, len(schema.fields), step):
        some = schema.fields[start : start + step]
        reader = _Reader(schema, some, frame, problems)
        columns |= {column.name: reader.column(column) for column in some}
    unread = {fault.row for fault in faults}
    if unread:
        problems = [problem for problem in problems if problem.row not in unread]
    problems = sorted([*faults, *problems], key=lambda problem: -1 if problem.row is None else problem.row)
    return inputs.Table(columns, frame.height, problems)


def parse_number(text: str, decimal: Decimal) -> float:
    """The number that a stripped text means, as `float` reads it. Raises ValueError, with the remedy, if it is none.

    Infinities are numbers here, to be refused as what they are.
    """
    if NUMBERS[decimal].fullmatch(text):
        return float(text.replace(",", "."))
    if INFINITE.fullmatch(text):
        return float(text)
    example = "1234.5" if decimal == "." else "1234,5"
    raise ValueError(f"a number like {example} is expected, not {shown(text)}; {UNKNOWN}")


def shown(text: str) -> str:
    """A text as a message quotes it."""
    return f"the text {text if len(text) <= 40 else text[:37] + '...'!r}"


def parse_numbers(texts: pl.Series, decimal: Decimal) -> pl.Series:
    """Stripped texts as float64, null where one is no finite number: `parse_number` of each, vectorised."""
    return texts.to_frame().select(_numbers(pl.all(), decimal)).to_series()


def _numbers(texts: pl.Expr, decimal: Decimal) -> pl.Expr:
    if decimal == ",":
        pointed = texts.str.contains(".", literal=True)
        texts = pl.when(~pointed).then(texts.str.replace(",", ".", literal=True))
    numbers = texts.cast(pl.Float64, strict=False)
    return pl.when(numbers.is_finite()).then(numbers)


def _is_typed(column: Column, kind: pl.DataType) -> bool:
    """Whether cells of a type are values of the column as they are; all others are read as texts."""
    match column:
        case NumericColumn():
            return kind.is_integer() or kind.is_float()
        case BooleanColumn():
            return kind == pl.Boolean or kind.is_integer() or kind.is_float()
        case TimestampColumn():
            return kind == pl.Date or isinstance(kind, pl.Datetime)
        case CategoricalColumn():
            return False
        case ImageColumn():
            raise RecordsError([Problem(None, column.name, NO_PICTURES)])


class _Reader:
    """Reads some columns of a frame by a schema, collecting problems.

    What polars does, it does to all of them at once: each of its operations costs as much as some hundred cells.
    """

    def __init__(self, schema: Schema, columns: Sequence[Column], frame: pl.DataFrame, problems: list[Problem]) -> None:
        self._tokens = frozenset(schema.null_tokens)
        self._decimal = schema.decimal
        self._problems = problems
        self._cells = {column.name: frame[column.name] for column in columns}
        texts = [column for column in columns if not _is_typed(column, self._cells[column.name].dtype)]
        self._cells |= {column.name: as_text(self._cells[column.name]) for column in texts}
        self._stripped = _of_all(self._cells, texts, lambda cells: cells.str.strip_chars())
        numeric = [column for column in texts if isinstance(column, NumericColumn)]
        self._parsed = _of_all(self._stripped, numeric, lambda cells: _numbers(cells, self._decimal))

    def column(self, column: Column) -> npt.NDArray[Any]:
        cells = self._cells[column.name]
        match column:
            case NumericColumn():
                values = self._numbers(column) if column.name in self._parsed else _floats(cells)
                self._problems.extend(inputs.check_numbers(column.name, values))
                return values
            case BooleanColumn():
                if column.name in self._stripped:
                    return self._flags(column)
                values = _floats(cells)
                self._problems.extend(inputs.check_flags(column.name, values))
                return values
            case CategoricalColumn():
                return self._levels(column)
            case TimestampColumn():
                return self._times(column) if column.name in self._stripped else _datetimes(cells)
            case ImageColumn():
                raise TypeError(NO_PICTURES)

    def _numbers(self, column: NumericColumn) -> npt.NDArray[np.float64]:
        values = self._parsed[column.name].to_numpy(writable=True)
        rows = np.flatnonzero(np.isnan(values))
        if len(rows):
            texts = self._stripped[column.name].gather(rows).to_list()
            self._each(column, rows.tolist(), texts, lambda text: parse_number(text, self._decimal), values)
        return values

    def _flags(self, column: BooleanColumn) -> npt.NDArray[np.float64]:
        known = FLAGS | dict.fromkeys(column.true, 1.0) | dict.fromkeys(column.false, 0.0)
        words = ", ".join(map(repr, column.true + column.false))

        def read(text: str) -> float:
            if text.lower() not in known:
                raise ValueError(f"one of {words} is expected, not {shown(text)}; {UNKNOWN}")
            return known[text.lower()]

        texts = self._stripped[column.name].to_list()
        values = np.full(len(texts), np.nan)
        self._each(column, range(len(texts)), texts, read, values)
        return values

    def _levels(self, column: CategoricalColumn) -> npt.NDArray[np.object_]:
        pairs = zip(self._cells[column.name].to_list(), self._stripped[column.name].to_list(), strict=True)
        found = [None if stripped in self._tokens else text for text, stripped in pairs]
        levels = np.empty(len(found), object)
        levels[:] = found
        return levels

    def _times(self, column: TimestampColumn) -> npt.NDArray[np.datetime64]:
        read_time = inputs.timestamp_reader(column.format)
        unix = column.format.startswith("unix")

        def read(text: str) -> np.datetime64:
            return read_time(parse_number(text, self._decimal) if unix else text)

        texts = self._stripped[column.name].to_list()
        values = np.full(len(texts), np.datetime64("NaT"), "datetime64[us]")
        self._each(column, range(len(texts)), texts, read, values)
        return values

    def _each(
        self, column: Column, rows: Sequence[int], texts: Sequence[str | None], read: Read, values: npt.NDArray[Any]
    ) -> None:
        """Read the stripped texts of some rows into `values`, each distinct one once; what `read` refuses is a problem.

        Empty ones and null tokens are missing, and left as they are in `values`.
        """
        known: dict[str | None, Any] = dict.fromkeys([None, "", *self._tokens])
        for row, text in zip(rows, texts, strict=True):
            if text not in known:
                try:
                    known[text] = read(text)  # type: ignore[arg-type]  # None is known
                except ValueError as error:
                    known[text] = error
            found = known[text]
            if isinstance(found, ValueError):
                self._problems.append(Problem(row, column.name, str(found)))
            elif found is not None:
                values[row] = found


def _of_all(cells: Mapping[str, pl.Series], columns: Sequence[Column], work: Work) -> dict[str, pl.Series]:
    """The same done to some columns, by their names, which may look like polars' patterns."""
    if not columns:
        return {}
    frame = pl.DataFrame([cells[column.name].alias(str(i)) for i, column in enumerate(columns)])
    return dict(zip([column.name for column in columns], frame.select(work(pl.all())), strict=True))


def _floats(cells: pl.Series) -> npt.NDArray[np.float64]:
    """NaN where null, which is how polars hands floats to NumPy."""
    return cells.cast(pl.Float64).to_numpy()


def _datetimes(cells: pl.Series) -> npt.NDArray[np.datetime64]:
    if isinstance(cells.dtype, pl.Datetime) and cells.dtype.time_zone:
        cells = cells.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return cells.cast(pl.Datetime("us")).to_numpy().astype("datetime64[us]")


def as_text(cells: pl.Series) -> pl.Series:
    """A column as the texts that a CSV file would hold, null where missing (a float's NaN too).

    Raises RecordsError for lists, structures and other types that no cell of a text table can hold.
    """
    kind = cells.dtype
    if kind == pl.String:
        return cells
    if kind.is_float():
        whole = cells.cast(pl.Int64, strict=False)
        other = cells.fill_nan(None).cast(pl.String)
        return pl.select(pl.when(whole.cast(kind) == cells).then(whole.cast(pl.String)).otherwise(other)).to_series()
    try:
        return cells.cast(pl.String)
    except PolarsError:
        message = f"the column holds {kind}, which is neither number, flag, text nor time"
        raise RecordsError([Problem(None, cells.name, message)]) from None
