"""Which records of a whole file are declared anomalies so that few of the declared ones are normal.

The procedure of Benjamini and Hochberg (1995) on conformal p-values. Where the normal records among those of the file
are exchangeable with the calibration records, it keeps the expected share of normal records among the declared ones at
the rate or below: p-values that share a calibration set are positively dependent in the way that it allows (Bates,
Candes, Lei, Romano and Sesia, Testing for outliers with conformal p-values, Annals of Statistics, 2023). No p-value is
below 1 / (n + 1), so that among many records a few anomalies cannot be declared however strange they are.
"""

from collections import Counter
from collections.abc import Mapping
from math import ceil
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kilter.service.detector import KilterError

ROUNDING = 1e-12


class Discoveries(NamedTuple):
    """What was found in a file."""

    fdr: float
    judged: int
    """Records that could be judged."""
    declared: int
    cut: float
    """Records with p-values up to here are declared; 0 if none are."""
    lowest: float
    """The lowest p-value that the calibration can give."""

    def __str__(self) -> str:
        rate = f"false-discovery rate {self.fdr:g}"
        if self.declared:
            return (
                f"{rate}: {self.declared:,} of {self.judged:,} judged records declared, those with p-values up to "
                f"{self.cut:.3g}"
            )
        least = ceil(self.judged * self.lowest / self.fdr - ROUNDING)
        return (
            f"{rate}: nothing declared. The lowest p-value that the calibration can give is {self.lowest:.3g}, and "
            f"among {self.judged:,} records at least {least:,} must have it: calibrate on more rows, or score fewer "
            "at a time"
        )


class PValueCounts:
    """Counts p-values, of which there are no more than calibration records, while a file is read a first time."""

    def __init__(self, fdr: float, lowest: float) -> None:
        self._fdr = fdr
        self._lowest = lowest
        self._counts: Counter[float] = Counter()

    def add(self, p_values: npt.NDArray[np.float64]) -> None:
        """Count p-values, (n,), but for NaN."""
        distinct, counts = np.unique(p_values[~np.isnan(p_values)], return_counts=True)
        for p_value, count in zip(distinct.tolist(), counts.tolist(), strict=True):
            self._counts[p_value] += count

    def discoveries(self) -> Discoveries:
        """What is declared, all records having been counted."""
        cut = cut_of(self._counts, self._fdr)
        declared = sum(count for p_value, count in self._counts.items() if p_value <= cut)
        return Discoveries(self._fdr, self._counts.total(), declared, cut, self._lowest)


def cut_of(counts: Mapping[float, int], fdr: float) -> float:
    """The largest p of which at least m p / fdr of all m p-values are at most p; 0 if there is none.

    `counts` is how often each p-value occurs.
    """
    total = sum(counts.values())
    cut, reached = 0.0, 0
    for p_value, count in sorted(counts.items()):
        reached += count
        if p_value * total <= fdr * reached * (1 + ROUNDING):
            cut = p_value
    return cut


def check_rate(fdr: float) -> None:
    """Raise KilterError unless a false-discovery rate makes sense."""
    if not 0 < fdr < 1:
        raise KilterError(f"a false-discovery rate is between 0 and 1, like 0.05; not {fdr:g}")
