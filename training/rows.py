"""Rows of a typed table, picked by mask or position."""

from typing import Any

import numpy as np
import numpy.typing as npt

from kilter.service.detector.inputs import Table


def take(table: Table, rows: npt.NDArray[Any]) -> Table:
    """The rows of a mask, (rows,), or of positions, in their order, with those of their problems that name a row."""
    positions = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
    places: dict[int, list[int]] = {}
    for new, old in enumerate(positions.tolist()):
        places.setdefault(old, []).append(new)
    problems = [
        problem._replace(row=new)
        for problem in table.problems
        if problem.row is not None
        for new in places.get(problem.row, ())
    ]
    columns = {name: values[positions] for name, values in table.columns.items()}
    return Table(columns, len(positions), sorted(problems, key=lambda problem: problem.row or 0))
