"""The evidence: exact intervals, and words that claim no more than these."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kilter.service.models.comparison import Comparison, compare_flag_rates, describe_comparison
from kilter.service.models.shadow import Shadow, ShadowThread, describe_shadow
from tests.support.serving import detector


def compared(both: int, only_live: int, only_shadow: int, neither: int) -> Comparison:
    """A comparison with those counts; p-values of flagged records are 0.01, others 0.5."""
    live = np.repeat([True, True, False, False], [both, only_live, only_shadow, neither])
    shadow = np.repeat([True, False, True, False], [both, only_live, only_shadow, neither])
    comparison = Comparison()
    comparison.add(np.where(live, 0.01, 0.5), live, np.where(shadow, 0.01, 0.5), shadow)
    return comparison


COUNTS = st.integers(0, 60)


@given(COUNTS, COUNTS, COUNTS, st.integers(1, 60))
def test_the_interval_leaves_out_zero_exactly_when_mcnemars_test_rejects(
    both: int, only_live: int, only_shadow: int, neither: int
) -> None:
    """At 5 %, exactly; and it holds the difference."""
    rates = compare_flag_rates(compared(both, only_live, only_shadow, neither).tally())
    assert rates.low - 1e-12 <= rates.difference <= rates.high + 1e-12
    assert rates.difference == pytest.approx(rates.shadow - rates.live)
    if only_live + only_shadow:
        # Clopper and Pearson's interval inverts the two one-sided tests at 2.5 %.
        apart = only_live + only_shadow
        sides = [stats.binomtest(only_shadow, apart, 0.5, side).pvalue for side in ("less", "greater")]
        if abs(min(sides) - 0.025) > 1e-9:
            assert (rates.low > 0 or rates.high < 0) == (min(sides) < 0.025)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((10, 5, 60, 1000), "the one in the shadow flags more"),
        ((10, 60, 5, 1000), "the one in the shadow flags less"),
        ((10, 6, 5, 1000), "that one flags more than the other is not shown"),
        ((10, 0, 0, 990), "They agree on all of them: with 95 % confidence they differ on less than 0.30%"),
    ],
)
def test_it_is_told_in_words(counts: tuple[int, int, int, int], said: str) -> None:
    """What the interval shows, and what it does not."""
    assert said in describe_comparison(compared(*counts), 0.05).evidence


def test_before_the_first_record_nothing_is_claimed() -> None:
    """There are no rates to tell."""
    found = describe_comparison(Comparison(), 0.05)
    assert (found.flag_rates, found.p_values, found.evidence) == (None, None, "No record was compared yet.")


def test_differences_of_p_values_are_told_with_their_quantiles() -> None:
    """The mean is of all records, quantiles and rank correlation are of the sample."""
    found = describe_comparison(compared(0, 0, 500, 500), 0.05).p_values
    assert found is not None
    assert found.mean_difference == pytest.approx(-0.245)
    assert found.quantiles["0.05"] == pytest.approx(-0.49)
    assert found.quantiles["0.95"] == 0.0
    assert (found.rank_correlation, found.sampled) == (None, 1000)


def test_records_that_were_left_out_are_told() -> None:
    """Those that do not fit, and those that were dropped."""
    shadow = Shadow(detector(), detector(version=4), ShadowThread())
    shadow.comparison.add(np.array([0.5]), np.array([False]), np.array([0.4]), np.array([False]))
    shadow.comparison.reject(2)
    shadow.comparison.drop(1200)
    told = describe_shadow(detector(), shadow)
    assert (told.live, told.shadow, told.compared, told.rejected, told.dropped) == (3, 4, 1, 2, 1200)
    assert "2 records do not fit" in told.evidence
    assert "1,200 records were left out" in told.evidence
