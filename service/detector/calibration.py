"""Split-conformal calibration: what a score means, in terms of held-out normal records, and of the tail of theirs."""

import math
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import msgspec
import numpy as np

from kilter.service.detector.arrays import Floats, Mask
from kilter.service.detector.errors import KilterError

DECIMALS = 6  # decimal places of a score: beyond them are a float32's own
DIGITS = 4  # decimal places to which training rounds scores before they meet the calibration scores
TOLERANCE = 1e-4  # by this times max(1, |score|) two devices may disagree on a score of a model that is trained
LARGE = 2.0**52  # from here on every float is a whole number
LOWEST = -650.0  # natural logarithm of the smallest survival that is reported: a probability of 0 is never claimed

SHARE = 0.1  # the part of the calibration scores that counts as tail
FEWEST = 50
SHAPES = (-0.25, 0.75)
"""No score has a tail that is shorter or longer than these; few excesses would suggest it now and then."""
PRIOR_SHAPE = 0.2
PRIOR_COUNT = 20
"""What the shape is drawn towards, as if by so many excesses: that of a few excesses is mostly noise, and too short a
tail claims too much."""


class Tail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A generalised Pareto distribution of the excesses above a high quantile of the calibration scores.

    P(score > start + y) = share * (1 + shape * y / scale) ^ (-1 / shape), with exp(-y / scale) at shape 0 (Pickands,
    Annals of Statistics, 1975). A negative shape would end at a finite score, beyond which every probability is 0;
    from `last` on its hazard rate therefore stays what it is there. An estimate, and no conformal p-value.
    """

    start: float
    """A calibration score, above which the tail begins."""
    last: float
    shape: float
    scale: float
    share: float
    """(1 + number of calibration scores above `start`) / (n + 1): the p-value just above `start`."""

    def probabilities(self, scores: Floats) -> Floats:
        """The estimated share of normal records that score higher, (n,); NaN at or below `start`, and for NaN."""
        estimates = np.full(len(scores), np.nan)
        beyond = scores > self.start
        excess = scores[beyond] - self.start
        if self.shape == 0:
            log_survival = -excess / self.scale
        elif self.shape > 0:
            log_survival = -np.log1p(self.shape / self.scale * excess) / self.shape
        else:
            edge = self.last - self.start
            inner = np.minimum(excess, edge)
            hazard = 1 / (self.scale + self.shape * edge)
            log_survival = -np.log1p(self.shape / self.scale * inner) / self.shape - hazard * (excess - inner)
        estimates[beyond] = self.share * np.exp(np.maximum(log_survival, LOWEST))
        return estimates

    def fault(self, scores: Floats) -> str | None:
        """What is wrong with this as the tail of `scores`, (n,), ascending; None if nothing is."""
        above = int((scores > self.start).sum())
        share = (1 + above) / (len(scores) + 1)
        if self.start not in scores or not above:
            return f"start of the tail is {self.start}, and must be one of the calibration scores, and not the largest"
        if self.last != scores[-1]:
            return f"last of the tail is {self.last}, and must be {scores[-1]}"
        if abs(self.share - share) > 1e-9:
            return f"share of the tail is {self.share}, and must be {share}"
        if not 0 < self.scale < np.inf:
            return f"scale of the tail is {self.scale}, and must be positive and finite"
        if not -1 < self.shape <= 2 or self.scale + self.shape * (self.last - self.start) <= 0:
            return f"shape of the tail is {self.shape}, and must be one under which every calibration score is possible"
        return None


def fit_tail(scores: Floats) -> Tail | None:
    """The generalised Pareto tail of scores, (n,), by probability-weighted moments; None if it would have too little.

    With the mean m of the excesses and a = mean of the i-th largest times (i - 1/2) / count from the top, the shape is
    2 - m / (m - 2 a), and the scale m (1 - shape) (Hosking and Wallis, Technometrics, 1987). The shape is drawn towards
    `PRIOR_SHAPE` and held within bounds, and the scale keeps the mean.
    """
    ordered = np.sort(scores)
    count = int(SHARE * len(ordered))
    if count < FEWEST:
        return None
    start, last = float(ordered[-count - 1]), float(ordered[-1])
    excesses = ordered[ordered > start] - start
    if len(excesses) < FEWEST:
        return None
    mean = float(excesses.mean())
    weights = (len(excesses) - np.arange(len(excesses)) - 0.5) / len(excesses)
    weighted = float((weights * excesses).mean())
    shape = 2 - mean / (mean - 2 * weighted) if mean > 2 * weighted else SHAPES[1]
    drawn = (shape * len(excesses) + PRIOR_SHAPE * PRIOR_COUNT) / (len(excesses) + PRIOR_COUNT)
    shape = float(np.clip(drawn, *SHAPES))
    scale = mean * (1 - shape)
    if scale + shape * (last - start) < scale / 4:  # the hazard rate at the end would be that of the last score alone
        shape, scale = 0.0, mean
    return Tail(start, last, shape, scale, (1 + len(excesses)) / (len(ordered) + 1))


class Judgement(NamedTuple):
    """What calibrations say of n scores, each (n,)."""

    p_value: Floats
    anomaly: Mask
    tail_probability: Floats | None
    """By `Tail.probabilities`; None where no calibration has a tail."""
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
