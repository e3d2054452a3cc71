"""Tests of the choice by leaving tables out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.nested import choose


def test_a_lucky_table_does_not_choose_itself() -> None:
    """A variant that is best by one table alone is not chosen when that table is left out."""
    tables = [f"t{i}" for i in range(10)]
    lucky = {table: 1.0 if table == "t0" else 0.0 for table in tables}
    steady = dict.fromkeys(tables, 0.05)
    found = choose({"lucky": lucky, "steady": steady})
    assert found.best == "lucky"
    assert found.apparent.mean == pytest.approx(0.1)
    assert found.chosen == {"lucky": 9, "steady": 1}
    assert found.gain.mean == pytest.approx(0.05 / 10)


@given(st.integers(0, 1000))
def test_noise_gains_nothing(seed: int) -> None:
    """Of many variants that differ by noise the best seems better than it is on tables left out."""
    rng = np.random.default_rng(seed)
    gains = {f"v{v}": {f"t{t}": float(rng.normal()) for t in range(30)} for v in range(20)}
    found = choose(gains)
    assert found.gain.mean <= found.apparent.mean + 1e-12


def test_too_few_tables_are_refused() -> None:
    """Two tables leave one to choose by."""
    with pytest.raises(ValueError, match="needs three tables"):
        choose({"a": {"x": 1.0, "y": 2.0}, "b": {"x": 0.0, "y": 2.0}})
