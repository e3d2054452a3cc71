"""Records that come as JSON: row by row, column by column, or a record in each line.

Each model has a decoder made for its schema. It is strict, and what it takes is what `detector.inputs` would take of
the decoded values, with the same result. What it refuses is decoded once more, whatever it holds, to be read anyway
(some things are merely rare) or to be explained.
"""

import re
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from kilter.service.detector import Problem, Schema
from kilter.service.detector.columns.base import read_cells
from kilter.service.detector.inputs import Layout, NumberColumns, Table, from_columns, from_records, in_order
from kilter.service.detector.names import with_own_names
from kilter.service.formats.bodies import CHUNK, ID, Body, Call, check_ids, too_many
from kilter.service.formats.json_keys import RECORDS, count_keys, may_repeat, repeated_key
from kilter.service.problems import BAD_BODY, BAD_RECORDS, TOO_LARGE, RequestError

COLUMNS = "columns"
SHAPE = 'the body is {"records": [{...}, ...]}, or one bare record {...}'
COLUMNS_SHAPE = 'column by column the body is {"columns": {"field": [...], ...}}, all of the same length'
CONTAINERS = 50_000
"""Lists and objects that a body may have beside those of its records: each takes thirty times its bytes in memory."""
BOM = b"\xef\xbb\xbf"
_MANY = re.compile(rb'\s*\{\s*"records"\s*:\s*\[')
_USUAL = (b'{"records":[', b'{"records": [')  # as most clients begin


