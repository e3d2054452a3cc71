"""Tests of `monitoring.model_metrics`: what is counted of one version of a model."""

import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from kilter.service.monitoring.model_metrics import BucketCounts

BOUNDS = (0.5, 1.0, 4.0)


@given(st.lists(st.lists(st.sampled_from(BOUNDS) | st.floats(0, 10), max_size=5), max_size=5))
def test_it_counts_as_a_histogram_of_prometheus_does(parts: list[list[float]]) -> None:
    """A value that is a bound counts up to it, and the largest are in the last."""
    registry = CollectorRegistry()
    histogram = Histogram("x", "x", buckets=BOUNDS, registry=registry)
    counts = BucketCounts(BOUNDS)
    for part in parts:
        counts.add(part)
        for value in part:
            histogram.observe(value)
    told = {bound: registry.get_sample_value("x_bucket", {"le": bound}) for bound, _ in counts.cumulative()}
    assert told == dict(counts.cumulative())
    assert math.isclose(counts.sum, registry.get_sample_value("x_sum") or 0.0)
