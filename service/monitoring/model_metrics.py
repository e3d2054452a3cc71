"""What is counted of one version of a model, cheaply: arrays are added up, and turned into series when scraped."""

import logging
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np
from prometheus_client import Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from kilter.service.detector import Detector, Problem, Verdicts
from kilter.service.detector.arrays import Floats
from kilter.service.detector.columns.base import LIMIT
from kilter.service.detector.shifts import MOSTLY, SAMPLED, ColumnCounts, find_shifts, lost
from kilter.service.monitoring.drift import BLOCK_RECORDS, FieldTally

log = logging.getLogger(__name__)
MODEL = ("model", "version")
FEATURE = (*MODEL, "feature")
RESULTS = ("normal", "anomalous", "rejected")
Labels = tuple[str, str]
P_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
RECORDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SETTLED = 1024  # records are counted when so many have come, and whenever the numbers are asked for
FIELDS = 100  # fields of a model that have series of their own; the others share one


class BucketCounts:
    """A histogram that takes in many values at once."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = np.array(bounds, np.float64)
        self._counts = np.zeros(len(bounds) + 1, np.int64)
        self.sum = 0.0

    def add(self, values: Sequence[float] | Floats) -> None:
        """Take in values; one that is a bound is up to it."""
        array = np.array(values, np.float64)
        self._counts += np.bincount(self._bounds.searchsorted(array), minlength=len(self._counts))
        self.sum += float(array.sum())

    def cumulative(self) -> list[tuple[str, float]]:
        """For each bound, and for infinity, the number of values up to it, as Prometheus is told."""
        bounds = [*map(str, self._bounds.tolist()), "+Inf"]
        return list(zip(bounds, np.cumsum(self._counts).tolist(), strict=True))


class VersionFamilies:
    """The families of a scrape that `ModelMetrics` keeps in arrays, each with its help text."""

    def __init__(self) -> None:
        histogram = partial(HistogramMetricFamily, labels=MODEL)
        counter, gauge = partial(CounterMetricFamily, labels=FEATURE), partial(GaugeMetricFamily, labels=FEATURE)
        self.p_values = histogram(
            "kilter_p_value",
            "Conformal p-values of judged records. Uniform while traffic is like the training data: the dashboard "
            "shows its shape, and the alert KilterCalibrationOff compares it with a flat one.",
        )
        self.batches = histogram(
            "kilter_batch_records",
            "Records that went through the detector together. Dashboard: how well batches are filled.",
        )
        self.inferences = histogram(
            "kilter_inference_duration_seconds",
            "Time in the detector per batch of records, from typed columns to verdicts. Dashboard: where time goes.",
        )
        self.missing = counter(
            "kilter_feature_missing",
            "Judged records in which the field had no value. The alert KilterFieldMissing compares their share with "
            "kilter_feature_missing_expected_ratio.",
        )
        self.expected_missing = gauge(
            "kilter_feature_missing_expected_ratio",
            "Share of the fitting rows in which the field had no value. For the alert KilterFieldMissing.",
        )
        self.unseen = counter(
            "kilter_feature_unseen",
            "Judged records in which the field had a level that training never saw. The alert KilterUnseenLevels and "
            "the dashboard.",
        )
        self.expected_unseen = gauge(
            "kilter_feature_unseen_expected_ratio",
            "Share of normal records in which the field is expected to have a level that training never saw: that of "
            "the fitting rows whose level came only once. For the alert KilterUnseenLevels.",
        )
        self.drift = gauge(
            "kilter_feature_drift",
            "How far the field's distribution over a sliding window is from that of the fitting rows: population "
            "stability without its sampling noise, 0 while nothing has drifted, from about 0.25 a large shift; of a "
            "timestamp, only whether it is missing; of a picture, brightness, contrast and sharpness. NaN before the "
            "first record. The alert KilterFeatureDrift and the dashboard.",
        )
        self.shifted = GaugeMetricFamily(
            "kilter_feature_shifted_ratio",
            "Share of what was to be expected of a field over the sliding window and is not there: 1 where every value "
            "is missing, or is new: a level that training never saw, or a number outside of the range of its rows. "
            "The alert KilterColumnChanged; the log says in words what has changed.",
            labels=(*FEATURE, "how"),
        )
        self.window = GaugeMetricFamily(
            "kilter_drift_window_records",
            "Records in the sliding window of kilter_feature_drift. The alert KilterFeatureDrift waits for enough.",
            labels=MODEL,
        )


class ModelMetrics:
    """The numbers of one version of a model; safe to be called from several threads."""

    def __init__(self, records: Counter, detector: Detector) -> None:
        self.labels: Labels = (detector.name, str(detector.version))
        self.manifest = detector.manifest
        self._watched = detector.modality.watched
        self._categorical = [i for i, one in enumerate(self._watched) if one.unseen is not None]
        self._expected_unseen = [one.unseen for one in self._watched if one.unseen is not None]
        self._normal, self._anomalous, self._rejected = (records.labels(*self.labels, result) for result in RESULTS)
        self._batch = BucketCounts(RECORDS)
        self._inference = BucketCounts(SECONDS)
        self._lock = threading.Lock()
        self._p_values = BucketCounts(P_BUCKETS)
        self._waiting: list[tuple[Verdicts, float]] = []
        """Without their reasons, evidence and nearest normals."""
        self._waiting_records = 0
        self._modality, self._reference = detector.modality, detector.reference
        self._fields = FieldTally(detector.reference, self._watched)
        self._shifted: set[tuple[str, str]] = set()
        """What has been said of whole columns, and still holds."""

    def judged(self, verdicts: Verdicts, seconds: float) -> None:
        """Count a batch of records that got their verdicts, none with a problem, after `seconds` in the detector."""
        with self._lock:
            if verdicts.reasons is not None or verdicts.nearest_normal is not None:
                verdicts = verdicts._replace(reasons=None, evidence=None, nearest_normal=None)
            self._waiting.append((verdicts, seconds))
            self._waiting_records += len(verdicts.score)
            if self._waiting_records >= SETTLED:
                self._settle()

    def _settle(self) -> None:
        """Count what waits, all at once: by itself a record would take as long to count as to judge."""
        if not self._waiting:
            return
        p_values = np.concatenate([verdicts.p_value for verdicts, _ in self._waiting])
        flagged = sum(int(np.count_nonzero(verdicts.anomaly)) for verdicts, _ in self._waiting)
        self._normal.inc(self._waiting_records - flagged)
        self._anomalous.inc(flagged)
        self._p_values.add(p_values)
        self._batch.add([len(verdicts.score) for verdicts, _ in self._waiting])
        self._inference.add([seconds for _, seconds in self._waiting])
        for verdicts, _ in self._waiting:
            self._fields.add(verdicts.features)
        self._waiting, self._waiting_records = [], 0

    def _shares_of_late(self) -> dict[str, list[float]]:
        """By what they are, the shares of the window's values that are not those of training; NaN without any."""
        fields = self._fields
        records = np.float64(fields.records or np.nan)
        present = np.maximum(records - fields.missing_of_late, 1)
        expected = np.array([one.unseen or 0.0 for one in self._watched])
        missing = lost(fields.missing_of_late / records, np.array([one.missing for one in self._watched]))
        return {"missing": missing.tolist(), "new": lost(fields.new_of_late / present, expected).tolist()}

    def _say_what_has_changed(self, new: Sequence[float]) -> None:
        """Write to the log, once, what most values of a field have become."""
        fields = self._fields
        if fields.records < BLOCK_RECORDS:
            return
        sample = {}
        for i, one in enumerate(self._watched):
            column = self._modality.schema.field(one.name)
            if one.feature.kind == "gaussian" and column is not None and new[i] > MOSTLY:
                latest = fields.latest[-SAMPLED:, i]
                sample[one.name] = np.array([column.restore(float(x)) for x in latest[np.abs(latest) < LIMIT]])
        counts = ColumnCounts(fields.records, fields.missing_of_late, fields.new_of_late, sample)
        shifts = {(shift.field, shift.how): shift for shift in find_shifts(self._modality, self._reference, counts)}
        for shift in shifts.keys() - self._shifted:
            name, version = self.labels
            what = {"model": name, "version": version, "feature": shifts[shift].field, "what": shifts[shift].words}
            log.warning("a column is not what it was in training", extra={"fields": what})
        self._shifted = set(shifts)

    def rejected(self, problems: Iterable[Problem]) -> None:
        """Count the records that a request was refused for."""
        self._rejected.inc(len({problem.row for problem in problems if problem.row is not None}))

    def expose(self, families: VersionFamilies) -> None:
        with self._lock:
            self._settle()
            self._fields.settle()
            counts = [(each.cumulative(), each.sum) for each in (self._p_values, self._batch, self._inference)]
            missing, unseen = self._fields.missing.tolist(), self._fields.unseen[self._categorical].tolist()
            drift, window = self._fields.drift().tolist(), self._fields.records
            shifted = self._shares_of_late()
            self._say_what_has_changed(shifted["new"])
        for histogram, count in zip((families.p_values, families.batches, families.inferences), counts, strict=True):
            histogram.add_metric(self.labels, *count)
        families.window.add_metric(self.labels, window)
        names = [one.name for one in self._watched]
        categorical = [names[i] for i in self._categorical]
        rest = rest_of(names)
        by_field: list[tuple[CounterMetricFamily | GaugeMetricFamily, list[str], list[float]]] = [
            (families.missing, names, missing),
            (families.expected_missing, names, [one.missing for one in self._watched]),
            (families.unseen, categorical, unseen),
            (families.expected_unseen, categorical, self._expected_unseen),
            (families.drift, names, drift),
        ]
        for how, values in shifted.items():
            for name, value in zip(names[:FIELDS], values, strict=False):
                families.shifted.add_metric((*self.labels, name, how), value)
            if len(names) > FIELDS:
                families.shifted.add_metric((*self.labels, rest, how), max(values[FIELDS:]))
        for family, columns, values in by_field:
            for name, value in zip(columns[:FIELDS], values, strict=False):
                family.add_metric((*self.labels, name), value)
            if len(columns) > FIELDS:
                joined = max if family is families.drift else sum
                family.add_metric((*self.labels, rest), joined(values[FIELDS:]))


