"""The fast way from a JSON body to typed columns: each model has a decoder made for its schema.

It is strict, and what it takes is what `bodies.body` and `detector.inputs` would take, with the same
result; whatever it refuses is left to them, to be read anyway (some things are merely rare) or to be explained.
"""

import struct
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from kilter.service.detector import Schema
from kilter.service.detector.columns.base import read_cells
from kilter.service.detector.errors import Problem
from kilter.service.detector.inputs import Layout, NumberColumns, Table

RECORDS = "records"
COLUMNS = "columns"


class RowReader:
    """Reads bodies of `{"records": [...]}` or one bare record into tables."""

    def __init__(self, schema: Schema) -> None:
        self._width = len(schema.fields)
        self._extra = bool(schema.left_out)
        self._pack = struct.Struct(f"={self._width}d").pack
        self._layout = Layout(schema)
        self._numbers = [i for i, name in enumerate(schema.names) if name in self._layout.places]
        self._others = [(i, column) for i, column in enumerate(schema.fields) if column.name not in self._layout.places]
        aside = [column.name for column in schema.left_out]
        fields = [
            (f"f{i}", column.json_type, msgspec.field(name=column.name)) for i, column in enumerate(schema.fields)
        ]
        extra = [(f"e{i}", Any, msgspec.field(name=name, default=None)) for i, name in enumerate(aside)]
        self._many: msgspec.json.Decoder[Any] | None = None
        self._line: msgspec.json.Decoder[Any] | None = None
        self._one: msgspec.json.Decoder[Any] | None = None
        if len({*schema.names, *aside}) < len(fields) + len(extra) or any(map(_unspeakable, (*schema.names, *aside))):
            return
        if any(column.required for column in schema.fields):  # what takes its time is the picture
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
            return Table(NumberColumns(self._layout, self._matrix(rows)), len(rows), [])
        columns = list(zip(*rows, strict=True)) or [()] * self._width
        numbers = np.array([columns[i] for i in self._numbers], np.float64).reshape(len(self._numbers), len(rows))
        problems: list[Problem] = []
        others = {column.name: read_cells(column, columns[i], problems) for i, column in self._others}
        return None if problems else Table(NumberColumns(self._layout, numbers.T, others), len(rows), [])

    def _matrix(self, rows: Sequence[tuple[Any, ...]]) -> npt.NDArray[np.float64]:
        try:
            return np.frombuffer(b"".join([self._pack(*row) for row in rows])).reshape(len(rows), self._width)
        except struct.error:  # some value is missing, which the slower way takes for NaN
            return np.array(rows, np.float64).reshape(len(rows), self._width)


def _unspeakable(name: str) -> bool:
    """Whether a name needs escapes in JSON, which the decoders cannot be made for."""
    return msgspec.json.encode(name) != f'"{name}"'.encode("utf-8", "replace")
