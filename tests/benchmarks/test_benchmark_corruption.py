"""Tests of the corrupted records that reasons are asked about."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.corruption import BEYOND, REGIMES, out_of_range, swapped


@pytest.mark.parametrize("regime", sorted(REGIMES))
@given(seed=st.integers(0, 100))
def test_one_field_changes(regime: str, seed: int) -> None:
    """Every record differs from a normal one in the field that is named, and in no other."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(20, 4))
    found = REGIMES[regime](rows, rng.normal(size=(50, 4)), np.array([0, 2, 3]), rng)
    changed = found.rows != rows
    assert (changed.sum(1) == 1).all()
    assert (changed.argmax(1) == found.field).all()
    assert 1 not in found.field


def test_pushed_values_are_beyond_the_range() -> None:
    """By 10 to 50 % of the training range; whole numbers stay whole."""
    rng = np.random.default_rng(0)
    train = np.stack([rng.normal(size=200), rng.integers(0, 9, 200)], axis=1)
    found = out_of_range(train, train, np.array([0, 1]), rng)
    value = found.rows[np.arange(200), found.field]
    low, high = train.min(0)[found.field], train.max(0)[found.field]
    beyond = np.maximum(value - high, low - value) / (high - low)
    real = found.field == 0
    assert ((beyond >= BEYOND[0] - 1e-9) & (beyond <= BEYOND[1] + 1e-9))[real].all()
    assert (beyond > 0).all()
    assert (value == np.round(value))[~real].all()


def test_swapped_values_are_other_records_own() -> None:
    """A column in which all records agree cannot be swapped, and those records are left out."""
    rng = np.random.default_rng(0)
    rows = np.stack([np.ones(100), rng.integers(0, 3, 100)], axis=1).astype(np.float64)
    found = swapped(rows, rows, np.array([0, 1]), rng)
    assert 0 < len(found.rows) < 100
    assert (found.field == 1).all()
    assert set(found.rows[:, 1]) <= {0.0, 1.0, 2.0}