class RowReader:
    """Reads records of a model's schema strictly."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._width = len(schema.fields)
        self._extra = bool(schema.left_out)
        self._pack = struct.Struct(f"={self._width}d").pack
        self._layout = Layout(schema)
        self._numbers = [i for i, name in enumerate(schema.names) if name in self._layout.places]
        self._others = [(i, column) for i, column in enumerate(schema.fields) if column.name not in self._layout.places]
        aside = [column.name for column in schema.left_out]
        self._many: msgspec.json.Decoder[Any] | None = None
        self._line: msgspec.json.Decoder[Any] | None = None
        self._one: msgspec.json.Decoder[Any] | None = None
        names = [*schema.names, *aside]
        if len(set(names)) < len(names) or any(map(_unspeakable, names)):
            return
        if any(column.required for column in schema.fields):  # what takes its time is the picture
            return
        fields = [
            (f"f{i}", column.json_type, msgspec.field(name=column.name)) for i, column in enumerate(schema.fields)
        ]
        fields += [(f"e{i}", Any, msgspec.field(name=name, default=None)) for i, name in enumerate(aside)]
        record = msgspec.defstruct("Record", fields, forbid_unknown_fields=True, gc=False)
        body = msgspec.defstruct("Body", [(RECORDS, list[record])], forbid_unknown_fields=True)  # type: ignore[valid-type]
        self._many = msgspec.json.Decoder(body)
        self._line = msgspec.json.Decoder(record)
        if not {RECORDS, COLUMNS} & set(aside):  # these two are no fields to pass over where they hold records
            self._one = self._line

    def records(self, content: bytes) -> list[Any] | None:
        """The records of `{"records": [...]}` or of one bare record, for `table`.

        None if they are to be decoded whatever they hold. Raises RequestError if the body is no JSON.
        """
        many = content.startswith(_USUAL)
        if not many:
            content = content.removeprefix(BOM)
            many = _MANY.match(content) is not None
        decoder = self._many if many else self._one
        if decoder is None:
            return None
        try:
            decoded = decoder.decode(content)
        except (msgspec.ValidationError, UnicodeDecodeError, RecursionError):
            return None
        except msgspec.DecodeError as error:
            raise RequestError(BAD_BODY, _why(content, error)) from None
        records = decoded.records if many else [decoded]
        if content.count(b":") > many + self._width * len(records):
            _check_keys(content, many + self._keys(records))
        return records

    def lines(self, lines: Sequence[bytes]) -> list[Any] | None:
        """The record of each line, for `table`; None if they are to be decoded whatever they hold."""
        if self._line is None:
            return None
        try:
            records = list(map(self._line.decode, lines))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return None if may_repeat(b"\n".join(lines), self._keys(records)) else records

    def _keys(self, records: Sequence[Any]) -> int:
        """The keys of records, as far as their values tell."""
        aside = (msgspec.structs.astuple(record)[self._width :] for record in records) if self._extra else ()
        return self._width * len(records) + sum(value is not None for values in aside for value in values)

    def table(self, records: Sequence[Any]) -> Table | None:
        """The typed columns of records; None if they are to be looked at one by one."""
        rows = list(map(msgspec.structs.astuple, records))
        if self._extra:
            rows = [row[: self._width] for row in rows]
        if not self._others:
            return Table(NumberColumns(self._layout, self._matrix(rows)), len(rows), [])
        columns = list(zip(*rows, strict=True)) or [()] * self._width
        numbers = np.array([columns[i] for i in self._numbers], np.float64).reshape(len(self._numbers), len(rows))
        problems: list[Problem] = []
        others = {}
        for i, column in self._others:
            values = column.read_all(columns[i])
            others[column.name] = read_cells(column, columns[i], problems) if values is None else values
        return None if problems else Table(NumberColumns(self._layout, numbers.T, others), len(rows), [])

    def _matrix(self, rows: Sequence[tuple[Any, ...]]) -> npt.NDArray[np.float64]:
        try:
            return np.frombuffer(b"".join([self._pack(*row) for row in rows])).reshape(len(rows), self._width)
        except struct.error:  # some value is missing, which the slower way takes for NaN
            return np.array(rows, np.float64).reshape(len(rows), self._width)


def _unspeakable(name: str) -> bool:
    """Whether a name needs escapes in JSON, which the decoders cannot be made for."""
    return msgspec.json.encode(name) != f'"{name}"'.encode("utf-8", "replace")


class JsonBody(Body):
    """A body of `{"records": [...]}`, `{"columns": {...}}` or one bare record."""

    def __init__(self, call: Call, records: list[Any] | None) -> None:
        """`records` are what `RowReader.records` gives of the body."""
        super().__init__()
        self._call = call
        self._records = records

    def tables(self) -> Iterator[Table]:
        records = self._records
        if records is None:
            yield from self._lenient()
            return
        if len(records) > self._call.limit:
            raise too_many(self._call.limit)
        lenient: list[Table] | None = None
        for start in range(0, len(records), CHUNK):
            piece = records if len(records) <= CHUNK else records[start : start + CHUNK]
            table = self._call.reader.table(piece)
            if table is None:
                lenient = lenient or list(self._lenient())
                table = lenient[start // CHUNK]
            yield table

    def _lenient(self) -> Iterator[Table]:
        schema = self._call.reader.schema
        value = decode_json(self._call.content.removeprefix(BOM), self._call.limit)
        columns = value.get(COLUMNS) if isinstance(value, dict) else None
        if isinstance(columns, dict):
            yield from self._columns(value, columns)
            return
        records = records_of(value, schema, self._call.limit)
        for start in range(0, len(records), CHUNK):
            yield lenient_table(self._call, records[start : start + CHUNK], self.ids)

    def _columns(self, value: dict[str, Any], columns: dict[str, Any]) -> Iterator[Table]:
        _check_alone(value, COLUMNS)
        lengths = {name: len(values) for name, values in columns.items() if isinstance(values, list)}
        rows = max(lengths.values(), default=0)
        message = "a column is a list of values, one for each record"
        wrong = [Problem(None, name, message) for name in columns if name not in lengths]
        wrong = wrong or [
            Problem(None, name, f"the column has {count:,} values, another has {rows:,}: all have as many")
            for name, count in lengths.items()
            if count < rows
        ]
        if wrong:
            raise RequestError(BAD_RECORDS, COLUMNS_SHAPE, wrong)
        if rows > self._call.limit:
            raise too_many(self._call.limit)
        for start in range(0, max(rows, 1), CHUNK):
            piece = {name: values[start : start + CHUNK] for name, values in columns.items()}
            yield self._columns_table(piece, min(CHUNK, rows - start))

    def _columns_table(self, columns: dict[str, list[Any]], rows: int) -> Table:
        schema = self._call.reader.schema
        if not self._call.ignore_unknown:
            return from_columns(schema, columns, self._call.read)
        ids, problems = check_ids(columns[ID] if ID in columns and ID not in schema.names else [None] * rows)
        self.ids += ids
        columns = dict(with_own_names(schema.names, columns))
        known = {name: values for name, values in columns.items() if name in schema.names}
        table = from_columns(schema, known, self._call.read)
        return table._replace(problems=in_order([*table.problems, *problems]))


def read_json_body(call: Call) -> JsonBody:
    """Raises RequestError if the body is no JSON."""
    return JsonBody(call, None if call.ignore_unknown else call.reader.records(call.content))


def lenient_table(call: Call, records: Sequence[Any], ids: list[Any]) -> Table:
    """Records, looked at one by one; where they may have fields that the model does not know, `ids` gets their ids."""
    schema = call.reader.schema
    if not call.ignore_unknown:
        return from_records(schema, records, call.read)
    objects = [record if isinstance(record, dict) else {} for record in records]
    more, problems = check_ids(None if ID in schema.names else fields.get(ID) for fields in objects)
    ids += more
    records = [with_own_names(schema.names, record) if isinstance(record, dict) else record for record in records]
    known = [
        {name: record[name] for name in schema.names if name in record} if isinstance(record, dict) else record
        for record in records
    ]
    table = from_records(schema, known, call.read)
    return table._replace(problems=in_order([*table.problems, *problems]))


class LinesBody(Body):
    """A body with a record in each line; lines without anything are passed over."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = call
        self._lines = [line for line in call.content.removeprefix(BOM).split(b"\n") if line.strip()]

    def tables(self) -> Iterator[Table]:
        if len(self._lines) > self._call.limit:
            raise too_many(self._call.limit)
        for start in range(0, len(self._lines), CHUNK):
            lines = self._lines[start : start + CHUNK]
            records = None if self._call.ignore_unknown else self._call.reader.lines(lines)
            table = None if records is None else self._call.reader.table(records)
            yield self._lenient(lines) if table is None else table

    def _lenient(self, lines: Sequence[bytes]) -> Table:
        unread: dict[int | None, Problem] = {}
        records: list[Any] = []
        for row, line in enumerate(lines):
            try:
                records.append(decode_json(line))
            except RequestError as error:
                unread[row] = Problem(row, None, error.detail.replace("the body", "the line"))
                records.append(None)
        table = lenient_table(self._call, records, self.ids)
        return table._replace(problems=[unread.get(problem.row, problem) for problem in table.problems])


