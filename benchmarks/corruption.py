"""Normal records in which one field, and one only, is made wrong in a known way."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.sets import Floats

BEYOND = (0.1, 0.5)
"""A value is pushed beyond the training range by a share of that range drawn from here."""

Columns = npt.NDArray[np.int64]


class Corrupted(NamedTuple):
    """Records with one wrong field each."""

    rows: Floats
    """(n, columns)"""
    field: Columns
    """(n,): the column that is wrong."""


def out_of_range(rows: Floats, train: Floats, columns: Columns, rng: np.random.Generator) -> Corrupted:
    """Push one of `columns` of each row above or below all training rows, by 10 to 50 % of their range.

    Columns of whole numbers stay whole.
    """
    low, high = train.min(0), train.max(0)
    whole = (train == np.round(train)).all(0)
    field = rng.choice(columns, len(rows))
    beyond = rng.uniform(*BEYOND, len(rows)) * (high - low)[field]
    beyond = np.where(whole[field], np.ceil(beyond), beyond)
    up = rng.random(len(rows)) < 0.5
    changed = rows.copy()
    changed[np.arange(len(rows)), field] = np.where(up, high[field] + beyond, low[field] - beyond)
    return Corrupted(changed, field)


def swapped(rows: Floats, train: Floats, columns: Columns, rng: np.random.Generator) -> Corrupted:  # noqa: ARG001
    """Give one of `columns` of each row the value of another row that differs there, drawn from all that do.

    Rows that agree with all others in the column drawn are left out.
    """
    field = rng.choice(columns, len(rows))
    changed, kept = rows.copy(), np.zeros(len(rows), bool)
    for i, column in enumerate(field):
        others = rows[rows[:, column] != rows[i, column], column]
        if len(others):
            changed[i, column] = rng.choice(others)
            kept[i] = True
    return Corrupted(changed[kept], field[kept])


Corrupt = Callable[[Floats, Floats, Columns, np.random.Generator], Corrupted]
REGIMES: dict[str, Corrupt] = {"out of range": out_of_range, "swapped": swapped}
