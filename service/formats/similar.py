"""Files of records to files of the known records that are like them: a row for each of these."""

from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl

from kilter.service.detector import Detector, KilterError
from kilter.service.detector.arrays import Array, Floats, Positions
from kilter.service.detector.columns.base import missing_values
from kilter.service.detector.inputs import Table, join, take
from kilter.service.detector.similar import KnownRecords, Origins, origin_of
from kilter.service.formats.codes import ERROR, FileTally, Transcript, messages_of, names_of, read_records
from kilter.service.formats.frames import open_frame_sink, record_frame
from kilter.service.formats.opening import open_source
from kilter.service.formats.pictures import COLUMN
from kilter.service.formats.source import NO_HINTS, Hints

RECORD, RANK, DISTANCE, FILE, ROW, NAME = (
    f"kilter_{name}" for name in ("record", "rank", "distance", "file", "row", "name")
)


def similar_file(
    detector: Detector,
    path: str | Path,
    out: str | Path,
    *,
    k: int = 5,
    among: str | Path | None = None,
    force: bool = False,
    hints: Hints = NO_HINTS,
    stdin: BinaryIO | None = None,
    stdout: BinaryIO | None = None,
) -> Transcript:
    """Write the `k` known records that are nearest to each of a file, nearest first, whole or not at all.

    A row has the number of the record, or the picture's name, the distance, where the known one stands and, of a table,
    its fields; a record in error has one row, and why. Known are the rows that the score remembers or, if it is given,
    the records of the file `among`. Raises KilterError if the model cannot tell, or a file cannot be read or written.
    """
    detector.similarity.check(among=among is not None)
    known, notes = (detector.similarity.memory, ()) if among is None else read_known(detector, among, hints)
    assert known is not None  # noqa: S101 (checked above)
    tally, decimal = FileTally(), detector.schema.decimal
    with (
        open_source(detector, path, stdin, hints) as reader,
        open_frame_sink(out, path, decimal, force=force, stdout=stdout) as sink,
    ):
        for batch, table, errors, good in read_records(detector, reader):
            distances, positions = detector.similarity.nearest(take(table, good), k, known)
            count = np.where(good, positions.shape[1], 1)
            of, there = np.repeat(np.arange(len(good)), count), np.repeat(good, count)
            columns = [pl.Series(RECORD, batch.first + of)]
            if (names := names_of(batch)) is not None:
                columns = [pl.Series(COLUMN, [names[row] for row in of.tolist()], pl.String)]
            columns += _measures(distances, there, decimal if sink.text else ".")
            columns += _origins(known.origins, positions.ravel(), there)
            frame = pl.DataFrame(columns)
            if known.records is not None:
                frame = frame.hstack(_fields(detector, known, positions.ravel(), there, sink.text))
            sink.write(frame.with_columns(pl.Series(ERROR, [errors[row] for row in of.tolist()], pl.String)))
            tally.add(len(good), messages_of(batch, errors))
    return tally.transcript((*reader.notes, *notes))


def read_known(detector: Detector, path: str | Path, hints: Hints = NO_HINTS) -> tuple[KnownRecords, tuple[str, ...]]:
    """The records of a file that can be read, to look among, and notes. Raises KilterError if there are none."""
    tables, numbers, names, errors = [], [], [], []
    with open_source(detector, path, None, hints) as reader:
        for batch, table, wrong, good in read_records(detector, reader):
            tables.append(take(table, good)._replace(problems=[]))
            numbers.append(batch.first + np.flatnonzero(good))
            if (given := names_of(batch)) is not None:
                names += [given[row] for row in np.flatnonzero(good).tolist()]
            errors += messages_of(batch, wrong)
        notes = tuple(reader.notes)
    if not any(table.rows for table in tables):
        raise KilterError(f"{path} has no record that can be read" + (f": {errors[0]}" if errors else ""))
    if errors:
        notes += (f"{path}: not looked among, since they cannot be read: {len(errors):,}, the first: {errors[0]}",)
    origins = Origins(np.concatenate(numbers), [Path(path).name], None, names or None)
    return detector.similarity.known(join(tables), origins), notes


def _measures(distances: Floats, there: Array, decimal: str) -> list[pl.Series]:
    """The rank, from 1, and the distance of each row that is there."""
    rank, distance = np.zeros(len(there), np.int64), np.full(len(there), np.nan)
    rank[there] = np.tile(np.arange(1, distances.shape[1] + 1), len(distances))
    distance[there] = distances.ravel()
    series = pl.Series(DISTANCE, distance, nan_to_null=True)
    if decimal != ".":
        series = series.cast(pl.String).str.replace(".", decimal, literal=True)
    return [pl.Series(RANK, [number or None for number in rank.tolist()], pl.Int64), series]


def _origins(origins: Origins | None, positions: Positions, there: Array) -> list[pl.Series]:
    """Where the known records stand, as far as is known: row, file where there are several, and name of a picture."""
    if origins is None:
        return []
    places = iter(origin_of(origins, position) for position in positions.tolist())
    rows, files, names = zip(*(next(places) if one else (None,) * 3 for one in there), strict=True)
    columns = [pl.Series(ROW, rows, pl.Int64)]
    if origins.file is not None:
        columns.append(pl.Series(FILE, files, pl.String))
    if origins.names is not None:
        columns.append(pl.Series(NAME, names, pl.String))
    return columns


def _fields(detector: Detector, known: KnownRecords, positions: Positions, there: Array, text: bool) -> pl.DataFrame:
    """The fields of known records in the schema of the originals; none in a row that is not there."""
    assert known.records is not None  # noqa: S101 (of pictures there are no fields)
    schema, records, columns = detector.schema, known.records(positions), {}
    for column in schema.fields:
        columns[column.name] = missing_values(column, len(there))
        columns[column.name][there] = records.columns[column.name]
    return record_frame(schema, Table(columns, len(there), []), text=text)
