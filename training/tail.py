"""Fits the tail of the calibration scores."""

import numpy as np
import numpy.typing as npt

from kilter.service.detector.tail import Tail

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


def fit_tail(scores: npt.NDArray[np.float64]) -> Tail | None:
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
