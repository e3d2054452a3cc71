import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kilter.service.detector.tail import Tail

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
    assert fault.field == field
