"""What the columns of a table are: numbers, flags, categories, times, or nothing that a model can use."""

from collections.abc import Collection
from typing import Literal, NamedTuple

import polars as pl

from kilter.service.detector.errors import KilterError
from kilter.service.detector.schema import (
    BooleanColumn,
    CategoricalColumn,
    Column,
    ImageColumn,
    LeftOut,
    NumericColumn,
    Schema,
    TimestampColumn,
)
from kilter.service.files.cells import Decimal, parse_numbers
from kilter.training.columns import NUMBERS, ColumnInference, Unused, Used

MARKERS = ("?", "-", "--", ".", "\\N", "<NA>", "(null)")
"""Texts that mean a missing value where everything else in a column is a number."""

Kind = Literal["numeric", "boolean", "categorical", "timestamp", "image", "left out"]


class Decision(NamedTuple):
    """What a column was taken for, and why."""

    name: str
    kind: Kind
    why: str


class Draft(NamedTuple):
    """A schema without statistics (centre 0, scale 1, no levels), and how it came about, in the file's order."""

    schema: Schema
    decisions: tuple[Decision, ...]


def infer(
    frame: pl.DataFrame, *, decimal: Decimal = ".", exclude: Collection[str] = (), label: str | None = None
) -> Draft:
    """Decide what each column is. Raises KilterError if no column can be used, or none of them varies."""
    tokens = Schema((), 0).null_tokens
    tokens += tuple(sorted(_markers(frame, tokens, decimal)))
    columns: list[Column] = []
    left_out: list[LeftOut] = []
    decisions: list[Decision] = []
    varies = False
    for cells in frame.iter_columns():
        name = cells.name
        if name == label:
            found: Used | Unused = Unused("it is the label")
        elif name in exclude:
            found = Unused("excluded on request")
        else:
            found = ColumnInference(name, cells, tokens, decimal).decide()
        if isinstance(found, Used):
            columns.append(found.column)
            varies |= found.varies
            decisions.append(Decision(name, _kind(found.column), found.why))
        else:
            left_out.append(LeftOut(name, found.why))
            decisions.append(Decision(name, "left out", found.why))
    if not varies:
        what = "every column that could be used is constant" if columns else "no column can be used"
        reasons = "; ".join(f"{decision.name!r}: {decision.why}" for decision in decisions[:8])
        raise KilterError(f"there is nothing to learn from: {what} ({reasons})")
    schema = Schema(tuple(columns), frame.height, tuple(left_out), null_tokens=tokens, decimal=decimal)
    return Draft(schema, tuple(decisions))


def _kind(column: Column) -> Kind:
    match column:
        case NumericColumn():
            return "numeric"
        case BooleanColumn():
            return "boolean"
        case CategoricalColumn():
            return "categorical"
        case TimestampColumn():
            return "timestamp"
        case ImageColumn():
            return "image"


def _markers(frame: pl.DataFrame, tokens: tuple[str, ...], decimal: Decimal) -> set[str]:
    """The markers of missing values that stand among numbers in some column."""
    found: set[str] = set()
    for cells in frame.iter_columns():
        if cells.dtype != pl.String:
            continue
        texts = cells.str.strip_chars()
        marked = texts.is_in([*MARKERS])
        if not marked.any():
            continue
        others = texts.filter(~marked & (texts != "") & ~texts.is_in([*tokens]))
        if parse_numbers(others, decimal).count() >= NUMBERS * max(1, len(others)):
            found |= set(texts.filter(marked).to_list())
    return found
