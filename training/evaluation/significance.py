"""What out-of-fit scores of a table's own rows mean, anomalies among them included: one scale, and p-values.

Ranks alone tell nothing here. Rows that calibrate are as anomalous as rows that are judged, so that the share of rows
with a rank of at most t is t whatever there is among them, and no procedure that keeps false discoveries rare could
declare any. What tells an anomaly from the strangest normal row is how far beyond the bulk it lies.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kilter.service.detector.arrays import Floats, Mask, Positions
from kilter.service.detector.calibration import DECIMALS, rounded

LOWER, UPPER = 0.5, 0.75
"""Quantiles of the scores between which it is measured how fast they fall off."""


class Significance(NamedTuple):
    """Scores on the scale of their folds' own, and p-values, (rows,) each, NaN where a row was not judged."""

    score: Floats
    p_value: Floats


class Spacing(NamedTuple):
    """How the scores of a fold fall off over the upper half of its bulk."""

    edge: float
    """The score at the upper quantile."""
    terms: int
    total: float
    """The sum of so many `terms`: spacings of ordered scores, each times the number of scores above it."""


def measure_spacing(scores: Floats) -> Spacing:
    """The spacing of the scores of a fold, (n,), in any order, from their median up to their upper quartile."""
    ordered = np.sort(scores)
    first, last = (max(int(np.ceil(share * len(ordered))) - 1, 0) for share in (LOWER, UPPER))
    above = len(ordered) - 1 - np.arange(first, last)
    return Spacing(float(ordered[last]), last - first, float(np.diff(ordered[first : last + 1]) @ above))


def judge_folds(scores: Floats, folds: Sequence[Positions], counted: Mask) -> Significance:
    """Judge the rows of each fold by those of the fold, none of which the fold's model saw.

    `scores` are those of the rows, (rows,), and `counted`, (rows,), says which of them calibrate: one of each group of
    copies.

    A score becomes its distance from the upper quartile of its fold, over the rate at which scores fall off between
    median and upper quartile, which all folds share: the models of the folds differ by the level of their scores, and
    hardly by their unit, to which each made them standard on rows that it did not see.

    Up to the upper quartile the p-value is the share of rows that score as high, the row included. Beyond, it is the
    share of rows there times (1 + u / k)^(-k), u being the score and k the number of spacings. If the scores of normal
    rows fall off exponentially from the median on, k spacings, each times the number of scores above it, add up to a
    gamma variable of shape k (Renyi, Acta Mathematica Hungarica, 1953), and a new score is beyond u with just this
    probability, in samples of every size. It is less probable, so that p-values are valid, if scores fall off faster
    and faster (an increasing hazard rate: normal, logistic and uniform scores; and distances with a tail up to a power
    law, since scores are logarithms). Anomalies that score higher than the bulk leave them valid: they add to the share
    and to the number above each score. Those that score lower than most normal rows make them smaller, by their share
    of all rows at most, for which Benjamini and Hochberg's procedure has room, since it counts them as normal; those
    that crowd between the quantiles may make them smaller by more. With more than a quarter of anomalies nothing can be
    told from them.
    """
    spacings = [measure_spacing(scores[rows[counted[rows]]]) for rows in folds]
    count, total = sum(spacing.terms for spacing in spacings), sum(spacing.total for spacing in spacings)
    score, p_value = np.full(len(scores), np.nan), np.full(len(scores), np.nan)
    unit = total / count if total > 0 else 1.0  # where as many scores are the same, ranks alone are left
    for rows, spacing in zip(folds, spacings, strict=True):
        score[rows] = rounded((scores[rows] - spacing.edge) / unit, DECIMALS)
    judged = np.concatenate([*folds])
    others = np.sort(score[judged[counted[judged]]])
    reached = len(others) - others.searchsorted(score[judged], side="left")
    p_value[judged] = np.maximum(reached, 1) / len(others)
    if total > 0:
        beyond = judged[score[judged] > 0]
        share = (1 + (others > 0).sum()) / (len(others) + 1)
        p_value[beyond] = share * np.exp(-count * np.log1p(score[beyond] / count))
    return Significance(score, p_value)
