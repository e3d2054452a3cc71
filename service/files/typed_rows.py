"""Gives the rows of a text table the types that a schema knows, for a file that stores types."""

import polars as pl

from kilter.service.detector.schema import Schema
from kilter.service.files.cells import to_table
from kilter.service.files.dialect import Dialect
from kilter.service.files.tables import Batch

EXACT = 2**53
"""Whole numbers up to here are exact in a float64."""


class TypedRows:
    """Makes typed frames of batches, in their order."""

    def __init__(self, dialect: Dialect | None, schema: Schema) -> None:
        """Frames of a typed table, which has no `dialect`, stay as they are."""
        self._text = dialect is not None
        self._schema = schema
        whole = [column.name for column in schema.fields if column.stored_whole]
        self.whole = set(whole) if self._text else set()
        """Columns in which every number so far was whole, as in training."""

    def frame(self, batch: Batch) -> pl.DataFrame:
        """The rows of a batch: what the model reads as number, flag or time is one, null where it is in error.

        All else stays text, null where it is empty.
        """
        if not self._text:
            return batch.frame
        table = to_table(self._schema, batch.frame, faults=batch.faults)
        typed: list[pl.Series] = []
        for column in self._schema.fields:
            values = column.to_series(table.columns[column.name])
            if values is None:
                continue
            if column.name in self.whole and not ((values == values.round()) & (values.abs() < EXACT)).all():
                self.whole.discard(column.name)
            typed.append(values)
        return batch.frame.with_columns(pl.all().replace("", None)).with_columns(typed)
