"""Quantiles of the beta distribution agree with SciPy's, which the service has not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kilter.service.detector.beta import clopper_pearson, probability, quantile

COUNTS = st.integers(1, 20) | st.integers(1, 20_000)


@given(st.floats(0, 1), COUNTS, COUNTS)
def test_probabilities_are_those_of_scipy(x: float, a: int, b: int) -> None:
    """To ten places, for small and large parameters."""
    assert probability(x, a, b) == pytest.approx(stats.beta.cdf(x, a, b), abs=1e-10)


@given(st.sampled_from([0.001, 0.025, 0.5, 0.999]), COUNTS, COUNTS)
def test_quantiles_are_those_of_scipy(level: float, a: int, b: int) -> None:
    """To nine digits."""
    assert quantile(level, a, b) == pytest.approx(stats.beta.ppf(level, a, b), rel=1e-9)


@given(st.integers(1, 200), st.data())
def test_the_interval_is_that_of_the_binomial_test(trials: int, data: st.DataObject) -> None:
    """Clopper and Pearson's, the ends included."""
    successes = data.draw(st.integers(0, trials))
    expected = stats.binomtest(successes, trials).proportion_ci(0.95, "exact")
    assert clopper_pearson(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-9)
