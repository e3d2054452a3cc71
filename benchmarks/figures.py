"""What is made of measured figures: means, ranks, paired comparisons over tables, and what a threshold promises."""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95
EQUAL = 1e-9
"""Two means that differ by less are a tie."""


class Paired(NamedTuple):
    """One method against another over the same tables, each table counting once."""

    gain: float
    error: float
    """Standard error of the gain over tables; NaN for fewer than two."""
    wins: int
    losses: int
    tables: int


class Fraction(NamedTuple):
    """A mean over tables with its standard error."""

    mean: float
    error: float


def paired(ours: Mapping[str, float], other: Mapping[str, float]) -> Paired:
    """`ours` less `other`, figures by table, over the tables that both have."""
    common = [table for table in ours if table in other]
    gains = np.array([ours[table] - other[table] for table in common], np.float64)
    mean, error = mean_error(gains)
    return Paired(mean, error, int((gains > EQUAL).sum()), int((gains < -EQUAL).sum()), len(gains))


def mean_error(values: npt.ArrayLike) -> Fraction:
    """The mean of some values and its standard error; NaN where there are too few."""
    found = np.asarray(values, np.float64)
    mean = float(found.mean()) if len(found) else float("nan")
    error = float(found.std(ddof=1) / np.sqrt(len(found))) if len(found) > 1 else float("nan")
    return Fraction(mean, error)


def mean_ranks(figures: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The mean rank of each method, 1 for the best, from figures by method and table; ties share their ranks.

    Only the tables that every method has count.
    """
    common = common_tables(figures)
    if not common:
        return dict.fromkeys(figures, float("nan"))
    matrix = np.array([[by_table[table] for table in common] for by_table in figures.values()])
    ranks = stats.rankdata(-matrix, axis=0).mean(axis=1)
    return dict(zip(figures, ranks.tolist(), strict=True))


def common_tables(figures: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The tables that every method has, in the first method's order."""
    first, *others = figures.values()
    return [table for table in first if all(table in other for other in others)]


def promised(rows: int, rank: int, size: int) -> tuple[int, int]:
    """The 95 % interval of the number of `rows` new normal rows that are flagged: BetaBinomial(rows, k, n + 1 - k).

    k is the `rank` of the threshold among n = `size` calibration scores. Counts are whole, so that the interval holds
    at least, and usually more than, 95 % of all cases.
    """
    low, high = stats.betabinom.interval(CONFIDENCE, rows, rank, size + 1 - rank)
    return int(low), int(high)


class FlagCount(msgspec.Struct, frozen=True):
    """How many of the new normal rows a threshold flags."""

    size: int
    """The number n of calibration scores, of which the threshold is the `rank`-th largest."""
    rank: int
    normal: int
    """New normal rows, of which so many are `flagged`."""
    flagged: int

    @property
    def expected(self) -> float:
        """k / (n + 1)."""
        return self.rank / (self.size + 1)

    @property
    def inside(self) -> bool:
        """Whether the count is in the 95 % beta-binomial interval."""
        low, high = promised(self.normal, self.rank, self.size)
        return low <= self.flagged <= high


def false_discovery_proportion(p_values: Floats, anomalous: npt.NDArray[np.bool_], level: float) -> tuple[float, int]:
    """The share of normal rows among those that Benjamini and Hochberg's procedure picks at a level, and how many.

    The share is 0 where nothing is picked. p_values and labels are (rows,).
    """
    picked = stats.false_discovery_control(p_values, method="bh") <= level
    found = int(picked.sum())
    return float((picked & ~anomalous).sum() / max(found, 1)), found


def ranked_last(scores: Floats, anomalous: npt.NDArray[np.bool_]) -> Floats:
    """Scores with every NaN, a row without a verdict, put where it counts as a mistake."""
    known = scores[~np.isnan(scores)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 0.0)
    return np.where(np.isnan(scores), np.where(anomalous, low - 1, high + 1), scores)
