"""Files of JSON: NDJSON, a record as an object in each line, and a list of records, or what a request's body may be.

A file is read twice, once to know its columns and their types. Of NDJSON only some lines are in memory at a time.
"""

from collections.abc import Iterator, Mapping, Sequence
from io import BufferedReader
from itertools import islice
from typing import Any, BinaryIO, NamedTuple, overload

import msgspec
import polars as pl

from kilter.service.detector.errors import KilterError, Problem
from kilter.service.formats.contents import ContentRead
from kilter.service.formats.ranges import FileRange, RangePoint, ranges_between
from kilter.service.formats.reading import Batch, Reader, check_columns
from kilter.service.formats.source import Source

ROWS = 1 << 13  # records in a batch
LONGEST = 1 << 24  # bytes of a line
WHOLE = 2**63  # integers from here on are texts
SHAPE = "a record is an object like {...}"
SHOWN = 5  # columns that a note lists
BOM = b"\xef\xbb\xbf"
TYPES: dict[frozenset[type], pl.DataType] = {
    frozenset({bool}): pl.Boolean(),
    frozenset({int}): pl.Int64(),
    frozenset({float}): pl.Float64(),
    frozenset({int, float}): pl.Float64(),
}
"""Of columns whose values have these types; any others are of texts."""
VALUES: dict[str, type] = {kind.__name__: kind for kind in (bool, int, float, str, list, dict, type(None))}
"""The types that values have, by their names."""


Records = Sequence[dict[str, Any] | str]
"""Records, or why what stands there is none."""


class Piece(NamedTuple):
    """Some consecutive records."""

    records: Records
    raw: Sequence[bytes]
    """What stands there: a line, or a part of the text."""


