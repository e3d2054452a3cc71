"""What the fitting rows say of each column: centre and scale, levels, constants, missing values."""

import msgspec
import numpy as np
import numpy.typing as npt

from kilter.service.detector.inputs import Table
from kilter.service.detector.schema import Schema


def fit_schema(draft: Schema, table: Table, rows: npt.NDArray[np.int64]) -> Schema:
    """The schema with its statistics, from the fitting rows of a table alone.

    Calibration and evaluation rows must have no part in it: a level that only they hold is unseen.
    """
    columns = tuple(column.fit(table.columns[column.name][rows]) for column in draft.columns)
    return fit_aside(msgspec.structs.replace(draft, columns=columns, rows=len(rows)), table, rows)


def fit_aside(schema: Schema, table: Table, rows: npt.NDArray[np.int64]) -> Schema:
    """The schema with statistics of the columns that the network does not see."""
    aside = tuple(column.fit(table.columns[column.name][rows]) for column in schema.aside)
    return msgspec.structs.replace(schema, aside=aside)