class VersionCollector(Collector):
    """Exposes what `ModelMetrics` keeps in arrays, of those that somebody holds, and has it count what waits.

    A version's last request may end in any thread and moment, which is no place to touch Prometheus's locks; so its
    series go when the next one looks. Registered before the families, it makes them lose or gain theirs in time.
    """

    def __init__(self, gone: Callable[[Labels], None]) -> None:
        """`gone` is called for a version that nobody holds any more."""
        self.lock = threading.RLock()
        """To be held while a version is added, its other series included."""
        self._gone = gone
        self._models: dict[Labels, weakref.ref[ModelMetrics]] = {}

    def add(self, model: ModelMetrics) -> None:
        """Expose a version from now on, in the place of another of that number."""
        with self.lock:
            self._models[model.labels] = weakref.ref(model)

    def find(self, detector: Detector) -> ModelMetrics | None:
        """The metrics of that very artifact, if they are exposed."""
        held = self._models.get((detector.name, str(detector.version)))
        model = held() if held is not None else None
        return model if model is not None and model.manifest == detector.manifest else None

    def collect(self) -> Iterator[Metric]:
        with self.lock:
            models = {labels: held() for labels, held in self._models.items()}
            for labels in [labels for labels, model in models.items() if model is None]:
                del self._models[labels]
                self._gone(labels)
        families = VersionFamilies()
        for model in models.values():
            if model is not None:
                model.expose(families)
        yield from vars(families).values()


def rest_of(names: Sequence[str]) -> str:
    """A label for the fields that have none of their own: they are summed up, and of drift the largest is taken."""
    rest = "(others)"
    while rest in names:
        rest = f"({rest})"
    return rest
