"""Typed columns of a table become the network's float32 matrix."""

import numpy as np

from kilter.service.detector.columns import CategoricalColumn, TimestampColumn
from kilter.service.detector.inputs import from_records
from kilter.service.detector.modalities.tables import TableModality
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
