"""Traces by OpenTelemetry: a span for every request, with the extra `telemetry` and an endpoint to send them to.

A request with a W3C trace context continues its trace, whose id its log line has, with the extra or without it.
"""

import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from starlette.types import Scope

from kilter import __version__
from kilter.service.request import header_of, headers_of, notes_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

log = logging.getLogger(__name__)
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
TIMEOUT = "OTEL_EXPORTER_OTLP_TIMEOUT"
SECONDS = 2.0
"""For a batch of spans to be taken unless `TIMEOUT` says otherwise; a collector that is away holds up the end by it."""
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


class RequestSpan(NamedTuple):
    """The span of a request, and the ids that its log line holds."""

    span: "Span"
    trace_id: str
    span_id: str
    sampled: bool


class Tracing:
    """Begins and ends the spans of requests; the provider decides where they go."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = provider.get_tracer("kilter", __version__)
        self._server, self._error = SpanKind.SERVER, Status(StatusCode.ERROR)
        self._context = TraceContextTextMapPropagator()

    def begin(self, scope: Scope) -> RequestSpan:
        """The span of a request, in the trace that the request came with, or in one of its own."""
        carrier = {name: header_of(scope, name.encode()) for name in ("traceparent", "tracestate")}
        context = self._context.extract({name: value for name, value in carrier.items() if value})
        method = scope["method"][:20]
        attributes = {"http.request.method": method, "url.scheme": scope["scheme"], "url.path": scope["path"][:200]}
        span = self._tracer.start_span(method, context, self._server, attributes)
        identity = span.get_span_context()
        return RequestSpan(span, f"{identity.trace_id:032x}", f"{identity.span_id:016x}", identity.trace_flags.sampled)

    def end(self, traced: RequestSpan, scope: Scope, request_id: str, route: str, status: int) -> None:
        """End a request's span, called by its route, with what its log line tells."""
        span = traced.span
        span.update_name(f"{scope['method'][:20]} {route}")
        span.set_attributes({"http.route": route, "http.response.status_code": status, "kilter.request_id": request_id})
        span.set_attributes({f"kilter.{name}": value for name, value in notes_of(scope).fields().items()})
        if status >= 500:
            span.set_status(self._error)
        span.end()


def from_environment(environ: Mapping[str, str]) -> Tracing | None:
    """Tracing by OpenTelemetry's own variables; None where they name no endpoint or the extra is not installed."""
    named = [name for name in ENDPOINTS if environ.get(name)]
    if not named or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("%s is set, and no traces are sent: pip install 'kilter[telemetry]'", named[0])
        return None
    name = {} if environ.get("OTEL_SERVICE_NAME") else {"service.name": "kilter"}
    provider = TracerProvider(resource=Resource.create({**name, "service.version": __version__}))
    exporter = OTLPSpanExporter(timeout=None if environ.get(TIMEOUT) else SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracing(provider)


def trace_id(scope: Scope) -> str | None:
    """The id of the trace that a request came with, by its header `traceparent`."""
    if b"traceparent" not in headers_of(scope):
        return None
    given = _TRACEPARENT.fullmatch(header_of(scope, b"traceparent"))
    return given[1] if given else None
