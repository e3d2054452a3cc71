"""Files of records to files of their codes, of codes to records, and of records to what a model sees in them.

Of pictures, records are PNG files in a folder.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np
import polars as pl

from kilter.service.detector import Detector, KilterError
from kilter.service.detector.arrays import Array, Floats, Mask
from kilter.service.detector.columns.base import missing_values
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.latent import FARTHEST, generator_of
from kilter.service.detector.names import check_fields
from kilter.service.detector.pictures.column import png_of
from kilter.service.detector.schema import Schema
from kilter.service.formats.folders import check_folder, png_name, write_png
from kilter.service.formats.frames import FrameSink, open_frame_sink, record_frame
from kilter.service.formats.opening import open_source
from kilter.service.formats.pictures import COLUMN
from kilter.service.formats.reading import Batch, Reader, open_table, read_batch
from kilter.service.formats.source import NO_HINTS, STDIN, Hints

ERROR = "kilter_error"
PICTURES = "pictures"
INCOMPLETE = "a number of the code is missing, is none, or is too large"
Names = Sequence[str] | None
"""Of the pictures that records are made of."""


class RecordSink(Protocol):
    """Takes the records that a model makes."""

    def write(self, table: Table, good: Mask, names: Names) -> None:
        """Write the records of further rows: `table` has those of the rows, (rows,), that are good."""


class TableRecords:
    """Records as the rows of a table, in the schema of the originals; a row that is not good has no values."""

    def __init__(self, sink: FrameSink, schema: Schema) -> None:
        self._sink = sink
        self._schema = schema

    def write(self, table: Table, good: Mask, names: Names) -> None:
        columns: dict[str, Array] = {}
        for column in self._schema.fields:
            columns[column.name] = missing_values(column, len(good))
            columns[column.name][good] = table.columns[column.name]
        whole = Table(columns, len(good), [])
        self._sink.write(record_frame(self._schema, whole, text=self._sink.text))


class PictureRecords:
    """Records as PNG files in a folder, by the names of the pictures or the numbers of their rows."""

    def __init__(self, folder: Path, schema: Schema) -> None:
        self._folder = folder
        self._column = schema.columns[0].name
        self._written: set[str] = set()
        self._rows = 0

    def write(self, table: Table, good: Mask, names: Names) -> None:
        for pixels, row in zip(table.columns[self._column], np.flatnonzero(good).tolist(), strict=True):
            name = f"{self._rows + row:06d}" if names is None else names[row]
            write_png(self._folder, png_name(name, self._written), png_of(pixels), PICTURES)
        self._rows += len(good)


@contextmanager
def open_table_sink(
    detector: Detector, out: str | Path, source: str | Path, force: bool, stdout: BinaryIO | None
) -> Iterator[RecordSink]:
    """What writes records to a table. Raises KilterError if it must not be written, or cannot be."""
    with open_frame_sink(out, source, detector.schema.decimal, force=force, stdout=stdout) as sink:
        yield TableRecords(sink, detector.schema)


@contextmanager
def open_picture_sink(
    detector: Detector, out: str | Path, source: str | Path, force: bool, stdout: BinaryIO | None
) -> Iterator[RecordSink]:
    """What writes records to a folder. Raises KilterError if it must not be written."""
    if str(out) == STDIN or stdout is not None:
        raise KilterError("pictures go into a folder: name one with -o")
    check_folder(Path(out), Path(source), PICTURES, force=force)
    yield PictureRecords(Path(out), detector.schema)


SINKS: dict[str, Callable[..., AbstractContextManager[RecordSink]]] = {
    "table": open_table_sink,
    "image": open_picture_sink,
}
"""What opens an output for the records of a modality."""


class Transcript(NamedTuple):
    """What became of a file."""

    records: int
    errors: int
    """Records that could not be read."""
    first_error: str
    seconds: float
    notes: tuple[str, ...]


class FileTally:
    """Counts records, and those in error, of which it keeps what is wrong with the first."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._records = self._errors = 0
        self._first = ""

    def add(self, records: int, errors: Sequence[str]) -> None:
        """Count further ones."""
        self._first = self._first or next(iter(errors), "")
        self._records += records
        self._errors += len(errors)

    def transcript(self, notes: tuple[str, ...]) -> Transcript:
        """What has become of a file so far."""
        return Transcript(self._records, self._errors, self._first, time.perf_counter() - self._began, notes)


def code_names(size: int) -> list[str]:
    """The columns of a code in a table."""
    return [f"code_{i}" for i in range(size)]


