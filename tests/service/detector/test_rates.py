"""Another target false-positive rate: the same scores, other thresholds, and promises that go with them."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import Calibration, Detector, KilterError
from kilter.service.detector.columns import CategoricalColumn
from kilter.service.detector.groups import Groups
from kilter.service.detector.rates import at_rate, smallest
from kilter.training.calibrate import info
from tests.support import detectors

SITE = CategoricalColumn("site", ("a", "b"), (5, 5))


@given(st.integers(19, 500), st.floats(1e-4, 0.5))
def test_a_rate_is_kept_or_refused(size: int, rate: float) -> None:
    """Everything is as if the artifact had been calibrated at that rate; too few records are told with their number."""
    common = Calibration.of(np.arange(float(size)), 0.1, 6)
    if rate < smallest(size) - 1e-9:
        with pytest.raises(KilterError, match=f"calibration records; there are {size}, and the smallest rate"):
            at_rate(info(common, "random"), common, None, rate)
        return
    found = at_rate(info(common, "random"), common, None, rate)
    expected = Calibration.of(common.scores, rate, 6)
    assert (found.common.rank, found.common.threshold) == (expected.rank, expected.threshold)
    stated = info(expected, "random")
    assert found.info.upper_fpr == pytest.approx(stated.upper_fpr, rel=1e-9)
    assert msgspec.structs.replace(found.info, upper_fpr=stated.upper_fpr) == stated


@given(st.integers(1, 20_000))
def test_the_smallest_rate_that_is_told_is_one_that_is_taken(size: int) -> None:
    """As it is printed, and hardly above 1 / (n + 1)."""
    rate = float(f"{smallest(size):g}")
    assert 1 / (size + 1) <= rate * (1 + 1e-12) <= (1 + 1e-4) / (size + 1)
    assert Calibration.of(np.zeros(size), rate, 6).rank == 1


@pytest.mark.parametrize("rate", [0.0, -0.1, 0.51, float("nan"), float("inf")])
def test_what_is_no_rate_is_refused(rate: float) -> None:
    """It is above 0 and at most a half."""
    common = Calibration.of(np.arange(99.0), 0.1, 6)
    with pytest.raises(KilterError, match=r"above 0 and at most 0\.5"):
        at_rate(info(common, "random"), common, None, rate)


def test_groups_have_the_same_rate_and_those_too_small_the_common_threshold() -> None:
    """As from training: a group keeps a threshold of its own where its records support the rate."""
    common = Calibration.of(np.arange(199.0), 0.05, 6)
    groups = Groups(
        SITE, {"a": Calibration.of(np.arange(99.0), 0.05, 6), "b": Calibration.of(np.arange(100.0, 119.0), 0.05, 6)}
    )
    found = at_rate(info(common, "random", groups=groups), common, groups, 0.01)
    assert found.groups is not None
    assert found.groups.calibrations.keys() == {"a"}
    assert found.groups.calibrations["a"].threshold == 98.0
    assert found.info.by_group is not None
    assert [(group.value, group.rank, group.threshold) for group in found.info.by_group.groups] == [("a", 1, 98.0)]


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
