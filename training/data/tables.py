"""Tables as training data: files or a frame, typed, and their labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from kilter.service.detector.columns.base import is_missing
from kilter.service.detector.errors import KilterError
from kilter.service.detector.findings import Training
from kilter.service.detector.schema import Schema
from kilter.service.formats.reading import read_frame, to_table
from kilter.training.data.inference import group_by, infer_columns
from kilter.training.data.source import (
    TOO_MANY_BAD,
    LabelledRows,
    TrainingData,
    TrainingSource,
    labelled_rows,
    read_labels,
)


def read_tables(source: TrainingSource) -> TrainingData:
    """Read and type the training files, or a frame. Raises KilterError for files, columns or labels of no use."""
    if source.normal is not None and source.label is None:
        raise KilterError("--normal is the value of a label column: name the column with --label")
    if source.image_size is not None:
        raise KilterError(f"--image-size is that of pictures, and {source.name} holds a table")
    if source.frame is not None:
        return prepare(as_polars(source.frame), source)
    read = read_frame(source.paths)
    return prepare(read.frame, source, decimal=read.decimal, notes=read.notes)


def as_polars(frame: Any) -> pl.DataFrame:
    """A table in memory as polars has it. Raises KilterError if it is none.

    Columns of pandas go by NumPy: its own Arrow stream needs a package that need not be there.
    """
    if isinstance(frame, pl.DataFrame):
        return frame
    if hasattr(frame, "to_numpy") and hasattr(frame, "columns") and type(frame).__module__.startswith("pandas"):
        names = [str(name) for name in frame.columns]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise KilterError(f"the column {twice!r} stands in the table twice")
        return pl.DataFrame([_series(name, frame.iloc[:, i]) for i, name in enumerate(names)])
    if hasattr(frame, "__arrow_c_stream__"):
        return pl.DataFrame(frame)
    raise KilterError(
        f"a model is trained on files or on a table of pandas, polars or Arrow, not on {type(frame).__name__}"
    )


def _series(name: str, values: Any) -> pl.Series:
    """A column of pandas: numbers, flags and times as they are, anything else as texts if it is not of one type."""
    array = values.to_numpy()
    if array.dtype.kind in "fiubM":
        return pl.Series(name, array, nan_to_null=True)
    cells = [None if is_missing(value) else value for value in values.tolist()]
    if len({type(cell) for cell in cells if cell is not None}) > 1:
        cells = [None if cell is None else str(cell) for cell in cells]
    return pl.Series(name, cells)


def prepare(
    frame: pl.DataFrame, source: TrainingSource, *, decimal: Literal[".", ","] = ".", notes: tuple[str, ...] = ()
) -> TrainingData:
    """Infer the columns of a frame and type its cells.

    Raises KilterError for columns or labels that cannot be used, or if too many rows cannot be read.
    """
    missing = [name for name in source.exclude if name not in frame.columns]
    if missing:
        raise KilterError(f"--exclude names {missing[0]!r}, and there is no such column: {', '.join(frame.columns)}")
    labels = read_labels(frame, source.label, source.normal) if source.label is not None else None
    draft = infer_columns(frame, decimal=decimal, exclude=source.exclude, label=source.label)
    schema = draft.schema
    if source.group_by is not None:
        schema = group_by(schema, frame, source.group_by, source.label)
    table = to_table(schema, frame)
    unlabelled = 0 if labels is None else int((~labels.labelled).sum())
    left_out = [f"{unlabelled:,} rows without a label were left out."] if unlabelled else []
    bad = len({problem.row for problem in table.problems})
    if bad > TOO_MANY_BAD * table.rows:
        raise KilterError(
            f"{bad:,} of {table.rows:,} rows cannot be read, first of all {table.problems[0]}: is this the right file?"
        )
    if bad:
        left_out.append(f"{bad:,} of {table.rows:,} rows were left out, the first for {table.problems[0]}.")
    return TrainingData(table, draft.decisions, schema, labels, (*notes, *left_out), source)


def read_labelled_table(
    path: Path, schema: Schema, training: Training, label: str | None, normal: str | None, grouping: str | None
) -> LabelledRows:
    """Read a file by the schema of a model, with the labels in the column `label`, whose `normal` means a normal row.

    What is not given is as in the training, if the file has that column. The column `grouping` is read besides those of
    the schema. Raises KilterError if the file, its columns or its labels cannot be used.
    """
    frame, _, _, notes = read_frame([path])
    label, normal = _remembered(training, frame.columns, label, normal)
    if grouping is not None:
        schema = group_by(schema, frame, grouping, label)
    table = to_table(schema, frame)
    labels = None if label is None else read_labels(frame, label, normal)
    return labelled_rows(table, schema, labels, notes, "row", f"Rows whose {label!r} is {normal!r}")


def _remembered(
    training: Training, columns: Sequence[str], label: str | None, normal: str | None
) -> tuple[str | None, str | None]:
    """The label column and its normal value, from the command line or else from the training."""
    if label is None:
        if training.label in columns:
            label = training.label
        elif normal is not None:
            raise KilterError("--normal is the value of a label column: name the column with --label")
    if normal is None and label == training.label:
        normal = training.normal
    return label, normal
