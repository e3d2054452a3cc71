"""What Prometheus is told of each version that is loaded, whether or not a record came."""

import time
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge

from kilter.service.detector import ArtifactError, Detector
from kilter.service.detector.artifact import MANIFEST
from kilter.service.monitoring.model_metrics import MODEL, Labels


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
