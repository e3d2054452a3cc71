"""Another target false-positive rate: the same scores, other thresholds, and promises that go with them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kilter.service.detector import Calibration, Detector, KilterError
from kilter.service.detector.columns import CategoricalColumn
from kilter.service.detector.groups import Groups, Thresholds
from kilter.service.detector.manifest import Choice, Promise
from kilter.service.detector.thresholds import at_rate, promise_of, smallest_rate
from tests.support import detectors

RATE = Choice("rate")
SITE = CategoricalColumn("site", ("a", "b"), (5, 5))


def promised(common: Calibration) -> Promise:
    """What a manifest says of a calibration."""
    return promise_of(Thresholds(common, None), RATE, "random")


@given(st.integers(19, 500), st.floats(1e-4, 0.5))
def test_a_rate_is_kept_or_refused(size: int, rate: float) -> None:
    """Everything is as if the artifact had been calibrated at that rate; too few records are told with their number."""
    common = Calibration.of(np.arange(float(size)), 0.1, 6)
    if rate < smallest_rate(size) - 1e-9:
        with pytest.raises(KilterError, match=f"calibration records; there are {size}, and the smallest rate"):
            at_rate(promised(common), Thresholds(common, None), rate)
        return
    (again, groups), promise = at_rate(promised(common), Thresholds(common, None), rate)
    expected = Calibration.of(common.scores, rate, 6)
    assert (again.rank, again.threshold, groups) == (expected.rank, expected.threshold, None)
    assert promise == promised(expected)
    upper = stats.beta.ppf(0.999, expected.rank, size + 1 - expected.rank)
    assert promise.upper_fpr == pytest.approx(upper, rel=1e-9)


@given(st.integers(1, 20_000))
def test_the_smallest_rate_that_is_told_is_one_that_is_taken(size: int) -> None:
    """As it is printed, and hardly above 1 / (n + 1)."""
    rate = float(f"{smallest_rate(size):g}")
    assert 1 / (size + 1) <= rate * (1 + 1e-12) <= (1 + 1e-4) / (size + 1)
    assert Calibration.of(np.zeros(size), rate, 6).rank == 1


@pytest.mark.parametrize("rate", [0.0, -0.1, 0.51, float("nan"), float("inf")])
def test_what_is_no_rate_is_refused(rate: float) -> None:
    """It is above 0 and at most a half."""
    common = Calibration.of(np.arange(99.0), 0.1, 6)
    with pytest.raises(KilterError, match=r"above 0 and at most 0\.5"):
        at_rate(promised(common), Thresholds(common, None), rate)


def test_groups_have_the_same_rate_and_those_too_small_the_common_threshold() -> None:
    """As from training: a group keeps a threshold of its own where its records support the rate."""
    common = Calibration.of(np.arange(199.0), 0.05, 6)
    groups = Groups(
        SITE, {"a": Calibration.of(np.arange(99.0), 0.05, 6), "b": Calibration.of(np.arange(100.0, 119.0), 0.05, 6)}
    )
    thresholds = Thresholds(common, groups)
    (_, own), promise = at_rate(promise_of(thresholds, RATE, "random"), thresholds, 0.01)
    assert own is not None
    assert own.calibrations.keys() == {"a"}
    assert own.calibrations["a"].threshold == 98.0
    assert promise.by_group is not None
    assert [(group.value, group.rank, group.threshold) for group in promise.by_group.groups] == [("a", 1, 98.0)]


def test_a_detector_at_another_rate_judges_by_it() -> None:
    """p-values and scores stay as they are, flags are those of the rate, and the first detector is as it was."""
    own = detectors.detector(0.05, 199, tail=True)
    rows = detectors.rows(300, 1, shift=1.0)
    before, other = own.score(rows), own.at_rate(0.2)
    after = other.score(rows)
    assert isinstance(other, Detector)
    assert np.array_equal(before.score, after.score)
    assert np.array_equal(before.p_value, after.p_value)
    assert np.array_equal(after.anomaly, after.p_value <= 0.2 + 1e-12)
    assert np.array_equal(own.score(rows).anomaly, before.anomaly)
    assert (other.calibration.target_fpr, other.manifest.calibration.target_fpr) == (0.2, 0.2)
    assert other.manifest.calibration.tail == own.manifest.calibration.tail


def test_the_manifest_gets_the_threshold_and_the_upper_rate() -> None:
    """The 99.9 % quantile of Beta(k, n + 1 - k)."""
    calibration = Calibration.of(np.arange(199.0), 0.05, 6)
    found = promise_of(Thresholds(calibration, None), RATE, "time")
    assert (found.size, found.rank, found.threshold, found.split) == (199, 10, 189.0, "time")
    assert (found.target_fpr, found.expected_fpr) == (0.05, 0.05)
    assert found.upper_fpr == pytest.approx(stats.beta.ppf(0.999, 10, 190))


def test_the_realised_rate_is_what_is_promised() -> None:
    """Over calibration sets its mean is k / (n + 1), and it exceeds the upper quantile once in a thousand."""
    rng = np.random.default_rng(0)
    rounds = 4_000
    sets = rng.random((rounds, 99))
    found = [promised(Calibration.of(scores, 0.05, 12)) for scores in sets]
    realised = np.array([1 - each.threshold for each in found])
    spread = stats.beta.std(5, 95) / np.sqrt(rounds)
    assert realised.mean() == pytest.approx(found[0].expected_fpr, abs=4 * spread)
    exceeded = int((realised > found[0].upper_fpr).sum())
    assert exceeded <= stats.binom.ppf(0.9999, rounds, 0.001)
