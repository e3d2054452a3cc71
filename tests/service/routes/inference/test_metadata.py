"""What the protocol tells about the server and its models, and what the OpenAPI document says of it."""

import logging
from collections.abc import Iterator

import pytest

from kilter.service.detector import Schema
from kilter.service.detector.columns import NumericColumn, TimestampColumn
from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.routes.inference.messages import OUTPUTS
from kilter.service.routes.inference.routes import describe_model
from kilter.service.routes.inference.tensors import matrix_name
from kilter.service.settings import Settings
from kilter.service.web.app import create_app
from tests.support.protocol_server import METER, meter
from tests.support.serving import Client, client, detector

EDGE = "kilter.service.web.edge"


@pytest.fixture(name="http", scope="module")
def _http() -> Iterator[Client]:
    with client(detector(), meter()) as http:
        yield http


def test_the_matrix_stands_before_the_columns() -> None:
    """A client that takes the first input has all that it needs; a model that takes no matrix has columns alone."""
    numeric = describe_model(meter(), [3])
    assert [tensor.name for tensor in numeric.inputs] == ["records", *METER.names]
    assert (numeric.inputs[0].datatype, numeric.inputs[0].shape) == ("FP32", [-1, 5])
    mixed = describe_model(detector(), [2, 3])
    assert mixed.versions == ["2", "3"]
    assert [(tensor.name, tensor.datatype, tensor.shape) for tensor in mixed.inputs] == [
        ("amount", "FP64", [-1]),
        ("items", "FP64", [-1]),
        ("member", "BOOL", [-1]),
        ("colour", "BYTES", [-1]),
        ("at", "BYTES", [-1]),
    ]
    assert {tensor.name: tensor.datatype for tensor in mixed.outputs} == OUTPUTS


def test_a_unix_time_is_a_number() -> None:
    """It is one on the native route, too."""
    schema = Schema(columns=(TimestampColumn("at", "unix_ms", ("hour",)),), rows=10)
    assert [tensor.datatype for tensor in describe_model(detector("clock", schema), [3]).inputs] == ["FP64"]


def test_the_matrix_has_a_name_of_its_own() -> None:
    """Even where a column is called as it would be."""
    schema = Schema(columns=(NumericColumn("records", 0.0, 1.0, 0.0, 1.0),), rows=10)
    assert matrix_name(schema) not in schema.names
    assert matrix_name(METER) == "records"


def test_nothing_loaded_is_not_ready() -> None:
    """The server lives and is not ready; the answer says why."""
    metrics = Metrics()
    with Client(create_app(Settings(), Registry(metrics), metrics)) as http:
        assert http.get("/v2/health/live").json() == {"live": True}
        for path in ("/v2/health/ready", "/v2/models/shop/ready"):
            answer = http.get(path)
            assert answer.status_code == 503
            assert "not loaded yet" in answer.json()["error"]


def test_every_example_works(http: Client) -> None:
    """Each is answered by the model that it is for, on either path."""
    paths = http.get("/openapi.json").json()["paths"]
    for path, operations in paths.items():
        if path.endswith("/infer"):
            examples = operations["post"]["requestBody"]["content"]["application/json"]["examples"]
            assert examples.keys() == {"shop", "meter"}
            for name, example in examples.items():
                answer = http.post(path.format(name=name, version=3), json=example["value"])
                assert answer.status_code == 200, answer.text


def test_probes_are_logged_only_when_debugging(caplog: pytest.LogCaptureFixture) -> None:
    """The platform asks every few seconds."""
    with caplog.at_level(logging.INFO, "kilter"), client() as http:
        http.get("/v2/health/live")
        http.get("/v2/health/ready")
        http.get("/v2")
    lines = [
        line for record in caplog.records if record.name == "kilter.service.web.edge" for line in vars(record)["lines"]
    ]
    assert [line.path for line in lines] == ["/v2"]


def test_the_routes_are_counted_by_their_paths() -> None:
    """No client can invent a label of a metric."""
    metrics = Metrics()
    with client(metrics=metrics) as http:
        http.get("/v2/models/shop/versions/3")
        http.get("/v2/models/anything")
    count = metrics.registry.get_sample_value
    name = "kilter_request_duration_seconds_count"
    assert count(name, {"route": "/v2/models/{name}/versions/{version}", "status": "200"}) == 1
    assert count(name, {"route": "/v2/models/{name}", "status": "404"}) == 1
