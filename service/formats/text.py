"""Reads a text table (CSV in any dialect) block by block: each record's fields, own bytes, and lines."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from kilter.service.detector.columns.cells import NUMBERS
from kilter.service.detector.errors import KilterError, Problem
from kilter.service.formats.dialect import Dialect, Utf16Stream, decode_lines, sniff
from kilter.service.formats.source import HEAD, Readable, Source
from kilter.service.formats.tables import Batch, check_columns

ROWS = 1 << 15
"""About the most rows in a block."""
BYTES = 1 << 22
"""The most bytes that are read at a time."""
REMEDY = "if there is no header line, add one"
LONGEST_LINE = 1 << 24
LONGEST = 1 << 22
"""Bytes that a record may have before a quote in it counts as never closed."""
LINE_FEED, CARRIAGE_RETURN, QUOTE = b'\n\r"'
SENTINEL = "\0end of block\0"
UNREADABLE = "a quote is opened that nothing closes, or a carriage return stands in the middle of the line"


class Record(NamedTuple):
    """One record of a text table; `fields` is None where it cannot be read."""

    raw: bytes
    """Its bytes with the line ending, if it has one."""
    fields: list[str] | None
    line: int
    """The number, from 1, of its first line in the file."""


class Block(NamedTuple):
    """Records as a frame of text: row i of `frame` is record i; its cells are empty where the record has a fault."""

    frame: pl.DataFrame
    raw: list[bytes]
    lines: Sequence[int]
    faults: list[tuple[int, str]]
    """(row, message) for records that are ragged or cannot be read."""


class TextReader:
    """A text table that is open for reading. See `formats.tables.Reader`."""

    def __init__(self, source: Source) -> None:
        """Read the header. Raises KilterError if there is none, or it names a column twice."""
        self._source = source
        self.name = source.name
        self.notes = source.notes
        self.dialect: Dialect | None = sniff(source.head(), source.name)
        self._delimiter = self.dialect.delimiter
        if self.dialect.bom:
            source.read(len(self.dialect.bom))
        self._stream: Readable = (
            source if self.dialect.encoding == "utf-8" else Utf16Stream(source, self.dialect.encoding, source.name)
        )
        data = self._stream.read(HEAD)
        header = self._header(data)
        start = sum(len(line) + 1 for line in data.split(b"\n")[: header.line - 1])
        self._data = data[start + len(header.raw) :]
        self._line = header.line + header.raw.count(b"\n")
        self.header = header.raw
        self.columns = check_columns(self.name, header.fields or [], REMEDY)
        if all(NUMBERS["."].fullmatch(name.strip()) for name in self.columns):
            self.notes += (f"the first line of {self.name} holds numbers alone and is taken for the header: {REMEDY}",)
        lines = self._data.count(b"\n") or 1
        self._bytes = min(BYTES, max(HEAD, ROWS * len(self._data) // lines))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def batches(self) -> Iterator[Batch]:
        """Every record, once, in order; those that cannot be read are faults."""
        row = 0
        for block in self._blocks():
            yield Batch(block.frame, row, [Problem(i, None, message) for i, message in block.faults], block.raw)
            row += block.frame.height

    def _header(self, data: bytes) -> Record:
        records, _ = split_records(data, self._delimiter, 1, final=len(data) < HEAD)
        if not records:
            raise KilterError(f"{self.name} has no header in its first lines: a table has a header and rows")
        if records[0].fields is None:
            raise KilterError(f"the header of {self.name} cannot be read: a quote in it is never closed")
        return records[0]

    def _blocks(self) -> Iterator[Block]:
        data, final = self._data, False
        yielded = False
        while not final:
            more = self._stream.read(self._bytes)
            final = not more
            data += more
            complete = len(data) if final else data.rfind(b"\n") + 1
            rest = data[complete:]
            block = plain_block(data[:complete], self.columns, self._delimiter, self._line)
            if block is not None:
                self._line += len(block.raw)
            else:
                records, rest = split_records(data, self._delimiter, self._line, final=final)
                block = quoted_block(records, self.columns)
                self._line += data.count(b"\n", 0, len(data) - len(rest))
            if block.raw or (final and not yielded):
                yielded = True
                yield block
            if len(rest) > LONGEST_LINE:
                raise KilterError(f"line {self._line} of {self.name} has over {LONGEST_LINE} bytes: it is no table")
            data = rest


def plain_block(data: bytes, columns: Sequence[str], delimiter: str, line: int) -> Block | None:
    """Complete lines that are one record each, read by polars; None if they are not that plain.

    Quotes may only stand around whole fields, and there are no blank lines, ragged records or other oddities. The same
    as `quoted_block` of the same lines, many times faster.
    """
    if not data or b"\0" in data or data[:1] in (b"\n", b"\r") or b"\n\n" in data or b"\n\r" in data:
        return None
    returns = b"\r" in data
    if returns and data.count(b"\r") != data.count(b"\r\n"):
        return None
    octets = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(octets == LINE_FEED)
    if not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    delimiters = np.flatnonzero(octets == ord(delimiter))
    quoted = b'"' in data
    if quoted:
        quotes = np.flatnonzero(octets == QUOTE)
        if not _around_fields(octets, quotes, ends, ord(delimiter)):
            return None
        delimiters = delimiters[np.searchsorted(quotes, delimiters) % 2 == 0]
    per_line = np.diff(np.searchsorted(delimiters, ends), prepend=0)
    if (per_line != len(columns) - 1).any():
        return None
    text = data.replace(b"\r\n", b"\n") if returns else data
    if not text.isascii():
        text = decode_lines(text).encode()
    frame = pl.read_csv(
        text,
        has_header=False,
        schema={str(i): pl.String for i in range(len(columns))},
        separator=delimiter,
        quote_char='"' if quoted else None,
    ).fill_null("")
    if frame.height != len(ends):
        return None
    frame.columns = list(columns)
    return Block(frame, data.splitlines(keepends=True), range(line, line + len(ends)), [])


def _around_fields(
    octets: npt.NDArray[np.uint8], quotes: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], delimiter: int
) -> bool:
    """Whether quotes come in pairs that enclose whole fields without quotes and line ends in them."""
    if len(quotes) % 2:
        return False
    opening, closing = quotes[::2], quotes[1::2]
    before = octets[np.maximum(opening - 1, 0)]
    after = octets[np.minimum(closing + 1, len(octets) - 1)]
    starts = (opening == 0) | (before == delimiter) | (before == LINE_FEED)
    stops = (closing == len(octets) - 1) | (after == delimiter) | (after == LINE_FEED) | (after == CARRIAGE_RETURN)
    in_one_line = np.searchsorted(ends, opening) == np.searchsorted(ends, closing)
    return bool(starts.all() and stops.all() and in_one_line.all())


def quoted_block(records: Sequence[Record], columns: Sequence[str]) -> Block:
    """Records as the csv module read them, ragged ones and unreadable ones told apart."""
    faults: list[tuple[int, str]] = []
    rows: list[list[str]] = []
    empty = [""] * len(columns)
    for row, record in enumerate(records):
        if record.fields is None:
            faults.append((row, f"line {record.line} cannot be read: {UNREADABLE}"))
        elif len(record.fields) != len(columns):
            faults.append((row, _ragged(record.line, len(record.fields), len(columns))))
        else:
            rows.append(record.fields)
            continue
        rows.append(empty)
    cells = zip(*rows, strict=True) if rows else [()] * len(columns)
    frame = pl.DataFrame([pl.Series(name, values, pl.String) for name, values in zip(columns, cells, strict=True)])
    return Block(frame, [record.raw for record in records], [record.line for record in records], faults)


def _ragged(line: int, count: int, expected: int) -> str:
    fields = "1 field" if count == 1 else f"{count} fields"
    remedy = (
        "put quotes around a field that holds the delimiter"
        if count > expected
        else "give every column a field, empty where there is no value"
    )
    return f"line {line} has {fields} and the header {expected}: {remedy}"


def split_records(data: bytes, delimiter: str, line: int, *, final: bool) -> tuple[list[Record], bytes]:
    """The complete records at the start of `data`, and the bytes of the incomplete one that ends it.

    With `final`, nothing follows `data`, and the rest is empty. Blank lines are no records.
    """
    raw = io.BytesIO(data).readlines()
    tail = b"" if final or not raw or raw[-1].endswith(b"\n") else raw.pop()
    end = len(raw)
    text = [*io.StringIO(decode_lines(b"".join(raw)), newline="\n").readlines(), SENTINEL]
    records: list[Record] = []
    first = 0
    while first < end:
        start = first
        reader = csv.reader(map(text.__getitem__, range(start, end + 1)), delimiter=delimiter)
        while first < end:
            try:
                fields: list[str] | None = next(reader)
            except csv.Error:
                fields = None
            last = start + reader.line_num
            if fields is not None and last > end:
                rest = b"".join(raw[first:]) + tail
                if not final and len(rest) < LONGEST:
                    return records, rest
                fields = None
            if fields is None:
                records.append(Record(raw[first], None, line + first))
                first += 1
                break
            if fields:
                records.append(Record(b"".join(raw[first:last]), fields, line + first))
            first = last
    return records, tail
