"""What every request passes first: its id, its time, its log line, and an answer when something unforeseen happens."""

import logging
import re
import secrets
import time
from collections.abc import Mapping
from typing import Any

from prometheus_client import Histogram
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.auth import Guard
from service.body import header
from service.deadline import deadline_of
from service.metrics import Metrics
from service.notes import notes_of
from service.problems import INTERNAL, RequestError, reply
from service.registry import Registry
from service.telemetry import Traced, Tracing, trace_id

log = logging.getLogger(__name__)
CLIENT_LEFT = 499
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUIET = frozenset({"/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})

_SAFE = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
"""On every answer: nobody guesses its type, and nobody keeps what may be a verdict."""
_SAFE_TLS = (*_SAFE, (b"strict-transport-security", b"max-age=31536000"))


class Edge:
    """ASGI middleware; `routes` maps a route's endpoint to its path, so that no client can invent a label."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        routes: Mapping[Any, str],
        guard: Guard,
        registry: Registry,
        tracing: Tracing | None = None,
    ) -> None:
        self._app = app
        self._guard = guard
        self._registry = registry
        self._metrics = metrics
        self._routes = routes
        self._tracing = tracing
        self._durations: dict[tuple[str, int], Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        given = header(scope, b"x-request-id")
        request_id = given if _ID.fullmatch(given) else secrets.token_hex(8)
        notes = notes_of(scope)
        notes.request_id = request_id
        status = CLIENT_LEFT
        safe = _SAFE_TLS if scope.get("scheme") == "https" else _SAFE
        traced = self._tracing.begin(scope) if self._tracing and scope["path"] not in _QUIET else None

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode()), *safe]
                if self._registry.stopping:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        self._metrics.in_flight.inc()
        try:
            self._guard.check(scope)
            notes.deadline = deadline_of(scope)
            await self._app(scope, receive, send_marked)
        except RequestError as refused:
            await reply(scope, refused)(scope, receive, send_marked)
        except ClientDisconnect:
            pass  # nobody is there to be told
        except Exception:
            log.exception("request failed", extra={"fields": {"request_id": request_id, **_trace(traced, scope)}})
            if status == CLIENT_LEFT:
                text = f"the service failed on this request; its log tells more under request id {request_id}"
                await reply(scope, RequestError(INTERNAL, text))(scope, receive, send_marked)
        finally:
            self._metrics.in_flight.dec()
        self._done(scope, request_id, status, time.perf_counter() - began, traced)

    def _done(self, scope: Scope, request_id: str, status: int, seconds: float, traced: Traced | None) -> None:
        route = self._routes.get(scope.get("endpoint"), "other")
        duration = self._durations.get((route, status))
        if duration is None:
            duration = self._durations[route, status] = self._metrics.requests.labels(route, str(status))
        duration.observe(seconds, {"trace_id": traced.trace_id} if traced and traced.sampled else None)
        level = logging.DEBUG if route in _QUIET else logging.INFO
        if log.isEnabledFor(level):
            fields = {
                "request_id": request_id,
                "method": scope["method"],
                "path": scope["path"][:200],
                "status": status,
                "milliseconds": round(seconds * 1000, 3),
                **notes_of(scope).fields(),
                **_trace(traced, scope),
            }
            # As `log.log` does, but for the place in the code, whose search takes as long as all the rest.
            log.handle(log.makeRecord(log.name, level, __file__, 0, "request", (), None, extra={"fields": fields}))
        if self._tracing and traced:
            self._tracing.end(traced, scope, request_id, route, status)


def _trace(traced: Traced | None, scope: Scope) -> dict[str, str]:
    """The ids by which a log line is found from a trace: of the request's span, or of the trace that it came with."""
    if traced is not None:
        return {"trace_id": traced.trace_id, "span_id": traced.span_id}
    given = trace_id(scope)
    return {} if given is None else {"trace_id": given}
