"""What the columns of a table are: numbers, flags, categories, times, or nothing that a model can use."""

from collections.abc import Collection
from typing import NamedTuple

import polars as pl

from kilter.service.detector.columns import KINDS, Column
from kilter.service.detector.columns import cells as column_cells
from kilter.service.detector.columns.cells import NUMERIC_SHARE, Decimal, TrainingCells, parse_numbers
from kilter.service.detector.errors import KilterError
from kilter.service.detector.schema import LeftOut, Schema

MARKERS = ("?", "-", "--", ".", "\\N", "<NA>", "(null)")
"""Texts that mean a missing value where everything else in a column is a number."""


class Decision(NamedTuple):
    """What a column was taken for, and why."""

    name: str
    kind: str
    """That of a column, or `left out`."""
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
            column, why = None, "it is the label"
        elif name in exclude:
            column, why = None, "excluded on request"
        else:
            column, why, may_vary = decide(TrainingCells(name, cells, tokens, decimal))
            varies |= may_vary
        if column is None:
            left_out.append(LeftOut(name, why))
        else:
            columns.append(column)
        decisions.append(Decision(name, "left out" if column is None else column.kind, why))
    if not varies:
        what = "every column that could be used is constant" if columns else "no column can be used"
        reasons = "; ".join(f"{decision.name!r}: {decision.why}" for decision in decisions[:8])
        raise KilterError(f"there is nothing to learn from: {what} ({reasons})")
    schema = Schema(tuple(columns), frame.height, tuple(left_out), null_tokens=tokens, decimal=decimal)
    return Draft(schema, tuple(decisions))


def decide(cells: TrainingCells) -> column_cells.Decision:
    """What one column is: the first kind decides that knows."""
    if not cells.count:
        return column_cells.Decision(None, f"all {cells.rows:,} values are missing")
    for kind in KINDS:
        decision = kind.infer(cells)
        if decision is not None:
            return decision
    return column_cells.Decision(None, f"it holds {cells.cells.dtype}, which is neither number, flag, text nor time")


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
        if parse_numbers(others, decimal).count() >= NUMERIC_SHARE * max(1, len(others)):
            found |= set(texts.filter(marked).to_list())
    return found