class _Encoded(Sequence[bytes]):
    """Values as JSON, written once one of them is looked at."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        return _Encoded(self._values[index]) if isinstance(index, slice) else msgspec.json.encode(self._values[index])


class ColumnKinds:
    """Which types the values of each column of some records have."""

    def __init__(self, names: Mapping[str, Sequence[str]] | None = None) -> None:
        """`names` are those of types that are known already, by their columns."""
        self._kinds = {column: {VALUES[name] for name in several} for column, several in (names or {}).items()}

    def add(self, records: Records) -> None:
        for record in records:
            if isinstance(record, dict):
                for name, value in record.items():
                    self._kinds.setdefault(name, set()).add(_kind(value))

    @property
    def names(self) -> list[str]:
        """The columns, in the order in which they came."""
        return [*self._kinds]

    @property
    def type_names(self) -> dict[str, list[str]]:
        """The names of the types of each column."""
        return {name: sorted(kind.__name__ for kind in kinds) for name, kinds in self._kinds.items()}

    @property
    def nested(self) -> list[str]:
        """The columns in which there are lists or objects."""
        return [name for name, kinds in self._kinds.items() if kinds & {list, dict}]

    def batch(self, piece: Piece, first: int) -> Batch:
        """Records as a frame of the types that are known; lines that are none are faults."""
        records = piece.records
        faults = [Problem(row, None, text) for row, text in enumerate(records) if isinstance(text, str)]
        rows = [record if isinstance(record, dict) else {} for record in records]
        columns = []
        for name, kinds in self._kinds.items():
            kind = TYPES.get(frozenset(kinds - {type(None)}), pl.String())
            columns.append(pl.Series(name, _cells([row.get(name) for row in rows], kind), kind))
        return Batch(pl.DataFrame(columns), first, faults, piece.raw)


class JsonReader(Reader):
    """A table of JSON that is open for reading."""

    def __init__(self, source: Source) -> None:
        """Find the columns. Raises KilterError if there are none, or the file is not JSON."""
        self._source = source
        self.name = source.name
        self.notes = source.notes
        self._path = source.seekable_path()
        self._values = None if source.format.name == "ndjson" else self._whole()
        part = source.hints.part
        self._kinds = ColumnKinds(None if part is None else part.state["types"])
        for piece in self._pieces() if part is None else ():
            self._kinds.add(piece.records)
        self.columns = check_columns(self.name, self._kinds.names, SHAPE)
        nested = self._kinds.nested
        if nested:
            shown = ", ".join(map(repr, nested[:SHOWN])) + (", ..." if len(nested) > SHOWN else "")
            self.notes += (
                f"{self.name} has lists or objects in {shown}: each is read as its text, so take its parts out into "
                "fields of their own where they matter",
            )

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def content(self, *, final: bool) -> ContentRead:
        """What was read of the file so far, or all of it."""
        return self._source.content(final=final)

    def batches(self) -> Iterator[Batch]:
        """Every record, once, in order; lines that are none are faults."""
        part = self._source.hints.part
        first = 0 if part is None else part.row
        for piece in islice(self._pieces(), None if part is None else part.blocks):
            yield self._kinds.batch(piece, first)
            first += len(piece.records)

    def ranges(self, size: int) -> Iterator[FileRange]:
        """See `Reader.ranges`; of NDJSON, whose lines are counted."""
        return ranges_between(self._points(), size) if self._source.is_divisible else iter(())

    def _points(self) -> Iterator[RangePoint]:
        types = self._kinds.type_names
        row = block = line = 0
        with self._path.open("rb") as file:
            lines = numbered_lines(file, self.name)
            yield RangePoint(0, row, block, {"line": line, "types": types})
            while piece := [number for number, _ in islice(lines, ROWS)]:
                row, block, line = row + len(piece), block + 1, piece[-1]
                yield RangePoint(file.tell(), row, block, {"line": line, "types": types})

    def _pieces(self) -> Iterator[Piece]:
        """The records, some at a time."""
        if self._values is not None:
            for start in range(0, max(1, len(self._values)), ROWS):
                values = self._values[start : start + ROWS]
                yield Piece(
                    [_object(value, f"record {start + row}") for row, value in enumerate(values)], _Encoded(values)
                )
            return
        part = self._source.hints.part
        with self._path.open("rb") as file:
            file.seek(0 if part is None else part.start)
            lines = numbered_lines(file, self.name, 0 if part is None else part.state["line"])
            while piece := [*islice(lines, ROWS)]:
                yield piece_of_lines(piece)

    def _whole(self) -> Sequence[Any]:
        """The records of one JSON text. Raises KilterError if it holds none."""
        try:
            value = msgspec.json.decode(self._path.read_bytes().removeprefix(BOM))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise KilterError(f"{self.name} is not JSON: {error}") from None
        if isinstance(value, dict):
            [key] = value if len(value) == 1 else [""]
            if key == "columns" and isinstance(value[key], dict):
                return self._side_by_side(value[key])
            value = value[key] if key == "records" and isinstance(value[key], list) else [value]
        return list(value)

    def _side_by_side(self, columns: dict[str, Any]) -> Sequence[Any]:
        lengths = {len(values) if isinstance(values, list) else -1 for values in columns.values()}
        if len(lengths) != 1 or -1 in lengths:
            raise KilterError(f"{self.name}: each of its columns is a list of values, all of the same length")
        return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def is_ndjson(head: bytes) -> bool:
    """Whether a file that begins so has a whole object in its first line, and is not a body of a request."""
    text = head.removeprefix(BOM).lstrip()
    line, _, rest = text.partition(b"\n")
    if not line.startswith(b"{"):
        return False
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return b"NaN" in line and line.rstrip().endswith(b"}")
    return bool(rest.strip()) or not ({"records", "columns"} & value.keys() and len(value) == 1)


def is_json(head: bytes) -> bool:
    """Whether a file that begins so is one JSON text: a list of objects, or an object over several lines."""
    text = head.removeprefix(BOM).lstrip()
    inside = text[1:].lstrip()[:1]
    return (text[:1] == b"[" and inside == b"{") or (text[:1] == b"{" and inside == b'"' and not is_ndjson(head))


def numbered_lines(file: BinaryIO | BufferedReader, name: str, number: int = 0) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers from 1, `number` of which come before.

    Raises KilterError if one is too long.
    """
    while line := file.readline(LONGEST):
        number += 1
        if len(line) == LONGEST and not line.endswith(b"\n"):
            raise KilterError(f"line {number} of {name} has over {LONGEST} bytes: it is no record")
        line = line.removeprefix(BOM) if number == 1 else line
        if line.strip():
            yield number, line


def piece_of_lines(lines: Sequence[tuple[int, bytes]]) -> Piece:
    """The records of lines with their numbers."""
    return Piece([_record(line, f"line {number}") for number, line in lines], [line for _, line in lines])


def _record(line: bytes, place: str) -> dict[str, Any] | str:
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        remedy = "; write null where a value is not known" if b"NaN" in line or b"Infinity" in line else ""
        return f"{place} is not JSON: {str(error).removeprefix('JSON is malformed: ')}{remedy}"
    return _object(value, place)


def _object(value: Any, place: str) -> dict[str, Any] | str:
    return value if isinstance(value, dict) else f"{place} is no object: {SHAPE}"


def _kind(value: Any) -> type:
    return str if isinstance(value, int) and abs(value) >= WHOLE else type(value)


def _cells(values: list[Any], kind: pl.DataType) -> list[Any]:
    """Values of a column as its type has them: as texts, those that are none are written as in JSON."""
    if kind == pl.Float64():
        return [None if value is None else float(value) for value in values]
    if kind != pl.String():
        return values
    return [
        value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode() for value in values
    ]
