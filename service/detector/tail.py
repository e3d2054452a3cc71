"""The tail of the calibration scores: how far out a score lies that is beyond what calibration records can tell."""

from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LOWEST = -650.0
"""Natural logarithm of the smallest survival that is told: a probability of 0 is never claimed."""


class Fault(NamedTuple):
    """A number that no tail of these scores can have."""

    field: str
    stated: float
    expected: str


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
        found = np.full(len(scores), np.nan)
        beyond = np.flatnonzero(scores > self.start)
        if len(beyond):
            found[beyond] = self._survival(scores[beyond] - self.start)
        return found

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

    def fault(self, scores: Floats) -> Fault | None:
        """What is wrong with this as the tail of `scores`, (n,), ascending; None if nothing is."""
        above = int((scores > self.start).sum())
        share = (1 + above) / (len(scores) + 1)
        if self.start not in scores or not above:
            return Fault("start", self.start, "one of the calibration scores, and not the largest")
        if self.last != scores[-1]:
            return Fault("last", self.last, f"{scores[-1]}")
        if abs(self.share - share) > 1e-9:
            return Fault("share", self.share, f"{share}")
        if not 0 < self.scale < np.inf:
            return Fault("scale", self.scale, "positive and finite")
        if not -1 < self.shape <= 2 or self.scale + self.shape * (self.last - self.start) <= 0:
            return Fault("shape", self.shape, "one under which every calibration score is possible")
        return None
