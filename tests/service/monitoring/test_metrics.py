"""Metrics: what is counted when records are judged, refused, or a model is loaded."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain

from kilter.service.detector import ArtifactError, Schema, Verdicts
from kilter.service.detector.columns import NumericColumn
from kilter.service.monitoring.metrics import Metrics
from kilter.service.monitoring.model_metrics import FIELDS, P_BUCKETS
from tests.support.serving import RECORD, STRANGE, Broken, Client, client, detector

SCORE = "/v1/models/shop/score"
MODEL = {"model": "shop", "version": "3"}


class Samples:
    """What a service exposes at one moment."""

    def __init__(self, http: Client) -> None:
        self._samples = [sample for family in plain(http.get("/metrics").text) for sample in family.samples]

    def value(self, name: str, **labels: str) -> float | None:
        """The sample of that name and exactly those labels, if there is one."""
        return next((float(s.value) for s in self._samples if s.name == name and s.labels == labels), None)


def value(http: Client, name: str, **labels: str) -> float | None:
    """One sample of what a service exposes now."""
    return Samples(http).value(name, **labels)


def test_records_are_counted_by_their_result() -> None:
    """Normal, anomalous, and rejected because they do not fit; of a refused request nobody else counts."""
    with client() as http:
        http.post(SCORE, json=RECORD)  # by itself, as the first one ever is
        http.post(SCORE, json={"records": [RECORD, RECORD, STRANGE]})
        http.post(SCORE, json={"records": [RECORD, {"amount": "x"}, {}]})
        http.post(SCORE, content=b"rubbish")
        counts = [value(http, "kilter_records_total", **MODEL, result=r) for r in ("normal", "anomalous", "rejected")]
        assert counts == [3, 1, 2]
        assert value(http, "kilter_batch_records_sum", **MODEL) == 4
        assert value(http, "kilter_batch_records_count", **MODEL) == 2
        assert value(http, "kilter_inference_duration_seconds_count", **MODEL) == 2


def test_fields_without_a_value_and_unseen_levels_are_counted() -> None:
    """Per field, and only where there can be such: a number has no levels."""
    with client() as http:
        http.post(SCORE, json={"records": [RECORD | {"items": None, "at": None}, RECORD | {"colour": "green"}, RECORD]})
        missing = {name: value(http, "kilter_feature_missing_total", **MODEL, feature=name) for name in RECORD}
        unseen = {name: value(http, "kilter_feature_unseen_total", **MODEL, feature=name) for name in RECORD}
    assert missing == {"amount": 0, "items": 1, "member": 0, "colour": 0, "at": 1}
    assert unseen == {"amount": None, "items": None, "member": None, "colour": 1, "at": None}


@settings(max_examples=30)
@given(amounts=st.lists(st.floats(-200, 400), min_size=1, max_size=30))
def test_the_histogram_holds_the_p_values_of_the_verdicts(amounts: list[float]) -> None:
    """Each bucket counts the p-values up to its bound, the bound included."""
    records = [RECORD | {"amount": amount} for amount in amounts]
    with client() as http:
        p_values = [result["p_value"] for result in http.post(SCORE, json={"records": records}).json()["results"]]
        now = Samples(http)
    for bound in P_BUCKETS:
        assert now.value("kilter_p_value_bucket", **MODEL, le=str(bound)) == sum(p <= bound for p in p_values)
    assert now.value("kilter_p_value_count", **MODEL) == len(amounts)
    assert now.value("kilter_p_value_sum", **MODEL) == pytest.approx(sum(p_values))


def test_every_series_of_a_model_exists_before_its_first_record() -> None:
    """A rate over a counter sees its first increment."""
    with client() as http:
        for result in ("normal", "anomalous", "rejected"):
            assert value(http, "kilter_records_total", **MODEL, result=result) == 0
        assert value(http, "kilter_p_value_count", **MODEL) == 0
        assert value(http, "kilter_target_fpr", **MODEL) == 0.05
        assert value(http, "kilter_expected_anomaly_ratio_upper", **MODEL) == 0.11
        assert value(http, "kilter_model_info", **MODEL, score="elbo", device="cpu") == 1
        assert value(http, "kilter_model_loads_total", outcome="loaded") == 1
        assert value(http, "kilter_model_loads_total", outcome="failed") == 0
        assert (value(http, "kilter_model_last_load_timestamp_seconds", **MODEL) or 0) > 1.7e9


def test_of_many_fields_the_last_share_a_series() -> None:
    """So that a wide model does not flood Prometheus; the name of that series is no field's."""
    names = [*(f"f{i}" for i in range(FIELDS + 2)), "(others)"]
    columns = tuple(NumericColumn(name, 0.0, 1.0, -1.0, 1.0, missing=2) for name in names)
    judge = detector(schema=Schema(columns, rows=100))
    metrics = Metrics()
    model = metrics.loaded(judge)
    nothing = np.full((5, len(names)), np.nan, np.float32)
    model.judged(Verdicts(np.zeros(5), np.ones(5), np.zeros(5, bool), None, [], nothing), 0.1)
    for metric, rest in (("kilter_feature_missing_total", 15), ("kilter_feature_missing_expected_ratio", 0.06)):
        labels = MODEL | {"feature": "((others))"}
        assert metrics.registry.get_sample_value(metric, labels) == pytest.approx(rest)
        assert metrics.registry.get_sample_value(metric, MODEL | {"feature": f"f{FIELDS}"}) is None
        assert metrics.registry.get_sample_value(metric, MODEL | {"feature": f"f{FIELDS - 1}"}) is not None


