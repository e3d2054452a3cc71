"""Writes records with their verdicts: a file that appears whole or not at all, or standard output.

Text records keep their own bytes; typed tables and pictures become typed tables.
"""

import bz2
import gzip
import lzma
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import polars as pl
from polars.exceptions import PolarsError
from polars.selectors import datetime

from kilter.service.detector.errors import KilterError
from kilter.service.detector.leftovers import scratch_folder
from kilter.service.detector.names import own_names
from kilter.service.detector.schema import Schema
from kilter.service.formats import FORMATS, Format, format_named
from kilter.service.formats.addresses import Address, Place
from kilter.service.formats.joining import PART, Joiner, join_arrow, join_parquet
from kilter.service.formats.lines import COLUMNS, JSON_COLUMNS, RecordLines, VerdictColumns
from kilter.service.formats.reading import Batch, Reader, read_batch
from kilter.service.formats.source import STDIN
from kilter.service.formats.whole_files import write_through

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STDOUT = STDIN  # `-` means standard output where something is written
PACKINGS = (".gz", ".bz2", ".xz", ".zst")
EXACT = 2**53  # whole numbers up to here are exact in a float64


class Output(NamedTuple):
    """Where a writer may write: `file` from its start, and parts of it in a folder that is deleted afterwards.

    The folder is on the same disk; there is none on standard output.
    """

    file: BinaryIO
    parts: Path


def output_format(out: str | Place) -> tuple[Format, str]:
    """What a file's ending asks for: a format, and the ending of its compression. Raises KilterError.

    Standard output and devices get CSV.
    """
    path = out if isinstance(out, Address) else Path(out)
    if is_stream(path):
        return format_named("csv"), ""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in PACKINGS else ""
    wanted = [one for one in FORMATS if one.write and suffixes and suffixes[-1] in one.endings]
    if wanted and (wanted[0].packable or not packing):
        return wanted[0], packing
    known = [one.endings[0] + more for one in FORMATS if one.write for more in ("", *(PACKINGS * one.packable))]
    raise KilterError(f"{out} does not say what to write: end it in {', '.join(known[:-1])} or {known[-1]}")


def check_output(out: str | Place, source: str | Place, *, force: bool) -> None:
    """Raise KilterError if `out` must not be written: it is the source, it exists already, or it has no folder."""
    path = out if isinstance(out, Address) else Path(out)
    if is_stream(path):
        return
    if path.is_dir():
        raise KilterError(f"{path} is a folder: name a file to write to")
    if isinstance(path, Address):
        path.check_writable()
    elif not path.parent.is_dir():
        raise KilterError(f"there is no folder {path.parent} to write {path.name} to: make it first")
    if path.exists():
        if str(source) != STDIN and same_file(path, source):
            raise KilterError(f"{path} is the file that is read: write the verdicts to another one")
        if not force:
            raise KilterError(f"{path} exists already: choose another name, or overwrite it with --force")


def same_file(place: Place, other: str | Place) -> bool:
    """Whether two names are of the same file, which is there."""
    if isinstance(place, Address):
        return place == other
    return not isinstance(other, Address) and place.exists() and Path(other).exists() and place.samefile(other)


@contextmanager
def writing(out: str | Path, stdout: BinaryIO | None = None) -> Iterator[Output]:
    """A place to write to. A file is written beside its final place and renamed once it is complete.

    Raises KilterError if it cannot be written, a full disk included; then nothing is left behind.
    """
    if str(out) == STDOUT:
        stream = stdout or sys.stdout.buffer
        yield Output(stream, Path())
        stream.flush()
        return
    path = Path(out).resolve()
    try:
        if _is_device(path):
            with path.open("wb") as file:
                yield Output(file, Path())
            return
        with scratch_folder(path.parent, f".{path.name}.partial-") as folder:
            part = folder / path.name
            with part.open("xb") as file:
                yield Output(file, part.parent)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
    except BrokenPipeError:
        raise
    except (OSError, PolarsError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
        raise KilterError(f"cannot write {out}: {reason}. Nothing half-written was left behind") from error


def is_stream(path: Place) -> bool:
    """Whether what is written there is read at once: standard output, or a device."""
    return isinstance(path, Path) and (str(path) == STDOUT or _is_device(path))


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


class OutputPart(NamedTuple):
    """What becomes of a batch in an output."""

    content: bytes
    wide: tuple[str, ...] = ()
    """Columns with values that the narrow types of training do not hold, of a format that stores types."""


class Writer(Protocol):
    """Writes batches in their order: `begin`, then a part for each of them, then `finish`."""

    def begin(self) -> bytes:
        """What stands before the parts."""
        return b""

    def render(self, batch: Batch, verdicts: VerdictColumns) -> OutputPart:
        """The part of a batch; it changes nothing, so that any thread may call it."""

    def put(self, part: OutputPart) -> None:
        """Write the next part, or what stands before them."""

    def write(self, batch: Batch, verdicts: VerdictColumns) -> None:
        """Write the rows of a batch with their verdicts."""
        self.put(self.render(batch, verdicts))

    def restore(self, parts: int, wide: Sequence[str]) -> None:
        """Go on after so many parts, which were put before, with these `wide` columns."""
        return

    def finish(self) -> None:
        """Write what is then still missing."""

    @property
    def types(self) -> dict[str, str]:
        """The types, by polars' names, that columns get when parts are put together, unless they are `wide`."""
        return {}

    @property
    def wide(self) -> tuple[str, ...]:
        """The `wide` columns of all parts that were put."""
        return ()


def packed(file: BinaryIO, packing: str) -> AbstractContextManager[Any]:
    """A file that compresses what is written to it, by the ending of its name."""
    if packing == ".gz":
        return gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0, compresslevel=6)
    openers: dict[str, Callable[..., Any]] = {"": nullcontext, ".bz2": bz2.open, ".xz": lzma.open, ".zst": zstd.open}
    opened: AbstractContextManager[Any] = openers[packing](file, *(["wb"] if packing else []))
    return opened


