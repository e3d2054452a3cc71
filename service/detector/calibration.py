"""Split-conformal calibration: what a score means, in terms of held-out normal records."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from service.detector.errors import KilterError
from service.detector.tail import Tail


@dataclass(frozen=True)
class Calibration:
    """The scores of n normal records that neither fitting nor model selection saw, and the level of the flag.

    Under exchangeability the p-value of a new normal record is uniform on {1, ..., n + 1} / (n + 1), ties making it
    larger (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005, proposition 2.8).
    """

    scores: npt.NDArray[np.float64]
    """Shape (n,), ascending, rounded to `digits`."""
    target_fpr: float
    digits: int
    tail: Tail | None = None

    @classmethod
    def of(
        cls, scores: npt.NDArray[np.float64], target_fpr: float, digits: int, tail: Tail | None = None
    ) -> "Calibration":
        """Calibrate on `scores`, in any order. Raises KilterError if they are too few for `target_fpr`."""
        calibration = cls(np.sort(np.round(scores, digits)), target_fpr, digits, tail)
        if calibration.rank < 1:
            raise KilterError(
                f"a false-positive rate of {target_fpr:g} needs at least {needed(target_fpr)} calibration records; "
                f"there are {len(scores)}"
            )
        return calibration

    @property
    def size(self) -> int:
        """The number n of calibration records."""
        return len(self.scores)

    @cached_property
    def rank(self) -> int:
        """k: a record is flagged when fewer than k calibration scores reach its own. The rate kept is k / (n + 1)."""
        return int(np.floor(self.target_fpr * (self.size + 1) + 1e-9))

    @cached_property
    def threshold(self) -> float:
        """The k-th largest calibration score; a record is flagged when its rounded score is above it."""
        return float(self.scores[self.size - self.rank])

    @property
    def expected_fpr(self) -> float:
        """k / (n + 1): the mean realised false-positive rate over calibration sets, at most `target_fpr`."""
        return self.rank / (self.size + 1)

    def counts(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """For each score, 1 + the number of calibration scores that reach it: the numerator of the p-value."""
        below = self.scores.searchsorted(scores.round(self.digits), side="left")
        return 1 + self.size - below

    def p_values(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Conformal p-values, in [1 / (n + 1), 1]; NaN for a score of NaN."""
        return self.judge(scores)[0]

    def anomalies(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Whether p_value <= target_fpr, decided on whole numbers; never for a score of NaN."""
        return self.judge(scores)[1]

    def judge(self, scores: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """`p_values` and `anomalies` of the scores."""
        counts = self.counts(scores)
        known = scores == scores
        if known.all():
            return counts / (self.size + 1), counts <= self.rank
        return np.where(known, counts / (self.size + 1), np.nan), (counts <= self.rank) & known

    def tail_probabilities(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The estimates of `service.detector.tail` beyond its start; NaN up to there, and where there is no tail."""
        if self.tail is None:
            return np.full(len(scores), np.nan)
        return self.tail.probabilities(scores.round(self.digits))


def needed(target_fpr: float) -> int:
    """The smallest number of calibration records that supports a false-positive rate: ceil(1 / rate) - 1."""
    return int(np.ceil(1 / target_fpr - 1e-9)) - 1
