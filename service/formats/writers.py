"""Writes records with their verdicts: a file that appears whole or not at all, or standard output.

Text records keep their own bytes; typed tables and pictures become typed tables.
"""

import bz2
import csv
import gzip
import io
import lzma
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple, Protocol

import polars as pl
from polars.exceptions import PolarsError

from kilter.service.detector.errors import KilterError
from kilter.service.detector.leftovers import scratch_folder
from kilter.service.detector.names import own_names
from kilter.service.detector.schema import Schema
from kilter.service.formats import FORMATS, Format, format_named
from kilter.service.formats.charsets import UTF_8, WESTERN
from kilter.service.formats.reading import Batch, Reader, read_batch
from kilter.service.formats.records import SENTINEL, Dialect
from kilter.service.formats.source import STDIN

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STDOUT = STDIN  # `-` means standard output where something is written
PACKINGS = (".gz", ".bz2", ".xz", ".zst")
COLUMNS: dict[str, pl.DataType] = {
    "kilter_score": pl.Float64(),
    "kilter_p_value": pl.Float64(),
    "kilter_anomaly": pl.Boolean(),
    "kilter_reasons": pl.String(),
    "kilter_error": pl.String(),
}
TAIL, FILE, ROW = "kilter_tail_probability", "kilter_file", "kilter_row"
FURTHER: dict[str, pl.DataType] = {TAIL: pl.Float64(), FILE: pl.String(), ROW: pl.Int64()}
"""Columns after those, where they are asked for."""
FLAG = {True: "true", False: "false", None: ""}
EXACT = 2**53  # whole numbers up to here are exact in a float64


class Output(NamedTuple):
    """Where a writer may write: `file` from its start, and parts of it in a folder that is deleted afterwards.

    The folder is on the same disk; there is none on standard output.
    """

    file: BinaryIO
    parts: Path


def output_format(out: str | Path) -> tuple[Format, str]:
    """What a file's ending asks for: a format, and the ending of its compression. Raises KilterError.

    Standard output and devices get CSV.
    """
    path = Path(out)
    if str(out) == STDOUT or _is_device(path):
        return format_named("csv"), ""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in PACKINGS else ""
    wanted = [one for one in FORMATS if one.write and suffixes and suffixes[-1] in one.endings]
    if wanted and (wanted[0].packable or not packing):
        return wanted[0], packing
    known = [one.endings[0] + more for one in FORMATS if one.write for more in ("", *(PACKINGS * one.packable))]
    raise KilterError(f"{out} does not say what to write: end it in {', '.join(known[:-1])} or {known[-1]}")


def check_output(out: str | Path, source: str | Path, *, force: bool) -> None:
    """Raise KilterError if `out` must not be written: it is the source, it exists already, or it has no folder."""
    path = Path(out)
    if str(out) == STDOUT or _is_device(path):
        return
    if path.is_dir():
        raise KilterError(f"{path} is a folder: name a file to write to")
    if not path.parent.is_dir():
        raise KilterError(f"there is no folder {path.parent} to write {path.name} to: make it first")
    if path.exists():
        if str(source) != STDIN and Path(source).exists() and path.samefile(source):
            raise KilterError(f"{path} is the file that is read: write the verdicts to another one")
        if not force:
            raise KilterError(f"{path} exists already: choose another name, or overwrite it with --force")


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


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


class VerdictColumns(NamedTuple):
    """The appended columns of a batch, one value per row; None where a row has no verdict, reasons or error."""

    scores: Sequence[float | None]
    p_values: Sequence[float | None]
    anomalies: Sequence[bool | None]
    reasons: Sequence[str | None]
    """Compact JSON in ASCII."""
    errors: Sequence[str | None]
    further: Mapping[str, Sequence[Any]] = MappingProxyType({})
    """Values of columns of `FURTHER`, one per row, None where there is none; those that are to be written."""


class Writer(Protocol):
    """Writes batches in their order."""

    def write(self, batch: Batch, verdicts: VerdictColumns) -> None:
        """Write the rows of a batch with their verdicts."""

    def finish(self) -> None:
        """Write what is then still missing."""


