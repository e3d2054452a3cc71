"""Tables that know their types: Parquet, Arrow files and NumPy's npz, and Arrow in bodies.

An Arrow body is read once it is known that it claims no more than it has: its messages say how long their buffers are,
and the reader asks for memory by what they say before it looks, and ends the process where it gets none. Messages are
flatbuffers, of which this reads the few fields that count.
"""

import struct
import zipfile
from collections.abc import Iterator
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from polars.exceptions import PanicException, PolarsError

from kilter.service.detector.errors import KilterError, RecordsError
from kilter.service.detector.inputs import Table
from kilter.service.formats.bodies import CHUNK, Body, Call, too_many
from kilter.service.formats.contents import ContentRead
from kilter.service.formats.ranges import FileRange, RangePoint, ranges_between
from kilter.service.formats.reading import Batch, Reader, check_columns, to_table
from kilter.service.formats.source import Source
from kilter.service.problems import BAD_BODY, BAD_RECORDS, RequestError

ROWS = 1 << 13  # rows per batch, as in a block of text
CONTINUES = 0xFFFFFFFF  # before the length of a message
SCHEMA, DICTIONARY, BATCH = 1, 2, 3
"""Kinds of messages."""
_MAGIC = b"ARROW1"


class TypedReader(Reader):
    """A typed table that is open for reading."""

    def __init__(self, source: Source) -> None:
        """Read the schema. Raises KilterError if the file is damaged."""
        self._source = source
        self.name = source.name
        self.notes = source.notes
        try:
            self._lazy = self._open()
            names = self._lazy.collect_schema().names()
        except (PolarsError, OSError) as error:
            raise self._damaged(error) from None
        self.columns = check_columns(self.name, names, "rename one")

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def content(self, *, final: bool) -> ContentRead:
        """What was read of the file so far, or all of it."""
        return self._source.content(final=final)

    def batches(self) -> Iterator[Batch]:
        """Every row, once, in order."""
        part = self._source.hints.part
        lazy, row = (self._lazy, 0) if part is None else (self._lazy.slice(part.row, part.rows), part.row)
        try:
            for frame in lazy.collect_batches(chunk_size=ROWS, maintain_order=True):
                yield Batch(frame, row)
                row += frame.height
        except PolarsError as error:
            raise self._damaged(error) from None
        if not row:
            yield Batch(pl.DataFrame(schema=self._lazy.collect_schema()), 0)

    def ranges(self, size: int) -> Iterator[FileRange]:
        """See `Reader.ranges`; of a Parquet or Arrow file, which tells the number of its rows."""
        if not self._source.is_divisible:
            return iter(())
        try:
            rows: int = self._lazy.select(pl.len()).collect().item()
        except (PolarsError, OSError) as error:
            raise self._damaged(error) from None
        whole = self._source.seekable_path().stat().st_size
        starts = [*range(0, rows, ROWS), rows]
        points = (RangePoint(whole * row // max(1, rows), row, block, {}) for block, row in enumerate(starts))
        return ranges_between(points, size)

    def _open(self) -> pl.LazyFrame:
        path = self._source.seekable_path()
        match self._source.format.name:
            case "parquet":
                return pl.scan_parquet(path, glob=False)
            case "arrow":
                return pl.scan_ipc(path, glob=False)
            case _:
                return read_npz(path, self.name).lazy()

    def _damaged(self, error: Exception) -> KilterError:
        return KilterError(f"{self.name} cannot be read as {self._source.format.title}: {str(error).splitlines()[0]}")


def read_npz(path: Any, name: str) -> pl.DataFrame:
    """The arrays `X` (n, d), as columns x0, x1, ..., and `y` (n,) if it is there.

    Raises KilterError if the file holds anything else, or pickled objects.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            named = {key: arrays[key] for key in ("X", "y") if key in arrays.files}
            keys = ", ".join(arrays.files) or "none"
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise KilterError(f"{name} cannot be read as an npz file: {error}") from None
    x = named.get("X")
    if x is None or x.ndim != 2 or x.dtype.kind not in "fiub":
        raise KilterError(
            f"{name} must hold an array X of numbers, shape (rows, columns), and may hold y, shape (rows,); "
            f"its arrays: {keys}" + ("" if x is None else f"; X has shape {x.shape} and type {x.dtype}")
        )
    columns = {f"x{i}": _native(x[:, i]) for i in range(x.shape[1])}
    y = named.get("y")
    if y is not None:
        if y.shape != (len(x),) or y.dtype.kind not in "fiubU":
            raise KilterError(f"{name}: y has shape {y.shape} and type {y.dtype}, and must be ({len(x)},) of labels")
        columns["y"] = _native(y)
    return pl.DataFrame(columns)


def _native(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array of a type that polars has, in the machine's byte order."""
    kind = np.float32 if values.dtype == np.float16 else values.dtype.newbyteorder("=")
    return np.ascontiguousarray(values, kind)


class TooManyRowsError(ValueError):
    """The batches have more records together than they may."""


def read_arrow_body(call: Call) -> Body:
    """An Arrow body. Raises RequestError if it is damaged or has too many records."""
    stream = call.form.name == "arrow-stream"
    source = BytesIO(call.content)
    try:
        Claims(call.content, call.limit).check(stream=stream)
        return ArrowBody(call, pl.read_ipc_stream(source) if stream else pl.read_ipc(source))
    except TooManyRowsError:
        raise too_many(call.limit) from None
    except (PolarsError, PanicException, OSError, ValueError, TypeError) as error:
        kind = "stream" if stream else "file"
        raise RequestError(BAD_BODY, f"the body is no Arrow IPC {kind}: {str(error)[:200]}") from None


class ArrowBody(Body):
    """The records of a frame; columns that the model does not know are passed over, as in a file."""

    def __init__(self, call: Call, frame: pl.DataFrame) -> None:
        super().__init__()
        self._call = call
        self._frame = frame

    def tables(self) -> Iterator[Table]:
        try:
            for start in range(0, max(self._frame.height, 1), CHUNK):
                piece = self._frame.slice(start, CHUNK)
                yield self.keep_ids(self._call, to_table(self._call.reader.schema, piece), piece)
        except RecordsError as error:
            raise RequestError(BAD_RECORDS, "the columns do not fit the model", error.problems) from None


class MessageFacts(NamedTuple):
    """What the head of a message says."""

    kind: int
    body: int
    """Bytes that follow."""
    rows: int = 0
    """Of a batch."""
    number: int = 0
    """Of a dictionary."""


class Claims:
    """Checks what the messages of an Arrow body claim. Raises ValueError, TooManyRowsError for too many records."""

    def __init__(self, content: bytes, rows: int) -> None:
        """`rows` is the most records that all batches may have together."""
        self._content = content
        self._rows = rows

    def check(self, *, stream: bool) -> None:
        """Check every message, of the stream format or the file format."""
        try:
            if stream:
                self._stream()
            else:
                self._file()
        except (struct.error, IndexError):
            raise ValueError("a message points beyond its end") from None

    def describe(self, at: int) -> MessageFacts:
        """What the message whose head begins at a byte says. Raises ValueError, struct.error or IndexError."""
        root = self._table(at)
        kind, header, length = (self._field(root, index) for index in (1, 2, 3))
        if kind is None or header is None:
            raise ValueError("a message has no header")
        code, body = self._read("<B", kind), 0 if length is None else self._read("<q", length)
        first = self._field(self._table(header), 0)
        number = 0 if first is None or code == SCHEMA else self._read("<q", first)
        return MessageFacts(code, body, **{"rows" if code == BATCH else "number": number})

    def _stream(self) -> None:
        at = 0
        while at + 4 <= len(self._content):
            at, size = self._prefix(at)
            if size == 0:
                return
            at += self._message(at, at + size) + size

    def _file(self) -> None:
        """The messages at which the footer points."""
        end = len(self._content) - len(_MAGIC) - 4
        if end < 0 or not (self._content.startswith(_MAGIC) and self._content.endswith(_MAGIC)):
            raise ValueError("it does not begin and end as one")
        start = end - self._read("<i", end)
        footer = self._table(start)
        for index in (2, 3):
            for offset, length, size in self._structures(footer, index, "<qixxxxq"):
                at = self._prefix(offset)[0]
                if self._message(at, offset + length) != size:
                    raise ValueError("the footer and a message differ in its size")

    def _prefix(self, at: int) -> tuple[int, int]:
        """Where a message begins, and its length, which stands before it with or without a mark."""
        size = self._read("<I", at)
        if size != CONTINUES:
            return at + 4, size
        return at + 8, self._read("<I", at + 4)

    def _message(self, at: int, end: int) -> int:
        """Check a message whose buffers begin at `end`; their length."""
        if not at < end <= len(self._content):
            raise ValueError("a message is longer than what is left")
        root = self._table(at)
        kind, header, length = (self._field(root, index) for index in (1, 2, 3))
        body = 0 if length is None else self._read("<q", length)
        if not 0 <= body <= len(self._content) - end:
            raise ValueError(f"a message has {body} bytes, and {len(self._content) - end} are left")
        if kind is None or header is None:
            raise ValueError("a message has no header")
        code, table = self._read("<B", kind), self._table(header)
        if code == BATCH:
            self._rows -= self._batch(table, body, self._rows)
        elif code == DICTIONARY and (data := self._field(table, 1)) is not None:
            self._batch(self._table(data), body, len(self._content))
        return body

    def _batch(self, table: int, body: int, rows: int) -> int:
        """Check a batch of at most `rows` rows whose buffers lie in `body` bytes; the number of its rows."""
        if self._field(table, 3) is not None:
            raise ValueError("its buffers are compressed: write it without compression, and compress the body instead")
        stated = self._field(table, 0)
        length = 0 if stated is None else self._read("<q", stated)
        if length > rows:
            raise TooManyRowsError
        if length < 0:
            raise ValueError(f"a batch has {length} records")
        for count, _ in self._structures(table, 1, "<qq"):
            if not 0 <= count <= max(rows, len(self._content)):
                raise ValueError(f"a column has {count} values")
        for offset, size in self._structures(table, 2, "<qq"):
            if offset < 0 or size < 0 or offset + size > body:
                raise ValueError(f"a buffer ends at byte {offset + size} of {body}")
        return length

    def _structures(self, table: int, index: int, form: str) -> list[tuple[int, ...]]:
        """A vector of structures of integers."""
        field = self._field(table, index)
        if field is None:
            return []
        start = self._table(field)
        size = struct.calcsize(form) * self._read("<I", start)
        if size > len(self._content) - start - 4:
            raise ValueError("a list is longer than what is left")
        return list(struct.iter_unpack(form, self._content[start + 4 : start + 4 + size]))

    def _table(self, at: int) -> int:
        return at + self._read("<I", at)

    def _field(self, table: int, index: int) -> int | None:
        """Where a field of a table stands; None if it has its default."""
        known = table - self._read("<i", table)
        slot = 4 + 2 * index
        if slot + 2 > self._read("<H", known):
            return None
        offset = self._read("<H", known + slot)
        return table + offset if offset else None

    def _read(self, form: str, at: int) -> int:
        if at < 0:
            raise IndexError
        [value] = struct.unpack_from(form, self._content, at)
        return int(value)
