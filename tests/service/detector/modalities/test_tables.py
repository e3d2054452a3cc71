"""Tests of `modalities.tables`: columns become the network's float32 matrix, and are hidden one by one to explain."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kilter.service.detector.arrays import Matrix
from kilter.service.detector.columns import CategoricalColumn, NumericColumn, TimestampColumn
from kilter.service.detector.inputs import from_records
from kilter.service.detector.modalities.tables import CANDIDATES, TableModality, attribute
from kilter.service.detector.schema import Schema


def test_levels_become_codes_and_unseen_ones_the_next() -> None:
    """An unseen level has the code after the last, and a missing one none."""
    schema = Schema((CategoricalColumn("k", ("a", "b"), (2, 1)),), rows=3)
    table = from_records(schema, [{"k": "b"}, {"k": "z"}, {"k": None}, {"k": "a"}])
    np.testing.assert_array_equal(TableModality(schema).matrix(table)[:, 0], [1, 2, np.nan, 0])


def test_absolute_time_does_not_count() -> None:
    """The same hour and weekday of another year are the same features."""
    schema = Schema((TimestampColumn("at", "iso", ("hour", "weekday")),), rows=3)
    table = from_records(schema, [{"at": "2024-01-01T05:00:00"}, {"at": "2029-01-01T05:59:59"}, {"at": None}])
    x = TableModality(schema).matrix(table)
    np.testing.assert_array_equal(x[0], x[1])
    assert np.isnan(x[2]).all()


class Sums:
    """A program whose score is the sum of squared features that are not hidden; it expects the sum of the others.

    Its ELBO minds only the features in `counted`.
    """

    device = "cpu"

    def __init__(self, counted: Sequence[int] = ()) -> None:
        self.counted = list(counted)

    def run(self, x: Matrix, outputs: Sequence[str]) -> list[npt.NDArray[np.float64]]:
        shown = np.where(np.isinf(x), 0.0, x).astype(np.float64)
        expected = np.repeat(shown.sum(1, keepdims=True), x.shape[1], axis=1)
        reconstruction = np.abs(shown[:, self.counted]).sum(1)
        made = {
            "score": (shown**2).sum(1),
            "reconstruction": reconstruction,
            "kl": np.ones(len(x)),
            "expected": expected,
        }
        return [made[name] for name in outputs]


def schema(columns: int) -> Schema:
    """Numbers, and a timestamp of two features at the end."""
    numbers = [NumericColumn(f"n{i}", 0, 1, 0, 1) for i in range(columns - 1)]
    return Schema((*numbers, TimestampColumn("at", "iso", ("hour", "weekday"))), rows=9)


def attributed(program: Sums, x: Matrix, terms: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], ...]:
    """Parts and expectations of records."""
    score, reconstruction, kl, expected = program.run(x, ("score", "reconstruction", "kl", "expected"))
    return attribute(schema(terms.shape[1]), program, x, score, reconstruction + kl, terms, expected)


def test_a_column_s_part_is_what_the_score_loses_without_it() -> None:
    """All features of a column are hidden together, and what is expected of it is asked without it."""
    x = np.array([[1.0, 2, 3, 4], [0, 0, 5, 0]], np.float32)
    part, given = attributed(Sums(), x, np.zeros((2, 3)))
    np.testing.assert_allclose(part, [[1, 4, 25], [0, 0, 25]])
    np.testing.assert_allclose(given[0], [9, 8, 3, 3])


def test_what_surprises_the_network_counts_too() -> None:
    """Of columns without which the score falls alike, the one that the others do not explain is named."""
    x = np.array([[2.0, 2, 1, 0], [2, -2, 1, 0]], np.float32)
    part, _ = attributed(Sums(counted=[1]), x, np.zeros((2, 3)))
    np.testing.assert_allclose(part, [[4, 4 + np.log(3), 1]] * 2)


def test_a_column_that_explains_others_is_not_held_against_a_record() -> None:
    """Where a record surprises the network more without a column, nothing is taken off."""

    class Explained(Sums):
        def run(self, x: Matrix, outputs: Sequence[str]) -> list[npt.NDArray[np.float64]]:
            made = dict(zip(outputs, super().run(x, outputs), strict=True))
            made["kl"] = 5.0 * np.isinf(x[:, 0])
            return [made[name] for name in outputs]

    part, _ = attributed(Explained(), np.array([[2.0, 3, 1, 0]], np.float32), np.zeros((1, 3)))
    np.testing.assert_allclose(part, [[4, 9, 1]])


def test_of_many_columns_the_most_surprising_are_tried() -> None:
    """A wide record costs no more than so many passes."""
    columns = CANDIDATES + 10
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, columns + 1)).astype(np.float32)
    terms = rng.normal(size=(5, columns))
    part, _ = attributed(Sums(), x, terms)
    for row in range(5):
        assert set(np.flatnonzero(part[row])) == set(np.argsort(-terms[row])[:CANDIDATES])
