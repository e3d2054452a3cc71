"""Which records are declared anomalies at a false-discovery rate."""

from collections.abc import Mapping
from math import ceil
from typing import NamedTuple

ROUNDING = 1e-12


class Discoveries(NamedTuple):
    """Which records of a file are declared anomalies at a false-discovery rate."""

    fdr: float
    judged: int
    """Number of records that could be judged."""
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


def find_discoveries(counts: Mapping[float, int], fdr: float, lowest: float) -> Discoveries:
    """Declare records so that few of the declared ones are normal; `counts` is how often each p-value occurs.

    The procedure of Benjamini and Hochberg (1995) on conformal p-values: the cut is the largest p of which at least
    m p / fdr of all m p-values are at most p. Where the normal records among those of the file are exchangeable with
    the calibration records, it keeps the expected share of normal records among the declared ones at the rate or below:
    p-values that share a calibration set are positively dependent in the way that it allows (Bates, Candes, Lei, Romano
    and Sesia, Testing for outliers with conformal p-values, Annals of Statistics, 2023). No p-value is below
    1 / (n + 1), so that among many records a few anomalies cannot be declared however strange they are.
    """
    total = sum(counts.values())
    cut, declared, reached = 0.0, 0, 0
    for p_value, count in sorted(counts.items()):
        reached += count
        if p_value * total <= fdr * reached * (1 + ROUNDING):
            cut, declared = p_value, reached
    return Discoveries(fdr, total, declared, cut, lowest)
