"""The table of routes, from which routing, access, the OpenAPI document and the labels of metrics follow."""

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
MATCH = "kilter.match"  # in a scope: the `Match` of a request, if it is known before `Edge` looks it up


class Scope(StrEnum):
    """What a token may be used for."""

    # An enumeration's own hash runs in Python, and every request needs it.
    __hash__ = str.__hash__

    SCORE = "score"
    ADMIN = "admin"
    METRICS = "metrics"


class Content(NamedTuple):
    """A body as the OpenAPI document describes it, if that depends on the models that serve."""

    by_media_type: Json
    headers: Json = {}  # noqa: RUF012 (never changed)
    schemas: Json = {}  # noqa: RUF012
    """Those to which the body refers."""


@dataclass(frozen=True, eq=False)
class Route:
    """One route: a method and path, its endpoint, and what the OpenAPI document says of it.

    An endpoint is called with the Starlette request and, if `request` is a struct, with the body as one; it returns an
    instance of `response`, or a Starlette response. It may raise RequestError, and KilterError for what the state of
    the service does not allow. A `direct` endpoint is an ASGI application that reads and answers by itself. The first
    line of an endpoint's docstring is the summary in the OpenAPI document, and the rest is the description.
    """

    method: str
    path: str
    scope: Scope | None
    """Of the token that it needs; None for health, which needs none."""
    request: type | Callable[[], Content] | None
    response: Any
    """A pydantic model, a msgspec struct, a list of one, or a function that gives a `Content`; None for a page."""
    endpoint: Endpoint
    tag: str = ""
    """Its heading in the OpenAPI document, which does not list it without one."""
    summary: str = ""
    """Replaces the docstring's first line."""
    answer: str = ""
    """The description of a 200, which replaces the first line of the docstring of `response`."""
    problems: tuple[ProblemKind, ...] = ()
    """Those that may be answered beside the ones that follow from path, scope and body."""
    failure: ProblemKind | None = None
    """The problem that a KilterError of the endpoint becomes."""
    optional: bool = False
    """Whether the body may be left out."""
    parameters: Callable[[], list[Json]] = list
    """Of the query and the headers, as the OpenAPI document describes them."""
    request_example: Callable[[], Any] | None = None
    response_example: Callable[[], Any] | None = None
    direct: bool = False
    streams: bool = False
    """Whether it answers while its body comes."""


class Match(NamedTuple):
    """The routes that a path leads to."""

    path: str
    """With the names of its parameters in braces: a label that no client can invent."""
    routes: Mapping[str, Route]
    """By method."""
    parameters: Mapping[str, str]
    """Values of the path's parameters by name."""


class RouteTable:
    """Finds routes by path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        """Raises ValueError if two routes have the same method and path."""
        self.routes = tuple(routes)
        self._by_path: dict[str, dict[str, Route]] = {}
        for route in self.routes:
            if self._by_path.setdefault(route.path, {}).setdefault(route.method, route) is not route:
                raise ValueError(f"there are two routes {route.method} {route.path}")
        self._fixed = {path: Match(path, methods, {}) for path, methods in self._by_path.items() if "{" not in path}
        self._patterns: dict[str, list[tuple[Any, str]]] = {}
        """By the last part of the path."""
        for path in self._by_path.keys() - self._fixed.keys():
            self._patterns.setdefault(path.rpartition("/")[2], []).append((compile_path(path)[0], path))
        self._open_ended = [pattern for end, some in self._patterns.items() if end.startswith("{") for pattern in some]

    def match(self, path: str) -> Match | None:
        """Find the routes of a path; None if there are none."""
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
