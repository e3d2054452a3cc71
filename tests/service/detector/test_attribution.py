"""Tests of `service.detector.attribution`: hiding columns one by one."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from service.detector.attribution import CANDIDATES, attribute
from service.detector.runtime import Matrix
from service.detector.schema import NumericColumn, Schema, TimestampColumn


class Sums:
    """A program whose score is the sum of squared features that are not hidden; it expects the mean of the others."""

    device = "cpu"

    def run(self, x: Matrix, outputs: Sequence[str]) -> list[npt.NDArray[np.float64]]:
        shown = np.where(np.isinf(x), 0.0, x).astype(np.float64)
        expected = np.repeat(shown.sum(1, keepdims=True), x.shape[1], axis=1)
        made = {"score": (shown**2).sum(1), "expected": expected}
        return [made[name] for name in outputs]


def schema(columns: int) -> Schema:
    """Numbers, and a timestamp of two features at the end."""
    numbers = [NumericColumn(f"n{i}", 0, 1, 0, 1) for i in range(columns - 1)]
    return Schema((*numbers, TimestampColumn("at", "iso", ("hour", "weekday"))), rows=9)


def test_a_column_s_part_is_what_the_score_loses_without_it() -> None:
    """All features of a column are hidden together, and what is expected of it is asked without it."""
    x = np.array([[1.0, 2, 3, 4], [0, 0, 5, 0]], np.float32)
    score, expected = Sums().run(x, ("score", "expected"))
    fall, given = attribute(schema(3), Sums(), x, score, np.zeros((2, 3)), expected)
    np.testing.assert_allclose(fall, [[1, 4, 25], [0, 0, 25]])
    np.testing.assert_allclose(given[0], [9, 8, 3, 3])


def test_of_many_columns_the_most_surprising_are_tried() -> None:
    """A wide record costs no more than so many passes."""
    columns = CANDIDATES + 10
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, columns + 1)).astype(np.float32)
    terms = rng.normal(size=(5, columns))
    score, expected = Sums().run(x, ("score", "expected"))
    fall, _ = attribute(schema(columns), Sums(), x, score, terms, expected)
    for row in range(5):
        assert set(np.flatnonzero(fall[row])) == set(np.argsort(-terms[row])[:CANDIDATES])
