"""Comparisons: counts are exact, what is sampled is a fair sample, and memory is bounded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kilter.service.models.comparison import BUCKETS, PAIRS, Comparison, rank_correlation

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
    assert tally.compared == len(rows) == tally.apart[-1]
    assert tally.live_flagged == sum(a for _, a, _, _ in rows)
    assert tally.difference == pytest.approx(sum(q - p for p, _, q, _ in rows))
    for bound, count in zip(BUCKETS, tally.apart, strict=False):
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
