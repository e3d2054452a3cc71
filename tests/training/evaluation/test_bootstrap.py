import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from kilter.training.evaluation.bootstrap import intervals, ranking


@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=40))
def test_a_ranking_agrees_with_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    """Areas are right under any pattern of ties."""
    scores = np.array([score for score, _ in rows], np.float64)
    anomalous = np.array([label for _, label in rows])
    if anomalous.all() or not anomalous.any():
        return
    found = ranking(scores, anomalous)
    assert found.roc_auc() == pytest.approx(metrics.roc_auc_score(anomalous, scores))
    assert found.average_precision() == pytest.approx(metrics.average_precision_score(anomalous, scores))


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Of 60 simulated tables, the 95 % interval of the ROC AUC holds the true one in at least 85 %."""
    rng = np.random.default_rng(0)
    truth = 0.8413447  # two unit Gaussians, sqrt(2) apart: the standard normal distribution function at 1
    held = 0
    for _ in range(60):
        scores = np.concatenate([rng.normal(0, 1, 150), rng.normal(np.sqrt(2), 1, 60)])
        anomalous = np.arange(210) >= 150
        low, high = intervals(scores, scores > 1, anomalous, seed=1)["roc_auc"]
        held += low is not None and high is not None and low <= truth <= high
    assert held >= 51


def test_resamples_without_a_flag_do_not_count_for_precision() -> None:
    """Where no resample has one the interval is unknown."""
    anomalous = np.arange(20) >= 10
    found = intervals(np.arange(20.0), np.zeros(20, bool), anomalous, seed=0)
    assert found["precision"] == (None, None)
    assert found["recall"] == (0.0, 0.0)
