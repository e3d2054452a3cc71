"""What every request passes first: its id, its time, its log line, and an answer when something unforeseen happens."""

import itertools
import logging
import re
import secrets
import time
from collections.abc import Mapping
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kilter.service.models.registry import Registry
from kilter.service.monitoring.logs import QUIET, Ledger, trace_fields
from kilter.service.monitoring.metrics import Metrics
from kilter.service.monitoring.telemetry import Tracing
from kilter.service.problems import INTERNAL, RequestError, reply
from kilter.service.protection.auth import Guard
from kilter.service.request import TIMEOUT_HEADERS, WAITED, deadline_of, header, headers, notes_of

log = logging.getLogger(__name__)
CLIENT_LEFT = 499
_BITS = 2**64 - 1
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

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
        ledger: Ledger,
        tracing: Tracing | None = None,
    ) -> None:
        self._app = app
        self._guard = guard
        self._registry = registry
        self._ledger = ledger
        self._metrics = metrics
        self._routes = routes
        self._tracing = tracing
        self._ids = itertools.count(secrets.randbits(64))

    def _id_of(self, given: str) -> str:
        """The id that a request came with, if it is one, or the next one of ours: they begin anywhere in 64 bits."""
        return given if given and _ID.fullmatch(given) else f"{next(self._ids) & _BITS:016x}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter() - scope.get(WAITED, 0.0)
        notes = notes_of(scope)
        sent = headers(scope)
        notes.request_id = request_id = self._id_of(header(scope, b"x-request-id") if b"x-request-id" in sent else "")
        status = CLIENT_LEFT
        safe = _SAFE_TLS if scope.get("scheme") == "https" else _SAFE
        traced = self._tracing.begin(scope) if self._tracing and scope["path"] not in QUIET else None

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode()), *safe]
                if self._registry.stopping:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        self._metrics.flying += 1
        try:
            self._guard.check(scope)
            if not TIMEOUT_HEADERS.isdisjoint(sent):
                notes.deadline = deadline_of(scope)
            await self._app(scope, receive, send_marked)
        except RequestError as refused:
            await reply(scope, refused)(scope, receive, send_marked)
        except ClientDisconnect:
            pass  # nobody is there to be told
        except Exception:
            log.exception("request failed", extra={"fields": {"request_id": request_id, **trace_fields(traced, scope)}})
            if status == CLIENT_LEFT:
                text = f"the service failed on this request; its log tells more under request id {request_id}"
                await reply(scope, RequestError(INTERNAL, text))(scope, receive, send_marked)
        finally:
            self._metrics.flying -= 1
        route = self._routes.get(scope.get("endpoint"), "other")
        self._ledger.add(scope, route, status, time.perf_counter() - began, notes, traced)
        if self._tracing and traced:
            self._tracing.end(traced, scope, request_id, route, status)