def encode_file(
    detector: Detector,
    path: str | Path,
    out: str | Path,
    *,
    force: bool = False,
    hints: Hints = NO_HINTS,
    stdin: BinaryIO | None = None,
    stdout: BinaryIO | None = None,
) -> Transcript:
    """Write a row with the code of each record of a file, whole or not at all; one in error has none, and why.

    `-` is a standard stream. A row about a picture begins with its name. Raises KilterError if the file cannot be read
    or lacks a column, if the output cannot be written, or if the model cannot encode.
    """
    detector.latent.check()
    tally = FileTally()
    with (
        open_source(detector, path, stdin, hints) as reader,
        open_frame_sink(out, path, ".", force=force, stdout=stdout) as sink,
    ):
        for batch, table, errors, good in read_records(detector, reader):
            codes = np.full((len(good), detector.latent.size), np.nan)
            if good.any():
                codes[good] = detector.latent.encode(take(table, good))
            sink.write(code_frame(codes, errors, names_of(batch)))
            tally.add(len(good), messages_of(batch, errors))
    return tally.transcript(reader.notes)


def reconstruct_file(
    detector: Detector,
    path: str | Path,
    out: str | Path,
    *,
    change: Floats | None = None,
    seed: int | None = None,
    force: bool = False,
    hints: Hints = NO_HINTS,
    stdin: BinaryIO | None = None,
    stdout: BinaryIO | None = None,
) -> Transcript:
    """Write what the model sees in each record of a file; a record in error has no values, or no picture.

    As `encode_file` and `decode_file` together; where a `change` is given, (size,), it is added to every code.
    """
    detector.latent.check()
    tally, rng = FileTally(), generator_of(seed)
    with (
        open_source(detector, path, stdin, hints) as reader,
        SINKS[detector.modality.name](detector, out, path, force, stdout) as sink,
    ):
        for batch, table, errors, good in read_records(detector, reader):
            sink.write(detector.latent.reconstruct(take(table, good), rng, change), good, names_of(batch))
            tally.add(len(good), messages_of(batch, errors))
    return tally.transcript(reader.notes)


def decode_file(
    detector: Detector,
    path: str | Path,
    out: str | Path,
    *,
    seed: int | None = None,
    force: bool = False,
    hints: Hints = NO_HINTS,
    stdin: BinaryIO | None = None,
    stdout: BinaryIO | None = None,
) -> Transcript:
    """Write the record of each code of a file, in the schema of the originals: as expected, or as drawn by a seed.

    A row without a whole code, as `encode_file` writes it for a record in error, gives a record without values, or no
    picture. Raises KilterError if the file cannot be read or lacks a column, or the output cannot be written.
    """
    latent = detector.latent
    latent.check()
    tally, rng, names = FileTally(), generator_of(seed), code_names(latent.size)
    with (
        open_table(path, stdin, hints._replace(names=tuple(names))) as reader,
        SINKS[detector.modality.name](detector, out, path, force, stdout) as sink,
    ):
        check_fields(reader.name, names, reader.columns)
        for batch in reader.batches():
            codes = batch.frame.select(pl.col(names).cast(pl.Float64, strict=False)).to_numpy().astype(np.float64)
            good = (np.abs(codes) <= FARTHEST).all(axis=1)
            pictures = batch.frame[COLUMN].cast(pl.String).to_list() if COLUMN in batch.frame.columns else None
            sink.write(latent.decode(codes[good], rng), good, pictures)
            wrong = np.flatnonzero(~good).tolist()
            tally.add(
                len(good),
                [f"record {batch.first + row}: {INCOMPLETE}" for row in wrong],
            )
    return tally.transcript(reader.notes)


def read_records(detector: Detector, reader: Reader) -> Iterator[tuple[Batch, Table, list[str | None], Mask]]:
    """Batches with their records, what is wrong with each, and which of them are good."""
    if not detector.schema.columns[0].shape:  # otherwise a record is the one cell that a reader gives
        check_fields(reader.name, detector.schema.names, reader.columns)
    for batch in reader.batches():
        table = read_batch(detector.schema, batch)
        errors: list[str | None] = [None] * table.rows
        for problem in table.problems:
            if problem.row is not None:
                text = str(problem._replace(row=None))
                before = errors[problem.row]
                errors[problem.row] = f"{before}; {text}" if before else text
        yield batch, table, errors, np.array([error is None for error in errors], bool)


def messages_of(batch: Batch, errors: Sequence[str | None]) -> list[str]:
    """What is wrong with the records in error, each named."""
    return [f"{batch.name(row)}: {error}" for row, error in enumerate(errors) if error is not None]


def names_of(batch: Batch) -> Names:
    """The names of the pictures of a batch."""
    return None if batch.cells is None else batch.frame[COLUMN].to_list()


def code_frame(codes: Floats, errors: Sequence[str | None], names: Names) -> pl.DataFrame:
    """Codes, (n, size), NaN for a record in error, between the records' names, if they have any, and the errors."""
    columns = [pl.Series(name, codes[:, i], nan_to_null=True) for i, name in enumerate(code_names(codes.shape[1]))]
    if names is not None:
        columns.insert(0, pl.Series(COLUMN, names, pl.String))
    return pl.DataFrame([*columns, pl.Series(ERROR, errors, pl.String)])
