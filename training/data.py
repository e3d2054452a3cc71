"""The training data: which files, how they are typed, and which rows are normal."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from kilter.service.detector.errors import KilterError
from kilter.service.detector.inputs import Table
from kilter.service.detector.schema import Schema
from kilter.service.formats.reading import read_frame
from kilter.service.formats.tables import to_table
from kilter.training.grouping import grouped_by
from kilter.training.infer import Decision, infer
from kilter.training.labels import Labels, read_labels

TOO_MANY_BAD = 0.2
"""Training stops when more than this share of the rows cannot be read."""


@dataclass(frozen=True)
class Source:
    """What to train on, and which of its columns play a part of their own."""

    paths: tuple[Path, ...] = ()
    label: str | None = None
    normal: str | None = None
    exclude: tuple[str, ...] = ()
    group_by: str | None = None
    """Column whose values have thresholds of their own."""
    image_size: tuple[int, int] | None = None
    """Height and width that pictures are brought to; chosen by the pictures if not given."""


@dataclass(frozen=True)
class Data:
    """The rows of the training files, typed, and what was decided about their columns."""

    table: Table
    decisions: tuple[Decision, ...]
    draft: Schema
    labels: Labels | None
    notes: tuple[str, ...]
    source: Source
    names: tuple[str, ...] = ()
    """What each row is called, if rows have names: the path of a picture in its folder."""

    @property
    def readable(self) -> npt.NDArray[np.bool_]:
        """(rows,): whether a row has no problem and, where there are labels, a label."""
        good = np.ones(self.table.rows, bool) if self.labels is None else self.labels.known.copy()
        good[[problem.row for problem in self.table.problems if problem.row is not None]] = False
        return good


def read(source: Source) -> Data:
    """Read and type the training files. Raises KilterError for files, columns or labels that cannot be used."""
    if source.normal is not None and source.label is None:
        raise KilterError("--normal is the value of a label column: name the column with --label")
    if source.image_size is not None:
        raise KilterError(f"--image-size is that of pictures, and {source.paths[0]} holds a table")
    found = read_frame(source.paths)
    return prepare(found.frame, source, decimal=found.decimal, notes=found.notes)


def prepare(
    frame: pl.DataFrame, source: Source, *, decimal: Literal[".", ","] = ".", notes: tuple[str, ...] = ()
) -> Data:
    """Infer the columns of a frame and type its cells.

    Raises KilterError for columns or labels that cannot be used, or if too many rows cannot be read.
    """
    missing = [name for name in source.exclude if name not in frame.columns]
    if missing:
        raise KilterError(f"--exclude names {missing[0]!r}, and there is no such column: {', '.join(frame.columns)}")
    labels = read_labels(frame, source.label, source.normal) if source.label is not None else None
    draft = infer(frame, decimal=decimal, exclude=source.exclude, label=source.label)
    schema = draft.schema if source.group_by is None else grouped_by(draft.schema, frame, source.group_by, source.label)
    table = to_table(schema, frame)
    unlabelled = 0 if labels is None else int((~labels.known).sum())
    said = [f"{unlabelled:,} rows without a label were left out."] if unlabelled else []
    data = Data(table, tuple(draft.decisions), schema, labels, (*notes, *said, *_unread(table)), source)
    bad = len({problem.row for problem in table.problems})
    if bad > TOO_MANY_BAD * table.rows:
        raise KilterError(
            f"{bad:,} of {table.rows:,} rows cannot be read, first of all {table.problems[0]}: is this the right file?"
        )
    return data


def _unread(table: Table) -> list[str]:
    bad = {problem.row for problem in table.problems}
    return [f"{len(bad):,} of {table.rows:,} rows were left out, the first for {table.problems[0]}."] if bad else []
