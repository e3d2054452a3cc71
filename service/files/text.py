"""Reads a text table (CSV in any dialect) block by block, each record with its own bytes."""

from collections.abc import Iterator
from typing import Self

from kilter.service.detector.columns.cells import NUMBERS
from kilter.service.detector.errors import KilterError, Problem
from kilter.service.files.dialect import Dialect, Utf16Stream, sniff
from kilter.service.files.records import Block, Record, plain_block, quoted_block, split_records
from kilter.service.files.source import HEAD, Readable, Source
from kilter.service.files.tables import Batch, check_columns

ROWS = 1 << 15
"""About the most rows in a block."""
BYTES = 1 << 22
"""The most bytes that are read at a time."""
REMEDY = "if there is no header line, add one"
LONGEST_LINE = 1 << 24


class TextTable:
    """A text table that is open for reading. See `files.tables.Table`."""

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
