"""What every request passes first: its id, its time, its log line, and an answer when something unforeseen happens."""

import itertools
import logging
import re
import secrets
import time

from fastapi import FastAPI
from starlette import types
from starlette.requests import ClientDisconnect

from kilter.service.models.registry import Registry
from kilter.service.monitoring.logs import QUIET, Ledger, trace_fields
from kilter.service.monitoring.metrics import Metrics
from kilter.service.monitoring.telemetry import Tracing
from kilter.service.problems import INTERNAL, WRONG_METHOD, RequestError, no_route
from kilter.service.protection.auth import Guard
from kilter.service.request import TIMEOUT_HEADERS, WAITED, deadline_of, header_of, headers_of, notes_of
from kilter.service.routing import MATCH, Match, RouteTable, Scope, path_of
from kilter.service.web.handlers import reply

log = logging.getLogger(__name__)
CLIENT_LEFT = 499
_BITS = 2**64 - 1
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

_SAFE = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
"""On every answer: nobody guesses its type, and nobody keeps what may be a verdict."""
_SAFE_TLS = (*_SAFE, (b"strict-transport-security", b"max-age=31536000"))


class Edge:
    """ASGI: finds the route of every request, asks the guard, and hands it to the endpoint or to the framework."""

    def __init__(
        self,
        app: FastAPI,
        table: RouteTable,
        guard: Guard,
        registry: Registry,
        metrics: Metrics,
        ledger: Ledger,
        tracing: Tracing | None = None,
    ) -> None:
        self.app = app
        self.table = table
        self._guard = guard
        self._registry = registry
        self._metrics = metrics
        self._ledger = ledger
        self._tracing = tracing
        self._ids = itertools.count(secrets.randbits(64))

    def _id_of(self, given: str) -> str:
        """The id that a request came with, if it is one, or the next one of ours: they begin anywhere in 64 bits."""
        return given if given and _ID.fullmatch(given) else f"{next(self._ids) & _BITS:016x}"

    async def __call__(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter() - scope.get(WAITED, 0.0)
        notes = notes_of(scope)
        sent = headers_of(scope)
        notes.request_id = request_id = self._id_of(
            header_of(scope, b"x-request-id") if b"x-request-id" in sent else ""
        )
        status = CLIENT_LEFT
        safe = _SAFE_TLS if scope.get("scheme") == "https" else _SAFE
        traced = self._tracing.begin(scope) if self._tracing and scope["path"] not in QUIET else None

        async def send_marked(message: types.Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode()), *safe]
                if self._registry.stopping:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        self._metrics.flying += 1
        match = scope.get(MATCH) or self.table.match(path_of(scope))
        route = None if match is None else match.routes.get(scope["method"])
        try:
            self._guard.check(scope, route.scope if route is not None else _scope_of(match))
            if not TIMEOUT_HEADERS.isdisjoint(sent):
                notes.deadline = deadline_of(scope)
            if match is None or route is None:
                raise _refusal(scope, match)  # noqa: TRY301
            if route.direct:
                scope["path_params"] = match.parameters
                await route.endpoint(scope, receive, send_marked)
            else:
                await self.app(scope, receive, send_marked)
        except RequestError as refused:
            await reply(scope, refused)(scope, receive, send_marked)
        except ClientDisconnect:
            pass  # nobody is there to be told
        except Exception:
            log.exception("request failed", extra={"fields": {"request_id": request_id, **trace_fields(traced, scope)}})
            if status == CLIENT_LEFT:
                await reply(scope, unforeseen(scope))(scope, receive, send_marked)
        finally:
            self._metrics.flying -= 1
        label = "other" if match is None else match.path
        self._ledger.add(scope, label, status, time.perf_counter() - began, notes, traced)
        if self._tracing and traced:
            self._tracing.end(traced, scope, request_id, label, status)


def _scope_of(match: Match | None) -> Scope | None:
    """What a request needs a token for that will be told that there is no such path or method."""
    return Scope.SCORE if match is None else next(iter(match.routes.values())).scope


def _refusal(scope: types.Scope, match: Match | None) -> RequestError:
    """What is told if there is nothing at a request's path, or not for its method."""
    if match is None:
        return no_route(scope)
    place = f"{scope['method'][:20]} {scope['path'][:200]}"
    allowed = {"Allow": ", ".join(sorted(match.routes))}
    return RequestError(WRONG_METHOD, f"{place} is not possible: the header Allow says what is", headers=allowed)


def unforeseen(scope: types.Scope) -> RequestError:
    """What is told of a fault of the service."""
    request_id = notes_of(scope).request_id
    return RequestError(
        INTERNAL, f"the service failed on this request; its log tells more under request id {request_id}"
    )
