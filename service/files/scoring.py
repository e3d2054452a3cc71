"""Scores a table in a file, of any size, and writes it back with the verdicts."""

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from kilter.service.detector import Detector, KilterError, Problem, Reason, Region
from kilter.service.detector.inputs import Table as Typed
from kilter.service.detector.pictures.column import NO_PICTURES
from kilter.service.detector.schema import Schema
from kilter.service.files.cells import to_table
from kilter.service.files.dialect import Dialect
from kilter.service.files.discovery import Discoveries, Tally, check_rate
from kilter.service.files.output import STDOUT, check_output, output_kind, writing
from kilter.service.files.reading import open_table
from kilter.service.files.source import STDIN
from kilter.service.files.tables import Table
from kilter.service.files.typed_rows import TypedRows
from kilter.service.files.writers import COLUMNS, TAIL, FrameWriter, Judged, RecordWriter, Writer, packed

REASONS = 5
"""Most reasons per record."""
SHOWN = 20
Wanted = Literal["anomalies", "all", "none"]


class Summary(NamedTuple):
    """What became of a file."""

    records: int
    anomalies: int
    errors: int
    """Records that could not be scored."""
    first_error: str
    seconds: float
    notes: tuple[str, ...]
    discoveries: Discoveries | None = None
    """What was declared, if a false-discovery rate was asked for."""


def score_file(
    detector: Detector,
    path: str | Path,
    out: str | Path,
    *,
    reasons: Wanted = "anomalies",
    limit: int = REASONS,
    force: bool = False,
    fdr: float | None = None,
    tails: bool = False,
    stdin: BinaryIO | None = None,
    stdout: BinaryIO | None = None,
) -> Summary:
    """Score `path` and write its rows with five more columns to `out`, whole or not at all; `-` is a standard stream.

    With `fdr` the file is read twice, and the anomalies are those that are declared at this false-discovery rate
    (`files.discovery`). With `tails` tail probabilities are a sixth column. Raises KilterError if the file
    cannot be read or lacks a column, or the output cannot be written.
    """
    began = time.perf_counter()
    if detector.modality.name == "image":
        raise KilterError(f"{path}: {NO_PICTURES}")
    kind, packing = output_kind(out)
    check_output(out, path, force=force)
    found_before = None if fdr is None else discover(detector, path, out, fdr)
    cut = None if found_before is None else found_before.cut
    records = anomalies = errors = 0
    first_error = ""
    with ExitStack() as stack:
        table = stack.enter_context(open_table(path, stdin))
        _check_columns(table, detector.schema, tails=tails)
        place = stack.enter_context(writing(out, stdout))
        file = stack.enter_context(packed(place.file, packing))
        writer: Writer = (
            FrameWriter(place, file, kind, TypedRows(table.dialect, detector.schema))
            if table.dialect is None or kind != "csv"
            else RecordWriter(
                file,
                table.dialect,
                table.header,
                len(table.columns),
                decimal_sign(table.dialect, detector.schema),
                tails=tails,
            )
        )
        for batch in table.batches():
            typed = to_table(detector.schema, batch.frame, faults=batch.faults)
            judged = judge(detector, typed, reasons, limit, cut=cut, tails=tails)
            writer.write(batch, judged)
            found = [(row, error) for row, error in enumerate(judged.errors) if error is not None]
            if found and not errors:
                first_error = f"record {batch.first + found[0][0]}: {found[0][1]}"
            errors += len(found)
            records += batch.frame.height
            anomalies += sum(map(bool, judged.anomalies))
        if found_before is not None and (records - errors, anomalies) != (found_before.judged, found_before.declared):
            raise KilterError(f"{path} has changed while it was read: score it again once nothing writes to it")
        writer.finish()
    seconds = time.perf_counter() - began
    return Summary(records, anomalies, errors, first_error, seconds, table.notes, found_before)


