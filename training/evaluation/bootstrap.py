"""Bootstrap intervals of ranking and threshold figures, stratified by label.

A resample is a weight for each distinct score, so that a figure is a few cumulative sums and needs no sorting.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kilter.service.detector.arrays import Array, Floats, Mask, Positions
from kilter.service.detector.beta import CONFIDENCE

RESAMPLES = 1_000
WORK = 50_000_000
"""Rows times resamples: larger tables, whose intervals are narrow, get fewer resamples."""
Interval = tuple[float, float] | tuple[None, None]
"""Of percentiles; None where no resample defined the figure."""


class Ranking(NamedTuple):
    """Rows at or above each distinct score, from the highest down: anomalous ones and normal ones."""

    tp: Floats
    fp: Floats

    def roc_auc(self) -> float:
        """Area under the ROC curve, ties counted half."""
        tp = np.concatenate(([0.0], self.tp))
        area = np.diff(self.fp, prepend=0.0) @ (tp[1:] + tp[:-1]) / 2
        return float(area / (self.tp[-1] * self.fp[-1]))

    def average_precision(self) -> float:
        """Sum of precision times the recall gained."""
        reached = np.maximum(self.tp + self.fp, 1.0)
        return float(np.diff(self.tp, prepend=0.0) @ (self.tp / reached) / self.tp[-1])

    def best_f1(self) -> float:
        """The highest F1 of any threshold: 2 tp / (2 tp + fp + fn)."""
        return float(np.max(2 * self.tp / (self.tp + self.fp + self.tp[-1])))


def ranking(scores: Floats, anomalous: Mask) -> Ranking:
    """The ranking of rows, scores and labels (rows,), by score."""
    groups, count = _groups(scores)
    return _ranking(groups[anomalous], groups[~anomalous], count)


def intervals(scores: Floats, flags: Mask, anomalous: Mask, *, seed: int) -> dict[str, Interval]:
    """95 % intervals of roc_auc, average_precision, precision, recall and f1; scores, flags and labels are (rows,).

    Needs rows of both labels.
    """
    groups, count = _groups(scores)
    rng = np.random.default_rng(seed)
    positive, negative = groups[anomalous], groups[~anomalous]
    positive_flags, negative_flags = flags[anomalous], flags[~anomalous]
    drawn: dict[str, list[float]] = {name: [] for name in ("roc_auc", "average_precision", "precision", "recall", "f1")}
    for _ in range(int(np.clip(WORK // len(scores), RESAMPLES // 5, RESAMPLES))):
        p = rng.integers(len(positive), size=len(positive))
        n = rng.integers(len(negative), size=len(negative))
        curve = _ranking(positive[p], negative[n], count)
        tp, fp = int(positive_flags[p].sum()), int(negative_flags[n].sum())
        drawn["roc_auc"].append(curve.roc_auc())
        drawn["average_precision"].append(curve.average_precision())
        drawn["recall"].append(tp / len(positive))
        drawn["f1"].append(2 * tp / (tp + fp + len(positive)))
        if tp + fp:
            drawn["precision"].append(tp / (tp + fp))
    return {name: percentiles(values) if values else (None, None) for name, values in drawn.items()}


def _groups(scores: Floats) -> tuple[Positions, int]:
    """For each row the place of its score among the distinct ones, highest first, and how many there are."""
    distinct, groups = np.unique(-scores, return_inverse=True)
    return groups, len(distinct)


def _ranking(positive: Positions, negative: Positions, count: int) -> Ranking:
    tp = np.cumsum(np.bincount(positive, minlength=count)).astype(np.float64)
    return Ranking(tp, np.cumsum(np.bincount(negative, minlength=count)).astype(np.float64))


def percentiles(values: Sequence[float] | Array) -> tuple[float, float]:
    """The percentile interval of draws, (n,)."""
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
