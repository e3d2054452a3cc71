"""Split-conformal calibration: what a score means, in terms of held-out normal records."""

import math
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from kilter.service.detector.arrays import Floats, Mask
from kilter.service.detector.errors import KilterError
from kilter.service.detector.tail import Tail

DECIMALS = 6
"""Decimal places of a score: beyond them are a float32's own."""
DIGITS = 4
"""Decimal places to which training rounds scores before they meet the calibration scores."""
TOLERANCE = 1e-4
"""By this times max(1, |score|) two devices may disagree on a score of a model that is trained."""
LARGE = 2.0**52
"""From here on every float is a whole number."""


class Judgement(NamedTuple):
    """What calibrations say of n scores, each (n,)."""

    p_value: Floats
    anomaly: Mask
    tail_probability: Floats | None
    """See `detector.tail`; None where no calibration has a tail."""
    threshold: Floats | None = None
    """The threshold that each record was held against; None where all have the same."""


@dataclass(frozen=True)
class Calibration:
    """The scores of n normal records that neither fitting nor model selection saw, and the level of the flag.

    Under exchangeability the p-value of a new normal record is uniform on {1, ..., n + 1} / (n + 1), ties making it
    larger (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005, proposition 2.8).
    """

    scores: Floats
    """Shape (n,), ascending, rounded to `digits`."""
    target_fpr: float
    digits: int
    tail: Tail | None = None

    @classmethod
    def of(cls, scores: Floats, target_fpr: float, digits: int, tail: Tail | None = None) -> "Calibration":
        """Calibrate on `scores`, in any order. Raises KilterError if they are too few for `target_fpr`."""
        calibration = cls(np.sort(np.round(scores, digits)), target_fpr, digits, tail)
        if calibration.rank < 1:
            raise KilterError(
                f"a false-positive rate of {target_fpr:g} needs at least {fewest(target_fpr)} calibration records; "
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

    @cached_property
    def _tail_count(self) -> int:
        """The count of a score just beyond the start of the tail; where all counts are larger, none is beyond."""
        return 0 if self.tail is None else 1 + self.size - int(self.scores.searchsorted(self.tail.start, side="right"))

    def p_values(self, scores: Floats) -> Floats:
        """Conformal p-values, in [1 / (n + 1), 1]; NaN for a score of NaN."""
        return self.judge(scores).p_value

    def anomalies(self, scores: Floats) -> Mask:
        """Whether p_value <= target_fpr, decided on whole numbers; never for a score of NaN."""
        return self.judge(scores).anomaly

    def judge(self, scores: Floats) -> Judgement:
        """p-values, flags, and the estimates of the tail beyond its start, NaN up to there."""
        if len(scores) == 1:
            one = self._one(scores.item())
            if one is not None:
                return one
        scores = rounded(scores, self.digits)
        counts = (1 + self.size) - self.scores.searchsorted(scores, side="left")
        p_value, anomaly = counts / (self.size + 1), counts <= self.rank
        lowest = counts.min(initial=self.size + 1)
        if lowest == 1 and not (numbers := scores == scores).all():  # NaN is sorted behind all numbers
            p_value, anomaly = np.where(numbers, p_value, np.nan), anomaly & numbers
        if self.tail is None:
            return Judgement(p_value, anomaly, None)
        beyond = lowest <= self._tail_count
        return Judgement(p_value, anomaly, self.tail.probabilities(scores) if beyond else np.full(len(scores), np.nan))

    @cached_property
    def _ascending(self) -> "array[float]":
        """The calibration scores as Python looks them up fastest."""
        return array("d", self.scores.tobytes())

    def _one(self, score: float) -> Judgement | None:
        """The same of one score, to the last bit, in a third of the time; None where that is not worth its while."""
        units = nearest_integer(score * 10.0**self.digits)
        if units is None:
            return None
        score = units / 10.0**self.digits
        count = 1 + self.size - bisect_left(self._ascending, score)
        p_value, anomaly = np.array([count / (self.size + 1)]), np.array([count <= self.rank])
        if self.tail is None:
            return Judgement(p_value, anomaly, None)
        beyond = count <= self._tail_count
        return Judgement(p_value, anomaly, self.tail.probabilities(np.array([score])) if beyond else np.array([np.nan]))


def rounded(scores: Floats, digits: int) -> Floats:
    """What `numpy.round` gives, in half its time for one score."""
    unit = 10.0**digits
    if len(scores) == 1:
        single = nearest_integer(scores.item() * unit)
        if single is not None:
            return np.array([single / unit])
    units: Floats = np.rint(scores * unit)
    return units / unit


def nearest_integer(value: float) -> float | None:
    """What `numpy.rint` gives for a number; None for one that is not finite or too large to have a fraction."""
    return math.copysign(round(value), value) if -LARGE < value < LARGE else None


def fewest(target_fpr: float) -> int:
    """The smallest number of calibration records that supports a false-positive rate: ceil(1 / rate) - 1."""
    return int(np.ceil(1 / target_fpr - 1e-9)) - 1
