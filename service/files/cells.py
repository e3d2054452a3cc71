"""From the cells of a file to the typed columns of the detector, for text and for typed tables alike.

Every text is stripped of blanks before it is compared with a null token or read as a number, a flag or a time. A
categorical text that is no null token is taken as it stands. A typed cell whose type is not the column's own is read
as the text that it would be in a CSV file.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from polars.exceptions import PolarsError

from service.detector import inputs
from service.detector.errors import Problem, RecordsError
from service.detector.schema import (
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
Decimal = Literal[".", ","]
Read = Callable[[str], Any]


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
    reader = _Reader(schema, problems)
    columns = {column.name: reader.column(column, frame[column.name]) for column in schema.fields}
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
    if decimal == ",":
        texts = texts.set(texts.str.contains(".", literal=True), None).str.replace(",", ".", literal=True)
    numbers = texts.cast(pl.Float64, strict=False)
    return pl.select(pl.when(numbers.is_finite()).then(numbers)).to_series()


class _Reader:
    """Reads columns by one schema, collecting problems."""

    def __init__(self, schema: Schema, problems: list[Problem]) -> None:
        self._tokens = schema.null_tokens
        self._decimal = schema.decimal
        self._problems = problems

    def column(self, column: Column, cells: pl.Series) -> npt.NDArray[Any]:
        kind = cells.dtype
        match column:
            case NumericColumn():
                if kind.is_integer() or kind.is_float():
                    return self._checked(column.name, cells.cast(pl.Float64).fill_null(np.nan).to_numpy())
                return self._numbers(column, cells)
            case BooleanColumn():
                if kind == pl.Boolean or kind.is_integer() or kind.is_float():
                    flags = cells.cast(pl.Float64).fill_null(np.nan).to_numpy()
                    self._problems.extend(inputs.check_flags(column.name, flags))
                    return flags
                return self._flags(column, cells)
            case CategoricalColumn():
                return self._levels(cells)
            case TimestampColumn():
                return self._times(column, cells)
            case ImageColumn():
                raise RecordsError([Problem(None, column.name, NO_PICTURES)])

    def _numbers(self, column: NumericColumn, cells: pl.Series) -> npt.NDArray[np.float64]:
        texts = as_text(cells).str.strip_chars()
        numbers = parse_numbers(texts, self._decimal)
        values = numbers.fill_null(np.nan).to_numpy(writable=True)
        self._each(column, texts, numbers.is_null(), lambda text: parse_number(text, self._decimal), values)
        return self._checked(column.name, values)

    def _flags(self, column: BooleanColumn, cells: pl.Series) -> npt.NDArray[np.float64]:
        known = FLAGS | dict.fromkeys(column.true, 1.0) | dict.fromkeys(column.false, 0.0)
        words = ", ".join(map(repr, column.true + column.false))

        def read(text: str) -> float:
            if text.lower() not in known:
                raise ValueError(f"one of {words} is expected, not {shown(text)}; {UNKNOWN}")
            return known[text.lower()]

        values = np.full(len(cells), np.nan)
        self._each(column, as_text(cells).str.strip_chars(), None, read, values)
        return values

    def _levels(self, cells: pl.Series) -> npt.NDArray[np.object_]:
        texts = as_text(cells)
        texts = texts.set(texts.str.strip_chars().is_in(list(self._tokens)), None)
        levels = np.empty(len(texts), object)
        levels[:] = texts.to_list()
        return levels

    def _times(self, column: TimestampColumn, cells: pl.Series) -> npt.NDArray[np.datetime64]:
        kind = cells.dtype
        if kind == pl.Date or isinstance(kind, pl.Datetime):
            if isinstance(kind, pl.Datetime) and kind.time_zone:
                cells = cells.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
            return cells.cast(pl.Datetime("us")).to_numpy().astype("datetime64[us]")
        read_time = inputs.timestamp_reader(column.format)
        unix = column.format.startswith("unix")

        def read(text: str) -> np.datetime64:
            return read_time(parse_number(text, self._decimal) if unix else text)

        values = np.full(len(cells), np.datetime64("NaT"), "datetime64[us]")
        self._each(column, as_text(cells).str.strip_chars(), None, read, values)
        return values

    def _checked(self, name: str, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        self._problems.extend(inputs.check_numbers(name, numbers))
        return numbers

    def _each(
        self, column: Column, texts: pl.Series, among: pl.Series | None, read: Read, values: npt.NDArray[Any]
    ) -> None:
        """Read stripped texts into `values`, each distinct one once; those that `read` refuses are problems.

        Empty ones and null tokens are missing, and left as they are in `values`.
        """
        wanted = texts.is_not_null() & (texts != "")
        rows = (wanted if among is None else wanted & among).arg_true()
        known: dict[str, Any] = dict.fromkeys(self._tokens)
        for row, text in zip(rows.to_list(), texts.gather(rows).to_list(), strict=True):
            if text not in known:
                try:
                    known[text] = read(text)
                except ValueError as error:
                    known[text] = error
            found = known[text]
            if isinstance(found, ValueError):
                self._problems.append(Problem(row, column.name, str(found)))
            elif found is not None:
                values[row] = found


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
