"""The tail of the calibration scores: how far out a score lies that is beyond what calibration records can tell.

What it is, what it says of a score, and how it is fitted.
"""

import msgspec
import numpy as np

from kilter.service.detector.arrays import Floats

LOWEST = -650.0
"""Natural logarithm of the smallest survival that is told: a probability of 0 is never claimed."""

SHARE = 0.1
"""The part of the calibration scores that counts as tail."""
FEWEST = 50
"""Excesses below which there is no tail to speak of."""
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
    """The largest calibration score."""
    shape: float
    scale: float
    """In the unit of the score."""
    share: float
    """(1 + number of calibration scores above `start`) / (n + 1): the p-value just above `start`."""

    def probabilities(self, scores: Floats) -> Floats:
        """The estimated share of normal records that score higher, (n,); NaN at or below `start`, and for NaN."""
        estimates = np.full(len(scores), np.nan)
        beyond = np.flatnonzero(scores > self.start)
        if len(beyond):
            estimates[beyond] = self._survival(scores[beyond] - self.start)
        return estimates

    def _survival(self, excess: Floats) -> Floats:
        """The probabilities of scores that lie by `excess`, (n,), beyond the start."""
        if self.shape == 0:
            log_survival = -excess / self.scale
        elif self.shape > 0:
            log_survival = -np.log1p(self.shape / self.scale * excess) / self.shape
        else:
            edge = self.last - self.start
            inner = np.minimum(excess, edge)
            hazard = 1 / (self.scale + self.shape * edge)
            log_survival = -np.log1p(self.shape / self.scale * inner) / self.shape - hazard * (excess - inner)
        probability: Floats = self.share * np.exp(np.maximum(log_survival, LOWEST))
        return probability

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
