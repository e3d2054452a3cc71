"""Ways through the latent space: from one record to another, and along a direction that files or a column tell."""

import re
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
import polars as pl

from kilter.service.detector import Detector, KilterError, RecordsError
from kilter.service.detector.arrays import Floats
from kilter.service.detector.columns.cells import as_text
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.latent import Slope, between, generator_of
from kilter.service.detector.pictures.column import png_of, strip_of
from kilter.service.formats.codes import SINKS, read_records
from kilter.service.formats.folders import write_png
from kilter.service.formats.opening import open_source
from kilter.service.formats.source import NO_HINTS, Hints
from kilter.service.formats.writers import check_output

ROW = re.compile(r"(.+):([0-9]{1,15})")
STRIP = ".png"


def interpolate_file(
    detector: Detector,
    first: str,
    last: str,
    out: str | Path,
    *,
    steps: int = 8,
    seed: int | None = None,
    force: bool = False,
    hints: Hints = NO_HINTS,
    stdout: BinaryIO | None = None,
) -> int:
    """Write so many records on the way from one record to another, both ends included; return their number.

    Pictures go into a folder, or side by side into one PNG. Raises KilterError.
    """
    detector.latent.check()
    start, end = (detector.latent.encode(specimen(detector, stated, hints))[0] for stated in (first, last))
    made = detector.latent.decode(between(start, end, steps), generator_of(seed))
    return _write_way(detector, made, out, force, stdout)


def walk_file(
    detector: Detector,
    stated: str,
    out: str | Path,
    change: Floats,
    *,
    steps: int = 8,
    seed: int | None = None,
    force: bool = False,
    hints: Hints = NO_HINTS,
    stdout: BinaryIO | None = None,
) -> int:
    """Write a record on the way that a `change` of its code, (size,), leads, as `interpolate_file` writes a way."""
    detector.latent.check()
    made = detector.latent.walk(specimen(detector, stated, hints), change, steps, generator_of(seed))
    return _write_way(detector, made, out, force, stdout)


def _write_way(detector: Detector, made: Table, out: str | Path, force: bool, stdout: BinaryIO | None) -> int:
    """Write the records of a way, pictures side by side where the output is a picture; return their number."""
    if detector.modality.decodes and str(out).lower().endswith(STRIP):
        check_output(out, "-", force=force)
        write_png(Path(out).parent, Path(out).name, png_of(strip_of(detector.modality.given(made))), "strip")
        return made.rows
    with SINKS[detector.modality.name](detector, out, "-", force, stdout) as sink:
        sink.write(made, np.ones(made.rows, bool), None)
    return made.rows


def specimen(detector: Detector, stated: str, hints: Hints = NO_HINTS) -> Table:
    """The one record that is stated: as JSON, as a file that holds no other, or as FILE:ROW, rows counted from 0.

    Raises KilterError if there is none, and RecordsError if it does not fit the model.
    """
    if stated.lstrip().startswith("{"):
        try:
            record: dict[str, Any] = msgspec.json.decode(stated.encode(), type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise KilterError(f"{stated[:60]!r} is no record in JSON: {error}") from None
        table = detector.table([record])
        if table.problems:
            raise RecordsError(table.problems)
        return table
    match = None if Path(stated).exists() else ROW.fullmatch(stated)
    path, row = (match[1], int(match[2])) if match else (stated, None)
    if not Path(path).exists():
        raise KilterError(f"{stated} is no file, no row of one (FILE:ROW, from 0), and no record in JSON")
    seen = 0
    one: Table | None = None
    with open_source(detector, path, None, hints) as reader:
        for batch, table, errors, _ in read_records(detector, reader):
            wanted = (0 if row is None else row) - seen
            seen += table.rows
            if 0 <= wanted < table.rows:
                if errors[wanted] is not None:
                    raise KilterError(f"{path}, {batch.name(wanted)}: {errors[wanted]}")
                one = take(table, np.array([wanted]))._replace(problems=[])
            if one is not None and (row is not None or seen > 1):
                break
    if row is None and seen > 1:
        raise KilterError(f"{path} holds more than one record: name one of them as {path}:ROW, counted from 0")
    if one is None:
        raise KilterError(f"{path} has {seen:,} records, and none of the number {row or 0}: they are counted from 0")
    return one


def direction_between(detector: Detector, source: str | Path, target: str | Path, hints: Hints = NO_HINTS) -> Floats:
    """The mean code of the records of one file less that of another's, (size,). Raises KilterError."""
    detector.latent.check()
    slope = Slope(detector.latent.size)
    for value, path in ((0.0, source), (1.0, target)):
        rows = 0
        with open_source(detector, path, None, hints) as reader:
            for _, table, _, good in read_records(detector, reader):
                codes = detector.latent.encode(take(table, good))
                slope.add(codes, np.full(len(codes), value))
                rows += len(codes)
        if not rows:
            raise KilterError(f"{path} has no record that can be read")
    return slope.difference()


def direction_along(
    detector: Detector, path: str | Path, column: str, value: str | None = None, hints: Hints = NO_HINTS
) -> Floats:
    """The change of the codes of a file's records with a column, which the model need not see: (size,).

    With a `value` it leads from the records that have another one to those that have it; else along the column's
    numbers, by a standard deviation of them. Raises KilterError where the column does not tell a direction.
    """
    detector.latent.check()
    slope = Slope(detector.latent.size)
    with open_source(detector, path, None, hints) as reader:
        if column not in reader.columns:
            raise KilterError(f"{reader.name} has no column {column!r}: it has {', '.join(reader.columns)}")
        for batch, table, _, good in read_records(detector, reader):
            cells = as_text(batch.frame[column]).str.strip_chars().replace("", None)
            values = (cells == value if value is not None else cells).cast(pl.Float64, strict=False).to_numpy()
            usable = good & ~np.isnan(values)
            slope.add(detector.latent.encode(take(table, usable)), values[usable])
    if slope.deviation > 0:
        return slope.per_deviation() if value is None else slope.difference()
    if value is not None:
        raise KilterError(f"in {path} all records or none have {value!r} as {column!r}: give a file with both")
    raise KilterError(f"{column!r} of {path} has no two numbers: for a group say {column}=VALUE")
