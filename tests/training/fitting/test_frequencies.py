"""Tests of `fitting.frequencies`: draws from a distribution recur by nature, and copies do not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.training.fitting.frequencies import Commonness, fit_mixture, recur_by_nature

SEEDS = st.integers(0, 2**32)


@settings(max_examples=30)
@given(st.floats(0.3, 2.5), st.integers(200, 20_000), SEEDS)
def test_draws_of_many_frequencies_recur_by_nature(power: float, rows: int, seed: int) -> None:
    """Values whose frequencies fall off as a power of their rank, as words do."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, 2_001) ** power
    counts = rng.multinomial(rows, shares / shares.sum())
    counts = counts[counts > 0]
    assert fit_mixture(counts).p_value > 1e-3
    if power > 1 and rows > 2_000:
        assert recur_by_nature(counts)


@given(st.integers(150, 1_000), st.sampled_from([0.1, 0.5, 0.8]), st.sampled_from([1, 5, 50]))
def test_copies_do_not(rows: int, share: float, times: int) -> None:
    """Some rows stand in the table so many times more, and all others once."""
    counts = np.ones(rows, np.int64)
    counts[: round(share * rows)] += times
    assert not recur_by_nature(counts)


@given(st.integers(100, 2_000), st.floats(0.2, 4), SEEDS)
def test_rows_that_were_drawn_again_with_replacement_are_copies(rows: int, rate: float, seed: int) -> None:
    """Their numbers are those of one Poisson distribution, and no row is likelier than another."""
    counts = np.random.default_rng(seed).poisson(rate, rows)
    assert not recur_by_nature(counts[counts > 0])


def test_one_record_that_comes_again_and_again_is_no_copy() -> None:
    """As an empty record does among many that are not."""
    assert recur_by_nature(np.array([300] + [1] * 700))


@given(SEEDS)
def test_chance_explains_that_rows_of_few_values_recur(seed: int) -> None:
    """Of columns that are independent: as many pairs are the same as their values let expect."""
    x = np.random.default_rng(seed).integers(4, size=(1_000, 5)).astype(np.float32)
    distinct, counts = np.unique(x, axis=0, return_counts=True)
    assert recur_by_nature(counts, Commonness.of(distinct, counts))


def test_values_of_one_column_recur_by_nature() -> None:
    """However few there are: rows of one coarse column are hardly ever new."""
    for values in (2, 5, 20):
        counts = np.bincount(np.random.default_rng(0).integers(values, size=100))
        common = Commonness.of(np.arange(values, dtype=np.float32)[:, None], counts)
        assert recur_by_nature(counts, common)


def test_commonness_counts_the_least_common_value() -> None:
    """The chance that two rows agree is the product of those of the columns; NaN is a value like others."""
    x = np.array([[0, np.nan], [0, np.nan], [0, 1], [1, 2]], np.float32)
    common = Commonness.of(x, np.array([1, 1, 1, 2]))
    assert common.least.tolist() == [2, 2, 1, 1]
    assert common.chance == pytest.approx((6 + 2) / 20 * (2 + 2) / 20)


def test_a_mixture_has_no_trouble_with_large_numbers() -> None:
    """Of occurrences that span five orders of magnitude."""
    counts = np.unique(np.geomspace(1, 100_000, 400).astype(np.int64))
    mixture = fit_mixture(np.concatenate([counts, np.ones(2_000, np.int64), np.full(400, 2), np.full(150, 3)]))
    assert mixture.p_value > 1e-3
    assert mixture.gain > 100
