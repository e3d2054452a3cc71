"""Scores a table in a file, of any size, and writes it back with the verdicts."""

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import msgspec
import numpy as np

from service.detector import Detector, KilterError, Problem, Reason
from service.detector.inputs import Table as Typed
from service.detector.schema import Schema
from service.files.cells import to_table
from service.files.dialect import Dialect
from service.files.output import check_output, output_kind, writing
from service.files.reading import open_table
from service.files.tables import Table
from service.files.typed_rows import TypedRows
from service.files.writers import COLUMNS, FrameWriter, Judged, RecordWriter, Writer, packed

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


def score_file(
    detector: Detector,
    path: str | Path,
    out: str | Path,
    *,
    reasons: Wanted = "anomalies",
    force: bool = False,
    stdin: BinaryIO | None = None,
    stdout: BinaryIO | None = None,
) -> Summary:
    """Score `path` and write its rows with five more columns to `out`, whole or not at all; `-` is a standard stream.

    Raises KilterError if the file cannot be read or lacks a column, or the output cannot be written.
    """
    began = time.perf_counter()
    kind, packing = output_kind(out)
    check_output(out, path, force=force)
    records = anomalies = errors = 0
    first_error = ""
    with ExitStack() as stack:
        table = stack.enter_context(open_table(path, stdin))
        _check_columns(table, detector.schema)
        place = stack.enter_context(writing(out, stdout))
        file = stack.enter_context(packed(place.file, packing))
        writer: Writer = (
            FrameWriter(place, file, kind, TypedRows(table.dialect, detector.schema))
            if table.dialect is None or kind != "csv"
            else RecordWriter(
                file, table.dialect, table.header, len(table.columns), decimal_sign(table.dialect, detector.schema)
            )
        )
        for batch in table.batches():
            judged = judge(detector, to_table(detector.schema, batch.frame, faults=batch.faults), reasons)
            writer.write(batch, judged)
            found = [(row, error) for row, error in enumerate(judged.errors) if error is not None]
            if found and not errors:
                first_error = f"record {batch.first + found[0][0]}: {found[0][1]}"
            errors += len(found)
            records += batch.frame.height
            anomalies += sum(map(bool, judged.anomalies))
        writer.finish()
    return Summary(records, anomalies, errors, first_error, time.perf_counter() - began, table.notes)


def judge(detector: Detector, table: Typed, reasons: Wanted) -> Judged:
    """The verdicts on a table as they are written."""
    if not table.rows:
        return Judged([], [], [], [], [])
    verdicts = detector.score(table, reasons=REASONS if reasons == "all" else 0, errors="mark")
    texts: list[str | None] = [None] * table.rows
    errors: list[str | None] = [None] * table.rows
    if verdicts.reasons is not None:
        texts = [ascii_json(found) for found in verdicts.reasons]
    elif reasons == "anomalies" and verdicts.anomaly.any():
        rows = np.flatnonzero(verdicts.anomaly)
        strange = Typed({name: values[rows] for name, values in table.columns.items()}, len(rows), [])
        for row, found in zip(rows.tolist(), detector.score(strange, reasons=REASONS).reasons or (), strict=True):
            texts[row] = ascii_json(found)
    scores: list[float | None] = verdicts.score.tolist()
    p_values: list[float | None] = verdicts.p_value.tolist()
    anomalies: list[bool | None] = verdicts.anomaly.tolist()
    for problem in verdicts.problems:
        if problem.row is not None:
            row, message = problem.row, _message(problem)
            errors[row] = f"{errors[row]}; {message}" if errors[row] else message
            scores[row] = p_values[row] = anomalies[row] = texts[row] = None
    return Judged(scores, p_values, anomalies, texts, errors)


def ascii_json(reasons: Sequence[Reason]) -> str:
    """Reasons as compact JSON that stands in a file of any encoding."""
    text = msgspec.json.encode(reasons).decode()
    return text if text.isascii() else json.dumps(json.loads(text), separators=(",", ":"))


def _message(problem: Problem) -> str:
    return problem.message if problem.field is None else f"field {problem.field!r}: {problem.message}"


def _check_columns(table: Table, schema: Schema) -> None:
    absent = [name for name in schema.names if name not in table.columns]
    if absent:
        raise KilterError(
            f"{table.name} lacks {', '.join(map(repr, absent))}, which the model needs; its columns are "
            f"{', '.join(map(repr, table.columns[:SHOWN]))}{', ...' if len(table.columns) > SHOWN else ''}"
        )
    present = [name for name in COLUMNS if name in table.columns]
    if present:
        raise KilterError(
            f"{table.name} has a column {present[0]!r} already: score the original file, or take that column out"
        )


def decimal_sign(dialect: Dialect, schema: Schema) -> str:
    """The decimal sign of appended numbers: the model's, unless it is the delimiter."""
    return "." if dialect.delimiter == schema.decimal else schema.decimal
