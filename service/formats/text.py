"""Text tables, CSV in any dialect, read block by block; what they are is found in their first bytes."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from kilter.service.detector.errors import KilterError
from kilter.service.formats.beginning import encoding_remark, find_beginning, find_charset
from kilter.service.formats.charsets import MULTIBYTE, UTF_8, Readable, RecodedStream, legacy_encoding
from kilter.service.formats.contents import ContentRead
from kilter.service.formats.oddities import Oddities
from kilter.service.formats.ranges import FileRange, RangePoint, ranges_between
from kilter.service.formats.reading import Batch, Block, Reader
from kilter.service.formats.records import (
    LINE_FEED,
    Dialect,
    Record,
    count_lines,
    count_octet,
    count_quoted,
    line_batch,
    quoted_batch,
    split_records,
)
from kilter.service.formats.source import HEAD, Source

ROWS = 1 << 13  # about the most rows in a block: four times as many take twice the memory, and no less time
BYTES = 1 << 22  # the most bytes that are read at a time
LONGEST_LINE = 1 << 24


class TextBlock(NamedTuple):
    """Bytes of a text table that end where a record does."""

    data: bytes
    columns: tuple[str, ...]
    dialect: Dialect
    rows: int
    first: int
    """Position of its first record in the file, and the number of its first line."""
    line: int
    oddities: Oddities
    before: Sequence[Sequence[str]]
    """Earlier records, if there are any."""
    final: bool
    """Whether no records follow."""
    records: Sequence[Record] | None = None
    """What was read to know where they end; None where it is plain to see."""

    def read(self) -> Batch:
        records = self.records
        batch = None if records is not None else line_batch(self.data, self.columns, self.dialect, self.first)
        lines: Sequence[int] = range(self.line, self.line + self.rows)
        if batch is None:
            if records is None:
                records, _ = split_records(self.data, self.dialect, self.line, final=True)
            batch = quoted_batch(records, self.columns, self.dialect, self.first)
            lines = [record.line for record in records]
        return self.oddities.marked(batch, lines, self.before, final=self.final)


class TextReader(Reader):
    """A text table that is open for reading."""

    dialect: Dialect

    def __init__(self, source: Source) -> None:
        """Find the dialect and the header. Raises KilterError if there is none, or it names a column twice."""
        self._source = source
        self.name = source.name
        self._hints = source.hints
        charset = find_charset(source.head(), source.hints)
        if charset.bom:
            source.read(len(charset.bom))
        self._stream: Readable = source
        if charset.recoded:
            returns = charset.newline == b"\r"
            self._stream = RecodedStream(source, source.name, charset.encoding, returns=returns)
        data = self._stream.read(HEAD)
        self._bytes = min(BYTES, max(HEAD, ROWS * len(data) // (data.count(b"\n") or 1)))
        self._ahead = self._stream.read(self._bytes)
        beginning = find_beginning(data, charset, self.name, source.hints, final=not self._ahead)
        self.dialect = beginning.dialect
        self.columns = beginning.columns
        self.header = beginning.header
        self.notes = (*source.notes, *beginning.notes)
        if beginning.remarks:
            self.notes += (f"{self.name} is read {'; '.join(beginning.remarks)}",)
        self._sample = beginning.sample
        self._oddities = beginning.oddities
        self._line = beginning.line
        self._data = data[beginning.offset :]
        self._first, self._start = 0, len(charset.bom) + beginning.offset
        self._only_ascii = data.isascii()
        self._settled = charset.recoded or not charset.mixed or charset.encoding != UTF_8

    def __exit__(self, *_: object) -> None:
        self._source.close()

    @property
    def share(self) -> float:
        """The share of the file that is read, by its bytes."""
        return self._source.share

    def content(self, *, final: bool) -> ContentRead:
        """What was read of the file so far, or all of it."""
        return self._source.content(final=final)

    def batches(self) -> Iterator[Batch]:
        """Every record, once, in order; those that cannot be read are faults, and so are lines that are none."""
        return (block.read() for block in self.blocks())

    def blocks(self) -> Iterator[Block]:
        """The same; here it is only found out where the records of a block end, and how many they are."""
        part = self._source.hints.part
        if part is not None:
            self._begin_at(part)
        blocks = (block for _, block in self._walk() if block is not None)
        return islice(blocks, None if part is None else part.blocks)

    def ranges(self, size: int) -> Iterator[FileRange]:
        """See `Reader.ranges`; of a table whose records are read from the file's own bytes."""
        if self.dialect.recoded or not self._source.is_divisible:
            return iter(())
        return ranges_between((point for point, _ in self._walk(counting=True)), size)

    def _walk(self, *, counting: bool = False) -> Iterator[tuple[RangePoint, TextBlock | None]]:
        """Each block, if there is one, after the point where it can begin; at last the end.

        With `counting` the blocks are to be counted and not read.
        """
        data, ahead, first, start, number = self._data, self._ahead, self._first, self._start, 0
        final = False
        while not final:
            point = RangePoint(start, first, number, self._state(len(data)))
            final = not ahead
            complete = len(data) if final else data.rfind(b"\n") + 1
            own, rest = data[:complete], data[complete:]
            self._settle(own)
            records: list[Record] | None = None
            rows = count_lines(own, self.dialect)
            if rows is None and counting and (counts := count_quoted(data, self.dialect, final=final)) is not None:
                rows, complete = counts
                own, rest = data[:complete], data[complete:]
            if rows is None:
                records, rest = split_records(data, self.dialect, self._line, final=final)
                rows, own = len(records), data[: len(data) - len(rest)]
            block = None
            if rows or (final and not first):
                before = self._sample if first else ()
                table = own, self.columns, self.dialect
                block = TextBlock(*table, rows, first, self._line, self._oddities, before, final, records)
                number += 1
            first += rows
            start += len(own)
            self._line += count_octet(own, LINE_FEED)
            yield point, block
            if len(rest) > LONGEST_LINE:
                raise KilterError(f"line {self._line} of {self.name} has over {LONGEST_LINE} bytes: it is no table")
            data, ahead = rest + ahead, b"" if final else self._stream.read(self._bytes)
        yield RangePoint(start, first, number, {}), None

    def _state(self, held: int) -> dict[str, Any]:
        """What a reader that begins at a block must know: how many bytes are read of it, and how they are read."""
        return {
            "held": held,
            "line": self._line,
            "encoding": self.dialect.encoding,
            "mixed": self.dialect.mixed,
            "only_ascii": self._only_ascii,
            "settled": self._settled,
        }

    def _begin_at(self, part: FileRange) -> None:
        state = part.state
        self._source.go_to(part.start)
        self._data, self._ahead = self._source.read(state["held"]), self._source.read(self._bytes)
        self._first, self._start, self._line = part.row, part.start, state["line"]
        self.dialect = self.dialect._replace(encoding=state["encoding"], mixed=state["mixed"])
        self._only_ascii, self._settled = state["only_ascii"], state["settled"]

    def _settle(self, data: bytes) -> None:
        """Look for the first lines that are not UTF-8, which decide on the encoding if all before them were ASCII."""
        if self._settled or data.isascii():
            return
        try:
            data.decode()
        except UnicodeDecodeError as error:
            self._settled = True
            line = self._line + data.count(b"\n", 0, error.start)
            if self._only_ascii:
                encoding = legacy_encoding(data, self._hints.names)
                self.dialect = self.dialect._replace(encoding=encoding, mixed=encoding not in MULTIBYTE)
                remarks = "; ".join(encoding_remark(self.dialect))
                self.notes += (f"{self.name} is read from line {line} on {remarks}",)
            else:
                self.notes += (
                    f"{self.name} is UTF-8, but line {line} and perhaps others are not: they are read as windows-1252, "
                    "each for itself (--encoding states another encoding for all)",
                )
        self._only_ascii = False
