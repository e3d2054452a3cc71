import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kilter.service.detector import Calibration, KilterError
from kilter.service.detector.calibration import fewest, rounded
from kilter.service.detector.tail import Tail

SCORES = st.floats(-1e6, 1e6).map(lambda value: round(value, 1))
"""One digit, so that ties are common."""
CALIBRATION = hnp.arrays(np.float64, st.integers(19, 60), elements=SCORES)
NEW = hnp.arrays(np.float64, st.integers(0, 30), elements=SCORES)


@given(CALIBRATION, NEW)
def test_a_p_value_counts_the_calibration_scores_that_reach_the_score(
    scores: npt.NDArray[np.float64], new: npt.NDArray[np.float64]
) -> None:
    """(1 + number of calibration scores >= score) / (n + 1), by brute force."""
    calibration = Calibration.of(scores, 0.05, 1)
    for score, p_value in zip(new, calibration.p_values(new), strict=True):
        assert p_value == (1 + sum(old >= score for old in scores)) / (len(scores) + 1)


@given(CALIBRATION, NEW)
def test_p_values_fall_as_scores_rise(scores: npt.NDArray[np.float64], new: npt.NDArray[np.float64]) -> None:
    """A stranger record never has a higher p-value."""
    p_values = Calibration.of(scores, 0.05, 1).p_values(np.sort(new))
    assert (np.diff(p_values) <= 0).all()


@given(CALIBRATION, NEW, st.sampled_from([0.05, 0.06, 0.1, 0.3, 0.5]))
def test_a_flag_a_p_value_and_the_threshold_say_the_same(
    scores: npt.NDArray[np.float64], new: npt.NDArray[np.float64], target_fpr: float
) -> None:
    """Flagged, p-value <= target and score > threshold are one statement."""
    calibration = Calibration.of(scores, target_fpr, 1)
    flags = calibration.anomalies(new)
    assert (flags == (calibration.p_values(new) <= target_fpr + 1e-12)).all()
    assert (flags == (new > calibration.threshold)).all()


@given(CALIBRATION, st.sampled_from([0.05, 0.1, 0.25]))
def test_a_score_at_the_threshold_passes_and_the_next_digit_is_flagged(
    scores: npt.NDArray[np.float64], target_fpr: float
) -> None:
    """A tie with the calibration score that sets the threshold counts as normal, and rounding decides what is a tie."""
    calibration = Calibration.of(scores, target_fpr, 1)
    at = calibration.threshold
    assert calibration.anomalies(np.array([at, at + 0.04, at - 0.04, at + 0.1])).tolist() == [False, False, False, True]


@given(CALIBRATION, st.integers(0, 2**32))
def test_the_order_of_calibration_scores_does_not_matter(scores: npt.NDArray[np.float64], seed: int) -> None:
    """Calibration is a set."""
    shuffled = np.random.default_rng(seed).permutation(scores)
    assert (Calibration.of(scores, 0.05, 1).scores == Calibration.of(shuffled, 0.05, 1).scores).all()


@given(st.floats(1e-4, 0.5))
def test_needed_is_the_smallest_number_that_is_enough(target_fpr: float) -> None:
    """With `needed` records there is a threshold; with one less there is none."""
    enough = fewest(target_fpr)
    assert Calibration.of(np.arange(float(enough)), target_fpr, 6).rank == 1
    with pytest.raises(KilterError, match=f"needs at least {enough} calibration records; there are {enough - 1}"):
        Calibration.of(np.arange(enough - 1.0), target_fpr, 6)


def test_a_score_of_nan_has_no_p_value_and_is_no_anomaly() -> None:
    """What could not be judged is not flagged."""
    calibration = Calibration.of(np.arange(19.0), 0.05, 6)
    assert np.isnan(calibration.p_values(np.array([np.nan]))).all()
    assert not calibration.anomalies(np.array([np.nan])).any()


@pytest.mark.parametrize("levels", [3, 10**9])
def test_p_values_of_exchangeable_scores_are_valid(levels: int) -> None:
    """P(p <= a) <= a at every level a on the grid, over many calibration sets, ties or not; without ties it is a."""
    rng = np.random.default_rng(3)
    size, rounds = 19, 20_000
    scores = rng.integers(levels, size=(rounds, size + 1)).astype(np.float64)
    p_values = [Calibration(np.sort(row[:-1]), 0.05, 6).p_values(row[-1:])[0] for row in scores]
    counts = np.rint(np.multiply(p_values, scores.shape[1]))
    for level in range(1, size + 2):
        share, a = np.mean(np.array(counts) <= level), level / (size + 1)
        error = 4 * np.sqrt(a * (1 - a) / rounds)
        assert share <= a + error
        assert levels == 3 or share >= a - error


@given(
    CALIBRATION,
    hnp.arrays(np.float64, st.integers(2, 20), elements=SCORES | st.floats(width=32)),
    st.integers(0, 6),
    st.booleans(),
)
def test_one_score_is_judged_as_among_others(
    scores: npt.NDArray[np.float64], new: npt.NDArray[np.float64], digits: int, tailed: bool
) -> None:
    """To the last bit, with a tail and without, infinite and unknown ones included; a program gives 32 bits."""
    tail = Tail(float(np.sort(scores)[len(scores) // 2]), float(scores.max()), 0.1, 1.0, 0.5) if tailed else None
    calibration = Calibration.of(scores, 0.05, digits, tail)
    together = calibration.judge(new)
    for i in range(len(new)):
        alone = calibration.judge(new[i : i + 1])
        for one, all_of_them in zip(alone, together, strict=True):
            assert (one is None) == (all_of_them is None)
            if one is not None and all_of_them is not None:
                assert one.dtype == all_of_them.dtype
                assert one.tobytes() == all_of_them[i : i + 1].tobytes()


@given(hnp.arrays(np.float64, st.integers(2, 9), elements=st.floats(width=64)), st.integers(0, 6))
def test_one_score_is_rounded_as_among_others(scores: npt.NDArray[np.float64], digits: int) -> None:
    """To the last bit, the sign of a zero included."""
    with np.errstate(over="ignore"):
        together = rounded(scores, digits)
        for i in range(len(scores)):
            assert rounded(scores[i : i + 1], digits).tobytes() == together[i : i + 1].tobytes()