def test_requests_in_flight_come_and_go() -> None:
    """The scrape that reads them is one, and a failed one leaves none behind."""
    with client(detector(program=Broken())) as http:
        http.post(SCORE, json=RECORD)
        assert value(http, "kilter_requests_in_flight") == 1


def test_a_model_that_fails_to_load_is_named_until_it_loads() -> None:
    """The alert ends by itself."""
    metrics = Metrics()
    metrics.load_failed("shop")
    assert metrics.registry.get_sample_value("kilter_model_load_failing", {"model": "shop"}) == 1
    metrics.loaded(detector())
    assert metrics.registry.get_sample_value("kilter_model_load_failing", {"model": "shop"}) == 0


def test_the_age_of_a_model_is_that_of_its_manifest() -> None:
    """In Unix seconds; a time that is none is refused, as an artifact's fault."""
    metrics = Metrics()
    judge = detector()
    held = metrics.loaded(judge)
    assert held.labels == ("shop", "3")
    created = metrics.registry.get_sample_value("kilter_model_created_timestamp_seconds", MODEL)
    assert created == datetime(2024, 5, 31, 8, 15, tzinfo=UTC).timestamp()
    judge.manifest = msgspec.structs.replace(judge.manifest, created="long ago")
    with pytest.raises(ArtifactError, match="'long ago'"):
        metrics.loaded(judge)


def test_no_client_can_invent_a_label() -> None:
    """Unknown models, paths and methods leave no trace but a count under `other` or their route."""
    with client() as http:
        http.get("/invented-path")
        http.post("/v1/models/invented-model/score", json=RECORD)
        http.get("/v1/models/invented-model")
        http.request("INVENTED", "/v1/models")
        text = http.get("/metrics").text
        assert "invented" not in text.lower()
        route = "kilter_request_duration_seconds_count"
        assert value(http, route, route="other", status="404") == 1
        assert value(http, route, route="/v1/models/{name}/score", status="404") == 1
        assert value(http, route, route="/v1/models/{name}", status="404") == 1
        assert value(http, route, route="/v1/models", status="405") == 1


def test_each_service_counts_for_itself() -> None:
    """Two services in one process have nothing in common."""
    with client() as first, client() as second:
        first.post(SCORE, json=RECORD)
        assert value(second, "kilter_records_total", **MODEL, result="normal") == 0


@pytest.mark.parametrize(
    ("accept", "media_type", "parse"),
    [
        ("", "text/plain", plain),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text", open_metrics),
    ],
)
def test_the_format_is_the_one_asked_for(accept: str, media_type: str, parse: Any) -> None:
    """Prometheus's text by default, OpenMetrics where it is accepted; both can be parsed."""
    with client() as http:
        answer = http.get("/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith(media_type)
    assert "kilter_build_info" in {family.name for family in parse(answer.text)}


def test_every_help_text_says_who_needs_it() -> None:
    """A metric is documented by what it means and where it is consumed."""
    metrics = Metrics()
    metrics.loaded(detector())
    for family in metrics.registry.collect():
        if family.name.startswith("kilter_"):
            assert any(word in family.documentation.lower() for word in ("alert", "dashboard")), family.name
