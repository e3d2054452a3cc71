"""From the cells of a file to the typed columns of the detector, for text and for typed tables alike.

Every text is stripped of blanks before it is compared with a text that means a missing value, or read as a number, a
flag or a time. A categorical text that is not missing is taken as it stands. A typed cell whose type is not the
column's own is read as the text that it would be in a CSV file.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy.typing as npt
import polars as pl

from kilter.service.detector.columns import Column
from kilter.service.detector.columns.cells import TextCells, as_text, number_expression
from kilter.service.detector.errors import Problem, RecordsError
from kilter.service.detector.inputs import Table, in_order
from kilter.service.detector.schema import Schema

CELLS = 1 << 22
"""About the most cells of which copies are held at a time."""


def to_table(schema: Schema, frame: pl.DataFrame, *, faults: Sequence[Problem] = ()) -> Table:
    """The typed columns that `schema` needs, and the problems of cells; other columns of `frame` are passed over.

    `faults` are problems of whole rows, beside which those of their cells do not count. Raises RecordsError if a
    column that is needed is not there.
    """
    absent = [name for name in schema.names if name not in frame.columns]
    if absent:
        message = "the table has no such column, and the model needs it"
        raise RecordsError([Problem(None, name, message) for name in absent])
    problems: list[Problem] = []
    columns: dict[str, npt.NDArray[Any]] = {}
    step = max(1, CELLS // max(1, frame.height))
    for start in range(0, len(schema.fields), step):
        columns |= _typed(schema, schema.fields[start : start + step], frame, problems)
    faulty = {fault.row for fault in faults}
    if faulty:
        problems = [problem for problem in problems if problem.row not in faulty]
    return Table(columns, frame.height, in_order([*faults, *problems]))


def _typed(
    schema: Schema, columns: Sequence[Column], frame: pl.DataFrame, problems: list[Problem]
) -> dict[str, npt.NDArray[Any]]:
    """The typed values of some columns.

    What polars does, it does to all of them at once: each of its operations costs as much as some hundred cells.
    """
    cells = {column.name: frame[column.name] for column in columns}
    texts = [column for column in columns if not column.holds(cells[column.name].dtype)]
    cells |= {column.name: as_text(cells[column.name]) for column in texts}
    stripped = _all_at_once(cells, texts, lambda text: text.str.strip_chars())
    numeric = [column for column in texts if column.written_as_number]
    numbers = _all_at_once(stripped, numeric, lambda text: number_expression(text, schema.decimal))
    missing = frozenset(schema.null_tokens)
    typed = {}
    for column in columns:
        name = column.name
        if name in stripped:
            text = TextCells(cells[name], stripped[name], numbers.get(name), missing, schema.decimal)
            typed[name] = column.from_texts(text, problems)
        else:
            typed[name] = column.from_series(cells[name])
            problems.extend(column.problems(typed[name]))
    return typed


def _all_at_once(
    cells: Mapping[str, pl.Series], columns: Sequence[Column], work: Callable[[pl.Expr], pl.Expr]
) -> dict[str, pl.Series]:
    """The same done to some columns, by their names, which may look like polars' patterns."""
    if not columns:
        return {}
    frame = pl.DataFrame([cells[column.name].alias(str(i)) for i, column in enumerate(columns)])
    return dict(zip([column.name for column in columns], frame.select(work(pl.all())), strict=True))
