from typing import Any

import numpy as np
import pytest
from scipy import stats

from kilter.training.tail import fit_tail

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
        told = [tail.probabilities(score)[0] for tail in tails if tail is not None]
        assert len(told) == ROUNDS
        assert true / factor < np.mean(told) < true * factor


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
