"""How long requests took, by route and status: many are counted at once, which takes a fifth of the time of each."""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from prometheus_client.core import Exemplar, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from kilter.service.monitoring.spread import Spread

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
