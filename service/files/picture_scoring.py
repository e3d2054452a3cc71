"""Scores pictures in files, and writes a table of their verdicts, and heat maps beside it where these are wanted."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, NamedTuple

import polars as pl

from kilter.service.detector import Detector, KilterError, Problem
from kilter.service.detector.columns import ImageColumn
from kilter.service.detector.inputs import Table, from_records
from kilter.service.detector.pictures.pixels import size_of, upright
from kilter.service.detector.pictures.regions import Grid, heatmap, regions
from kilter.service.files.discovery import Discoveries, Tally, check_rate
from kilter.service.files.output import STDOUT, check_output, output_kind, writing
from kilter.service.files.pictures import PictureBatch, Pictures
from kilter.service.files.scoring import Summary, Wanted, ascii_json, tail_column
from kilter.service.files.tables import Batch
from kilter.service.files.typed_rows import TypedRows
from kilter.service.files.writers import FrameWriter, Judged, packed

NAME = "picture"
"""The column that tells which picture a row is about."""


class Work(NamedTuple):
    """What is wanted of each picture."""

    reasons: Wanted
    limit: int
    """Most reasons for each."""
    cut: float | None
    """Where a false-discovery rate is asked for: anomalies are the pictures with p-values up to it."""
    tails: bool
    heatmaps: Path | None


def score_pictures(
    detector: Detector,
    path: Path,
    out: str | Path,
    *,
    reasons: Wanted = "anomalies",
    limit: int = 5,
    force: bool = False,
    fdr: float | None = None,
    tails: bool = False,
    heatmaps: Path | None = None,
    stdout: BinaryIO | None = None,
) -> Summary:
    """Score the pictures of `path` and write a row for each to `out`, whole or not at all; `-` is standard output.

    Heat maps of all of them go into a folder, each by its picture's path in the other folder. Raises KilterError if
    there are no pictures, or the output cannot be written.
    """
    began = time.perf_counter()
    _column(detector)
    kind, packing = output_kind(out)
    check_output(out, path, force=force)
    pictures = Pictures(path)
    if heatmaps is not None:
        _check_heatmaps(heatmaps, path, force=force)
    found_before = None if fdr is None else _discover(detector, pictures, out, fdr)
    work = Work(reasons, limit, None if found_before is None else found_before.cut, tails, heatmaps)
    anomalies = errors = done = 0
    first_error = ""
    with ExitStack() as stack:
        place = stack.enter_context(writing(out, stdout))
        file = stack.enter_context(packed(place.file, packing))
        writer = FrameWriter(place, file, kind, TypedRows(None, detector.schema))
        for batch in pictures.batches():
            judged = _judged(detector, batch, work)
            shown = [name.encode("utf-8", "backslashreplace").decode() for name in batch.names]
            writer.write(Batch(pl.DataFrame({NAME: shown}), done), judged)
            wrong = [(name, error) for name, error in zip(shown, judged.errors, strict=True) if error is not None]
            if wrong and not errors:
                first_error = f"{wrong[0][0]}: {wrong[0][1]}"
            errors += len(wrong)
            done += len(batch.names)
            anomalies += sum(map(bool, judged.anomalies))
        writer.finish()
    seconds = time.perf_counter() - began
    return Summary(done, anomalies, errors, first_error, seconds, pictures.notes, found_before)


def _table(detector: Detector, batch: PictureBatch) -> Table:
    """The pictures of a batch, with what is wrong with some."""
    column = _column(detector)
    table = from_records(detector.schema, [{column.name: cell} for cell in batch.cells])
    told = [
        Problem(problem.row, problem.field, batch.faults.get(problem.row or 0, problem.message))
        for problem in table.problems
    ]
    return table._replace(problems=told)


def _judged(detector: Detector, batch: PictureBatch, work: Work) -> Judged:
    """The verdicts on a batch as they are written; its heat maps are written here."""
    column, grid = _column(detector), _grid(detector)
    table = _table(detector, batch)
    every = work.reasons == "all" or work.heatmaps is not None
    verdicts = detector.score(table, reasons=int(every), errors="mark")
    flags = verdicts.anomaly if work.cut is None else verdicts.p_value <= work.cut
    errors = {problem.row: problem.message for problem in table.problems}
    good = [row for row in range(table.rows) if row not in errors]
    explained = good if work.reasons == "all" else [row for row in good if flags[row]] if work.reasons != "none" else []
    evidence = dict(enumerate(verdicts.evidence)) if verdicts.evidence is not None else {}
    if explained and not every:
        strange = Table({column.name: table.columns[column.name][explained]}, len(explained), [])
        found = detector.score(strange, reasons=1).evidence
        evidence = {} if found is None else dict(zip(explained, found, strict=True))
    texts = {row: ascii_json(regions(evidence[row], grid, *size_of(batch.cells[row]), work.limit)) for row in explained}
    if work.heatmaps is not None:
        for row in good:
            content = heatmap(upright(batch.cells[row], column), evidence[row], grid)
            _write_heatmap(work.heatmaps, batch.names[row], content)
    tails = tail_column(verdicts.tail_probability, table.rows, work.tails)
    columns = (verdicts.score.tolist(), verdicts.p_value.tolist(), flags.tolist())
    scores, p_values, anomalies = (
        [None if row in errors else value for row, value in enumerate(values)] for values in columns
    )
    rows = range(table.rows)
    return Judged(
        scores, p_values, anomalies, [texts.get(row) for row in rows], [errors.get(row) for row in rows], tails
    )


def _column(detector: Detector) -> ImageColumn:
    column = detector.schema.columns[0]
    if not isinstance(column, ImageColumn):
        raise KilterError(f"the model {detector.name} judges records of fields, not pictures: name a table")
    return column


def _grid(detector: Detector) -> Grid:
    if detector.modality.grid is None:
        raise TypeError("a model of pictures has a grid")
    return Grid(*detector.modality.grid)


def _discover(detector: Detector, pictures: Pictures, out: str | Path, fdr: float) -> Discoveries:
    """Look at all pictures a first time, to know what is declared at a false-discovery rate."""
    check_rate(fdr)
    if str(out) == STDOUT:
        raise KilterError("a false-discovery rate needs a file to write to, not standard output: name one with -o")
    tally = Tally(fdr, 1 / (detector.calibration.size + 1))
    for batch in pictures.batches():
        tally.add(detector.score(_table(detector, batch), errors="mark").p_value)
    return tally.discoveries()


def _check_heatmaps(folder: Path, path: Path, *, force: bool) -> None:
    """Raise KilterError if heat maps must not be written there."""
    if folder.exists() and not folder.is_dir():
        raise KilterError(f"{folder} is a file: name a folder for the heat maps")
    if path.is_dir() and folder.resolve().is_relative_to(path.resolve()):
        raise KilterError(f"{folder} lies in {path}, whose pictures are read: name another folder for the heat maps")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise KilterError(f"{folder} holds files already: choose another folder, or write to it with --force")


def _write_heatmap(folder: Path, name: str, content: bytes) -> None:
    """Write the heat map of a picture by its path, never outside of the folder."""
    target = folder / f"{name}.png"
    try:
        if not target.resolve().is_relative_to(folder.resolve()):
            raise KilterError(f"{target} leads out of {folder}, by a link: name another folder for the heat maps")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    except OSError as error:
        raise KilterError(f"cannot write {target}: {error.strerror}") from None