def compress_part(content: bytes, packing: str) -> bytes:
    """Content compressed by itself; such parts one after the other are a compressed file."""
    if not packing:
        return content
    out = BytesIO()
    with packed(out, packing) as file:
        file.write(content)
    return out.getvalue()


class TextWriter(Writer):
    """Writes a text table, of which every part is text."""

    def __init__(self, file: BinaryIO, header: bytes) -> None:
        self._file = file
        self._header = header

    def begin(self) -> bytes:
        return self._header

    def put(self, part: OutputPart) -> None:
        self._file.write(part.content)

    def finish(self) -> None:
        self._file.flush()


class RecordWriter(TextWriter):
    """Continues a text table: each record's own bytes, and the verdict in the same dialect after them."""

    def __init__(self, file: BinaryIO, header: bytes, lines: RecordLines) -> None:
        """The header is continued too."""
        super().__init__(file, lines.header(header))
        self._lines = lines

    def render(self, batch: Batch, verdicts: VerdictColumns) -> OutputPart:
        return OutputPart(self._lines.render(batch, verdicts))


class TextFrameWriter(TextWriter):
    """Writes a typed table, or some columns of any, as a text table."""

    def __init__(self, file: BinaryIO, names: Sequence[str], further: Sequence[str], *, some: bool = False) -> None:
        """`names` are all columns of the records, unless it is only `some`."""
        super().__init__(file, pl.DataFrame(schema=[*names, *COLUMNS, *further]).write_csv().encode())
        self._names = list(names)
        self._some = some

    def render(self, batch: Batch, verdicts: VerdictColumns) -> OutputPart:
        """Raises KilterError for a column that came only after the header."""
        if not self._some and len(batch.frame.columns) > len(self._names):
            raise KilterError(
                f"records from {batch.first} on have a field {batch.frame.columns[len(self._names)]!r}, which the "
                "header lacks, as no record before had it: have them written as NDJSON"
            )
        frame = with_verdicts(batch.frame[self._names], verdicts)
        return OutputPart(frame.write_csv(include_header=False).encode())


class TypedRecords:
    """Batches as frames with types.

    Of a text table, what the model reads as number, flag or time becomes one, null where it is in error; all else stays
    text, null where it is empty; so do times that the model takes by a wall clock. Typed tables stay as they are.
    """

    def __init__(self, reader: Reader, schema: Schema, kept: Sequence[str] | None) -> None:
        self._schema = schema
        self._text = reader.dialect is not None
        self._own = own_names(schema.names, reader.columns)
        self._all = kept is None
        self._kept = list(reader.columns if kept is None else kept)
        self._names = {*self._kept}
        self.narrow: dict[str, pl.DataType] = {
            self._own.get(column.name, column.name): column.narrow
            for column in schema.fields
            if self._text and column.narrow is not None and self._own.get(column.name, column.name) in self._names
        }
        """The types of training that are narrower than those that are given, of whole numbers and flags."""

    def __call__(self, batch: Batch) -> tuple[pl.DataFrame, tuple[str, ...]]:
        """A batch, and its columns with values that the narrow types do not hold."""
        if not self._text:  # a body of NDJSON may have more columns than were known when it was opened
            return batch.frame if self._all else batch.frame[self._kept], ()
        columns = read_batch(self._schema, batch).columns
        wide: list[str] = []
        typed: list[pl.Series] = []
        for column in self._schema.fields:
            values = column.to_series(columns[column.name])
            name = self._own.get(column.name, column.name)
            if values is None or name not in self._names:
                continue
            if name in self.narrow and not _fit(values, self.narrow[name]).all():
                wide.append(name)
            typed.append(values.alias(name))
        return batch.frame[self._kept].with_columns(pl.all().replace("", None)).with_columns(typed), tuple(wide)


