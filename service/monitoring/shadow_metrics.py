"""What Prometheus is told of versions in the shadow."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from kilter.service.models.comparison import BUCKETS
from kilter.service.models.shadow import Shadow
from kilter.service.monitoring.model_metrics import MODEL


class ShadowTallies(Collector):
    """Exposes the comparisons that are going on; each that begins, begins at 0."""

    def __init__(self) -> None:
        self.shadows: Mapping[str, Shadow] = {}
        """By the model's name."""

    def collect(self) -> Iterator[Metric]:
        """The families, each with its help text."""
        records = CounterMetricFamily(
            "kilter_shadow_records",
            "Records that the version in the shadow was to judge as well, by result: both_normal, both_anomalous, "
            "only_live or only_shadow flagged; rejected because they do not fit it; dropped because too many waited. "
            "They are none of kilter_records_total. The alerts KilterShadowDisagrees and KilterShadowBlind, and the "
            "dashboard.",
            labels=(*MODEL, "result"),
        )
        differences = HistogramMetricFamily(
            "kilter_shadow_p_value_difference",
            "Sizes of the differences between the p-values of the version in the shadow and the one that serves. "
            "Dashboard: how far apart their verdicts are.",
            labels=MODEL,
        )
        for shadow in self.shadows.values():
            labels = shadow.candidate.name, str(shadow.candidate.version)
            tally = shadow.comparison.tally()
            for result in ("both_normal", "both_anomalous", "only_live", "only_shadow", "rejected", "dropped"):
                records.add_metric((*labels, result), getattr(tally, result))
            edges = [*map(str, BUCKETS), "+Inf"]
            differences.add_metric(labels, list(zip(edges, tally.apart, strict=True)), tally.apart_sum)
        yield from (records, differences)
