"""What Prometheus is told: every metric of the service, each with what it means and who consumes it."""

import time
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

from service import __version__
from service.detector import ArtifactError, Detector
from service.detector.artifact import MANIFEST
from service.model_metrics import MODEL, Families, ModelMetrics, Tallies

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SHED = ("records", "bytes", "deadline", "left")
"""Why a request is not judged."""
RECORDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Every metric of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._tallies = Tallies()
        registry.register(self._tallies)
        records = Counter(
            "kilter_records",
            "Records by result: judged normal, judged anomalous, or rejected because they do not fit the model. "
            "The alerts KilterAnomalyShareHigh, KilterAnomaliesStopped, KilterTrafficStopped, KilterRecordsRejected.",
            (*MODEL, "result"),
            registry=registry,
        )
        inference = Histogram(
            "kilter_inference_duration_seconds",
            "Time in the detector per batch of records, from typed columns to verdicts. Dashboard: where time goes.",
            MODEL,
            buckets=SECONDS,
            registry=registry,
        )
        batch = Histogram(
            "kilter_batch_records",
            "Records that went through the detector together. Dashboard: how well batches are filled.",
            MODEL,
            buckets=RECORDS,
            registry=registry,
        )
        self._families = Families(records, batch, inference)
        self.requests = Histogram(
            "kilter_request_duration_seconds",
            "Time from a request's arrival to the end of its answer, by route and status; status 499 is a client that "
            "left. The alerts KilterErrorBudgetBurn and KilterLatencyBudgetBurn.",
            ("route", "status"),
            buckets=SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "kilter_requests_in_flight",
            "Requests that have arrived and are not answered yet, the scrape itself included. The alert "
            "KilterSaturated and the dashboard.",
            registry=registry,
        )
        self.queue = Gauge(
            "kilter_queue_records",
            "Records that are in flight: admitted, and not answered yet. Dashboard: how near the bound of "
            "KILTER_MAX_INFLIGHT_RECORDS is.",
            registry=registry,
        )
        shed = Counter(
            "kilter_requests_shed",
            "Requests that were not judged: too many records or bytes in flight, the deadline passed, or the client "
            "left first. Dashboard: what is turned away, and why.",
            ("reason",),
            registry=registry,
        )
        self.shed = {reason: shed.labels(reason) for reason in SHED}
        self._target = Gauge(
            "kilter_target_fpr",
            "The false-positive rate that the threshold was set for. Dashboard: the line to compare with.",
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
            "1 for every version that is loaded, with its score and the device it runs on. The alert KilterVersionSkew "
            "and the dashboard.",
            (*MODEL, "score", "device"),
            registry=registry,
        )
        self._loads = Counter(
            "kilter_model_loads",
            "Attempts to load a model by outcome, loaded or failed. Dashboard, beside kilter_model_load_failing.",
            ("outcome",),
            registry=registry,
        )
        self._loaded_at = Gauge(
            "kilter_model_last_load_timestamp_seconds",
            "Unix time at which the version was loaded. Dashboard: marks where a model changed.",
            MODEL,
            registry=registry,
        )
        self._failing = Gauge(
            "kilter_model_load_failing",
            "1 for a model of the folder whose latest load failed, 0 for one that was loaded. The alert "
            "KilterModelLoadFailed.",
            ("model",),
            registry=registry,
        )
        self._created = Gauge(
            "kilter_model_created_timestamp_seconds",
            "Unix time at which the version was trained or calibrated. The alert KilterModelStale, and the "
            "dashboard's age of a model.",
            MODEL,
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

        Raises ArtifactError if its manifest does not say when it was created.
        """
        created = _created(detector)
        model = ModelMetrics(self._families, detector)
        self._target.labels(*model.labels).set(detector.calibration.target_fpr)
        self._upper.labels(*model.labels).set(detector.manifest.calibration.highest_upper_fpr)
        self._info.labels(*model.labels, detector.manifest.score.name, detector.device).set(1)
        self._loaded_at.labels(*model.labels).set(time.time())
        self._calibration.labels(*model.labels).set(detector.calibration.size)
        self._created.labels(*model.labels).set(created)
        self._failing.labels(detector.name).set(0)
        self._loads.labels("loaded").inc()
        self._tallies.models.append(model)
        return model

    def load_failed(self, name: str) -> None:
        """Count a model of the folder that could not be loaded."""
        self._failing.labels(name).set(1)
        self._loads.labels("failed").inc()


def _created(detector: Detector) -> float:
    try:
        return datetime.fromisoformat(detector.manifest.created).timestamp()
    except ValueError:
        raise ArtifactError(f"{MANIFEST}: created is {detector.manifest.created!r}, which is no time") from None
