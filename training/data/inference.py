"""What the columns of a table are: numbers, flags, categories, times, or nothing that a model can use."""

from collections.abc import Collection
from typing import NamedTuple

import msgspec
import polars as pl

from kilter.service.detector.columns import BooleanColumn, CategoricalColumn, Column, NumericColumn, kinds
from kilter.service.detector.columns.cells import (
    NUMERIC_SHARE,
    Decimal,
    Decision,
    TrainingCells,
    as_text,
    parse_series,
)
from kilter.service.detector.errors import KilterError
from kilter.service.detector.schema import LeftOut, Schema
from kilter.training.data.source import ColumnDecision

MARKERS = ("?", "-", "--", ".", "\\N", "<NA>", "(null)")
"""Texts that mean a missing value where everything else in a column is a number."""
MOST_GROUPS = 512
"""Most values that a column may have by which records are grouped."""


class Draft(NamedTuple):
    """A schema without statistics (centre 0, scale 1, no levels), and how it came about, in the file's order."""

    schema: Schema
    decisions: tuple[ColumnDecision, ...]


def infer_columns(
    frame: pl.DataFrame, *, decimal: Decimal = ".", exclude: Collection[str] = (), label: str | None = None
) -> Draft:
    """Decide what each column is. Raises KilterError if no column can be used, or none of them varies."""
    tokens = Schema((), 0).null_tokens
    tokens += tuple(sorted(_markers(frame, tokens, decimal)))
    columns: list[Column] = []
    left_out: list[LeftOut] = []
    decisions: list[ColumnDecision] = []
    varies = False
    for cells in frame.iter_columns():
        name = cells.name
        if name == label:
            column, why = None, "it is the label"
        elif name in exclude:
            column, why = None, "excluded on request"
        else:
            column, why, may_vary = decide_column(TrainingCells(name, cells, tokens, decimal))
            varies |= may_vary
        if column is None:
            left_out.append(LeftOut(name, why))
        else:
            columns.append(column)
        decisions.append(ColumnDecision(name, "left out" if column is None else column.kind, why))
    if not varies:
        what = "every column that could be used is constant" if columns else "no column can be used"
        reasons = "; ".join(f"{decision.name!r}: {decision.why}" for decision in decisions[:8])
        raise KilterError(f"there is nothing to learn from: {what} ({reasons})")
    schema = Schema(tuple(columns), frame.height, tuple(left_out), null_tokens=tokens, decimal=decimal)
    return Draft(schema, tuple(decisions))


def decide_column(cells: TrainingCells) -> Decision:
    """What one column is: the first kind decides that knows."""
    if not cells.count:
        return Decision(None, f"all {cells.rows:,} values are missing")
    for kind in kinds():
        decision = kind.infer(cells)
        if decision is not None:
            return decision
    return Decision(None, f"it holds {cells.cells.dtype}, which is neither number, flag, text nor time")


def _markers(frame: pl.DataFrame, tokens: tuple[str, ...], decimal: Decimal) -> set[str]:
    """The markers of missing values that stand among numbers in some column."""
    markers: set[str] = set()
    for cells in frame.iter_columns():
        if cells.dtype != pl.String:
            continue
        texts = cells.str.strip_chars()
        marked = texts.is_in([*MARKERS])
        if not marked.any():
            continue
        others = texts.filter(~marked & (texts != "") & ~texts.is_in([*tokens]))
        if parse_series(others, decimal).count() >= NUMERIC_SHARE * max(1, len(others)):
            markers |= set(texts.filter(marked).to_list())
    return markers


def group_by(schema: Schema, frame: pl.DataFrame, name: str, label: str | None = None) -> Schema:
    """The schema with the column `name` among its fields, put beside those of the model if it is none of them.

    Raises KilterError if there is no such column, or it cannot group records.
    """
    if name not in frame.columns:
        raise KilterError(f"--group-by names {name!r}, and there is no such column: {', '.join(frame.columns)}")
    if name == label:
        raise KilterError(f"--group-by names {name!r}, which is the label: new records have none")
    distinct = frame[name].drop_nulls().n_unique()
    if distinct > MOST_GROUPS:
        raise KilterError(
            f"{name!r} has {distinct:,} values, and at most {MOST_GROUPS} can group records: choose a column with fewer"
        )
    column = schema.field(name)
    if column is not None and not column.can_group:
        raise KilterError(f"{name!r} holds times, which do not group records: choose a category, a flag or a number")
    if column is not None:
        return schema
    left_out = tuple(column for column in schema.left_out if column.name != name)
    aside = (_grouping_column(name, frame[name], schema),)
    return msgspec.structs.replace(schema, aside=aside, left_out=left_out)


def _grouping_column(name: str, cells: pl.Series, schema: Schema) -> Column:
    """How a column is read that only groups: as a flag or as numbers where every value is one, else as text."""
    texts = as_text(cells).str.strip_chars().drop_nulls()
    present = texts.filter((texts != "") & ~texts.is_in([*schema.null_tokens]))
    words = {text.lower() for text in present.unique().head(3).to_list()}
    if cells.dtype == pl.Boolean or (words and words <= {"true", "false"}):
        return BooleanColumn(name, ("true",), ("false",))
    numbers = parse_series(present, schema.decimal)
    if len(present) and not numbers.null_count():
        integer = bool((numbers == numbers.round()).all())
        return NumericColumn(name, center=0.0, scale=1.0, minimum=0.0, maximum=0.0, integer=integer)
    return CategoricalColumn(name, (), ())