def discover(detector: Detector, path: str | Path, out: str | Path, fdr: float) -> Discoveries:
    """Read a file a first time, to know what is declared at a false-discovery rate.

    Raises KilterError if it cannot be read twice, or `out` is no file: nothing may be written before all is read.
    """
    check_rate(fdr)
    if str(out) == STDOUT:
        raise KilterError("a false-discovery rate needs a file to write to, not standard output: name one with -o")
    if str(path) == STDIN or (Path(path).exists() and not Path(path).is_file()):
        raise KilterError("a false-discovery rate needs a file that can be read twice, not a stream: save it first")
    calibrations = (detector.calibration, *(detector.groups.calibrations.values() if detector.groups else ()))
    tally = Tally(fdr, 1 / (max(calibration.size for calibration in calibrations) + 1))
    with open_table(path) as table:
        _check_columns(table, detector.schema)
        for batch in table.batches():
            if batch.frame.height:
                typed = to_table(detector.schema, batch.frame, faults=batch.faults)
                tally.add(detector.score(typed, errors="mark").p_value)
    return tally.discoveries()


def judge(
    detector: Detector,
    table: Typed,
    reasons: Wanted,
    limit: int = REASONS,
    *,
    cut: float | None = None,
    tails: bool = False,
) -> Judged:
    """The verdicts on a table as they are written; with `cut`, anomalies are the records with p-values up to it."""
    if not table.rows:
        return Judged([], [], [], [], [], [] if tails else None)
    verdicts = detector.score(table, reasons=limit if reasons == "all" else 0, errors="mark")
    flags = verdicts.anomaly if cut is None else verdicts.p_value <= cut
    texts: list[str | None] = [None] * table.rows
    errors: list[str | None] = [None] * table.rows
    if verdicts.reasons is not None:
        texts = [ascii_json(found) for found in verdicts.reasons]
    elif reasons == "anomalies" and flags.any():
        rows = np.flatnonzero(flags)
        strange = Typed({name: values[rows] for name, values in table.columns.items()}, len(rows), [])
        for row, found in zip(rows.tolist(), detector.score(strange, reasons=limit).reasons or (), strict=True):
            texts[row] = ascii_json(found)
    scores: list[float | None] = verdicts.score.tolist()
    p_values: list[float | None] = verdicts.p_value.tolist()
    anomalies: list[bool | None] = flags.tolist()
    for problem in verdicts.problems:
        if problem.row is not None:
            row, message = problem.row, _message(problem)
            errors[row] = f"{errors[row]}; {message}" if errors[row] else message
            scores[row] = p_values[row] = anomalies[row] = texts[row] = None
    return Judged(scores, p_values, anomalies, texts, errors, tail_column(verdicts.tail_probability, table.rows, tails))


def tail_column(tail: npt.NDArray[np.float64] | None, rows: int, wanted: bool) -> list[float | None] | None:
    """Tail probabilities as they are written, if they are wanted."""
    if not wanted:
        return None
    return [None] * rows if tail is None else [None if value != value else value for value in tail.tolist()]


def ascii_json(reasons: Sequence[Reason | Region]) -> str:
    """Reasons as compact JSON that stands in a file of any encoding."""
    text = msgspec.json.encode(reasons).decode()
    return text if text.isascii() else json.dumps(json.loads(text), separators=(",", ":"))


def _message(problem: Problem) -> str:
    return problem.message if problem.field is None else f"field {problem.field!r}: {problem.message}"


def _check_columns(table: Table, schema: Schema, *, tails: bool = False) -> None:
    absent = [name for name in schema.names if name not in table.columns]
    if absent:
        raise KilterError(
            f"{table.name} lacks {', '.join(map(repr, absent))}, which the model needs; its columns are "
            f"{', '.join(map(repr, table.columns[:SHOWN]))}{', ...' if len(table.columns) > SHOWN else ''}"
        )
    appended = (*COLUMNS, TAIL) if tails else (*COLUMNS,)
    present = [name for name in appended if name in table.columns]
    if present:
        raise KilterError(
            f"{table.name} has a column {present[0]!r} already: score the original file, or take that column out"
        )


def decimal_sign(dialect: Dialect, schema: Schema) -> str:
    """The decimal sign of appended numbers: the model's, unless it is the delimiter."""
    return "." if dialect.delimiter == schema.decimal else schema.decimal
