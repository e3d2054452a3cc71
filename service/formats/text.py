"""Text tables, CSV in any dialect: how one is written, and its records, read block by block with their own bytes."""

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from kilter.service.detector.columns.cells import NUMBERS
from kilter.service.detector.errors import KilterError, Problem
from kilter.service.formats.reading import Batch, Reader, check_columns
from kilter.service.formats.source import HEAD, Readable, Source

DELIMITERS = ",;\t|"
SAMPLE = 200  # number of records on which the delimiter is decided
Encoding = Literal["utf-8", "utf-16-le", "utf-16-be"]
BOMS: dict[bytes, Encoding] = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
ROWS = 1 << 15  # about the most rows in a block
BYTES = 1 << 22  # the most bytes that are read at a time
REMEDY = "if there is no header line, add one"
LONGEST_LINE = 1 << 24
LONGEST = 1 << 22  # bytes that a record may have before a quote in it counts as never closed
LINE_FEED, CARRIAGE_RETURN, QUOTE = b'\n\r"'
SENTINEL = "\0end of block\0"
UNREADABLE = "a quote is opened that nothing closes, or a carriage return stands in the middle of the line"


class Dialect(NamedTuple):
    """What a reader must know of a text table, and a writer to continue it."""

    delimiter: str = ","
    encoding: Encoding = "utf-8"
    """`utf-8` without a byte order mark stands for any ASCII superset: see `decode_text`."""
    bom: bytes = b""
    newline: bytes = b"\n"


def sniff(head: bytes, name: str) -> Dialect:
    """The dialect of a text table, from its first bytes. Raises KilterError if lines end as on no current system."""
    bom, encoding = next(((bom, BOMS[bom]) for bom in BOMS if head.startswith(bom)), (b"", "utf-8"))
    body = head[len(bom) :]
    text = decode_text(body) if encoding == "utf-8" else body.decode(encoding, errors="ignore")  # a cut end
    if "\n" not in text and "\r" in text.rstrip("\r"):
        raise KilterError(f"the lines of {name} end in a carriage return alone: convert them to line feeds")
    newline = b"\r\n" if "\r\n" in text.partition("\n")[0] + "\n" else b"\n"
    complete = text.rpartition("\n")[0] or text
    return Dialect(sniff_delimiter(complete), encoding, bom, newline)


def sniff_delimiter(text: str) -> str:
    """The delimiter with which most records have as many fields as the header, and that as many as possible.

    A table of one column gets one that does not occur in it.
    """
    best, best_rank = "", (0.0, 0)
    for delimiter in DELIMITERS:
        counts = _field_counts(text, delimiter)
        if counts and counts[0] > 1:
            share = Counter(counts)[counts[0]] / len(counts)
            rank = (round(share, 2), counts[0])
            if rank > best_rank:
                best, best_rank = delimiter, rank
    return best or next((delimiter for delimiter in DELIMITERS if delimiter not in text), ",")


def _field_counts(text: str, delimiter: str) -> list[int]:
    counts: list[int] = []
    with suppress(csv.Error):
        for record in csv.reader((line + "\n" for line in text.split("\n")), delimiter=delimiter):
            if record:
                counts.append(len(record))
            if len(counts) == SAMPLE:
                break
    return counts


def decode_text(line: bytes) -> str:
    """The text of a line: UTF-8 or, where it is not that, Windows-1252 or Latin-1, each line for itself."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        try:
            return line.decode("cp1252")
        except UnicodeDecodeError:
            return line.decode("latin-1")


def decode_lines(data: bytes) -> str:
    """The text of many lines, each decoded for itself."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "\n".join(map(decode_text, data.split(b"\n")))


class Utf16Stream:
    """The bytes of a UTF-16 source, its byte order mark already taken, as UTF-8."""

    def __init__(self, source: Source, encoding: Encoding) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._encoding = encoding

    def read(self, size: int, /) -> bytes:
        """Some UTF-8 bytes, none at the end. Raises KilterError if the bytes are no UTF-16."""
        try:
            while block := self._source.read(size):
                if text := self._decoder.decode(block):
                    return text.encode()
            self._decoder.decode(b"", final=True)
        except UnicodeError as error:
            raise KilterError(f"{self._source.name} is not valid {self._encoding.upper()}: {error}") from None
        return b""


