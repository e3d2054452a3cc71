"""From the table of routes to what a web framework calls: bodies in, answers and problems out."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel
from starlette import types
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from kilter.service.detector import KilterError
from kilter.service.formats import JSON
from kilter.service.models.registry import NotThereError, RefusedError
from kilter.service.problems import (
    BAD_BODY,
    BAD_PARAMETER,
    BAD_RECORDS,
    LINES,
    LISTED,
    MEDIA_TYPE,
    REFUSED,
    TOO_LARGE,
    UNKNOWN_MODEL,
    WRONG_TYPE,
    ProblemDetails,
    ProblemEntry,
    ProblemKind,
    RequestError,
)
from kilter.service.protection.auth import administrator
from kilter.service.routing import Route, Scope, path_of

BODY_BYTES = 64 * 1024
PROTOCOL = "/v2"
"""Paths that begin so answer in the form of the Open Inference Protocol."""
T = TypeVar("T")


def handler(route: Route) -> Callable[[Request], Awaitable[Response]]:
    """What answers requests for a route that is not direct."""

    async def handle(request: Request) -> Response:
        if route.scope is Scope.ADMIN:
            administrator(request.scope)
        arguments: list[Any] = [await read_body(request, route.request)] if isinstance(route.request, type) else []
        with failing_as(route.failure):
            answer = await route.endpoint(request, *arguments)
        return answer if isinstance(answer, Response) else Response(_encoded(answer), media_type=JSON)

    return handle


def _encoded(answer: Any) -> bytes:
    if isinstance(answer, BaseModel):
        return answer.model_dump_json(by_alias=True).encode()
    return msgspec.json.encode(answer)


def _number(text: str) -> int | float:
    """To JSON Schema 2.0 is an integer."""
    number = float(text)
    return int(number) if number.is_integer() else number


_DECODER = msgspec.json.Decoder(float_hook=_number)


async def read_body(request: Request, kind: type[T]) -> T:
    """What a short body says in JSON; an empty one says `{}`. Raises RequestError."""
    stated = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if stated != JSON or request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RequestError(WRONG_TYPE, f"send {JSON}, without Content-Encoding", headers={"Accept": JSON})
    sent = bytearray()
    try:
        async for part in request.stream():
            sent += part
            if len(sent) > BODY_BYTES:
                raise RequestError(TOO_LARGE, f"the body is longer than {BODY_BYTES:,} bytes")
        return msgspec.convert(_DECODER.decode(sent or b"{}"), kind)
    except msgspec.ValidationError as error:
        raise RequestError(BAD_PARAMETER, f"the body does not say what is needed: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(BAD_BODY, f"the body is not JSON: {error}") from None
    except ClientDisconnect:
        raise RequestError(BAD_BODY, "the body ended early") from None


@contextmanager
def failing_as(kind: ProblemKind | None) -> Iterator[None]:
    """Tell a client what is not possible; what the domain does not tell apart is a problem of that kind, if any."""
    try:
        yield
    except NotThereError as error:
        raise RequestError(UNKNOWN_MODEL, str(error)) from None
    except RefusedError as error:
        raise RequestError(REFUSED, str(error)) from None
    except KilterError as error:
        if kind is None:
            raise
        raise RequestError(kind, str(error)) from None


def status_of(kind: ProblemKind, path: str) -> int:
    """The status of a problem; clients of the protocol expect a 400 where the request's content is wrong."""
    return BAD_BODY.status if is_protocol(path) and kind.status == BAD_RECORDS.status else kind.status


def is_protocol(path: str) -> bool:
    """Whether a path is of the Open Inference Protocol, which has a form of its own for problems."""
    return path.startswith(PROTOCOL)


def reply(scope: types.Scope, problem: RequestError) -> Response:
    """The problem in the form that a request's path asks for."""
    path, kind = path_of(scope), problem.kind
    if is_protocol(path):
        lines = [problem.detail, *map(str, problem.problems[:LINES])]
        if len(problem.problems) > LINES:
            lines.append(f"... and {len(problem.problems) - LINES} more")
        body, media_type = msgspec.json.encode({"error": "\n".join(lines)}), JSON
    else:
        entries = [ProblemEntry(*entry) for entry in problem.problems[:LISTED]]
        details = ProblemDetails(f"/docs#{kind.slug}", kind.title, kind.status, problem.detail, entries)
        body, media_type = msgspec.json.encode(details), MEDIA_TYPE
    headers = dict(problem.headers) if problem.headers else None
    return Response(body, status_of(kind, path), headers, media_type=media_type)
