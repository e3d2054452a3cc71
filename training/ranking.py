"""Writes the rows of scanned files with their verdicts, strangest first; and says in words what a scan has come to."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from kilter.service.detector.arrays import Positions
from kilter.service.detector.errors import KilterError, Problem
from kilter.service.detector.modalities.tables import Reason
from kilter.service.formats.addresses import Place
from kilter.service.formats.judge import ascii_json
from kilter.service.formats.lines import FILE, ROW, VerdictColumns
from kilter.service.formats.opening import check_appended
from kilter.service.formats.reading import Batch, Reader, open_table
from kilter.service.formats.source import STDIN
from kilter.service.formats.writers import (
    OutputPart,
    check_output,
    output_format,
    packed,
    writing,
)
from kilter.training.scan import STRANGEST, ScanResult

BLAMED = 8
SHOWN_REASONS = 3


class JoinedRows(Reader):
    """The rows of several tables with the same columns, one after the other.

    They keep their own bytes where all are written alike: in the same dialect, with the same header.
    """

    def __init__(self, readers: Sequence[Reader]) -> None:
        """Read all rows of open tables."""
        first = readers[0]
        alike = all((reader.dialect, reader.header) == (first.dialect, first.header) for reader in readers)
        self.name, self.columns, self.header = first.name, first.columns, first.header
        self.dialect = first.dialect if alike else None
        self.files: list[str] = []
        """Of each row the file that it is from, and its place there, from 0."""
        self.rows: list[int] = []
        frames: list[pl.DataFrame] = []
        raw: list[bytes] = []
        faults: list[Problem] = []
        for reader in readers:
            for batch in reader.batches():
                faults += [fault._replace(row=len(self.rows) + (fault.row or 0)) for fault in batch.faults]
                raw += batch.raw
                frames.append(batch.frame.select(self.columns))
                self.files += [reader.name] * batch.frame.height
                self.rows += range(batch.first, batch.first + batch.frame.height)
        self.batch = Batch(pl.concat(frames, how="vertical_relaxed"), 0, faults, raw)

    def __exit__(self, *_: object) -> None:
        """Nothing is left to close."""

    def batches(self) -> Iterator[Batch]:
        yield self.batch

    def picked(self, rows: Positions) -> Batch:
        """Some of the rows, in an order of their own."""
        places = {row: place for place, row in enumerate(rows.tolist())}
        frame, faults, raw = self.batch.frame, self.batch.faults, self.batch.raw
        moved = [fault._replace(row=places[fault.row]) for fault in faults if fault.row in places]
        return Batch(frame[rows], 0, moved, [raw[row] for row in places] if raw else ())


class WrittenRows(NamedTuple):
    """What the rows of scanned files are called."""

    names: list[str]
    """Of each row that was read: its number, and its file if there are several."""
    records: int
    """Rows of the files, those with faults included."""


def write_ranking(
    result: ScanResult, out: str | Path, *, in_order: bool = False, top: int | None = None
) -> WrittenRows:
    """Write the rows of the scanned files with their verdicts to `out`, whole or not at all; `-` is standard output.

    The strangest come first and rows in error last, or all stand `in_order`, as in the files; `top` is how many of the
    strangest are written. Appended are the columns of `kilter score`, the file if there are several, and the row in it,
    from 0. Raises KilterError if the files have changed, or it cannot be
    written.
    """
    paths = result.data.source.paths
    form, packing = output_format(out)
    further = appended_columns(paths)
    with ExitStack() as stack:
        readers = [stack.enter_context(open_table(path)) for path in paths]
        whole = JoinedRows(readers)
        faulty = {fault.row: fault.message for fault in whole.batch.faults}
        read = np.array([row for row in range(len(whole.rows)) if row not in faulty], np.int64)
        if len(read) != result.data.table.rows:
            raise KilterError(f"{whole.name} has changed while it was read: scan it again once nothing writes to it")
        ranked = read[result.strangest]
        order = ranked[:top]
        if top is None:
            order = np.concatenate([order, np.setdiff1d(np.arange(len(whole.rows)), ranked)])
        order = np.sort(order) if in_order else order
        output = stack.enter_context(writing(out))
        file = stack.enter_context(packed(output.file, packing))
        writer = form.writer()(output._replace(file=file), whole, result.data.draft, further, None)
        writer.put(OutputPart(writer.begin()))
        writer.write(whole.picked(order), _columns(result, whole, read, faulty, order, further))
        writer.finish()
    files = [f"{name}, " if len(paths) > 1 else "" for name in whole.files]
    return WrittenRows([f"{files[row]}row {whole.rows[row]:,}" for row in read.tolist()], len(whole.rows))


def appended_columns(paths: Sequence[Place]) -> tuple[str, ...]:
    """The columns that tell where a row of files is from."""
    return (FILE, ROW) if len(paths) > 1 else (ROW,)


def check_ranking(paths: Sequence[Place], out: str | Path, *, force: bool) -> None:
    """Raise KilterError, before anything is fitted, if `out` cannot be written, or files cannot be read twice.

    Or if they have a column of a name that is to be appended.
    """
    output_format(out)
    for path in paths:
        if str(path) == STDIN or (path.exists() and not path.is_file() and not path.is_dir()):
            raise KilterError("a scan needs files that can be read twice, not a stream: save it first")
        check_output(out, path, force=force)
        if path.is_file():
            with open_table(path) as reader:
                check_appended(reader, appended_columns(paths))


def _columns(
    result: ScanResult,
    whole: JoinedRows,
    read: Positions,
    faulty: dict[int | None, str],
    order: Positions,
    further: Sequence[str],
) -> VerdictColumns:
    """The verdicts on rows of the files in an order."""
    verdicts = result.verdicts
    errors = dict(faulty)
    for row, field, message in verdicts.problems:
        if row is not None:
            place, text = int(read[row]), message if field is None else f"field {field!r}: {message}"
            errors[place] = f"{errors[place]}; {text}" if place in errors else text
    position = np.full(len(whole.rows), -1)
    position[read] = np.arange(len(read))
    judged: list[int | None] = [None if row in errors else int(position[row]) for row in order.tolist()]
    reasons = verdicts.reasons
    values = {FILE: [whole.files[row] for row in order], ROW: [whole.rows[row] for row in order]}
    return VerdictColumns(
        [None if row is None else float(verdicts.score[row]) for row in judged],
        [None if row is None else float(verdicts.p_value[row]) for row in judged],
        [None if row is None else bool(verdicts.anomaly[row]) for row in judged],
        [None if row is None or not reasons or not reasons[row] else ascii_json(reasons[row]) for row in judged],
        [errors.get(row) for row in order.tolist()],
        {name: values[name] for name in further},
    )


def scan_in_words(result: ScanResult, written: WrittenRows) -> list[str]:
    """What a scan has come to, in lines: flags, the fields to blame, the strangest rows, and labels."""
    discoveries, verdicts = result.discoveries, result.verdicts
    errors = written.records - discoveries.judged
    lines = [f"{discoveries.judged:,} rows judged, {discoveries.declared:,} flagged, {errors:,} in error."]
    if result.copies:
        lines.append(f"{result.copies:,} rows are copies of others: all copies of a row were judged by the same model.")
    rate = f"a false-discovery rate of {discoveries.fdr:g}"
    if discoveries.declared:
        lines.append(f"Flagged at {rate}: the rows with p-values up to {discoveries.cut:.3g}.")
    else:
        lines.append(
            f"At {rate} no row lies so far beyond the others that it is flagged; the lowest p-value is "
            f"{discoveries.lowest:.3g}."
        )
    if result.blamed:
        which = "the flagged rows" if discoveries.declared else "the strangest rows"
        fields = ", ".join(f"{name} ({count:,})" for name, count in result.blamed[:BLAMED])
        lines.append(f"Fields that most often are the first reason of {which}: {fields}.")
    lines.append("The strangest rows, counted from 0 below the header:")
    for row in result.strangest[:STRANGEST].tolist():
        flag = ", flagged" if verdicts.anomaly[row] else ""
        why = "; ".join(map(_reason, (verdicts.reasons[row] if verdicts.reasons else ())[:SHOWN_REASONS]))
        figures = f"score {verdicts.score[row]:.4g}, p-value {verdicts.p_value[row]:.3g}{flag}"
        lines.append(f"  {written.names[row]}: {figures}{': ' if why else ''}{why}")
    return [*lines, *agreement_in_words(result)]


def agreement_in_words(result: ScanResult) -> list[str]:
    """How a ranking agrees with the labels, if there are any of both kinds."""
    a, label = result.agreement, result.data.source.label
    if a is None:
        return [] if label is None else [f"{label!r} tells no anomalies from normal rows among those that were judged."]
    return [
        f"By {label!r}, which no model saw: ROC AUC {a.roc_auc:.4f}, average precision {a.average_precision:.4f}; "
        f"{a.right:,} of {a.flagged:,} flagged rows are among its {a.anomalous:,} anomalies."
    ]


def _reason(reason: object) -> str:
    if not isinstance(reason, Reason):
        return str(reason)
    observed, expected = (f"{v:.6g}" if isinstance(v, float) else str(v) for v in (reason.observed, reason.expected))
    return f"{reason.feature} {observed}, usually {expected}"
