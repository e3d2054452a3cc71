"""Choosing by leave-tables-out: what a choice among variants gains on tables that had no part in it.

A constant that is chosen on the tables that it is then measured on says nothing. Here each table is judged with the
variant that is best on average over all the others, so that its figure is that of a table nobody tuned for.
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from benchmarks.figures import Fraction, common_tables, mean_error


class Choice(NamedTuple):
    """What the choice among variants is, and what it gained on the tables that it was not made on."""

    best: str
    """The variant that is best over all tables."""
    chosen: dict[str, int]
    """How often each variant was chosen with a table left out."""
    gain: Fraction
    """The gain of what was chosen on the table left out, mean and standard error over tables."""
    apparent: Fraction
    """The gain of the best on the tables that it was chosen on, which flatters it."""


def choose(gains: Mapping[str, Mapping[str, float]]) -> Choice:
    """The choice by gains, by variant and table, over the tables that every variant has.

    Raises ValueError for fewer than three tables.
    """
    tables = common_tables(gains)
    if len(tables) < 3:
        raise ValueError(f"a choice by leaving tables out needs three tables that all variants have, not {len(tables)}")
    names = list(gains)
    matrix = np.array([[gains[name][table] for table in tables] for name in names])
    others = (matrix.sum(1, keepdims=True) - matrix) / (len(tables) - 1)
    picked = others.argmax(0)
    best = int(matrix.mean(1).argmax())
    counts = Counter(names[i] for i in picked)
    return Choice(
        names[best], dict(counts), mean_error(matrix[picked, np.arange(len(tables))]), mean_error(matrix[best])
    )
