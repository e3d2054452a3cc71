"""Writes tables that a model makes: CSV, NDJSON, Parquet or Arrow, whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import polars as pl

from kilter.service.detector.arrays import Array
from kilter.service.detector.columns import Column
from kilter.service.detector.inputs import Table
from kilter.service.detector.schema import Schema
from kilter.service.formats.arrow_stream import ArrowStreamWriter, stream_bytes
from kilter.service.formats.joining import PART, Joiner
from kilter.service.formats.writers import Output, OutputPart, check_output, output_format, packed, writing


class FrameSink(Protocol):
    """Takes the consecutive parts of a table."""

    text: bool
    """Whether all cells are to be texts."""

    def write(self, frame: pl.DataFrame) -> None:
        """Write further rows."""


class CsvSink:
    """A text table; with a decimal comma its cells are divided by semicolons."""

    text = True

    def __init__(self, file: BinaryIO, decimal: str) -> None:
        self._file = file
        self._decimal = decimal
        self._has_header = False

    def write(self, frame: pl.DataFrame) -> None:
        self._file.write(csv_bytes(frame, self._decimal, header=not self._has_header))
        self._has_header = True


def csv_bytes(frame: pl.DataFrame, decimal: str, *, header: bool = True) -> bytes:
    """A frame as a text table whose numbers, which are texts already where it is a comma, have a decimal sign."""
    return frame.write_csv(include_header=header, separator=";" if decimal == "," else ",").encode()


class LinesSink:
    """An object in each line, with types; a number that is none is null."""

    text = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, frame: pl.DataFrame) -> None:
        self._file.write(frame.fill_nan(None).write_ndjson().encode())


class StreamSink:
    """A table with types as an Arrow stream, which `finish` ends."""

    text = False

    def __init__(self, file: BinaryIO) -> None:
        self._writer = ArrowStreamWriter(file, None)

    def write(self, frame: pl.DataFrame) -> None:
        self._writer.put(OutputPart(stream_bytes(frame)))

    def finish(self) -> None:
        """Write the end."""
        self._writer.finish()


class StoredSink:
    """A table with types, in parts that `finish` puts together."""

    text = False

    def __init__(self, output: Output, join: Joiner) -> None:
        self._output = output
        self._join = join
        self._count = 0

    def write(self, frame: pl.DataFrame) -> None:
        frame.write_ipc(self._output.parts / f"{self._count:08d}{PART}", compression="lz4")
        self._count += 1

    def finish(self) -> None:
        """Write the file."""
        self._join([self._output.parts], {}, self._output.file)


@contextmanager
def open_frame_sink(
    out: str | Path, source: str | Path, decimal: str, *, force: bool, stdout: BinaryIO | None = None
) -> Iterator[FrameSink]:
    """What writes a table to a file or, for `-`, to standard output, in the format of its ending.

    `decimal` is the decimal sign of the texts. Raises KilterError if `out` must not be written, or cannot be.
    """
    form, packing = output_format(out)
    check_output(out, source, force=force)
    with writing(out, stdout) as output:
        if form.name in ("csv", "ndjson"):
            with packed(output.file, packing) as file:
                yield CsvSink(file, decimal) if form.name == "csv" else LinesSink(file)
            return
        sink = StreamSink(output.file) if form.name == "arrow-stream" else StoredSink(output, form.joiner())
        yield sink
        sink.finish()


def record_frame(schema: Schema, table: Table, *, text: bool) -> pl.DataFrame:
    """The records of a table as a frame in the schema of the originals: as texts of a file, or with types.

    A number that the network makes is of the type that the fitting rows had.
    """
    if text:
        return pl.DataFrame([_texts(column, table.columns[column.name], schema.decimal) for column in schema.fields])
    made: list[pl.Series] = []
    for column in schema.fields:
        series = column.to_series(table.columns[column.name])
        if series is None:
            series = _texts(column, table.columns[column.name], ".")
        elif column.narrow is not None and column not in schema.aside:
            series = series.cast(column.narrow)
        made.append(series)
    return pl.DataFrame(made)


def _texts(column: Column, values: Array, decimal: str) -> pl.Series:
    texts = list(map(column.text, values))
    if decimal != "." and column.written_as_number:
        texts = [text and text.replace(".", decimal) for text in texts]
    return pl.Series(column.name, texts, pl.String)
