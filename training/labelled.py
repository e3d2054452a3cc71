"""A file read by the schema of a model that is already there, with its labels if it has any."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kilter.service.detector.columns import ImageColumn
from kilter.service.detector.errors import KilterError
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.schema import Schema
from kilter.service.formats.reading import read_frame
from kilter.service.formats.tables import to_table
from kilter.training.grouping import grouped_by
from kilter.training.labels import read_labels
from kilter.training.pictures.reading import read_by


class LabelledRows(NamedTuple):
    """Rows of a file, and which are anomalous, (rows,), or None where nothing is labelled."""

    table: Table
    schema: Schema
    """By which the rows were read."""
    anomalous: npt.NDArray[np.bool_] | None
    notes: tuple[str, ...]
    """How the file was read and what its labels are taken to mean, in sentences."""

    def anomalies(self) -> Table:
        """The rows that are labelled as anomalies."""
        return take(self.table, np.zeros(self.table.rows, bool) if self.anomalous is None else self.anomalous)

    def normal(self) -> Table:
        """The rows that count as normal."""
        return self.table if self.anomalous is None else take(self.table, ~self.anomalous)


def read_labelled(
    path: Path,
    schema: Schema,
    training: dict[str, Any],
    label: str | None,
    normal: str | None,
    group_by: str | None = None,
) -> LabelledRows:
    """Read a file, with the labels in the column `label`, whose value `normal` means a normal row.

    What is not given is what `training`, a manifest's provenance, says, if the file has that column. Rows whose label
    is empty are left out. The column `group_by` is read besides those of the schema. Raises KilterError if the file,
    its columns or its labels cannot be used. A model of pictures reads folders, and files of images.
    """
    column = schema.columns[0]
    if isinstance(column, ImageColumn):
        return _pictures(path, schema, column, training, label, normal, group_by)
    frame, _, _, notes = read_frame([path])
    label, normal = _remembered(training, frame.columns, label, normal)
    if group_by is not None:
        schema = grouped_by(schema, frame, group_by, label)
    table = to_table(schema, frame)
    if label is None:
        return LabelledRows(table, schema, None, (*notes, "No labels: every row counts as normal."))
    labels = read_labels(frame, label, normal)
    known = labels.known
    empty = int((~known).sum())
    left_out = [f"Rows left out, since they have no label: {empty:,}."] if empty else []
    return LabelledRows(
        take(table, known),
        schema,
        labels.anomalous[known],
        (*notes, f"Rows whose {label!r} is {normal!r} count as normal, all others as anomalies.", *left_out),
    )


def _pictures(
    path: Path,
    schema: Schema,
    column: ImageColumn,
    training: dict[str, Any],
    label: str | None,
    normal: str | None,
    group_by: str | None,
) -> LabelledRows:
    """Pictures as rows, by the folders that they lie in or by an array of labels."""
    if group_by is not None:
        raise KilterError(f"--group-by {group_by}: pictures have no columns by which they could be grouped")
    table, labels, notes = read_by(column, path, label, normal, training)
    if labels is None:
        return LabelledRows(table, schema, None, (*notes, "No labels: every picture counts as normal."))
    unlabelled = int((~labels.known).sum())
    left_out = [f"Pictures left out, since they have no label: {unlabelled:,}."] if unlabelled else []
    said = f"Pictures labelled {normal or training.get('normal')!r} count as normal, all others as anomalies."
    kept = labels.known
    return LabelledRows(take(table, kept), schema, labels.anomalous[kept], (*notes, said, *left_out))


def _remembered(
    training: dict[str, Any], columns: Sequence[str], label: str | None, normal: str | None
) -> tuple[str | None, str | None]:
    """The label column and its normal value, from the command line or else from the training."""
    known, value = training.get("label"), training.get("normal")
    if label is None:
        if isinstance(known, str) and known in columns:
            label = known
        elif normal is not None:
            raise KilterError("--normal is the value of a label column: name the column with --label")
    if normal is None and label == known and isinstance(value, str):
        normal = value
    return label, normal