def records_of(value: Any, schema: Schema, limit: int) -> list[Any]:
    """The records of a JSON body, `{"records": [...]}` or one bare record; what each holds is not looked at.

    A list under `records` is always the list of records, as no field's value is a list. Raises RequestError.
    """
    if not isinstance(value, dict):
        kind = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}.get(type(value), "a number")
        raise RequestError(BAD_RECORDS, f"the body is {kind}: {SHAPE}", [Problem(None, None, SHAPE)])
    records = value.get(RECORDS)
    if not isinstance(records, list):
        if RECORDS in value and RECORDS not in schema.names:
            raise RequestError(BAD_RECORDS, SHAPE, [Problem(None, RECORDS, "a list of records is expected")])
        wrapped = [name for name, inner in value.items() if isinstance(inner, list) and name not in schema.names]
        if len(value) == len(wrapped) == 1:
            message = f"the records of a request stand under the key {RECORDS!r}, not {wrapped[0][:100]!r}"
            raise RequestError(BAD_RECORDS, SHAPE, [Problem(None, wrapped[0], message)])
        return [value]
    _check_alone(value, RECORDS)
    if len(records) > limit:
        raise too_many(limit)
    return records


def _check_alone(value: dict[str, Any], key: str) -> None:
    """Raise RequestError if a body has anything beside the one key that it may have."""
    if len(value) > 1:
        extra = [Problem(None, name, f"beside {key!r} the body holds nothing else") for name in value.keys() - {key}]
        raise RequestError(BAD_RECORDS, SHAPE, sorted(extra))


def decode_json(content: bytes, records: int = 0) -> Any:
    """The value of a JSON text; a byte order mark before it is passed over.

    Raises RequestError if it is none, has a key twice, or more lists and objects than so many records need.
    """
    if content.count(b"[") + content.count(b"{") > records + CONTAINERS:
        raise RequestError(TOO_LARGE, "the JSON has too many lists and objects: send its records in several requests")
    try:
        value = msgspec.json.decode(content.removeprefix(BOM))
        keys = count_keys(value)
    except RecursionError:
        detail = "the JSON is nested too deeply"
    except UnicodeDecodeError as error:
        detail = f"JSON is UTF-8, and the byte at position {error.start} of a text is not"
    except msgspec.ValidationError:
        detail = "a number in the JSON is beyond what a 64-bit float can hold: use null for an unknown value"
    except msgspec.DecodeError as error:
        detail = _why(content, error)
    else:
        _check_keys(content, keys)
        return value
    raise RequestError(BAD_BODY, detail)


def _check_keys(content: bytes, keys: int) -> None:
    """Raise RequestError if a key stands in an object twice, where so many keys were read."""
    place = repeated_key(content.removeprefix(BOM)) if may_repeat(content, keys) else None
    if place is not None:
        row, key = place
        where = "the body" if row is None else f"record {row:,}"
        message = f"the key {key[:100]!r} stands twice in {where}: send each field once"
        raise RequestError(BAD_BODY, message, [Problem(row, key, "the key stands twice")])


def _why(content: bytes, error: msgspec.DecodeError) -> str:
    if not content.strip():
        return f"the body is empty: {SHAPE}"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "the body is UTF-16: JSON is UTF-8"
    text = f"the body is not JSON: {str(error).removeprefix('JSON is malformed: ')}"
    if any(literal in content for literal in (b"NaN", b"Infinity")):
        text += "; NaN and Infinity are not JSON: use null for an unknown value"
    return text
