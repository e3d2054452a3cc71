"""The records of a text table, each with its own bytes: all of any dialect by the csv module, plain ones by polars."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from polars.exceptions import PolarsError

from kilter.service.detector.errors import Problem
from kilter.service.formats.charsets import UTF_8, decode_lines, is_line_by_line
from kilter.service.formats.reading import Batch, PlainLines

LONGEST = 1 << 22  # bytes that a record may have before a quote in it counts as never closed
PIECE = 1 << 17  # bytes that are looked at together
LINE_FEED, CARRIAGE_RETURN = b"\n\r"
SENTINEL = "\0end of block\0"
UNREADABLE = "a quote is opened that nothing closes, or a carriage return stands in the middle of the line"


class Dialect(NamedTuple):
    """What a reader must know of a text table, and a writer to continue it."""

    delimiter: str = ","
    encoding: str = UTF_8
    bom: bytes = b""
    newline: bytes = b"\n"
    quote: str = '"'
    escape: str = ""
    """What stands before a quote within quotes, where it is not another quote."""
    padded: bool = False
    """Whether any number of blanks delimits fields, those before the first and after the last field aside."""
    mixed: bool = True
    """Whether a line that is UTF-8 is read as such, whatever the encoding of the others."""
    surplus: int = 0
    """Fields of a record after those of the columns, always empty: the lines end in delimiters."""

    @property
    def recoded(self) -> bool:
        """Whether the records are not read from the file's own bytes, but from the same text in UTF-8."""
        return self.newline == b"\r" or not is_line_by_line(self.encoding)

    def decoded(self, data: bytes) -> str:
        """The text of lines, from their bytes or, where they are recoded, from UTF-8."""
        return data.decode() if self.recoded else decode_lines(data, self.encoding, mixed=self.mixed)

    def rows(self, lines: Iterator[str], *, strict: bool = False) -> Any:
        """The csv module's reader of lines of text."""
        if self.padded:
            lines = (line.strip(" \r\n") + "\n" for line in lines)
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quotechar=self.quote,
            escapechar=self.escape or None,
            skipinitialspace=self.padded,
            strict=strict,
        )


class Record(NamedTuple):
    """One record of a text table; `fields` is None where it cannot be read."""

    raw: bytes
    """Its bytes with the line ending, if it has one."""
    fields: list[str] | None
    line: int
    """The number, from 1, of its first line in the file."""


def plain_batch(data: bytes, columns: Sequence[str], dialect: Dialect, first: int) -> Batch | None:
    """Complete lines that are one record each, read by polars; None if they are not that plain.

    Quotes may only stand around whole fields, and there are no blank lines, ragged records or other oddities. The same
    as `quoted_batch` of the same lines, many times faster.
    """
    return None if count_lines(data, dialect) is None else line_batch(data, columns, dialect, first)


def line_batch(data: bytes, columns: Sequence[str], dialect: Dialect, first: int) -> Batch | None:
    """The same of lines that `count_lines` has counted."""
    text = _in_utf_8(data, dialect)
    quoted = dialect.quote.encode() in text
    width = len(columns) + dialect.surplus
    lines = count_octet(text, LINE_FEED) + (not text.endswith(b"\n"))
    if quoted or not text.endswith(b"\n"):
        if not _are_even(text, dialect, width - 1):
            return None
    elif count_octet(text, ord(dialect.delimiter)) != lines * (width - 1):
        return None  # otherwise a line that is too short makes another one too long, which polars refuses
    text = text.replace(b"\r\n", b"\n") if b"\r" in text else text
    if not text.isascii():
        text = decode_lines(text).encode()
    try:
        frame = pl.read_csv(
            text,
            has_header=False,
            schema={str(i): pl.String for i in range(width)},
            separator=dialect.delimiter,
            quote_char=dialect.quote if quoted else None,
        ).fill_null("")
    except PolarsError:
        return None
    if frame.height != lines:
        return None
    if dialect.surplus:
        spare = frame.columns[len(columns) :]
        if frame.select(pl.any_horizontal(pl.col(spare) != "").any()).item():
            return None
        frame = frame.drop(spare)
    frame.columns = list(columns)
    return Batch(frame, first, raw=PlainLines(data, lines), dialect=dialect)


