"""Groups of records with thresholds of their own: which column makes them, and the calibration of each."""

from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from kilter.service.detector.calibration import Calibration, needed
from kilter.service.detector.columns import BooleanColumn, CategoricalColumn, Column, NumericColumn
from kilter.service.detector.columns.cells import as_text, parse_numbers
from kilter.service.detector.errors import KilterError
from kilter.service.detector.groups import Groups
from kilter.service.detector.inputs import Table
from kilter.service.detector.schema import Schema
from kilter.training.calibrate import largest_size
from kilter.training.tail import fit_tail

MOST = 512
"""Most values that a column may have by which records are grouped."""


def grouped_by(schema: Schema, frame: pl.DataFrame, name: str, label: str | None = None) -> Schema:
    """The schema with the column `name` among its fields, put beside those of the model if it is none of them.

    Raises KilterError if there is no such column, or it cannot group records.
    """
    if name not in frame.columns:
        raise KilterError(f"--group-by names {name!r}, and there is no such column: {', '.join(frame.columns)}")
    if name == label:
        raise KilterError(f"--group-by names {name!r}, which is the label: new records have none")
    distinct = frame[name].drop_nulls().n_unique()
    if distinct > MOST:
        raise KilterError(
            f"{name!r} has {distinct:,} values, and at most {MOST} can group records: choose a column with fewer"
        )
    column = schema.field(name)
    if column is not None and not column.can_group:
        raise KilterError(f"{name!r} holds times, which do not group records: choose a category, a flag or a number")
    if column is not None:
        return schema
    left_out = tuple(column for column in schema.left_out if column.name != name)
    aside = (_column(name, frame[name], schema.null_tokens, schema.decimal),)
    return msgspec.structs.replace(schema, aside=aside, left_out=left_out)


def _column(name: str, cells: pl.Series, tokens: tuple[str, ...], decimal: Literal[".", ","]) -> Column:
    """How a column is read that only groups: as a flag or as numbers where every value is one, else as text."""
    texts = as_text(cells).str.strip_chars().drop_nulls()
    present = texts.filter((texts != "") & ~texts.is_in([*tokens]))
    words = {text.lower() for text in present.unique().head(3).to_list()}
    if cells.dtype == pl.Boolean or (words and words <= {"true", "false"}):
        return BooleanColumn(name, ("true",), ("false",))
    numbers = parse_numbers(present, decimal)
    if len(present) and not numbers.null_count():
        integer = bool((numbers == numbers.round()).all())
        return NumericColumn(name, center=0.0, scale=1.0, minimum=0.0, maximum=0.0, integer=integer)
    return CategoricalColumn(name, (), ())


def calibrate_groups(
    column: Column, table: Table, scores: npt.NDArray[np.float64], target_fpr: float, digits: int, *, seed: int
) -> Groups:
    """The calibrations of the groups that have enough of the calibration rows, `table`, whose scores are (rows,).

    Of each group so many rows are left out at random that the rate times (n + 1) is whole.
    """
    rng = np.random.default_rng(seed)
    names = names_of(column, table)
    calibrations = {}
    for name in sorted({name for name in names if name is not None}):
        own = scores[np.array([other == name for other in names])]
        if len(own) >= needed(target_fpr):
            kept = rng.permutation(own)[: largest_size(len(own), target_fpr)]
            rounded = np.round(kept, digits).astype(np.float64)
            calibrations[name] = Calibration.of(rounded, target_fpr, digits, fit_tail(rounded))
    return Groups(column, calibrations)


def names_of(column: Column, table: Table) -> list[str | None]:
    """The group of each row of a table; None where it has none."""
    return [column.group_name(cell) for cell in table.columns[column.name].tolist()]
