"""Every metric of the service, each with what it means and who consumes it."""

import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import Exemplar, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from kilter import __version__
from kilter.service.detector import ArtifactError, Detector
from kilter.service.detector.artifact import MANIFEST
from kilter.service.monitoring.model_metrics import (
    MODEL,
    RESULTS,
    SECONDS,
    BucketCounts,
    Labels,
    ModelMetrics,
    VersionCollector,
)

SHED = ("records", "bytes", "wait", "deadline", "left", "streams")


class Series(NamedTuple):
    """What one route answered with one status; a route is one of the service's own, never a path that a client made."""

    route: str
    status: int


class Durations(Collector):
    """A histogram for each series, with a trace as an example of a bucket where requests are traced."""

    def __init__(self) -> None:
        self._counts: dict[Series, BucketCounts] = {}
        self._examples: dict[tuple[Series, str], Exemplar] = {}

    def add(self, series: Series, seconds: Sequence[float]) -> None:
        counts = self._counts.get(series)
        if counts is None:
            counts = self._counts[series] = BucketCounts(SECONDS)
        counts.add(seconds)

    def example(self, series: Series, seconds: float, trace_id: str) -> None:
        """Name a request's trace as the example of its bucket."""
        bucket = next((str(bound) for bound in SECONDS if seconds <= bound), "+Inf")
        self._examples[series, bucket] = Exemplar({"trace_id": trace_id}, seconds, time.time())

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(
            "kilter_request_duration_seconds",
            "Time from a request's arrival to the end of its answer, by route and status; status 499 is a client that "
            "left. The alerts KilterErrorBudgetBurn and KilterLatencyBudgetBurn.",
            labels=("route", "status"),
        )
        for series, counts in self._counts.items():
            buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
            for bound, count in counts.cumulative():
                example = self._examples.get((series, bound))
                buckets.append((bound, count) if example is None else (bound, count, example))
            family.add_metric((series.route, str(series.status)), buckets, counts.sum)
        yield family


