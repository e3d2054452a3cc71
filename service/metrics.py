"""What Prometheus is told: every metric of the service, and how verdicts are counted cheaply."""

import threading
import time
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from service import __version__
from service.detector import Detector, Problem, Verdicts
from service.detector.schema import CategoricalColumn

P_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
RECORDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
MODEL = ("model", "version")


class ModelMetrics:
    """The numbers of one version of a model; safe to be called from several threads."""

    def __init__(self, metrics: "Metrics", detector: Detector) -> None:
        self.labels = (detector.name, str(detector.version))
        self.columns = detector.schema.names
        self.categorical = [i for i, c in enumerate(detector.schema.columns) if isinstance(c, CategoricalColumn)]
        features = detector.schema.features()
        self._first = [[f.column for f in features].index(i) for i in range(len(self.columns))]
        self._level = [self._first[i] for i in self.categorical]
        self._unseen_code = np.array([features[i].levels for i in self._level], np.float32)
        self._normal = metrics.records.labels(*self.labels, "normal")
        self._anomalous = metrics.records.labels(*self.labels, "anomalous")
        self._rejected = metrics.records.labels(*self.labels, "rejected")
        self._batch = metrics.batch.labels(*self.labels)
        self._inference = metrics.inference.labels(*self.labels)
        self._lock = threading.Lock()
        self.p_counts = np.zeros(len(P_BUCKETS) + 1, np.int64)
        self.p_sum = 0.0
        self.missing = np.zeros(len(self.columns), np.int64)
        self.unseen = np.zeros(len(self.categorical), np.int64)

    def judged(self, verdicts: Verdicts, seconds: float) -> None:
        """Count a batch of records that got their verdicts, none with a problem, after `seconds` in the detector."""
        n = len(verdicts.score)
        flagged = int(np.count_nonzero(verdicts.anomaly))
        self._normal.inc(n - flagged)
        self._anomalous.inc(flagged)
        self._batch.observe(n)
        self._inference.observe(seconds)
        counts = np.bincount(np.searchsorted(P_BUCKETS, verdicts.p_value), minlength=len(P_BUCKETS) + 1)
        total = float(verdicts.p_value.sum())
        missing = self._missing(verdicts.features)
        unseen = (verdicts.features[:, self._level] == self._unseen_code).sum(axis=0)
        with self._lock:
            self.p_counts += counts
            self.p_sum += total
            self.missing += missing
            self.unseen += unseen

    def _missing(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        counts: npt.NDArray[np.int64] = np.isnan(features[:, self._first]).sum(axis=0)
        return counts

    def rejected(self, problems: Iterable[Problem]) -> None:
        """Count the records that a request was refused for."""
        self._rejected.inc(len({problem.row for problem in problems if problem.row is not None}))


class _Tallies(Collector):
    """Exposes what `ModelMetrics` keeps in arrays, because a batch of records is then one addition."""

    def __init__(self) -> None:
        self.models: list[ModelMetrics] = []

    def collect(self) -> Iterator[Metric]:
        p_values = HistogramMetricFamily(
            "kilter_p_value",
            "Conformal p-values of judged records. Uniform while traffic is like the training data: dashboards show "
            "its shape, and an alert compares it with a flat one.",
            labels=MODEL,
        )
        missing = CounterMetricFamily(
            "kilter_feature_missing",
            "Judged records in which the field had no value. A dashboard compares its rate with that in training.",
            labels=(*MODEL, "feature"),
        )
        unseen = CounterMetricFamily(
            "kilter_feature_unseen",
            "Judged records in which the field had a level that training never saw. Dashboards and a drift alert.",
            labels=(*MODEL, "feature"),
        )
        for model in self.models:
            edges = [*map(str, P_BUCKETS), "+Inf"]
            cumulative = np.cumsum(model.p_counts).tolist()
            p_values.add_metric(model.labels, list(zip(edges, cumulative, strict=True)), model.p_sum)
            for name, count in zip(model.columns, model.missing.tolist(), strict=True):
                missing.add_metric((*model.labels, name), count)
            for i, count in zip(model.categorical, model.unseen.tolist(), strict=True):
                unseen.add_metric((*model.labels, model.columns[i]), count)
        yield from (p_values, missing, unseen)


class Metrics:
    """Every metric of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._tallies = _Tallies()
        registry.register(self._tallies)
        self.records = Counter(
            "kilter_records",
            "Records by result: judged normal, judged anomalous, or rejected because they do not fit the model. "
            "The anomaly alert divides anomalous by anomalous + normal.",
            (*MODEL, "result"),
            registry=registry,
        )
        self.inference = Histogram(
            "kilter_inference_duration_seconds",
            "Time in the detector per batch of records, from typed columns to verdicts. Dashboard: where time goes.",
            MODEL,
            buckets=SECONDS,
            registry=registry,
        )
        self.batch = Histogram(
            "kilter_batch_records",
            "Records that went through the detector together. Dashboard: how well batches are filled.",
            MODEL,
            buckets=RECORDS,
            registry=registry,
        )
        self.requests = Histogram(
            "kilter_request_duration_seconds",
            "Time from a request's arrival to the end of its answer, by route and status; status 499 is a client that "
            "left. The latency and error alerts are made of it.",
            ("route", "status"),
            buckets=SECONDS,
            registry=registry,
        )
        self._target = Gauge(
            "kilter_target_fpr",
            "The false-positive rate that the threshold was set for. Dashboard: the line to compare with.",
            MODEL,
            registry=registry,
        )
        self._upper = Gauge(
            "kilter_expected_anomaly_ratio_upper",
            "The share of normal records that are flagged stays below this with 99.9 % confidence over calibration "
            "sets. The anomaly alert fires above it.",
            MODEL,
            registry=registry,
        )
        self._info = Gauge(
            "kilter_model_info",
            "1 for every version that is loaded, with its score and the device it runs on. Dashboard tables.",
            (*MODEL, "score", "device"),
            registry=registry,
        )
        self._loads = Counter(
            "kilter_model_loads",
            "Attempts to load a model by outcome, loaded or failed. The alert on failed loads.",
            ("outcome",),
            registry=registry,
        )
        self._loaded_at = Gauge(
            "kilter_model_last_load_timestamp_seconds",
            "Unix time at which the version was loaded. Dashboard: marks where a model changed.",
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
        """Start counting for a version that has just been loaded; all its series exist from now on."""
        model = ModelMetrics(self, detector)
        self._target.labels(*model.labels).set(detector.calibration.target_fpr)
        self._upper.labels(*model.labels).set(detector.manifest.calibration.upper_fpr)
        self._info.labels(*model.labels, detector.manifest.score.name, detector.device).set(1)
        self._loaded_at.labels(*model.labels).set(time.time())
        self._loads.labels("loaded").inc()
        self._tallies.models.append(model)
        return model

    def load_failed(self) -> None:
        """Count a model that could not be loaded."""
        self._loads.labels("failed").inc()
