"""The fast way from a JSON body to typed columns: each model has a decoder made for its schema.

It is strict, and what it takes is what `bodies.body` and `detector.inputs` would take, with the same
result; whatever it refuses is left to them, to be read anyway (some things are merely rare) or to be explained.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from kilter.service.detector import Schema
from kilter.service.detector.grid import Grid, Layout
from kilter.service.detector.inputs import FLOAT32_MAX, Table, timestamp_reader
from kilter.service.detector.schema import (
    BooleanColumn,
    CategoricalColumn,
    Column,
    ImageColumn,
    NumericColumn,
    TimestampColumn,
)

RECORDS = "records"
COLUMNS = "columns"
Number = Annotated[float, msgspec.Meta(ge=-FLOAT32_MAX, le=FLOAT32_MAX)] | None
Flag = bool | Annotated[int, msgspec.Meta(ge=0, le=1)] | None


class RowReader:
    """Reads bodies of `{"records": [...]}` or one bare record into tables."""

    def __init__(self, schema: Schema) -> None:
        self._width = len(schema.fields)
        self._extra = bool(schema.left_out)
        self._pack = struct.Struct(f"={self._width}d").pack
        self._layout = Layout(schema)
        self._numbers = [i for i, name in enumerate(schema.names) if name in self._layout.places]
        self._others: list[tuple[int, str, Callable[[Sequence[Any]], npt.NDArray[Any]]]] = [
            (i, column.name, _maker(column))
            for i, column in enumerate(schema.fields)
            if column.name not in self._layout.places and not isinstance(column, ImageColumn)
        ]
        aside = [column.name for column in schema.left_out]
        fields = [(f"f{i}", _kind(column), msgspec.field(name=column.name)) for i, column in enumerate(schema.fields)]
        extra = [(f"e{i}", Any, msgspec.field(name=name, default=None)) for i, name in enumerate(aside)]
        self._many: msgspec.json.Decoder[Any] | None = None
        self._line: msgspec.json.Decoder[Any] | None = None
        self._one: msgspec.json.Decoder[Any] | None = None
        if len({*schema.names, *aside}) < len(fields) + len(extra) or any(map(_unspeakable, (*schema.names, *aside))):
            return
        if schema.image is not None:  # what takes its time is the picture
            return
        record = msgspec.defstruct("Record", [*fields, *extra], forbid_unknown_fields=True, gc=False)
        body = msgspec.defstruct("Body", [(RECORDS, list[record])], forbid_unknown_fields=True)  # type: ignore[valid-type]
        self._many = msgspec.json.Decoder(body)
        self._line = msgspec.json.Decoder(record)
        if not {RECORDS, COLUMNS} & set(aside):  # these two are no fields to pass over where they hold records
            self._one = self._line

    def short(self, body: bytes, limit: int) -> Table | None:
        """The records of a body, up to a limit; None if there are more, or they have to be looked at one by one."""
        records = self.records(body)
        return self.table(records) if records is not None and len(records) <= limit else None

    def records(self, body: bytes) -> list[Any] | None:
        """The records of a body, for `table`; None if they have to be looked at one by one."""
        if self._many is None:
            return None
        try:
            found: list[Any] = self._many.decode(body).records
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._bare(body)
        return found

    def _bare(self, body: bytes) -> list[Any] | None:
        if self._one is None:
            return None
        try:
            return [self._one.decode(body)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def lines(self, lines: Sequence[bytes]) -> list[Any] | None:
        """The record of each line; None if they have to be looked at one by one."""
        if self._line is None:
            return None
        try:
            return list(map(self._line.decode, lines))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def table(self, records: Sequence[Any]) -> Table | None:
        """The typed columns of `records`; None if they have to be looked at one by one."""
        rows = list(map(msgspec.structs.astuple, records))
        if self._extra:
            rows = [row[: self._width] for row in rows]
        if not self._others:
            return Table(Grid(self._layout, self._matrix(rows)), len(rows), [])
        columns = list(zip(*rows, strict=True)) or [()] * self._width
        numbers = np.array([columns[i] for i in self._numbers], np.float64).reshape(len(self._numbers), len(rows))
        try:
            others = {name: make(columns[i]) for i, name, make in self._others}
        except (ValueError, OverflowError):
            return None
        return Table(Grid(self._layout, numbers.T, others), len(rows), [])

    def _matrix(self, rows: Sequence[tuple[Any, ...]]) -> npt.NDArray[np.float64]:
        try:
            return np.frombuffer(b"".join([self._pack(*row) for row in rows])).reshape(len(rows), self._width)
        except struct.error:  # some value is missing, which the slower way takes for NaN
            return np.array(rows, np.float64).reshape(len(rows), self._width)


def _unspeakable(name: str) -> bool:
    """Whether a name needs escapes in JSON, which the decoders cannot be made for."""
    return msgspec.json.encode(name) != f'"{name}"'.encode("utf-8", "replace")


def _kind(column: Column) -> Any:
    match column:
        case NumericColumn():
            return Number
        case BooleanColumn():
            return Flag
        case TimestampColumn(format="unix_s" | "unix_ms"):
            return int | float | None
        case _:
            return str | None


def _maker(column: Column) -> Callable[[Sequence[Any]], npt.NDArray[Any]]:
    """What makes a column of values; it raises ValueError where one cannot be read."""
    if isinstance(column, TimestampColumn):
        read = timestamp_reader(column.format)
        none = np.datetime64("NaT", "us")
        return lambda values: np.array([none if value is None else read(value) for value in values], "datetime64[us]")
    assert isinstance(column, CategoricalColumn)  # noqa: S101
    return _levels


def _levels(values: Sequence[Any]) -> npt.NDArray[np.object_]:
    levels = np.empty(len(values), object)
    levels[:] = values
    return levels
