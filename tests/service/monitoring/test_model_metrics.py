"""Tests of `monitoring.model_metrics`: what is counted of one version of a model."""

import logging
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from kilter.service.monitoring.metrics import Metrics
from kilter.service.monitoring.model_metrics import BucketCounts
from tests.support.serving import RECORD, client

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


SCORE = "/v1/models/shop/score"


@pytest.mark.parametrize(
    ("change", "feature", "how", "words"),
    [
        ({"colour": "RED"}, "colour", "new", "100% of 'colour' are values that training never saw"),
        ({"items": None}, "items", "missing", "100% of 'items' are missing; of the fitting rows 4% were"),
        (
            {"amount": 525.0},
            "amount",
            "new",
            "100% of 'amount' lie outside of what training saw (20 to 90), and half are above 525",
        ),
    ],
)
def test_a_column_that_has_changed_is_exposed_and_said_once(
    change: dict[str, Any], feature: str, how: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """While it lasts, at the first scrape that sees it; traffic as before says nothing."""
    metrics = Metrics()

    def shifted(feature: str) -> float | None:
        labels = {"model": "shop", "version": "3", "feature": feature, "how": how}
        return metrics.registry.get_sample_value("kilter_feature_shifted_ratio", labels)

    with client(metrics=metrics) as http, caplog.at_level(logging.WARNING):
        http.post(SCORE, json={"records": [RECORD] * 10})
        assert shifted(feature) == 0
        http.post(SCORE, json={"records": [RECORD | change] * 10})
        assert 0.4 < float(shifted(feature) or 0) <= 0.5
        assert not caplog.records
        http.post(SCORE, json={"records": [RECORD | change] * 2000})
        assert 0.99 < float(shifted(feature) or 0) < 1
        assert shifted("member") == 0
        assert shifted(feature) is not None
    logged = [record for record in caplog.records if record.message == "a column is not what it was in training"]
    assert [record.__dict__["fields"] for record in logged] == [
        {"model": "shop", "version": "3", "feature": feature, "what": words}
    ]


def test_before_the_first_record_no_column_has_changed() -> None:
    """Nor not changed."""
    metrics = Metrics()
    with client(metrics=metrics):
        labels = {"model": "shop", "version": "3", "feature": "amount", "how": "new"}
        assert math.isnan(metrics.registry.get_sample_value("kilter_feature_shifted_ratio", labels) or 0)
