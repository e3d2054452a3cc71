"""Calibration: p-values are conformal, flags are decided on whole numbers, and the tail claims no more than it can."""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from kilter.service.detector import Calibration, KilterError
from kilter.service.detector.calibration import Tail, fewest, fit_tail, rounded

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


TAILS = st.builds(
    lambda shape, scale, edge: Tail(10.0, 10.0 + edge * scale, shape, scale, 0.1),
    st.floats(-0.25, 0.75),
    st.floats(0.01, 100.0),
    st.floats(0.1, 2.9),
)


def told(tail: Tail, *scores: float) -> npt.NDArray[np.float64]:
    return tail.probabilities(np.array(scores))


@given(TAILS, st.lists(st.floats(0.0, 1e12), min_size=2, max_size=20))
def test_the_probability_falls_with_the_score_and_is_never_0(tail: Tail, excesses: list[float]) -> None:
    """From the share of the tail downwards, at any finite score."""
    found = told(tail, *(tail.start + 1e-6 + excess for excess in sorted(excesses)))
    assert (np.diff(found) <= 0).all()
    assert ((found > 0) & (found <= tail.share)).all()


@given(TAILS)
def test_up_to_the_start_there_is_none(tail: Tail) -> None:
    """Nor for a score of NaN."""
    assert np.isnan(told(tail, tail.start, tail.start - 1, np.nan)).all()


@given(TAILS, st.floats(1e-6, 1.0))
def test_within_the_calibration_scores_it_is_the_generalised_pareto(tail: Tail, part: float) -> None:
    """As SciPy has it, times the share of the tail."""
    excess = part * (tail.last - tail.start)
    expected = tail.share * stats.genpareto(tail.shape, scale=tail.scale).sf(excess)
    assert told(tail, tail.start + excess)[0] == pytest.approx(expected, rel=1e-6)


def test_a_short_tail_goes_on_beyond_its_end() -> None:
    """At a negative shape, with the hazard rate that it has at the largest calibration score."""
    tail = Tail(0.0, 2.0, -0.25, 1.0, 0.1)
    at, later = told(tail, 2.0, 5.0)
    assert later / at == pytest.approx(np.exp(-3.0 / 0.5))


ASCENDING = np.arange(100.0)
TAIL = Tail(89.0, 99.0, 0.1, 3.0, 11 / 101)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("start", 89.5),
        ("start", 99.0),
        ("last", 98.0),
        ("share", 0.2),
        ("scale", 0.0),
        ("scale", float("inf")),
        ("shape", -0.5),
        ("shape", 9.0),
        ("shape", float("nan")),
    ],
)
def test_a_tail_that_is_not_of_these_scores_is_found_out(field: str, value: float) -> None:
    """The field that is wrong is named."""
    assert TAIL.fault(ASCENDING) is None
    fault = msgspec.structs.replace(TAIL, **{field: value}).fault(ASCENDING)
    assert fault is not None
    assert fault.startswith(f"{field} of the tail is {value}, and must be ")


ROUNDS = 100


@pytest.mark.parametrize("size", [999, 4_999])
@pytest.mark.parametrize(
    "law",
    [stats.expon(), stats.norm(), stats.chi2(10), stats.t(3), stats.lognorm(1), stats.pareto(2)],
    ids=["exponential", "normal", "chi-square", "Student", "log-normal", "Pareto"],
)
def test_tail_probabilities_are_calibrated(law: Any, size: int) -> None:
    """On average over calibration sets they are right within a factor of 2 at 1 in 1,000, and of 4 at 1 in 10,000."""
    rng = np.random.default_rng(0)
    tails = [fit_tail(law.rvs(size, random_state=rng)) for _ in range(ROUNDS)]
    for true, factor in ((1e-3, 2.0), (1e-4, 4.0)):
        score = np.array([law.isf(true)])
        estimates = [tail.probabilities(score)[0] for tail in tails if tail is not None]
        assert len(estimates) == ROUNDS
        assert true / factor < np.mean(estimates) < true * factor


def test_a_tail_fits_the_scores_that_it_was_made_of() -> None:
    """So it passes the check at loading, and meets the p-value where it starts."""
    scores = np.sort(np.round(np.random.default_rng(1).normal(size=999), 4))
    tail = fit_tail(scores)
    assert tail is not None
    assert tail.fault(scores) is None
    assert tail.share == pytest.approx(0.1, abs=0.001)


@pytest.mark.parametrize("scores", [np.arange(499.0), np.repeat([1.0, 2.0], 1_000), np.zeros(5_000)])
def test_too_little_makes_no_tail(scores: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    """Few scores, or a bulk that reaches up to the largest."""
    assert fit_tail(scores) is None