class Record(NamedTuple):
    """One record of a text table; `fields` is None where it cannot be read."""

    raw: bytes
    """Its bytes with the line ending, if it has one."""
    fields: list[str] | None
    line: int
    """The number, from 1, of its first line in the file."""


class TextReader(Reader):
    """A text table that is open for reading."""

    def __init__(self, source: Source) -> None:
        """Read the header. Raises KilterError if there is none, or it names a column twice."""
        self._source = source
        self.name = source.name
        self.notes = source.notes
        self.dialect = dialect = sniff(source.head(), source.name)
        self._delimiter = dialect.delimiter
        if dialect.bom:
            source.read(len(dialect.bom))
        self._stream: Readable = source if dialect.encoding == "utf-8" else Utf16Stream(source, dialect.encoding)
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

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def batches(self) -> Iterator[Batch]:
        """Every record, once, in order; those that cannot be read are faults."""
        data, final, first = self._data, False, 0
        while not final:
            more = self._stream.read(self._bytes)
            final = not more
            data += more
            complete = len(data) if final else data.rfind(b"\n") + 1
            rest = data[complete:]
            batch = plain_batch(data[:complete], self.columns, self._delimiter, first)
            if batch is not None:
                self._line += len(batch.raw)
            else:
                records, rest = split_records(data, self._delimiter, self._line, final=final)
                batch = quoted_batch(records, self.columns, first)
                self._line += data.count(b"\n", 0, len(data) - len(rest))
            if batch.raw or (final and not first):
                yield batch
                first += len(batch.raw)
            if len(rest) > LONGEST_LINE:
                raise KilterError(f"line {self._line} of {self.name} has over {LONGEST_LINE} bytes: it is no table")
            data = rest

    def _header(self, data: bytes) -> Record:
        records, _ = split_records(data, self._delimiter, 1, final=len(data) < HEAD)
        if not records:
            raise KilterError(f"{self.name} has no header in its first lines: a table has a header and rows")
        if records[0].fields is None:
            raise KilterError(f"the header of {self.name} cannot be read: a quote in it is never closed")
        return records[0]


def plain_batch(data: bytes, columns: Sequence[str], delimiter: str, first: int) -> Batch | None:
    """Complete lines that are one record each, read by polars; None if they are not that plain.

    Quotes may only stand around whole fields, and there are no blank lines, ragged records or other oddities. The same
    as `quoted_batch` of the same lines, many times faster.
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
    return Batch(frame, first, raw=data.splitlines(keepends=True))


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


def quoted_batch(records: Sequence[Record], columns: Sequence[str], first: int) -> Batch:
    """Records as the csv module read them; those that are ragged or cannot be read are faults."""
    faults: list[Problem] = []
    rows: list[list[str]] = []
    for row, record in enumerate(records):
        if record.fields is not None and len(record.fields) == len(columns):
            rows.append(record.fields)
        else:
            rows.append([""] * len(columns))
            faults.append(Problem(row, None, _fault(record, len(columns))))
    cells = zip(*rows, strict=True) if rows else [()] * len(columns)
    frame = pl.DataFrame([pl.Series(name, values, pl.String) for name, values in zip(columns, cells, strict=True)])
    return Batch(frame, first, faults, [record.raw for record in records])


def _fault(record: Record, expected: int) -> str:
    if record.fields is None:
        return f"line {record.line} cannot be read: {UNREADABLE}"
    count = len(record.fields)
    fields = "1 field" if count == 1 else f"{count} fields"
    remedy = "give every column a field, empty where there is no value"
    if count > expected:
        remedy = "put quotes around a field that holds the delimiter"
    return f"line {record.line} has {fields} and the header {expected}: {remedy}"


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
