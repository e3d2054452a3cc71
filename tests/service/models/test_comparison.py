"""Comparisons: counts are exact, what is sampled is a fair sample, and memory is bounded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kilter.service.models.comparison import (
    BUCKETS,
    PAIRS,
    Comparison,
    compare_flag_rates,
    describe_comparison,
    rank_correlation,
)
from kilter.service.models.shadow import Shadow, ShadowThread, describe_shadow
from tests.support.serving import detector

P = st.integers(1, 200).map(lambda k: k / 200)
VERDICTS = st.lists(st.tuples(P, st.booleans(), P, st.booleans()), max_size=40)


@given(st.lists(VERDICTS, max_size=5))
def test_counts_are_those_of_the_verdicts(batches: list[list[tuple[float, bool, float, bool]]]) -> None:
    """However the records came in batches."""
    comparison = Comparison()
    for batch in batches:
        live_p, live, shadow_p, shadow = (
            (np.array(list(side)) for side in zip(*batch, strict=True))
            if batch
            else (
                np.empty(0),
                np.empty(0, bool),
                np.empty(0),
                np.empty(0, bool),
            )
        )
        comparison.add(live_p, live, shadow_p, shadow)
    rows = [row for batch in batches for row in batch]
    tally = comparison.tally()
    assert tally.both_normal == sum(not a and not b for _, a, _, b in rows)
    assert tally.both_anomalous == sum(a and b for _, a, _, b in rows)
    assert tally.only_live == sum(a and not b for _, a, _, b in rows)
    assert tally.only_shadow == sum(b and not a for _, a, _, b in rows)
    assert tally.compared == len(rows) == tally.apart[-1][1]
    assert tally.apart_sum == pytest.approx(sum(abs(q - p) for p, _, q, _ in rows))
    assert tally.difference == pytest.approx(sum(q - p for p, _, q, _ in rows))
    for bound, (name, count) in zip(BUCKETS, tally.apart, strict=False):
        assert name == str(bound)
        assert count == sum(abs(q - p) <= bound for p, _, q, _ in rows)
    assert sorted(map(tuple, comparison.pairs().tolist())) == sorted((p, q) for p, _, q, _ in rows)


def test_the_sample_is_bounded_and_fair() -> None:
    """Of many records each is as likely to be in it, the early ones as the late."""
    comparison, total = Comparison(), 40_000
    order = np.arange(total) / total
    for part in np.array_split(order, 97):
        flags = np.zeros(len(part), bool)
        comparison.add(part, flags, part, flags)
    kept = comparison.pairs()
    assert kept.shape == (PAIRS, 2)
    assert np.array_equal(kept[:, 0], kept[:, 1])
    assert len(np.unique(kept[:, 0])) == PAIRS
    assert stats.kstest(kept[:, 0], "uniform").pvalue > 0.01


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=50))
def test_the_rank_correlation_is_spearmans(pairs: list[tuple[int, int]]) -> None:
    """With ties, and none where a side does not vary."""
    values = np.array(pairs, float)
    found = rank_correlation(values)
    if len(set(values[:, 0])) == 1 or len(set(values[:, 1])) == 1:
        assert found is None
    else:
        assert found == pytest.approx(stats.spearmanr(values[:, 0], values[:, 1]).statistic)


def test_rejected_and_dropped_records_are_not_compared() -> None:
    """They are counted each by itself."""
    comparison = Comparison()
    comparison.reject(3)
    comparison.drop(5)
    tally = comparison.tally()
    assert (tally.rejected, tally.dropped, tally.compared) == (3, 5, 0)
    assert rank_correlation(comparison.pairs()) is None


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
