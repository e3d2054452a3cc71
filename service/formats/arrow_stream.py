"""Arrow streams, read and written some messages at a time, so that neither side holds all of one.

A stream is a schema, then dictionaries and batches of records, each a message by itself, and a mark at the end.
"""

import struct
import sys
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import BinaryIO, NamedTuple

import polars as pl
from polars.exceptions import PanicException, PolarsError

from kilter.service.detector.errors import KilterError
from kilter.service.detector.schema import Schema
from kilter.service.formats.lines import VerdictColumns
from kilter.service.formats.reading import Batch, Reader, check_columns
from kilter.service.formats.source import Source
from kilter.service.formats.typed import BATCH, CONTINUES, DICTIONARY, ROWS, SCHEMA, Claims, MessageFacts
from kilter.service.formats.writers import Output, OutputPart, TypedRecords, Writer, with_verdicts

BYTES = 1 << 22  # of small batches, as many are read together
LONGEST = 1 << 25
"""The most bytes of a message in a body, and of all dictionaries that are kept: nobody else says how long it gets."""
PIECE = 1 << 20  # read at a time: what a message says of its length is not believed
END = struct.pack("<II", CONTINUES, 0)


class Message(NamedTuple):
    """A message with its prefix and its body."""

    content: bytes
    facts: MessageFacts


class ArrowStreamReader(Reader):
    """An Arrow stream that is open for reading."""

    def __init__(self, source: Source) -> None:
        """Read the schema. Raises KilterError if the file is damaged."""
        self._source = source
        self.name = source.name
        self.notes = source.notes
        self._bounded = source.hints.stated is not None
        self._dictionaries: list[Message] = []
        first = self._next()
        if first is None or first.facts.kind != SCHEMA:
            raise self._damaged("it does not begin with a schema")
        self._schema = first.content
        self._empty = self._frame([])
        self.columns = check_columns(self.name, self._empty.columns, "rename one")

    def __exit__(self, *_: object) -> None:
        self._source.close()

    @property
    def share(self) -> float:
        """The share of the file that is read, by its bytes."""
        return self._source.share

    def batches(self) -> Iterator[Batch]:
        """Every row, once, in order."""
        row = 0
        for frame in self._frames():
            for start in range(0, frame.height, ROWS):
                piece = frame.slice(start, ROWS)
                yield Batch(piece, row)
                row += piece.height
        if not row:
            yield Batch(self._empty, 0)

    def _frames(self) -> Iterator[pl.DataFrame]:
        waiting: list[Message] = []
        rows = size = 0
        while (message := self._next()) is not None:
            if message.facts.kind == BATCH:
                waiting.append(message)
                rows, size = rows + message.facts.rows, size + len(message.content)
                if rows < ROWS and size < BYTES:
                    continue
            if waiting:
                yield self._frame(waiting)
                waiting, rows, size = [], 0, 0
            if message.facts.kind == DICTIONARY:
                self._keep(message)
        if waiting:
            yield self._frame(waiting)

    def _keep(self, message: Message) -> None:
        """Use a dictionary from now on, in the place of the one of its number."""
        number = message.facts.number
        self._dictionaries = [*(one for one in self._dictionaries if one.facts.number != number), message]
        if self._bounded and sum(len(one.content) for one in self._dictionaries) > LONGEST:
            raise self._damaged(f"its dictionaries have over {LONGEST:,} bytes: send texts in their place")

    def _frame(self, messages: Sequence[Message]) -> pl.DataFrame:
        content = b"".join([self._schema, *(one.content for one in (*self._dictionaries, *messages)), END])
        try:
            if self._bounded:
                Claims(content, LONGEST).check(stream=True)
            return pl.read_ipc_stream(BytesIO(content))
        except (PolarsError, PanicException, OSError, ValueError, TypeError) as error:
            raise self._damaged(str(error).partition("\n")[0][:200]) from None

    def _next(self) -> Message | None:
        """The next message; None at the end."""
        prefix = self._source.read(4)
        if not prefix:
            return None
        [size] = struct.unpack("<I", prefix + self._exactly(4 - len(prefix)))
        if size == CONTINUES:
            prefix += self._exactly(8 - len(prefix))
            [size] = struct.unpack("<I", prefix[4:])
        if not size:
            return None
        head = prefix + self._exactly(size)
        try:
            facts = Claims(head, 0).describe(len(prefix))
        except (struct.error, IndexError, ValueError):
            raise self._damaged("a message cannot be read") from None
        return Message(head + self._exactly(facts.body), facts)

    def _exactly(self, size: int) -> bytes:
        """So many bytes. Raises KilterError if there are not as many left, or they are more than a message may have."""
        most = LONGEST if self._bounded else sys.maxsize
        if not 0 <= size <= most:
            raise self._damaged(f"a message has {size:,} bytes, and {most:,} are the most: write smaller batches")
        parts = []
        while size:
            part = self._source.read(min(size, PIECE))
            if not part:
                raise self._damaged("it is cut short")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _damaged(self, why: str) -> KilterError:
        return KilterError(f"{self.name} cannot be read as an Arrow stream: {why}")


def stream_bytes(frame: pl.DataFrame) -> bytes:
    """A frame as a whole stream, with buffers as any reader knows them: not compressed, and no views."""
    texts = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Categorical | pl.Enum)]
    out = BytesIO()
    frame.cast(dict.fromkeys(texts, pl.String())).write_ipc_stream(
        out, compression="uncompressed", compat_level=pl.CompatLevel.oldest()
    )
    return out.getvalue()


class ArrowStreamWriter(Writer):
    """Writes a table as an Arrow stream, whose types are those of its first part."""

    def __init__(self, file: BinaryIO, records: TypedRecords | None) -> None:
        """Without `records` there are only parts to `put`."""
        self._file = file
        self._records = records
        self._count = 0
        self._schema: bytes | None = None

    def render(self, batch: Batch, verdicts: VerdictColumns) -> OutputPart:
        if self._records is None:
            raise TypeError("there is nothing to render records by")
        return OutputPart(stream_bytes(with_verdicts(self._records(batch)[0], verdicts)))

    def put(self, part: OutputPart) -> None:
        """Write the messages of the next part. Raises KilterError if its columns or types are others than before."""
        if not part.content:
            return
        schema = 8 + struct.unpack_from("<I", part.content, 4)[0]
        if self._schema not in (None, part.content[:schema]):
            raise KilterError(
                "an Arrow stream has the same columns and types from its first record to its last, and the records do "
                "not: have them written as NDJSON"
            )
        self._schema = part.content[:schema]
        self._file.write(part.content[schema if self._count else 0 : -len(END)])
        self._count += 1

    def restore(self, parts: int, wide: Sequence[str]) -> None:
        self._count = parts

    def finish(self) -> None:
        self._file.write(END)
        self._file.flush()


def write_arrow_stream(
    output: Output, reader: Reader, schema: Schema, _: Sequence[str], kept: Sequence[str] | None
) -> Writer:
    """A writer of an Arrow stream."""
    return ArrowStreamWriter(output.file, TypedRecords(reader, schema, kept))
