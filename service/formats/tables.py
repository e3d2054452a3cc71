"""What is read from a file or a body: batches of rows, and from their cells the typed columns of the detector.

Every text is stripped of blanks before it is compared with a text that means a missing value, or read as a number, a
flag or a time. A categorical text that is not missing is taken as it stands. A typed cell whose type is not the
column's own is read as the text that it would be in a CSV file.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self

import numpy.typing as npt
import polars as pl

from kilter.service.detector.columns import Column
from kilter.service.detector.columns.cells import TextCells, as_text, number_expression
from kilter.service.detector.errors import KilterError, Problem, RecordsError
from kilter.service.detector.inputs import Table, from_records, in_order
from kilter.service.detector.schema import Schema
from kilter.service.formats.dialect import Dialect

CELLS = 1 << 22
"""About the most cells of which copies are held at a time."""


class Batch(NamedTuple):
    """Some consecutive records of a file."""

    frame: pl.DataFrame
    """All text for a text table, with empty cells in a row that has a fault; of pictures, their names."""
    first: int
    """Position of its first record in the file, from 0."""
    faults: Sequence[Problem] = ()
    """Records that could not be read, counted from the batch's first."""
    raw: Sequence[bytes] = ()
    """Each record's own bytes with its line ending, of a text table (in UTF-8 where the file is UTF-16)."""
    cells: Sequence[Any] | None = None
    """Where a record is one cell that is not in the frame, a picture: the bytes of its file, or an array."""

    def name(self, row: int) -> str:
        """How a message names one of its records."""
        return f"record {self.first + row}" if self.cells is None else str(self.frame[row, 0])


class Reader(Protocol):
    """Records that are open for reading; a context manager that closes their file."""

    name: str
    columns: tuple[str, ...]
    notes: tuple[str, ...]
    dialect: Dialect | None
    """How a text table is written; None for anything else."""
    header: bytes
    """The own bytes of a text table's first record."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def batches(self) -> Iterator[Batch]:
        """Every record, once, in order; at least one batch. Raises KilterError if the file turns out to be damaged."""


def check_columns(name: str, columns: Sequence[str], remedy: str) -> tuple[str, ...]:
    """The columns of a table. Raises KilterError if it has none, or two of one name."""
    if not columns:
        raise KilterError(f"{name} has no columns")
    twice = [column for column, count in Counter(columns).items() if count > 1]
    if twice:
        raise KilterError(f"{name} has two columns named {twice[0]!r}: give each its own name ({remedy})")
    return tuple(columns)


def read_batch(schema: Schema, batch: Batch) -> Table:
    """The typed columns of a batch. Raises RecordsError if a column that is needed is not there."""
    if batch.cells is None:
        return to_table(schema, batch.frame, faults=batch.faults)
    [name] = schema.names
    table = from_records(schema, [{name: cell} for cell in batch.cells])
    return table._replace(problems=_with_faults(table.problems, batch.faults))


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
    return Table(columns, frame.height, _with_faults(problems, faults))


def _with_faults(problems: Sequence[Problem], faults: Sequence[Problem]) -> list[Problem]:
    faulty = {fault.row for fault in faults}
    return in_order([*faults, *(problem for problem in problems if problem.row not in faulty)])


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
