"""What every request passes first: its id, its time, its log line, and an answer when something unforeseen happens."""

import logging
import re
import secrets
import time
from collections.abc import Mapping
from typing import Any

from prometheus_client import Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.body import header
from service.metrics import Metrics
from service.problems import INTERNAL, RequestError, respond

log = logging.getLogger(__name__)
CLIENT_LEFT = 499
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})


class Edge:
    """ASGI middleware; `routes` maps a route's endpoint to its path, so that no client can invent a label."""

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: Mapping[Any, str]) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes
        self._durations: dict[tuple[str, int], Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        given = header(scope, b"x-request-id")
        request_id = given if _ID.fullmatch(given) else secrets.token_hex(8)
        status = CLIENT_LEFT

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, send_marked)
        except Exception:
            log.exception("request failed", extra={"fields": {"request_id": request_id}})
            if status == CLIENT_LEFT:
                text = f"the service failed on this request; its log tells more under request id {request_id}"
                await respond(RequestError(INTERNAL, text))(scope, receive, send_marked)
        finally:
            self._metrics.in_flight.dec()
        self._done(scope, request_id, status, time.perf_counter() - began)

    def _done(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = self._routes.get(scope.get("endpoint"), "other")
        duration = self._durations.get((route, status))
        if duration is None:
            duration = self._durations[route, status] = self._metrics.requests.labels(route, str(status))
        duration.observe(seconds)
        level = logging.DEBUG if route in _QUIET else logging.INFO
        if log.isEnabledFor(level):
            fields = {
                "request_id": request_id,
                "method": scope["method"],
                "path": scope["path"][:200],
                "status": status,
                "milliseconds": round(seconds * 1000, 3),
            }
            log.log(level, "request", extra={"fields": fields})
