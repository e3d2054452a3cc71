"""Tests of what benchmarks make of their measurements."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import (
    false_discovery_proportion,
    mean_error,
    mean_ranks,
    paired,
    promised,
    ranked_last,
)


def test_paired_counts_each_table_once() -> None:
    """Gain, standard error, wins and losses are those of the differences on common tables; ties are neither."""
    found = paired({"a": 0.9, "b": 0.5, "c": 0.7, "d": 1.0}, {"a": 0.8, "b": 0.6, "c": 0.7})
    assert found.gain == pytest.approx(0.0)
    assert found.error == pytest.approx(np.std([0.1, -0.1, 0.0], ddof=1) / np.sqrt(3))
    assert (found.wins, found.losses, found.tables) == (1, 1, 3)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.floats(0, 1))
def test_paired_ignores_what_both_share(values: list[float], shift: float) -> None:
    """Against itself shifted, a method gains the shift, with no error."""
    ours = {str(i): value + shift for i, value in enumerate(values)}
    found = paired(ours, {str(i): value for i, value in enumerate(values)})
    assert found.gain == pytest.approx(shift)
    assert found.error == pytest.approx(0.0, abs=1e-9)


def test_ranks_are_over_common_tables() -> None:
    """The best of a table has rank 1, ties share, and tables that a method lacks do not count."""
    ranks = mean_ranks({"x": {"a": 0.9, "b": 0.5}, "y": {"a": 0.8, "b": 0.5}, "z": {"a": 0.1, "b": 0.2, "c": 1.0}})
    assert ranks == {"x": 1.25, "y": 1.75, "z": 3.0}


def test_one_value_has_no_error() -> None:
    """The mean is known, its standard error is not."""
    assert mean_error([0.5]).mean == 0.5
    assert np.isnan(mean_error([0.5]).error)


def test_promised_interval_holds() -> None:
    """Counts drawn as the promise says fall inside the interval at least as often as it says."""
    rng = np.random.default_rng(0)
    rank, size, rows = 5, 99, 400
    low, high = promised(rows, rank, size)
    counts = rng.binomial(rows, rng.beta(rank, size + 1 - rank, 4_000))
    assert 0.94 <= np.mean((low <= counts) & (counts <= high)) <= 0.98


def test_false_discoveries() -> None:
    """The share of normal rows among those picked; nothing picked is no false discovery."""
    p, anomalous = np.array([1e-4, 1e-4, 1e-4, 0.5, 0.9]), np.array([True, True, False, False, False])
    share, found = false_discovery_proportion(p, anomalous, 0.1)
    assert share == pytest.approx(1 / 3)
    assert found == 3
    assert false_discovery_proportion(np.full(5, 0.9), anomalous, 0.1) == (0.0, 0)


def test_rows_without_a_verdict_count_as_mistakes() -> None:
    """An anomaly without a score ranks below everything, a normal row above."""
    scores = ranked_last(np.array([1.0, np.nan, 3.0, np.nan]), np.array([False, True, True, False]))
    assert scores.argsort().tolist() == [1, 0, 2, 3]
