"""A histogram that takes in many values at once: one by one they would take as long as a verdict each."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


class Spread:
    """Counts values between bounds, and adds them up."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = np.array(bounds, np.float64)
        self._counts = np.zeros(len(bounds) + 1, np.int64)
        self.sum = 0.0

    def add(self, values: Sequence[float] | npt.NDArray[np.float64]) -> None:
        """Take in values; one that is a bound is up to it."""
        found = np.array(values, np.float64)
        self._counts += np.bincount(self._bounds.searchsorted(found), minlength=len(self._counts))
        self.sum += float(found.sum())

    def cumulative(self) -> list[tuple[str, float]]:
        """For each bound, and for infinity, the number of values up to it, as Prometheus is told."""
        bounds = [*map(str, self._bounds.tolist()), "+Inf"]
        return list(zip(bounds, np.cumsum(self._counts).tolist(), strict=True))