def packed(file: BinaryIO, packing: str) -> AbstractContextManager[Any]:
    """A file that compresses what is written to it, by the ending of its name."""
    if packing == ".gz":
        return gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0, compresslevel=6)
    openers: dict[str, Callable[..., Any]] = {"": nullcontext, ".bz2": bz2.open, ".xz": lzma.open, ".zst": zstd.open}
    opened: AbstractContextManager[Any] = openers[packing](file, *(["wb"] if packing else []))
    return opened


class RecordWriter:
    """Continues a text table: each record's own bytes, and the verdict in the same dialect after them."""

    def __init__(
        self, file: BinaryIO, reader: Reader, dialect: Dialect, decimal: str, further: Sequence[str] = ()
    ) -> None:
        """Write the header. `decimal` is the sign in the appended numbers; `further` columns are appended last."""
        self._file = file
        self._reader = reader
        self._dialect = dialect
        self._width = len(reader.columns) + dialect.surplus
        self._further = tuple(further)
        self._point = None if decimal in (".", dialect.delimiter) else decimal
        self._newline = b"\n" if dialect.newline == b"\r" else dialect.newline
        special = {"\r", "\n", '"', dialect.quote, dialect.delimiter, dialect.escape or dialect.quote}
        # A delimiter that occurs in numbers and flags is possible, though hardly wise.
        self._always = dialect.padded or dialect.delimiter.isalnum() or dialect.delimiter in "+-."
        self._special = re.compile(f"[{re.escape(''.join(special))}]")
        file.write(dialect.bom)
        self._put(self._line(reader.header, dialect.delimiter.join(["", *COLUMNS, *further])))

    def write(self, batch: Batch, verdicts: VerdictColumns) -> None:
        delimiter = self._dialect.delimiter
        faulty = {fault.row for fault in batch.faults}
        out: list[bytes] = []
        for row, (raw, score, p_value, anomaly, reasons, error) in enumerate(
            zip(batch.raw, *verdicts[:5], strict=True)
        ):
            flag = self._quoted(FLAG[anomaly])
            fields = ("", self._number(score), self._number(p_value), flag, self._quoted(reasons))
            verdict = f"{delimiter.join(fields)}{delimiter}{self._quoted(error)}"
            for name in self._further:
                verdict += f"{delimiter}{self._cell(verdicts.further[name][row])}"
            out.append(self._line(raw, self._filling(raw) + verdict if row in faulty else verdict))
        self._put(b"".join(out))

    def finish(self) -> None:
        self._file.flush()

    def _put(self, data: bytes) -> None:
        dialect = self._dialect
        if dialect.recoded:
            text = data.decode()
            text = text.replace("\n", "\r") if dialect.newline == b"\r" else text
            data = text.encode(dialect.encoding, "backslashreplace")
        self._file.write(data)

    def _line(self, raw: bytes, more: str) -> bytes:
        """A record with `more` before its line ending, in an encoding in which it reads as before."""
        body = raw.removesuffix(b"\n").removesuffix(b"\r")
        ending = raw[len(body) :] or self._newline
        if more.isascii() or self._dialect.recoded:
            return body + more.encode() + ending
        # It is known as late as with the first line that shows it.
        encoding = (self._reader.dialect or self._dialect).encoding
        if encoding == UTF_8:
            try:
                body.decode()
            except UnicodeDecodeError:
                encoding = WESTERN
        return body + more.encode(encoding, "backslashreplace") + ending

    def _cell(self, value: str | float | None) -> str:
        return self._quoted(value) if isinstance(value, str) else self._number(value)

    def _number(self, value: float | None) -> str:
        if value is None:
            return self._quoted("")
        if self._point is None and not self._always:
            return repr(value)
        return self._quoted(repr(value).replace(".", self._point or "."))

    def _quoted(self, text: str | None) -> str:
        if not self._always and (not text or not self._special.search(text)):
            return text or ""
        quote, escape = self._dialect.quote, self._dialect.escape
        text = (text or "").replace(escape, 2 * escape) if escape else text or ""
        return quote + text.replace(quote, (escape or quote) + quote) + quote

    def _filling(self, raw: bytes) -> str:
        """What closes a quote that a record leaves open, and gives it the fields that it lacks."""
        dialect = self._reader.dialect or self._dialect
        lines = io.StringIO(dialect.decoded(raw).rstrip("\r\n") + "\n" + SENTINEL)
        try:
            fields = next(dialect.rows(lines))
        except csv.Error:
            return ""
        closing = dialect.quote if fields and fields[-1].endswith(SENTINEL.rstrip(" \n")) else ""
        return closing + dialect.delimiter * (self._width - len(fields))


