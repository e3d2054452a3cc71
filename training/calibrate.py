"""How many records to calibrate on, which false-positive rate they support, and what that rate promises."""

import numpy as np
import numpy.typing as npt
from scipy import stats

from kilter.service.detector.artifact import CALIBRATION_SCORES, GROUP_SCORES
from kilter.service.detector.calibration import Calibration, needed
from kilter.service.detector.errors import KilterError
from kilter.service.detector.groups import Groups
from kilter.service.detector.promise import CalibrationInfo, Chosen, GroupInfo, GroupsInfo

RATES = (0.01, 0.02, 0.05, 0.1)
"""The default false-positive rate is the first of these that the data can support."""
SHARE = 0.2
"""The part of the normal rows that calibration aims at."""
MOST = 3
"""It takes at most one in so many by default, and at most half of them for a rate that was asked for."""
LARGEST = 9_999
"""More calibration records than this add nothing that a fit would not use better."""
SMALLEST_TABLE = 30
HIGHEST_RATE = 0.5
UPPER = 0.999
ASKED = Chosen("rate")


def supported_rate(rows: int) -> float:
    """The default false-positive rate for a number of normal rows. Raises KilterError if they are too few to split."""
    if rows < SMALLEST_TABLE:
        raise KilterError(
            f"there are {rows} normal rows: at least {SMALLEST_TABLE} are needed to fit, calibrate and check a detector"
        )
    return next(rate for rate in RATES if rows >= MOST * needed(rate))


def rows_needed(target_fpr: float) -> int:
    """The smallest number of normal rows, all splits together, that supports a false-positive rate."""
    return max(SMALLEST_TABLE, 2 * needed(check_rate(target_fpr)))


def check_rate(target_fpr: float) -> float:
    """Return a false-positive rate that makes sense. Raises KilterError."""
    if not 0 < target_fpr <= HIGHEST_RATE:
        raise KilterError(
            f"a target false-positive rate is above 0 and at most {HIGHEST_RATE}, like 0.01; not {target_fpr:g}"
        )
    return target_fpr


def choose_size(rows: int, target_fpr: float) -> int:
    """How many of `rows` normal rows to calibrate on: about a fifth, with rate x (n + 1) whole.

    Where no n does that, the one whose floor(rate x (n + 1)) / (n + 1) is closest to the rate. At most a third of the
    rows, or as few as the rate needs if that is more, which may be half of them. Raises KilterError, which names the
    number of rows needed, if the rate cannot be supported.
    """
    if rows < rows_needed(target_fpr):
        raise KilterError(
            f"a false-positive rate of {target_fpr:g} needs at least {rows_needed(target_fpr)} normal rows in all, "
            f"{needed(target_fpr)} of them for calibration alone; there are {rows}: ask for a higher rate "
            "with --target-fpr, or bring more rows"
        )
    high = max(min(rows // MOST, LARGEST), needed(target_fpr))
    goal = min(max(round(SHARE * rows), needed(target_fpr)), high)
    return _closest(max(needed(target_fpr), goal // 2), high, goal, target_fpr)


def largest_size(rows: int, target_fpr: float) -> int:
    """The largest n <= rows with rate x (n + 1) whole or, where no n is, as close to the rate as can be.

    Raises KilterError, which names the number of rows needed, if there are too few.
    """
    least = needed(check_rate(target_fpr))
    if rows < least:
        raise KilterError(
            f"a false-positive rate of {target_fpr:g} needs at least {least} calibration rows; there are {rows}: "
            "ask for a higher rate with --target-fpr, or bring more rows"
        )
    return _closest(max(least, rows // 2), rows, rows, target_fpr)


def _closest(low: int, high: int, goal: int, target_fpr: float) -> int:
    """The n in low..high whose k / (n + 1) falls least short of the rate and, among those, is nearest to the goal."""
    sizes = np.arange(low, high + 1)
    ranks = np.floor(target_fpr * (sizes + 1) + 1e-9)
    shortfall = np.round(target_fpr - ranks / (sizes + 1), 12)
    return int(sizes[np.lexsort((np.abs(sizes - goal), np.abs(shortfall)))[0]])


def info(
    calibration: Calibration,
    split: str,
    chosen: Chosen = ASKED,
    groups: Groups | None = None,
    *,
    left_out: bool = False,
) -> CalibrationInfo:
    """What the manifest says of a calibration; `split` is how its records were set apart, `random` or `time`.

    `left_out` says whether the memory of the score holds them, and each was scored with all of it but itself.
    """
    return CalibrationInfo(
        size=calibration.size,
        target_fpr=calibration.target_fpr,
        rank=calibration.rank,
        threshold=calibration.threshold,
        expected_fpr=calibration.expected_fpr,
        upper_fpr=upper_fpr(calibration),
        split=split,
        chosen=chosen,
        left_out=left_out,
        tail=calibration.tail,
        by_group=None if groups is None else groups_info(groups),
    )


def groups_info(groups: Groups) -> GroupsInfo:
    """What the manifest says of the calibrations of groups."""
    return GroupsInfo(
        groups.column.name,
        tuple(
            GroupInfo(
                value=value,
                size=own.size,
                rank=own.rank,
                threshold=own.threshold,
                expected_fpr=own.expected_fpr,
                upper_fpr=upper_fpr(own),
                tail=own.tail,
            )
            for value, own in groups.calibrations.items()
        ),
    )


def upper_fpr(calibration: Calibration) -> float:
    """The 99.9 % quantile of the realised false-positive rate over calibration sets: Beta(k, n + 1 - k)."""
    rank, size = calibration.rank, calibration.size
    return float(stats.beta.ppf(UPPER, rank, size + 1 - rank))


def tensors(calibration: Calibration, groups: Groups | None) -> dict[str, npt.NDArray[np.float64]]:
    """The calibration scores as an artifact holds them."""
    found = {CALIBRATION_SCORES: calibration.scores}
    if groups is not None and groups.calibrations:
        found[GROUP_SCORES] = np.concatenate([own.scores for own in groups.calibrations.values()])
    return found
