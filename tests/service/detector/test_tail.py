from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kilter.service.detector.tail import Tail, fit_tail

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


SCORES = np.arange(100.0)
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
    assert TAIL.fault(SCORES) is None
    fault = msgspec.structs.replace(TAIL, **{field: value}).fault(SCORES)
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