class LinesWriter(TextWriter):
    """Writes a table as NDJSON, in which reasons and the like are values and no texts."""

    def __init__(self, file: BinaryIO, records: TypedRecords) -> None:
        super().__init__(file, b"")
        self._records = records

    def render(self, batch: Batch, verdicts: VerdictColumns) -> OutputPart:
        frame, wide = self._records(batch)
        if not frame.height:
            return OutputPart(b"")
        frame = frame.cast({name: kind for name, kind in self._records.narrow.items() if name not in wide})
        whole = with_verdicts(frame, verdicts).with_columns(
            datetime().dt.to_string("iso:strict").str.replace(r"\.0+([+-]|$)", "$1")
        )
        nested = [name for name in JSON_COLUMNS if name in whole.columns]
        lines = pl.Series(whole.drop(nested).write_ndjson().rstrip("\n").split("\n")).str.head(-1)
        for name in nested:
            lines += f',"{name}":' + whole[name].fill_null("null")
        return OutputPart("".join(lines + "}\n").encode())


class StoredFrameWriter(Writer):
    """Writes a table in parts, which `finish` puts together in a format that stores types."""

    def __init__(self, output: Output, records: TypedRecords, sink: Joiner) -> None:
        self._output = output
        self._records = records
        self._sink = sink
        self._count = 0
        self._wide: set[str] = set()

    def render(self, batch: Batch, verdicts: VerdictColumns) -> OutputPart:
        frame, wide = self._records(batch)
        out = BytesIO()
        with_verdicts(frame, verdicts).write_ipc(out, compression="lz4")
        return OutputPart(out.getvalue(), wide)

    def put(self, part: OutputPart) -> None:
        if part.content:
            write_through(self._output.parts / f"{self._count:08d}{PART}", part.content)
            self._wide.update(part.wide)
            self._count += 1

    def restore(self, parts: int, wide: Sequence[str]) -> None:
        self._count, self._wide = parts, {*wide}

    @property
    def types(self) -> dict[str, str]:
        return {name: str(kind) for name, kind in self._records.narrow.items()}

    @property
    def wide(self) -> tuple[str, ...]:
        return tuple(sorted(self._wide))

    def finish(self) -> None:
        narrow = {name: kind for name, kind in self.types.items() if name not in self._wide}
        self._sink([self._output.parts], narrow, self._output.file)


def _fit(values: pl.Series, narrow: pl.DataType) -> pl.Series:
    """Which numbers a narrower type holds exactly."""
    if narrow == pl.Boolean():
        return (values == 0) | (values == 1)
    return (values == values.round()) & (values.abs() < EXACT)


def with_verdicts(frame: pl.DataFrame, verdicts: VerdictColumns) -> pl.DataFrame:
    """A frame with the columns of its verdicts appended."""
    return pl.concat([frame, verdicts.frame()], how="horizontal")


def write_text(
    output: Output, reader: Reader, schema: Schema, further: Sequence[str], kept: Sequence[str] | None
) -> Writer:
    """A writer of a text table: in the dialect of the table that is read and whole, or else as CSV."""
    if reader.dialect is None or kept is not None:
        names = reader.columns if kept is None else kept
        return TextFrameWriter(output.file, names, further, some=kept is not None)
    lines = RecordLines(reader.dialect, len(reader.columns), schema.decimal, further)
    return RecordWriter(output.file, reader.header, lines)


def write_ndjson(
    output: Output, reader: Reader, schema: Schema, _: Sequence[str], kept: Sequence[str] | None
) -> Writer:
    """A writer of NDJSON."""
    return LinesWriter(output.file, TypedRecords(reader, schema, kept))


def write_parquet(
    output: Output, reader: Reader, schema: Schema, _: Sequence[str], kept: Sequence[str] | None
) -> Writer:
    """A writer of a Parquet file."""
    return StoredFrameWriter(output, TypedRecords(reader, schema, kept), join_parquet)


def write_arrow(output: Output, reader: Reader, schema: Schema, _: Sequence[str], kept: Sequence[str] | None) -> Writer:
    """A writer of an Arrow file."""
    return StoredFrameWriter(output, TypedRecords(reader, schema, kept), join_arrow)
