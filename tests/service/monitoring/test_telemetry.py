"""Traces: a span for every request, in the trace that it came with."""

import gzip
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.monitoring.telemetry import Tracing, from_environment, trace_id
from kilter.service.settings import Settings
from kilter.service.web.app import create_app
from tests.support.serving import RECORD, STRANGE, Broken, Client, detector

SCORE = "/v1/models/shop/score"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Traced(Client):
    """A client of a service whose spans stay in memory."""

    def __init__(self, program: Broken | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        metrics = Metrics()
        registry = Registry(metrics, [detector(program=program)])
        super().__init__(create_app(Settings(), registry, metrics, Tracing(provider)))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()


@pytest.fixture
def traced() -> Iterator[Traced]:
    with Traced() as client:
        yield client


def test_a_request_continues_the_trace_that_it_came_with(traced: Traced, caplog: pytest.LogCaptureFixture) -> None:
    """Its span is a child of the caller's, tells what was judged, and its ids stand in the log line."""
    with caplog.at_level(logging.INFO):
        traced.post(SCORE, json={"records": [RECORD, STRANGE]}, headers={"traceparent": PARENT, "x-request-id": "r"})
    (span,) = traced.spans
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{span.parent.span_id:016x}" == PARENT.split("-")[2]
    assert (span.name, span.kind) == ("POST /v1/models/{name}/score", SpanKind.SERVER)
    told = dict(span.attributes or {})
    assert told.pop("kilter.detector_milliseconds")
    assert told == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/v1/models/{name}/score",
        "url.path": SCORE,
        "url.scheme": "http",
        "kilter.request_id": "r",
        "kilter.model": "shop",
        "kilter.version": 3,
        "kilter.records": 2,
        "kilter.anomalies": 1,
        "kilter.rejected": 0,
    }
    (line,) = [line for record in caplog.records if record.message == "request" for line in record.__dict__["lines"]]
    assert line.trace_id == PARENT.split("-")[1]
    assert line.span_id == f"{span.context.span_id:016x}"


def test_a_request_without_a_trace_begins_one(traced: Traced) -> None:
    """Each its own."""
    traced.get("/v1/models")
    traced.get("/v1/models")
    first, second = (span.context for span in traced.spans)
    assert first is not None
    assert second is not None
    assert first.trace_id != second.trace_id


def test_what_the_platform_asks_is_not_traced(traced: Traced) -> None:
    """Health, readiness and metrics, every few seconds, would be most of all spans."""
    for path in ("/healthz", "/readyz", "/metrics"):
        traced.get(path)
    assert traced.spans == ()


def test_a_trace_is_an_example_of_a_duration(traced: Traced) -> None:
    """Where OpenMetrics is asked for, a bucket names a trace that fell into it."""
    traced.get("/v1/models", headers={"traceparent": PARENT})
    shown = traced.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"}).text
    assert f'# {{trace_id="{PARENT.split("-")[1]}"}}' in shown


def test_a_failure_is_one_of_the_span_and_tells_no_value() -> None:
    """A span of a request that the service failed on has status error, and no text of the exception."""
    with Traced(Broken()) as traced:
        traced.post(SCORE, json=RECORD)
        (span,) = traced.spans
    assert span.status.status_code is StatusCode.ERROR
    assert span.events == ()
    assert "52.5" not in span.to_json()


def test_nothing_is_sent_unless_an_endpoint_is_named() -> None:
    """By OpenTelemetry's own variables."""
    assert from_environment({}) is None
    assert from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}) is None
    assert from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}) is None
    assert from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}) is not None


def test_the_service_stands_without_the_extra() -> None:
    """An endpoint that is named is then told of in the log; and without one nothing of the SDK is imported."""
    code = """
import sys
import kilter.service.web.app, kilter.service.commands.serve
from kilter.service.monitoring.telemetry import from_environment
assert from_environment({}) is None
assert not [name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))]
sys.modules["opentelemetry.sdk"] = sys.modules["opentelemetry.exporter"] = None
assert from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}) is None
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pip install 'kilter[telemetry]'" in done.stderr


@given(st.one_of(st.text(), st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True)))
def test_a_trace_id_is_one_by_w3c(header: str) -> None:
    """Of a header that is none there is no id, and never anything but 32 hexadecimal digits that are not all zero."""
    scope = {"headers": [(b"traceparent", header.encode("latin-1", "replace"))]}
    found = trace_id(scope)
    assert found is None or (len(found) == 32 and int(found, 16) > 0 and found in header)
    if header.startswith("00-") and found is None:
        parts = header.split("-")
        assert len(parts) != 4 or "" in parts or int(parts[1], 16) == 0 or int(parts[2], 16) == 0


def test_the_runtime_reports_to_nobody(tmp_path: Path) -> None:
    """ONNX Runtime, whose builds report their use to its makers, keeps nothing in a home folder to report."""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    code = "import kilter.service.detector"
    subprocess.run([sys.executable, "-c", code], env=environment | {"HOME": str(tmp_path)}, check=True)
    assert list(tmp_path.iterdir()) == []


def test_spans_reach_a_collector_before_the_process_ends() -> None:
    """Over OTLP, in the service's name, what was not yet sent included."""
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, gzip.decompress(body) if self.headers["Content-Encoding"] else body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    code = """
import os
from kilter.service.monitoring.telemetry import from_environment
tracing = from_environment(os.environ)
scope = {"method": "GET", "scheme": "http", "path": "/x", "headers": [(b"traceparent", b"%s")]}
tracing.end(tracing.begin(scope), scope, "r", "/x", 200)
"""
    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"
        subprocess.run([sys.executable, "-c", code % PARENT], env=environment, check=True, timeout=60)
        server.shutdown()
        thread.join()
    ((path, body),) = received
    assert path == "/v1/traces"
    assert bytes.fromhex(PARENT.split("-")[1]) in body
    assert b"kilter" in body
