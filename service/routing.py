"""The table of routes. From it follow routing, who may ask, the OpenAPI document, and the metrics' labels."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from starlette import types
from starlette.routing import compile_path

from kilter.service.problems import ProblemKind

Json = dict[str, Any]
Endpoint = Callable[..., Awaitable[Any]]
COMPONENT = "#/components/schemas/{name}"
"""Where the OpenAPI document keeps a schema."""
MATCH = "kilter.match"
"""In a scope: the `Match` of a request, where it is known before `Edge` looks for it."""


class Scope(StrEnum):
    """What a token may be used for."""

    # An enumeration's own runs in Python, and every request asks for it.
    __hash__ = str.__hash__

    SCORE = "score"
    ADMIN = "admin"
    METRICS = "metrics"


class Content(NamedTuple):
    """A body as the OpenAPI document describes it, where that depends on the models that serve."""

    by_media_type: Json
    headers: Json = {}  # noqa: RUF012 (never changed)
    schemas: Json = {}  # noqa: RUF012
    """To which it refers."""


@dataclass(frozen=True, eq=False)
class Route:
    """One route: an entry in the list of its family, and its endpoint.

    An endpoint is called with the Starlette request and, where `request` is a struct, with the body as that; it returns
    an instance of `response`, or a Starlette response. It may raise RequestError, and KilterError for what the state of
    the service does not allow. A `direct` endpoint is an ASGI application that reads and answers by itself. What an
    endpoint's docstring says, its first line and the rest, stands in the OpenAPI document.
    """

    method: str
    path: str
    scope: Scope | None
    """None for the platform's questions about health, which are always answered."""
    request: type | Callable[[], Content] | None
    response: Any
    """A pydantic model, a msgspec struct, a list of one, or what describes another content; None if it is a page."""
    endpoint: Endpoint
    tag: str = ""
    """Under which the OpenAPI document lists it; without one, it is not listed."""
    summary: str = ""
    """In the place of the docstring's first line."""
    answer: str = ""
    """What a 200 says, in the place of the first line of the docstring of `response`."""
    problems: tuple[ProblemKind, ...] = ()
    """What the client may be told beside what follows from path, scope and body."""
    failure: ProblemKind | None = None
    """What the client is told when the endpoint raises a KilterError."""
    optional: bool = False
    """Whether the body may be left out."""
    parameters: Callable[[], list[Json]] = list
    """Those in the query and the headers, as the OpenAPI document describes them."""
    request_example: Callable[[], Any] | None = None
    response_example: Callable[[], Any] | None = None
    direct: bool = False


class Match(NamedTuple):
    """Where a path leads."""

    path: str
    """With the names of its parameters in braces: a label that no client can invent."""
    routes: Mapping[str, Route]
    """By method."""
    parameters: Mapping[str, str]
    """Of the path."""


class RouteTable:
    """Finds routes by path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        """Raises ValueError if two routes have the same method and path."""
        self.routes = tuple(routes)
        by_path: dict[str, dict[str, Route]] = {}
        for route in self.routes:
            if by_path.setdefault(route.path, {}).setdefault(route.method, route) is not route:
                raise ValueError(f"there are two routes {route.method} {route.path}")
        self._fixed = {path: Match(path, methods, {}) for path, methods in by_path.items() if "{" not in path}
        self._patterns: dict[str, list[tuple[Any, str]]] = {}
        """By the last part of the path."""
        self._by_path = by_path
        for path in by_path.keys() - self._fixed.keys():
            self._patterns.setdefault(path.rpartition("/")[2], []).append((compile_path(path)[0], path))
        self._open_ended = [pattern for end, some in self._patterns.items() if end.startswith("{") for pattern in some]

    def match(self, path: str) -> Match | None:
        """Where a path leads; None if there is nothing."""
        fixed = self._fixed.get(path)
        if fixed is not None:
            return fixed
        for pattern, template in (*self._patterns.get(path.rpartition("/")[2], ()), *self._open_ended):
            match = pattern.match(path)
            if match is not None:
                return Match(template, self._by_path[template], match.groupdict())
        return None


def path_of(scope: types.Scope) -> str:
    """The path of a request below the one at which the service is mounted."""
    path: str = scope["path"]
    root = scope.get("root_path")
    return path.removeprefix(root) if root else path
