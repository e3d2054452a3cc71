"""Cross-checked calibration: whether the rate is kept on calibration rows that neither threshold nor memory saw.

Where there are too few rows to hold some out, the calibration rows are cut into folds. Each fold is judged by the
threshold that the others give, and by a score whose memory holds no row of it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import GroupKFold, KFold

from kilter.service.detector.arrays import Floats, Mask, Positions, Times
from kilter.service.detector.beta import CONFIDENCE
from kilter.service.detector.calibration import DIGITS
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.thresholds import Thresholds
from kilter.training.config import TrainConfig
from kilter.training.data.source import TrainingData
from kilter.training.fitting.model import Fitted, score_around, score_rows
from kilter.training.fitting.split import time_of

FOLDS = 5
DRAWS = 1_000  # assignments of rows to folds by which the number of flags to expect is found


class FoldVerdicts(NamedTuple):
    """The calibration rows, each judged by the others."""

    flags: Mask
    """(n,): whether each row is flagged."""
    expected: tuple[int, int]
    """Between these numbers would be flagged in 95 % of all cases if it made no difference which fold a row is in."""
    folds: int


class Stratum(NamedTuple):
    """Rows that are judged by one threshold, and those on which it is set: positions among the calibration rows."""

    judged: Positions
    pool: Positions
    rate: float


def cross_check(
    data: TrainingData, fitted: Fitted, thresholds: Thresholds, config: TrainConfig, groups: Positions | None = None
) -> FoldVerdicts | None:
    """Judge the calibration rows of a fit fold by fold; None if there are not two folds to be had.

    Folds are drawn at random, or are blocks in time where rows were split by time. Rows with the same number in
    `groups`, (rows of the table,), stay in one fold together, such as the records of a customer; -1 is no group.
    """
    rows = fitted.split.calibration
    times = time_of(data.draft, data.table, config.split) if fitted.split.how == "time" else None
    units = np.arange(len(rows))
    if groups is not None:
        units = np.where(groups[rows] < 0, -1 - units, groups[rows])
    folds = folds_of(units, None if times is None else times[rows], config.seed)
    if folds is None:
        return None
    table = take(data.table, rows)
    strata = strata_of(table, thresholds)
    flags = fold_flags(scores_by_fold(data, fitted, config, folds), folds, strata)
    expected = flags_to_expect(fitted.calibration_scores, folds, units, strata, config.seed)
    return FoldVerdicts(flags, expected, int(folds.max()) + 1)


def folds_of(units: Positions, times: Times | None, seed: int) -> Positions | None:
    """The fold of each row, (n,), whose `units`, (n,), are not divided; None if there are fewer than two of these.

    Blocks in time, if `times`, (n,), are given: a unit is in the block of its earliest row.
    """
    count = min(FOLDS, len(np.unique(units)))
    if count < 2:
        return None
    folds = np.empty(len(units), np.int64)
    if times is None:
        cut = GroupKFold(count, shuffle=True, random_state=seed % 2**32).split(units, groups=units)
        for fold, (_, rows) in enumerate(cut):
            folds[rows] = fold
        return folds
    order = np.argsort(times, kind="stable")
    _, first, unit = np.unique(units[order], return_index=True, return_inverse=True)
    blocks = np.empty(len(first), np.int64)
    for block, (_, rows) in enumerate(KFold(count).split(first)):
        blocks[np.argsort(first)[rows]] = block
    folds[order] = blocks[unit]
    return folds


def strata_of(table: Table, thresholds: Thresholds) -> list[Stratum]:
    """The calibration rows, `table`, by the threshold that judges them: that of their group, or the common one."""
    common, groups = thresholds
    every = np.arange(table.rows)
    if groups is None:
        return [Stratum(every, every, common.target_fpr)]
    members = groups.members(table)
    return [Stratum(rows, every if own is None else rows, common.target_fpr) for rows, own in members]


def fold_flags(scores: Callable[[int], Floats], folds: Positions, strata: Sequence[Stratum]) -> Mask:
    """Whether each row is flagged, (n,), by the threshold that the rows of other folds give.

    `scores` gives those of all rows as a model has them that saw nothing of a fold. Of m other rows the threshold is
    the k-th largest score, k being the number from 1 on that makes k / (m + 1) closest to the rate.
    """
    flags = np.zeros(len(folds), bool)
    for fold in range(int(folds.max()) + 1):
        rounded = np.round(scores(fold), DIGITS)
        for judged, pool, rate in strata:
            mine, others = judged[folds[judged] == fold], rounded[pool[folds[pool] != fold]]
            if len(mine) and len(others):
                place = len(others) - min(max(1, round(rate * (len(others) + 1))), len(others))
                flags[mine] = rounded[mine] > np.partition(others, place)[place]
    return flags


def flags_to_expect(
    scores: Floats, folds: Positions, units: Positions, strata: Sequence[Stratum], seed: int
) -> tuple[int, int]:
    """The 95 % interval of the number of flags over random assignments of units to the folds, by scores, (n,)."""
    _, first, unit = np.unique(units, return_index=True, return_inverse=True)
    rng = np.random.default_rng(seed)
    counts = [
        int(fold_flags(lambda _: scores, rng.permutation(folds[first])[unit], strata).sum()) for _ in range(DRAWS)
    ]
    low = np.quantile(counts, (1 - CONFIDENCE) / 2, method="lower")
    high = np.quantile(counts, (1 + CONFIDENCE) / 2, method="higher")
    return int(low), int(high)


def scores_by_fold(
    data: TrainingData, fitted: Fitted, config: TrainConfig, folds: Positions
) -> Callable[[int], Floats]:
    """Gives the scores of the calibration rows, (n,), by a score whose memory holds none of those of a fold.

    The rows of the other folds have those that they would have in calibration.
    """
    if not fitted.holds_calibration:
        return lambda _: fitted.calibration_scores
    x, calibration = (
        np.concatenate([*fitted.scorer.modality.encode(take(data.table, rows))]) for rows in fitted.split[:2]
    )

    def scores(fold: int) -> Floats:
        inside = folds == fold
        network, kind, schema = fitted.module.network, fitted.score_kind, fitted.schema
        module, own = score_around(network, kind, x, calibration[~inside], schema, config, fitted.backbone)
        values = np.empty(len(folds))
        values[~inside], values[inside] = (
            score_rows(module, calibration[~inside], own),
            score_rows(module, calibration[inside]),
        )
        return values

    return scores
