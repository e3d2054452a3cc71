"""HTTP itself: what every request passes first, and how bodies are read, answers written and problems told."""

import itertools
import logging
import re
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from fastapi import FastAPI
from pydantic import BaseModel
from starlette import types
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from kilter.service import problems
from kilter.service.detector import KilterError
from kilter.service.formats import JSON
from kilter.service.models.registry import NotThereError, RefusedError
from kilter.service.monitoring.logs import QUIET, trace_fields
from kilter.service.monitoring.telemetry import Tracing
from kilter.service.problems import ProblemDetails, ProblemEntry, ProblemKind, RequestError
from kilter.service.protection.auth import administrator
from kilter.service.request import TIMEOUT_HEADERS, WAITED, deadline_of, header_of, headers_of, notes_of
from kilter.service.routes.context import Context
from kilter.service.routing import MATCH, Match, Route, RouteTable, Scope, path_of

log = logging.getLogger(__name__)
CLIENT_LEFT = 499
PROTOCOL = "/v2"  # paths below it answer in the form of the Open Inference Protocol
BODY_BYTES = 64 * 1024  # the longest body of a route that is not direct
_KINDS: dict[type, ProblemKind] = {NotThereError: problems.UNKNOWN_MODEL, RefusedError: problems.REFUSED}
"""Errors of the domain that are problems of the same kind on every route."""
_BITS = 2**64 - 1
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SAFE = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
"""On every answer: no browser guesses its type, and no cache keeps what may be a verdict."""
_SAFE_TLS = (*_SAFE, (b"strict-transport-security", b"max-age=31536000"))


class Edge:
    """ASGI: finds the route of every request, asks the guard, and hands it to the endpoint or to the framework."""

    def __init__(self, app: FastAPI, table: RouteTable, context: Context, tracing: Tracing | None = None) -> None:
        self.app = app
        self.table = table
        self._guard = context.guard
        self._registry = context.registry
        self._metrics = context.metrics
        self._ledger = context.ledger
        self._tracing = tracing
        self._ids = itertools.count(secrets.randbits(64))

    def id_of(self, stated: str) -> str:
        """The id that a request states, if it is a plain word, or else the next one of a count that begins anywhere."""
        return stated if stated and _ID.fullmatch(stated) else f"{next(self._ids) & _BITS:016x}"

    async def __call__(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter() - scope.get(WAITED, 0.0)
        notes = notes_of(scope)
        sent = headers_of(scope)
        stated = header_of(scope, b"x-request-id") if b"x-request-id" in sent else ""
        notes.request_id = request_id = self.id_of(stated)
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
            # To learn that a method does not exist takes the scope of another at its path.
            wanted = Scope.SCORE if match is None else (route or next(iter(match.routes.values()))).scope
            self._guard.check(scope, wanted)
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
            if status == CLIENT_LEFT:
                await reply(scope, refused)(scope, receive, send_marked)
            else:  # of a stream, whose answer has begun
                status = refused.kind.status
                fields = {"request_id": request_id, "status": status, "why": refused.detail}
                log.warning("answer cut off", extra={"fields": fields})
        except ClientDisconnect:
            status = CLIENT_LEFT  # nobody is there to be answered
        except Exception:
            log.exception("request failed", extra={"fields": {"request_id": request_id, **trace_fields(traced, scope)}})
            if status == CLIENT_LEFT:
                await reply(scope, internal_error(scope))(scope, receive, send_marked)
            status = problems.INTERNAL.status
        finally:
            self._metrics.flying -= 1
        label = "other" if match is None else match.path
        self._ledger.add(scope, label, status, time.perf_counter() - began, notes, traced)
        if self._tracing and traced:
            self._tracing.end(traced, scope, request_id, label, status)


def _refusal(scope: types.Scope, match: Match | None) -> RequestError:
    """The problem of a request for a path or method that does not exist."""
    if match is None:
        return problems.no_route(scope)
    place = f"{scope['method'][:20]} {scope['path'][:200]}"
    text = f"{place} is not possible: the header Allow says what is"
    return RequestError(problems.WRONG_METHOD, text, headers={"Allow": ", ".join(sorted(match.routes))})


def internal_error(scope: types.Scope) -> RequestError:
    """The problem of a request on which the service itself failed."""
    text = f"the service failed on this request; its log tells more under request id {notes_of(scope).request_id}"
    return RequestError(problems.INTERNAL, text)


def make_handler(route: Route) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    """Make the function that answers requests for a route that is not direct."""

    async def handle(request: Request) -> Response:
        if route.scope is Scope.ADMIN:
            administrator(request.scope)
        arguments: list[Any] = [await read_body(request, route.request)] if isinstance(route.request, type) else []
        try:
            answer = await route.endpoint(request, *arguments)
        except KilterError as error:
            kind = _KINDS.get(type(error), route.failure)
            if kind is None:
                raise
            raise RequestError(kind, str(error)) from None
        if isinstance(answer, Response):
            return answer
        model = isinstance(answer, BaseModel)
        content = answer.model_dump_json(by_alias=True) if model else msgspec.json.encode(answer)
        return Response(content, media_type=JSON)

    return handle


def _number(text: str) -> int | float:
    """Read a number with a point; 2.0 is an integer, as JSON Schema has it."""
    number = float(text)
    return int(number) if number.is_integer() else number


_DECODER = msgspec.json.Decoder(float_hook=_number)


async def read_body(request: Request, kind: type) -> Any:
    """Read a short body of JSON; an empty one stands for `{}`. Raises RequestError."""
    stated = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if stated != JSON or request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RequestError(problems.WRONG_TYPE, f"send {JSON}, without Content-Encoding", headers={"Accept": JSON})
    sent = bytearray()
    try:
        async for part in request.stream():
            sent += part
            if len(sent) > BODY_BYTES:
                raise RequestError(problems.TOO_LARGE, f"the body is longer than {BODY_BYTES:,} bytes")
        return msgspec.convert(_DECODER.decode(sent or b"{}"), kind)
    except msgspec.ValidationError as error:
        raise RequestError(problems.BAD_PARAMETER, f"the body does not fit: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(problems.BAD_BODY, f"the body is not JSON: {error}") from None
    except ClientDisconnect:
        raise RequestError(problems.BAD_BODY, "the body ended early") from None


def status_of(kind: ProblemKind, path: str) -> int:
    """The status of a problem; clients of the protocol expect a 400 if the content of a request is wrong."""
    return problems.BAD_BODY.status if is_protocol(path) and kind.status == problems.BAD_RECORDS.status else kind.status


def is_protocol(path: str) -> bool:
    """Whether a path belongs to the Open Inference Protocol, which has its own form for problems."""
    return path.startswith(PROTOCOL)


def reply(scope: types.Scope, problem: RequestError) -> Response:
    """Write a problem in the form that belongs to a request's path."""
    path, kind = path_of(scope), problem.kind
    if is_protocol(path):
        lines = [problem.detail, *map(str, problem.problems[: problems.LINES])]
        if len(problem.problems) > problems.LINES:
            lines.append(f"... and {len(problem.problems) - problems.LINES} more")
        body, media_type = msgspec.json.encode({"error": "\n".join(lines)}), JSON
    else:
        entries = [ProblemEntry(*entry) for entry in problem.problems[: problems.LISTED]]
        details = ProblemDetails(f"/docs#{kind.slug}", kind.title, kind.status, problem.detail, entries)
        body, media_type = msgspec.json.encode(details), problems.MEDIA_TYPE
    headers = dict(problem.headers) if problem.headers else None
    return Response(body, status_of(kind, path), headers, media_type=media_type)
