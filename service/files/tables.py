"""What every table in a file is while it is read: named columns, and batches of rows."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, Self

import polars as pl

from kilter.service.detector.errors import KilterError, Problem
from kilter.service.files.dialect import Dialect


class Batch(NamedTuple):
    """Some consecutive rows of a table."""

    frame: pl.DataFrame
    """All text for a text table, with empty cells in a row that has a fault."""
    first: int
    """Position of its first row in the table, from 0."""
    faults: Sequence[Problem] = ()
    """Rows that could not be read, counted from the batch's first."""
    raw: Sequence[bytes] = ()
    """Each record's own bytes with its line ending, of a text table (in UTF-8 where the file is UTF-16)."""


class Table(Protocol):
    """A table that is open for reading; a context manager that closes its file."""

    name: str
    columns: tuple[str, ...]
    notes: tuple[str, ...]
    dialect: Dialect | None
    """How a text table is written; None for a typed one."""
    header: bytes
    """The own bytes of a text table's first record."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def batches(self) -> Iterator[Batch]:
        """Every row, once, in order; at least one batch. Raises KilterError if the file turns out to be damaged."""


def check_columns(name: str, columns: Sequence[str], remedy: str) -> tuple[str, ...]:
    """The columns of a table. Raises KilterError if it has none, or two of one name."""
    if not columns:
        raise KilterError(f"{name} has no columns")
    twice = [column for column, count in Counter(columns).items() if count > 1]
    if twice:
        raise KilterError(f"{name} has two columns named {twice[0]!r}: give each its own name ({remedy})")
    return tuple(columns)
