"""What is kept of two versions that judged the same records: counts, and a sample of pairs, in bounded memory."""

import math
import threading
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

PAIRS = 4096
"""Pairs of p-values that are kept: a uniform sample of all."""
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


class Tally(NamedTuple):
    """The counts of a comparison at one moment."""

    both_normal: int
    both_anomalous: int
    only_live: int
    only_shadow: int
    rejected: int
    """Records that do not fit the version in the shadow."""
    dropped: int
    """Records that were not compared because too many waited."""
    difference: float
    """Sum of the differences of p-values, shadow less live."""
    apart: tuple[int, ...]
    """Records by the size of that difference, up to each of BUCKETS and all."""
    apart_sum: float

    @property
    def compared(self) -> int:
        """The records that both judged."""
        return self.both_normal + self.both_anomalous + self.only_live + self.only_shadow

    @property
    def live_flagged(self) -> int:
        return self.both_anomalous + self.only_live

    @property
    def shadow_flagged(self) -> int:
        return self.both_anomalous + self.only_shadow


class Comparison:
    """Adds up pairs of verdicts; safe to be used from several threads."""

    def __init__(self, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._rng = np.random.default_rng(seed)
        self._counts = np.zeros((2, 2), np.int64)
        self._rejected = self._dropped = 0
        self._difference = self._apart_sum = 0.0
        self._apart = np.zeros(len(BUCKETS) + 1, np.int64)
        self._pairs = np.empty((PAIRS, 2))
        self._seen = 0

    def add(self, live_p: Floats, live_flags: Flags, shadow_p: Floats, shadow_flags: Flags) -> None:
        """Add the p-values and flags of n records, each (n,), under both versions."""
        counts = np.bincount(2 * live_flags.astype(np.int64) + shadow_flags, minlength=4).reshape(2, 2)
        difference = shadow_p - live_p
        apart = np.abs(difference)
        sizes = np.bincount(np.searchsorted(BUCKETS, apart), minlength=len(BUCKETS) + 1)
        with self._lock:
            self._counts += counts
            self._difference += float(difference.sum())
            self._apart += sizes
            self._apart_sum += float(apart.sum())
            self._keep(np.column_stack([live_p, shadow_p]))

    def _keep(self, pairs: Floats) -> None:
        """Sample without replacement from all pairs so far, each as likely (Waterman's algorithm R)."""
        order = np.arange(self._seen, self._seen + len(pairs))
        places = np.where(order < PAIRS, order, (self._rng.random(len(pairs)) * (order + 1)).astype(np.int64))
        kept = places < PAIRS
        self._pairs[places[kept]] = pairs[kept]
        self._seen += len(pairs)

    def reject(self, records: int) -> None:
        """Count records that do not fit the version in the shadow."""
        with self._lock:
            self._rejected += records

    def drop(self, records: int) -> None:
        """Count records that were not compared because too many waited."""
        with self._lock:
            self._dropped += records

    def tally(self) -> Tally:
        """What was counted up to now."""
        with self._lock:
            (both_normal, only_shadow), (only_live, both_anomalous) = self._counts.tolist()
            return Tally(
                both_normal,
                both_anomalous,
                only_live,
                only_shadow,
                self._rejected,
                self._dropped,
                self._difference,
                tuple(np.cumsum(self._apart).tolist()),
                self._apart_sum,
            )

    def pairs(self) -> Floats:
        """The sample of pairs of p-values, live and shadow, (m, 2)."""
        with self._lock:
            return self._pairs[: min(self._seen, PAIRS)].copy()


def rank_correlation(pairs: Floats) -> float | None:
    """Spearman's correlation of pairs, (n, 2), ties sharing their mean rank; None where a side does not vary."""
    if len(pairs) < 2:
        return None
    ranks = [_ranks(side) for side in pairs.T]
    deviations = [side - side.mean() for side in ranks]
    scale = math.sqrt(float(deviations[0] @ deviations[0]) * float(deviations[1] @ deviations[1]))
    return float(deviations[0] @ deviations[1]) / scale if scale > 0 else None


def _ranks(values: Floats) -> Floats:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[places])
