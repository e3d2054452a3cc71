"""Tests of `detector.encode`: typed columns become the network's float32 matrix."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.encode import LIMIT, Encoder, calendar, restore, standardise
from kilter.service.detector.inputs import from_records
from kilter.service.detector.schema import CategoricalColumn, NumericColumn, Schema, TimestampColumn

finite = st.floats(-1e6, 1e6)


@given(finite, st.floats(1e-3, 1e6), st.sampled_from(["identity", "asinh"]), finite, st.floats(1e-3, 1e3))
def test_restore_undoes_standardise(value: float, scale: float, transform: str, center: float, unit: float) -> None:
    """A reason can show what the network expected in the column's own unit."""
    column = NumericColumn("n", center, scale, 0, 1, transform, shift=1.0, unit=unit)  # type: ignore[arg-type]
    feature = float(standardise(column, np.array([value]))[0])
    if abs(feature) < LIMIT:
        assert np.isclose(restore(column, feature), value, rtol=1e-6, atol=1e-6 * max(1.0, abs(center), unit))


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_standardised_number_is_bounded(value: float) -> None:
    """No number, however large, makes a score infinite."""
    feature = standardise(NumericColumn("n", 0.0, 1e-30, 0, 1), np.array([value]))
    assert np.abs(feature).max() <= LIMIT


def test_a_changed_constant_is_a_flag() -> None:
    """A column that never varied says only whether it did now."""
    column = NumericColumn("n", 5.0, 1.0, 5.0, 5.0, constant=5.0)
    np.testing.assert_array_equal(standardise(column, np.array([5.0, 5.1, np.nan])), [0, 1, np.nan])


def test_levels_become_codes_and_unseen_ones_the_next() -> None:
    """An unseen level has the code after the last, and a missing one none."""
    schema = Schema((CategoricalColumn("k", ("a", "b"), (2, 1)),), rows=3)
    table = from_records(schema, [{"k": "b"}, {"k": "z"}, {"k": None}, {"k": "a"}])
    np.testing.assert_array_equal(Encoder(schema).encode(table)[:, 0], [1, 2, np.nan, 0])


@given(st.datetimes())
def test_calendar_fields_are_those_of_the_calendar(moment: object) -> None:
    """Hour, weekday (Monday is 0), day and month agree with the standard library."""
    time = np.array([moment], "datetime64[us]")
    want = {"hour": moment.hour, "weekday": moment.weekday(), "day": moment.day - 1, "month": moment.month - 1}  # type: ignore[attr-defined]
    for field, code in want.items():
        assert calendar(field, time)[0] == code  # type: ignore[arg-type]


def test_absolute_time_does_not_count() -> None:
    """The same hour and weekday of another year are the same features."""
    schema = Schema((TimestampColumn("at", "iso", ("hour", "weekday")),), rows=3)
    table = from_records(schema, [{"at": "2024-01-01T05:00:00"}, {"at": "2029-01-01T05:59:59"}, {"at": None}])
    x = Encoder(schema).encode(table)
    np.testing.assert_array_equal(x[0], x[1])
    assert np.isnan(x[2]).all()