def count_lines(data: bytes, dialect: Dialect) -> int | None:
    """Number of the records in complete lines, if each is one line; None if that is not plain to see."""
    if not _looks_plain(data, dialect):
        return None
    if dialect.quote.encode() in data:
        octets = np.frombuffer(_in_utf_8(data, dialect), np.uint8)
        quotes, ends = np.flatnonzero(octets == ord(dialect.quote)), np.flatnonzero(octets == LINE_FEED)
        if not data.endswith(b"\n"):
            ends = np.append(ends, len(octets))
        if not _around_fields(octets, quotes, ends, ord(dialect.delimiter)):
            return None
    return count_octet(data, LINE_FEED) + (not data.endswith(b"\n"))


def count_quoted(data: bytes, dialect: Dialect, *, final: bool) -> tuple[int, int] | None:
    """Number of the complete records at the start of `data`, and of their bytes; None if that is not plain to see.

    Quotes may only stand around whole fields, which may hold line ends. The same as `split_records` finds, many times
    faster.
    """
    if dialect.padded or (dialect.escape and dialect.escape.encode() in data) or b"\0" in data:
        return None
    if not (dialect.delimiter.isascii() and dialect.quote.isascii() and (data.isascii() or dialect.encoding == UTF_8)):
        return None
    octets = np.frombuffer(data, np.uint8)
    quotes, ends = np.flatnonzero(octets == ord(dialect.quote)), np.flatnonzero(octets == LINE_FEED)
    ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
    length = len(data) if final else int(ends[-1]) + 1 if len(ends) else 0
    if not length or len(data) - length >= LONGEST:
        return None
    if (final and len(quotes) % 2) or not _enclose_fields(octets, quotes, dialect):
        return None
    if not _returns_end_lines(octets, quotes):
        return None
    if octets[length - 1] != LINE_FEED:
        ends = np.append(ends, length)
    starts = np.append(0, ends[:-1] + 1)
    if (ends - starts).max() > csv.field_size_limit():
        return None
    first = octets[starts]
    return int(((first != LINE_FEED) & (first != CARRIAGE_RETURN)).sum()), length


def _enclose_fields(octets: npt.NDArray[np.uint8], quotes: npt.NDArray[np.int64], dialect: Dialect) -> bool:
    """Whether quotes in pairs enclose whole fields, or stand for one quote where two come one after the other."""
    before, after = octets[np.maximum(quotes[::2] - 1, 0)], octets[np.minimum(quotes[1::2] + 1, len(octets) - 1)]
    quote, delimiter = ord(dialect.quote), ord(dialect.delimiter)
    starts = (quotes[::2] == 0) | np.isin(before, [delimiter, LINE_FEED, quote])
    stops = (quotes[1::2] == len(octets) - 1) | np.isin(after, [delimiter, LINE_FEED, CARRIAGE_RETURN, quote])
    return bool(starts.all() and stops.all())


def _returns_end_lines(octets: npt.NDArray[np.uint8], quotes: npt.NDArray[np.int64]) -> bool:
    """Whether every carriage return that is not within quotes stands before a line feed."""
    returns = np.flatnonzero(octets == CARRIAGE_RETURN)
    returns = returns[np.searchsorted(quotes, returns) % 2 == 0]
    return bool((octets[np.minimum(returns + 1, len(octets) - 1)] == LINE_FEED).all())


def count_octet(data: bytes, octet: int) -> int:
    """How often a byte occurs, some times faster than by `bytes.count`."""
    return sum(int(np.count_nonzero(places)) for places in _places(data, octet))


def _has_blank_lines(data: bytes) -> bool:
    """Whether a line feed follows another one."""
    return any(bool((places[1:] & places[:-1]).any()) for places in _places(data, LINE_FEED, 1))


def _places(data: bytes, octet: int, more: int = 0) -> Iterator[npt.NDArray[np.bool_]]:
    """Where a byte occurs, piece by piece: of pieces that the cache holds, several times faster than of all at once.

    Each piece begins with the byte after the one before, and has so many `more` that the next one has, too.
    """
    octets = np.frombuffer(data, np.uint8)
    return (octets[at : at + PIECE + more] == octet for at in range(0, len(octets), PIECE))


