"""FastAPI with a way past its own layers and router for the routes that are asked most."""

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import httptools
from fastapi import FastAPI
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from kilter.service.web.line import Line

_SHORT = "kilter.short"
Endpoint = Callable[[Scope, Receive, Send], Awaitable[None]]
REMEMBERED = 256
"""URLs whose targets are remembered, and the bytes of the longest: clients ask for the same few again and again."""


class Target(NamedTuple):
    """Where a URL leads by the short way."""

    path: str
    raw_path: bytes
    query: bytes
    endpoint: Endpoint
    parameters: Mapping[str, str]
    """Of the path."""


class Application(FastAPI):
    """Hands POST requests for some paths to their endpoints at once; all others go the usual way.

    FastAPI's layers take as long as a verdict does. The endpoints stand in its router all the same: it answers what
    they do not, a wrong method for one, and where the service is mounted below another path.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._short: dict[str, list[tuple[re.Pattern[str], Endpoint]]] = {}
        self._edge: ASGIApp = super().__call__
        self._remembered = lru_cache(REMEMBERED)(self._found)
        self.line = Line()
        """For those who begin requests of the short way."""

    def hasten(self, endpoints: Mapping[str, Endpoint], edge: Callable[[ASGIApp], ASGIApp]) -> None:
        """From now on, endpoints are reached by their paths through an edge alone."""
        for path, endpoint in endpoints.items():
            pattern, _, _ = compile_path(path)
            self._short.setdefault(path.rpartition("/")[2], []).append((pattern, endpoint))
        self._edge = edge(_reached)
        self._remembered.cache_clear()

    def target(self, url: bytes) -> Target | None:
        """Where POST requests for a URL go the short way; None if they do not. Raises httptools.HttpParserError."""
        return self._remembered(url) if len(url) <= REMEMBERED else self._found(url)

    def _found(self, url: bytes) -> Target | None:
        parsed = httptools.parse_url(url)
        path = parsed.path.decode("ascii")
        found = None if "%" in path else self._matched(path)
        return found and Target(path, parsed.path, parsed.query or b"", *found)

    def _matched(self, path: str) -> tuple[Endpoint, dict[str, str]] | None:
        for pattern, endpoint in self._short.get(path.rpartition("/")[2], ()):
            match = pattern.match(path)
            if match is not None:
                return endpoint, match.groupdict()
        return None

    def short(self, scope: Scope) -> bool:
        """Whether a request goes the short way, which needs no task until it waits; notes its endpoint and path."""
        if _SHORT in scope:
            return True
        if scope["type"] != "http" or scope["method"] != "POST" or scope.get("root_path"):
            return False
        found = self._matched(scope["path"])
        if found is not None:
            self.shorten(scope, *found)
        return found is not None

    def shorten(self, scope: Scope, endpoint: Endpoint, parameters: Mapping[str, str]) -> None:
        """Let a request go the short way."""
        scope["endpoint"], scope["path_params"], scope[_SHORT] = endpoint, dict(parameters), True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._edge(scope, receive, send) if self.short(scope) else super().__call__(scope, receive, send))


def _reached(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
    endpoint: Endpoint = scope["endpoint"]
    return endpoint(scope, receive, send)