class TextFrameWriter:
    """Writes a typed table as a text table."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._has_header = False

    def write(self, batch: Batch, verdicts: VerdictColumns) -> None:
        frame = with_verdicts(batch.frame, verdicts)
        self._file.write(frame.write_csv(include_header=not self._has_header).encode())
        self._has_header = True

    def finish(self) -> None:
        self._file.flush()


class StoredFrameWriter:
    """Writes a table in parts, which `finish` puts together in a format that stores types.

    Of a text table, what the model reads as number, flag or time becomes one, null where it is in error; all else stays
    text, null where it is empty; so do times that the model takes by a wall clock. Typed tables stay as they are.
    """

    def __init__(
        self, output: Output, reader: Reader, schema: Schema, sink: Callable[[pl.LazyFrame, BinaryIO], None]
    ) -> None:
        self._output = output
        self._reader = reader
        self._schema = schema
        self._sink = sink
        self._text = reader.dialect is not None
        self._count = 0
        self._narrow: dict[Any, pl.DataType] = {
            column.name: column.narrow for column in schema.fields if self._text and column.narrow is not None
        }
        """Columns in which every value so far was a whole number or a flag, as in training."""

    def write(self, batch: Batch, verdicts: VerdictColumns) -> None:
        frame = with_verdicts(self._typed(batch) if self._text else batch.frame, verdicts)
        frame.write_ipc(self._output.parts / f"{self._count:08d}.part", compression="lz4")
        self._count += 1

    def finish(self) -> None:
        rows = pl.scan_ipc(sorted(self._output.parts.glob("*.part")), glob=False)
        own = own_names(self._narrow, self._reader.columns)
        self._sink(rows.cast({own.get(name, name): kind for name, kind in self._narrow.items()}), self._output.file)

    def _typed(self, batch: Batch) -> pl.DataFrame:
        columns = read_batch(self._schema, batch).columns
        own = own_names(self._schema.names, batch.frame.columns)
        typed: list[pl.Series] = []
        for column in self._schema.fields:
            values = column.to_series(columns[column.name])
            if values is None:
                continue
            if column.name in self._narrow and not _fit(values, self._narrow[column.name]).all():
                del self._narrow[column.name]
            typed.append(values.alias(own.get(column.name, column.name)))
        return batch.frame.with_columns(pl.all().replace("", None)).with_columns(typed)


def _fit(values: pl.Series, narrow: pl.DataType) -> pl.Series:
    """Which numbers a narrower type holds exactly."""
    if narrow == pl.Boolean():
        return (values == 0) | (values == 1)
    return (values == values.round()) & (values.abs() < EXACT)


def with_verdicts(frame: pl.DataFrame, verdicts: VerdictColumns) -> pl.DataFrame:
    """A frame with the columns of its verdicts appended."""
    appended = list(zip(COLUMNS, verdicts[:5], COLUMNS.values(), strict=True))
    appended += [(name, values, FURTHER[name]) for name, values in verdicts.further.items()]
    return frame.with_columns([pl.Series(*column) for column in appended])


def write_text(output: Output, reader: Reader, schema: Schema, further: Sequence[str]) -> Writer:
    """A writer of a text table: in the dialect of the table that is read, or else as CSV."""
    if reader.dialect is None:
        return TextFrameWriter(output.file)
    return RecordWriter(output.file, reader, reader.dialect, schema.decimal, further)


def write_parquet(output: Output, reader: Reader, schema: Schema, _: Sequence[str]) -> Writer:
    """A writer of a Parquet file."""
    return StoredFrameWriter(output, reader, schema, lambda rows, file: rows.sink_parquet(file))


def write_arrow(output: Output, reader: Reader, schema: Schema, _: Sequence[str]) -> Writer:
    """A writer of an Arrow file."""
    return StoredFrameWriter(output, reader, schema, lambda rows, file: rows.sink_ipc(file, compression="lz4"))