class Metrics:
    """Every metric of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        gauge, counter = partial(Gauge, registry=self.registry), partial(Counter, registry=self.registry)
        by_version = partial(gauge, labelnames=MODEL)
        ProcessCollector(registry=self.registry)
        self._versions = VersionCollector(self._gone)
        self.registry.register(self._versions)
        self._records = counter(
            "kilter_records",
            "Records by result: judged normal, judged anomalous, or rejected because they do not fit the model. "
            "The alerts KilterAnomalyShareHigh, KilterAnomaliesStopped, KilterTrafficStopped, KilterRecordsRejected.",
            (*MODEL, "result"),
        )
        self.durations = Durations()
        self.registry.register(self.durations)
        self.flying = 0
        """Requests that have arrived and are not answered yet; counted by the event loop alone."""
        gauge(
            "kilter_requests_in_flight",
            "Requests that have arrived and are not answered yet, the scrape itself included. The alert "
            "KilterSaturated, the dashboard and the autoscaler.",
        ).set_function(lambda: self.flying)
        self.queue = gauge(
            "kilter_queue_records",
            "Records that are in flight: admitted, and not answered yet. The alert KilterQueueNearLimit and the "
            "dashboard.",
        )
        self.queue_limit = gauge(
            "kilter_queue_limit_records",
            "The bound on kilter_queue_records, KILTER_MAX_INFLIGHT_RECORDS. The alert KilterQueueNearLimit.",
        )
        shed = counter(
            "kilter_requests_shed",
            "Requests that were not judged: too many records, bytes or streams in flight, a wait that would outlast "
            "the deadline, the deadline passed, or the client left first. The alerts KilterRequestsShed and "
            "KilterRequestsLate, and the dashboard.",
            ("reason",),
        )
        self.shed = {reason: shed.labels(reason) for reason in SHED}
        self._target = by_version(
            "kilter_target_fpr",
            "The false-positive rate that the threshold is set for: the artifact's own, or the one that an "
            "administrator asked for. Dashboard: the line to compare with.",
        )
        self._upper = by_version(
            "kilter_expected_anomaly_ratio_upper",
            "The share of normal records that are flagged stays below this with 99.9 % confidence over calibration "
            "sets. The alert KilterAnomalyShareHigh fires above it.",
        )
        self._calibration = by_version(
            "kilter_calibration_records",
            "Records that the version was calibrated on: the fewer, the further may p-values of normal traffic be from "
            "uniform. For the alert KilterCalibrationOff.",
        )
        self._info = gauge(
            "kilter_model_info",
            "1 for the version of a model that serves, 0 for one that is loaded beside it, with its score and the "
            "device it runs on. The alert KilterVersionSkew and the dashboard.",
            (*MODEL, "score", "device"),
        )
        self._infos: dict[Labels, tuple[str, str]] = {}
        self._loaded_at = by_version(
            "kilter_model_last_load_timestamp_seconds",
            "Unix time at which the version was loaded. Dashboard: marks where a model changed.",
        )
        self._created = by_version(
            "kilter_model_created_timestamp_seconds",
            "Unix time at which the version was trained or calibrated. The alert KilterModelStale, and the "
            "dashboard's age of a model.",
        )
        self._loads = counter(
            "kilter_model_loads",
            "Attempts to load a model by outcome, loaded or failed. Dashboard, beside kilter_model_load_failing.",
            ("outcome",),
        )
        self._failing = gauge(
            "kilter_model_load_failing",
            "1 for a model of the folder whose latest load failed, 0 for one that was loaded. The alert "
            "KilterModelLoadFailed.",
            ("model",),
        )
        for outcome in ("loaded", "failed"):
            self._loads.labels(outcome)
        gauge(
            "kilter_build_info",
            "1, with the version of Kilter that runs. Dashboard: marks where a release was rolled out.",
            ("version",),
        ).labels(__version__).set(1)

    def loaded(self, detector: Detector) -> ModelMetrics:
        """Start counting for a version that has just been loaded; all its series exist from now on.

        They are there for as long as somebody holds what is returned: a request, or whoever lets the version serve.
        Loaded again while it is held, a version goes on counting. Raises ArtifactError if its manifest does not say
        when it was created.
        """
        text = detector.manifest.created
        try:
            created = datetime.fromisoformat(text).timestamp()
        except ValueError:
            raise ArtifactError(f"{MANIFEST}: created is {text!r}, which is no time") from None
        labels = detector.name, str(detector.version)
        with self._versions.lock:
            if labels in self._infos:
                self._info.remove(*labels, *self._infos[labels])
            self._infos[labels] = detector.manifest.score.name, detector.device
            self._created.labels(*labels).set(created)
            self._loaded_at.labels(*labels).set(time.time())
            self._calibration.labels(*labels).set(detector.calibration.size)
            self.placed(detector, serves=True)
            model = self._versions.find(detector) or ModelMetrics(self._records, detector)
            self._versions.add(model)
        self._failing.labels(detector.name).set(0)
        self._loads.labels("loaded").inc()
        return model

    def placed(self, detector: Detector, *, serves: bool) -> None:
        """Show at which rate a version judges, and whether it serves or is loaded beside the one that does."""
        labels = detector.name, str(detector.version)
        self._target.labels(*labels).set(detector.calibration.target_fpr)
        self._upper.labels(*labels).set(detector.manifest.calibration.highest_upper_fpr)
        self._info.labels(*labels, *self._infos[labels]).set(serves)

    def load_failed(self, name: str, *, serving: bool = True) -> None:
        """Count a model that could not be loaded; `serving` tells whether it was the version that should serve."""
        self._loads.labels("failed").inc()
        if serving:
            self._failing.labels(name).set(1)

    def unloaded(self, name: str) -> None:
        """Show no longer whether a model can be loaded: nobody wants it to be."""
        self._failing.labels(name)
        self._failing.remove(name)

    def _gone(self, labels: Labels) -> None:
        """Take away the series of a version that nobody holds any more."""
        for result in RESULTS:
            self._records.remove(*labels, result)
        for gauge in (self._target, self._upper, self._calibration, self._loaded_at, self._created):
            gauge.remove(*labels)
        self._info.remove(*labels, *self._infos.pop(labels))