def _looks_plain(data: bytes, dialect: Dialect) -> bool:
    """Whether there are no blank lines, and nothing that stands for something else."""
    if not data or b"\0" in data or data[:1] in (b"\n", b"\r") or _has_blank_lines(data):
        return False
    if dialect.padded or not dialect.delimiter.isascii() or (dialect.escape and dialect.escape.encode() in data):
        return False
    return b"\r" not in data or (b"\n\r" not in data and data.count(b"\r") == data.count(b"\r\n"))


def _in_utf_8(data: bytes, dialect: Dialect) -> bytes:
    """Lines in which a delimiter's byte is never half a letter."""
    return data if data.isascii() or dialect.recoded or dialect.encoding == UTF_8 else dialect.decoded(data).encode()


def _are_even(text: bytes, dialect: Dialect, count: int) -> bool:
    """Whether so many delimiters stand in each line, not counting those in quotes."""
    octets = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(octets == LINE_FEED)
    if not text.endswith(b"\n"):
        ends = np.append(ends, len(text))
    quotes, delimiters = (np.flatnonzero(octets == ord(sign)) for sign in (dialect.quote, dialect.delimiter))
    delimiters = delimiters[np.searchsorted(quotes, delimiters) % 2 == 0]
    if len(delimiters) != count * len(ends):
        return False
    by_line = delimiters.reshape(len(ends), count)
    return not count or bool((by_line[:, -1] < ends).all() and (by_line[1:, 0] > ends[:-1]).all())


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


def quoted_batch(records: Sequence[Record], columns: Sequence[str], dialect: Dialect, first: int) -> Batch:
    """Records as the csv module read them; those that are ragged or cannot be read are faults."""
    faults: list[Problem] = []
    rows: list[list[str]] = []
    raw: list[bytes] = []
    count = len(columns)
    width = count + dialect.surplus
    for row, record in enumerate(records):
        fields, own = record.fields, record.raw
        if fields is not None and count <= len(fields) <= width and not any(fields[count:]):
            rows.append(fields[:count])
            if len(fields) < width:
                own = lengthened(own, width - len(fields), dialect)
        else:
            rows.append([""] * count)
            faults.append(Problem(row, None, _fault(record, count)))
        raw.append(own)
    cells = zip(*rows, strict=True) if rows else [()] * count
    frame = pl.DataFrame([pl.Series(name, values, pl.String) for name, values in zip(columns, cells, strict=True)])
    return Batch(frame, first, faults, raw, dialect=dialect)


def lengthened(raw: bytes, fields: int, dialect: Dialect) -> bytes:
    """A record with so many more empty fields before its line ending."""
    body = raw.removesuffix(b"\n").removesuffix(b"\r")
    encoding = UTF_8 if dialect.recoded else dialect.encoding
    return body + (dialect.delimiter * fields).encode(encoding) + raw[len(body) :]


def _fault(record: Record, expected: int) -> str:
    if record.fields is None:
        return f"line {record.line} cannot be read: {UNREADABLE}"
    count = len(record.fields)
    fields = "1 field" if count == 1 else f"{count} fields"
    remedy = "give every column a field, empty where there is no value; take the line out if it is a note"
    if count > expected:
        remedy = "put quotes around a field that holds the delimiter"
        if not any(record.fields[expected:]):
            remedy = "take the delimiters at its end out, or end every line in as many"
    return f"line {record.line} has {fields} and the header {expected}: {remedy}"


def split_records(data: bytes, dialect: Dialect, line: int, *, final: bool) -> tuple[list[Record], bytes]:
    """The complete records at the start of `data`, and the bytes of the incomplete one that ends it.

    With `final`, nothing follows `data`, and the rest is empty. Blank lines are no records.
    """
    raw = io.BytesIO(data).readlines()
    tail = b"" if final or not raw or raw[-1].endswith(b"\n") else raw.pop()
    end = len(raw)
    text = [*io.StringIO(dialect.decoded(b"".join(raw)), newline="\n").readlines(), SENTINEL]
    records: list[Record] = []
    first = 0
    while first < end:
        start = first
        reader = dialect.rows(map(text.__getitem__, range(start, end + 1)))
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
