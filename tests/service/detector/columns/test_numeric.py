"""Tests of `columns.numeric`: numbers are standardised, and come back."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.columns import NumericColumn
from kilter.service.detector.columns.base import LIMIT

finite = st.floats(-1e6, 1e6)


@given(finite, st.floats(1e-3, 1e6), st.sampled_from(["identity", "asinh"]), finite, st.floats(1e-3, 1e3))
def test_restore_undoes_encode(value: float, scale: float, transform: str, center: float, unit: float) -> None:
    """A reason can show what the network expected in the column's own unit."""
    column = NumericColumn("n", center, scale, 0, 1, transform, shift=1.0, unit=unit)  # type: ignore[arg-type]
    feature = float(column.encode(np.array([value]))[0, 0])
    if abs(feature) < LIMIT:
        assert np.isclose(column.restore(feature), value, rtol=1e-6, atol=1e-6 * max(1.0, abs(center), unit))


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_standardised_number_is_bounded(value: float) -> None:
    """No number, however large, makes a score infinite."""
    feature = NumericColumn("n", 0.0, 1e-30, 0, 1).encode(np.array([value]))
    assert np.abs(feature).max() <= LIMIT


def test_a_changed_constant_is_a_flag() -> None:
    """A column that never varied says only whether it did now."""
    column = NumericColumn("n", 5.0, 1.0, 5.0, 5.0, constant=5.0)
    np.testing.assert_array_equal(column.encode(np.array([5.0, 5.1, np.nan])), [[0], [1], [np.nan]])
