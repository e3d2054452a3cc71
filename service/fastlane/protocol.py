"""Uvicorn's fast protocol, with requests for direct endpoints answered by exchanges."""

import asyncio
import time
from collections import deque
from functools import lru_cache
from typing import Any, NamedTuple, cast
from weakref import WeakKeyDictionary

import httptools
from starlette.types import Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kilter.service.fastlane.exchange import Exchange
from kilter.service.routing import MATCH, Match, RouteTable

MOST = 64
"""More would make no better batches, and would hold up what else the loop has to do: probes, and new connections."""
FEW = 16
"""Before there are as many, nobody looks whether the turn is over: that costs a turn of its own."""
REMEMBERED = 256
"""URLs whose targets are remembered, and the bytes of the longest: clients ask for the same few again and again."""


class Target(NamedTuple):
    """Where a URL leads."""

    path: str
    raw_path: bytes
    query: bytes
    match: Match


class TargetFinder:
    """Finds the direct routes that URLs of POST requests lead to."""

    def __init__(self, table: RouteTable) -> None:
        self._table = table
        self._remembered = lru_cache(REMEMBERED)(self._look_up)

    def find(self, url: bytes) -> Target | None:
        """Where POST requests for a URL go; None if not to a direct route. Raises httptools.HttpParserError."""
        return self._remembered(url) if len(url) <= REMEMBERED else self._look_up(url)

    def _look_up(self, url: bytes) -> Target | None:
        parsed = httptools.parse_url(url)
        path = parsed.path.decode("ascii")
        match = None if "%" in path else self._table.match(path)
        route = match and match.routes.get("POST")
        if match is None or route is None or not route.direct:
            return None
        return Target(path, parsed.path, parsed.query or b"", match)


class Line:
    """Begins exchanges in the order in which they came."""

    def __init__(self) -> None:
        self._started = 0
        """In this turn, and in those before it in which there were few."""
        self._waiting: deque[tuple[float, Exchange]] = deque()

    def begin(self, exchange: Exchange, loop: asyncio.AbstractEventLoop) -> None:
        """Begin an exchange, now or in a later turn of the loop."""
        if self._started >= MOST:
            self._waiting.append((time.perf_counter(), exchange))
            return
        self._started += 1
        if self._started == FEW:
            loop.call_soon(self._turn, loop)
        exchange.begin()

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """A turn of the loop is over: begin those that wait, as many as may be."""
        self._started = min(MOST, len(self._waiting))
        for _ in range(self._started):
            arrived, exchange = self._waiting.popleft()
            exchange.begin(time.perf_counter() - arrived)
        if self._started >= FEW:
            loop.call_soon(self._turn, loop)


class FastLane(NamedTuple):
    """What the connections of an application share."""

    targets: TargetFinder
    line: Line


_LANES: WeakKeyDictionary[object, FastLane] = WeakKeyDictionary()


def lane_of(app: object) -> FastLane | None:
    """The lane of an application; None if it has no table of routes."""
    table = getattr(app, "table", None)
    if not isinstance(table, RouteTable):
        return None
    lane = _LANES.get(app)
    if lane is None:
        lane = _LANES[app] = FastLane(TargetFinder(table), Line())
    return lane


class Flow(FlowControl):
    """Reads no more from a client while requests of it wait for the one before them.

    A cycle of uvicorn that looks out for its client to leave would read on, and a client that sends faster than it
    reads would fill the memory.
    """

    def __init__(self, transport: asyncio.Transport, waiting: deque[Any]) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        if not self._waiting:
            super().resume_reading()


class FastProtocol(HttpToolsProtocol):
    """Answers requests for direct routes by exchanges, if they come as a whole; all others as uvicorn does.

    An exchange begins when all that has come in one piece is taken in. Where that is not the whole of a request, the
    request is begun anew in uvicorn's way.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._lane = lane_of(self.config.app)
        self._parts: list[bytes] | None = None
        """The body of a short request, while it is taken in."""
        self._ready: Exchange | None = None
        self._answering: Any = None
        """The exchange or cycle whose turn it is, where others wait behind it: `cycle` is the last one of them."""
        self._idle_since: float | None = None
        """By the loop's clock; None while a request is taken in or answered."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self.flow = Flow(self.transport, self.pipeline)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._ready is not None and self._lane is not None:
            ready, self._ready = self._ready, None
            self._lane.line.begin(ready, self.loop)
        elif self._parts is not None:
            parts, self._parts = self._parts, None
            super().on_headers_complete()
            for part in parts:
                super().on_body(part)

    def on_headers_complete(self) -> None:
        if self._is_short():
            self._parts = []
            return
        before = self.cycle
        super().on_headers_complete()
        if self._answering is None and self.pipeline:
            self._answering = before

    def _is_short(self) -> bool:
        """Whether the request whose head has come is for a direct route, with none before it that is not answered."""
        parser = self.parser
        if (
            self._lane is None
            or self.root_path
            or parser.get_method() != b"POST"
            or parser.get_http_version() != "1.1"
            or parser.should_upgrade()
            or self.expect_100_continue
            or (self.cycle is not None and not self.cycle.response_complete)
        ):
            return False
        target = self._lane.targets.find(self.url)
        if target is None:
            return False
        scope = cast(Scope, self.scope)
        scope["method"], scope["path"], scope["raw_path"] = "POST", target.path, target.raw_path
        scope["query_string"] = target.query
        scope[MATCH] = target.match
        return True

    def on_body(self, body: bytes) -> None:
        if self._parts is None:
            super().on_body(body)
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._parts is None:
            super().on_message_complete()
            return
        body, self._parts = b"".join(self._parts), None
        keep_alive = self.parser.should_keep_alive()
        self._ready = Exchange(self, cast(Any, self.app), cast(Scope, self.scope), body, keep_alive=keep_alive)
        self.cycle = cast(Any, self._ready)

    def on_response_complete(self) -> None:
        self._answering = self.pipeline[-1][0] if self.pipeline else None
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._close_after(self.timeout_keep_alive)

    def _unset_keepalive_if_required(self) -> None:
        """Let the timer run on: by itself it sees whether it was for nothing, and each request would need another."""
        self._idle_since = None

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return  # the end of the answer begins another
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._close_after(left)
        else:
            super().timeout_keep_alive_handler()

    def _close_after(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        # These hold their protocol: all of them would wait for the garbage collector.
        self.cycle = cast(Any, None)
        self._answering = None
        self.pipeline.clear()
