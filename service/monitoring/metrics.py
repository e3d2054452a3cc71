"""Every metric of the service, each with what it means and who consumes it."""

import time
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.process_collector import ProcessCollector

from kilter import __version__
from kilter.service.detector import ArtifactError, Detector
from kilter.service.detector.artifact import MANIFEST
from kilter.service.monitoring.durations import Durations
from kilter.service.monitoring.model_metrics import MODEL, Families, Labels, ModelMetrics, VersionCollector


class VersionGauges:
    """Gauges by model and version."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._target = Gauge(
            "kilter_target_fpr",
            "The false-positive rate that the threshold is set for: the artifact's own, or the one that an "
            "administrator asked for. Dashboard: the line to compare with.",
            MODEL,
            registry=registry,
        )
        self._upper = Gauge(
            "kilter_expected_anomaly_ratio_upper",
            "The share of normal records that are flagged stays below this with 99.9 % confidence over calibration "
            "sets. The alert KilterAnomalyShareHigh fires above it.",
            MODEL,
            registry=registry,
        )
        self._calibration = Gauge(
            "kilter_calibration_records",
            "Records that the version was calibrated on: the fewer, the further may p-values of normal traffic be from "
            "uniform. For the alert KilterCalibrationOff.",
            MODEL,
            registry=registry,
        )
        self._info = Gauge(
            "kilter_model_info",
            "1 for the version of a model that serves, 0 for one that is loaded beside it, with its score and the "
            "device it runs on. The alert KilterVersionSkew and the dashboard.",
            (*MODEL, "score", "device"),
            registry=registry,
        )
        self._loaded_at = Gauge(
            "kilter_model_last_load_timestamp_seconds",
            "Unix time at which the version was loaded. Dashboard: marks where a model changed.",
            MODEL,
            registry=registry,
        )
        self._created = Gauge(
            "kilter_model_created_timestamp_seconds",
            "Unix time at which the version was trained or calibrated. The alert KilterModelStale, and the "
            "dashboard's age of a model.",
            MODEL,
            registry=registry,
        )
        self._infos: dict[Labels, tuple[str, str]] = {}

    def loaded(self, detector: Detector) -> None:
        """Tell of a version that has just been loaded. Raises ArtifactError if it does not say when it was created."""
        created = _created(detector)
        labels = detector.name, str(detector.version)
        if labels in self._infos:
            self._info.remove(*labels, *self._infos[labels])
        self._infos[labels] = detector.manifest.score.name, detector.device
        self._created.labels(*labels).set(created)
        self._loaded_at.labels(*labels).set(time.time())
        self._calibration.labels(*labels).set(detector.calibration.size)
        self.placed(detector, serves=True)

    def placed(self, detector: Detector, *, serves: bool) -> None:
        """Tell at which rate a version judges, and whether it serves or is loaded beside the one that does."""
        labels = detector.name, str(detector.version)
        self._target.labels(*labels).set(detector.calibration.target_fpr)
        self._upper.labels(*labels).set(detector.manifest.calibration.highest_upper_fpr)
        self._info.labels(*labels, *self._infos[labels]).set(serves)

    def remove(self, labels: Labels) -> None:
        """Tell of a version no longer."""
        for gauge in (self._target, self._upper, self._calibration, self._loaded_at, self._created):
            gauge.remove(*labels)
        self._info.remove(*labels, *self._infos.pop(labels))


def _created(detector: Detector) -> float:
    try:
        return datetime.fromisoformat(detector.manifest.created).timestamp()
    except ValueError:
        raise ArtifactError(f"{MANIFEST}: created is {detector.manifest.created!r}, which is no time") from None


SHED = ("records", "bytes", "wait", "deadline", "left")
"""Why a request is not judged."""


class Metrics:
    """Every metric of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._tallies = VersionCollector(self._gone)
        registry.register(self._tallies)
        records = Counter(
            "kilter_records",
            "Records by result: judged normal, judged anomalous, or rejected because they do not fit the model. "
            "The alerts KilterAnomalyShareHigh, KilterAnomaliesStopped, KilterTrafficStopped, KilterRecordsRejected.",
            (*MODEL, "result"),
            registry=registry,
        )
        self._families = Families(records)
        self.durations = Durations()
        registry.register(self.durations)
        self.flying = 0
        """Requests that have arrived and are not answered yet; counted by the event loop alone."""
        Gauge(
            "kilter_requests_in_flight",
            "Requests that have arrived and are not answered yet, the scrape itself included. The alert "
            "KilterSaturated, the dashboard and the autoscaler.",
            registry=registry,
        ).set_function(lambda: self.flying)
        self.queue = Gauge(
            "kilter_queue_records",
            "Records that are in flight: admitted, and not answered yet. The alert KilterQueueNearLimit and the "
            "dashboard.",
            registry=registry,
        )
        self.queue_limit = Gauge(
            "kilter_queue_limit_records",
            "The bound on kilter_queue_records, KILTER_MAX_INFLIGHT_RECORDS. The alert KilterQueueNearLimit.",
            registry=registry,
        )
        shed = Counter(
            "kilter_requests_shed",
            "Requests that were not judged: too many records or bytes in flight, a wait that would outlast the "
            "deadline, the deadline passed, or the client left first. The alerts KilterRequestsShed and "
            "KilterRequestsLate, and the dashboard.",
            ("reason",),
            registry=registry,
        )
        self.shed = {reason: shed.labels(reason) for reason in SHED}
        self._gauges = VersionGauges(registry)
        self._loads = Counter(
            "kilter_model_loads",
            "Attempts to load a model by outcome, loaded or failed. Dashboard, beside kilter_model_load_failing.",
            ("outcome",),
            registry=registry,
        )
        self._failing = Gauge(
            "kilter_model_load_failing",
            "1 for a model of the folder whose latest load failed, 0 for one that was loaded. The alert "
            "KilterModelLoadFailed.",
            ("model",),
            registry=registry,
        )
        for outcome in ("loaded", "failed"):
            self._loads.labels(outcome)
        Gauge(
            "kilter_build_info",
            "1, with the version of Kilter that runs. Dashboard: marks where a release was rolled out.",
            ("version",),
            registry=registry,
        ).labels(__version__).set(1)

    def loaded(self, detector: Detector) -> ModelMetrics:
        """Start counting for a version that has just been loaded; all its series exist from now on.

        They are there for as long as somebody holds what is returned: a request, or whoever lets the version serve.
        Loaded again while it is held, a version goes on counting. Raises ArtifactError if its manifest does not say
        when it was created.
        """
        with self._tallies.lock:
            self._gauges.loaded(detector)
            model = self._tallies.find(detector) or ModelMetrics(self._families, detector)
            self._tallies.add(model)
        self._failing.labels(detector.name).set(0)
        self._loads.labels("loaded").inc()
        return model

    def placed(self, detector: Detector, *, serves: bool) -> None:
        """Tell at which rate a version judges, and whether it serves or is loaded beside the one that does."""
        self._gauges.placed(detector, serves=serves)

    def load_failed(self, name: str, *, serving: bool = True) -> None:
        """Count a model that could not be loaded; `serving` tells whether it was the version that should serve."""
        self._loads.labels("failed").inc()
        if serving:
            self._failing.labels(name).set(1)

    def unloaded(self, name: str) -> None:
        """Tell no longer whether a model can be loaded: nobody wants it to be."""
        self._failing.labels(name)
        self._failing.remove(name)

    def _gone(self, labels: Labels) -> None:
        """Take away the series of a version that nobody holds any more."""
        self._families.remove(labels)
        self._gauges.remove(labels)
