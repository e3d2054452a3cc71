"""NDJSON in a body, which is read once, while it comes: a file is read twice, to know its columns and types before.

The columns are those of the first records. A column has the type that its values had up to the end of a block, so that
a whole number may be written as `1` before the first fraction, and as `1.0` after it. A later field is one more column.
"""

import io
from collections.abc import Iterator
from itertools import islice

from kilter.service.formats.charsets import Readable
from kilter.service.formats.json_files import (
    ROWS,
    SHAPE,
    ColumnKinds,
    JsonReader,
    Piece,
    numbered_lines,
    piece_of_lines,
)
from kilter.service.formats.reading import Batch, Reader, check_columns
from kilter.service.formats.source import Source


def open_ndjson(source: Source) -> Reader:
    """Open NDJSON: a body as it comes, a file to be read twice."""
    return JsonReader(source) if source.hints.stated is None else JsonStreamReader(source)


class JsonStreamReader(Reader):
    """NDJSON that is read while it comes."""

    def __init__(self, source: Source) -> None:
        """Read the first records. Raises KilterError if they have no columns."""
        self._source = source
        self.name = source.name
        self._lines = numbered_lines(io.BufferedReader(_Raw(source)), self.name)
        self._first = self._next()
        self._kinds = ColumnKinds()
        self._kinds.add(self._first.records)
        self.columns = check_columns(self.name, self._kinds.names, SHAPE)

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def batches(self) -> Iterator[Batch]:
        """Every record, once, in order; lines that are none are faults."""
        first, piece = 0, self._first
        while piece.records:
            yield self._kinds.batch(piece, first)
            first += len(piece.records)
            piece = self._next()
            self._kinds.add(piece.records)

    def _next(self) -> Piece:
        return piece_of_lines([*islice(self._lines, ROWS)])


class _Raw(io.RawIOBase):
    """A source as a file."""

    def __init__(self, source: Readable) -> None:
        super().__init__()
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._source.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
