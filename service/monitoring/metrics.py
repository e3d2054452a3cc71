"""What Prometheus is told: every metric of the service, each with what it means and who consumes it."""

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.process_collector import ProcessCollector

from kilter import __version__
from kilter.service.detector import Detector
from kilter.service.monitoring.durations import Durations
from kilter.service.monitoring.model_metrics import MODEL, Families, Labels, ModelMetrics, Tallies
from kilter.service.monitoring.shadow_metrics import ShadowTallies
from kilter.service.monitoring.version_gauges import VersionGauges

SHED = ("records", "bytes", "wait", "deadline", "left")
"""Why a request is not judged."""


class Metrics:
    """Every metric of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._tallies = Tallies(self._gone)
        registry.register(self._tallies)
        self.shadows = ShadowTallies()
        registry.register(self.shadows)
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
