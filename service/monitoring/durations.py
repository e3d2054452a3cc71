"""Histograms that take in many values at once, and how long requests took, by route and status."""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from prometheus_client.core import Exemplar, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class Spread:
    """Counts values between bounds, and adds them up."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = np.array(bounds, np.float64)
        self._counts = np.zeros(len(bounds) + 1, np.int64)
        self.sum = 0.0

    def add(self, values: Sequence[float] | npt.NDArray[np.float64]) -> None:
        """Take in values; one that is a bound is up to it."""
        array = np.array(values, np.float64)
        self._counts += np.bincount(self._bounds.searchsorted(array), minlength=len(self._counts))
        self.sum += float(array.sum())

    def cumulative(self) -> list[tuple[str, float]]:
        """For each bound, and for infinity, the number of values up to it, as Prometheus is told."""
        bounds = [*map(str, self._bounds.tolist()), "+Inf"]
        return list(zip(bounds, np.cumsum(self._counts).tolist(), strict=True))


SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Series(NamedTuple):
    """What one route answered with one status; a route is one of the service's own, never a path that a client made."""

    route: str
    status: int


class Durations(Collector):
    """A histogram for each series, with a trace as an example of a bucket where requests are traced."""

    def __init__(self) -> None:
        self._spreads: dict[Series, Spread] = {}
        self._examples: dict[tuple[Series, str], Exemplar] = {}

    def add(self, series: Series, seconds: Sequence[float]) -> None:
        """Count requests."""
        spread = self._spreads.get(series)
        if spread is None:
            spread = self._spreads[series] = Spread(SECONDS)
        spread.add(seconds)

    def example(self, series: Series, seconds: float, trace_id: str) -> None:
        """Name a request's trace as the example of its bucket."""
        bucket = next((str(bound) for bound in SECONDS if seconds <= bound), "+Inf")
        self._examples[series, bucket] = Exemplar({"trace_id": trace_id}, seconds, time.time())

    def collect(self) -> Iterator[Metric]:
        """The family with its help text."""
        family = HistogramMetricFamily(
            "kilter_request_duration_seconds",
            "Time from a request's arrival to the end of its answer, by route and status; status 499 is a client that "
            "left. The alerts KilterErrorBudgetBurn and KilterLatencyBudgetBurn.",
            labels=("route", "status"),
        )
        for series, spread in self._spreads.items():
            buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
            for bound, count in spread.cumulative():
                example = self._examples.get((series, bound))
                buckets.append((bound, count) if example is None else (bound, count, example))
            family.add_metric((series.route, str(series.status)), buckets, spread.sum)
        yield family
