"""Uvicorn's fast protocol, with requests for direct endpoints answered by exchanges."""

import asyncio
import time
from collections import deque
from functools import lru_cache
from typing import Any, cast
from weakref import WeakKeyDictionary

import httptools
from starlette.types import Scope
from uvicorn.protocols.http.flow_control import FlowControl

from kilter.service.fastlane.exchange import Exchange
from kilter.service.routing import MATCH, RouteTable
from kilter.service.upgrades import UpgradeBlindProtocol

MOST = 64
"""Exchanges begun in one turn of the loop: more make no better batches, and hold up probes and new connections."""
FEW = 16  # so many are begun before the loop is asked whether its turn is over, as that costs a turn of its own
REMEMBERED = 256  # how many URLs are remembered, and the length of the longest in bytes: clients send to the same few


class FastLane:
    """The way of short requests through an application, shared by its connections.

    It finds the direct routes of their URLs, and begins their exchanges in the order in which they came.
    """

    def __init__(self, table: RouteTable) -> None:
        self._table = table
        self._remembered = lru_cache(REMEMBERED)(self._look_up)
        self._started = 0
        """Exchanges that were begun in this turn of the loop, and in those before it in which there were few."""
        self._waiting: deque[tuple[float, Exchange]] = deque()

    def find(self, url: bytes) -> Scope | None:
        """The part of a scope that a POST request's URL decides; None if it leads to no route of short answers.

        Raises httptools.HttpParserError.
        """
        return self._remembered(url) if len(url) <= REMEMBERED else self._look_up(url)

    def _look_up(self, url: bytes) -> Scope | None:
        parsed = httptools.parse_url(url)
        path, query = parsed.path.decode("ascii"), parsed.query or b""
        match = None if "%" in path else self._table.match(path)
        route = match and match.routes.get("POST")
        if route is None or not route.direct or route.streams:
            return None
        return {"method": "POST", "path": path, "raw_path": parsed.path, "query_string": query, MATCH: match}

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


_LANES: WeakKeyDictionary[object, FastLane] = WeakKeyDictionary()


def lane_of(app: object) -> FastLane | None:
    """The lane of an application; None if it has no table of routes."""
    table = getattr(app, "table", None)
    if not isinstance(table, RouteTable):
        return None
    return _LANES.get(app) or _LANES.setdefault(app, FastLane(table))


class Flow(FlowControl):
    """Stops reading from a client while its requests wait for the one before them.

    A cycle of uvicorn that watches for its client to leave would read on, and a client that sends faster than it reads
    would fill the memory.
    """

    def __init__(self, transport: asyncio.Transport, waiting: deque[Any]) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        if not self._waiting:
            super().resume_reading()


class FastProtocol(UpgradeBlindProtocol):
    """Answers requests for direct routes by exchanges, if they come in one piece; all others as uvicorn does.

    An exchange begins once the whole piece is parsed. If that is not the whole request, the request is begun anew in
    uvicorn's way.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._lane = lane_of(self.config.app)
        self._parts: list[bytes] | None = None
        """The body of a short request, while it is parsed."""
        self._ready: Exchange | None = None
        self._answering: Any = None
        """The exchange or cycle that is answering while others wait behind it; `cycle` is the last of these."""
        self._idle_since: float | None = None
        """By the loop's clock; None while a request is parsed or answered."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self.flow = Flow(self.transport, self.pipeline)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._ready is not None and self._lane is not None:
            ready, self._ready = self._ready, None
            self._lane.begin(ready, self.loop)
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
        """Whether the parsed head is of a request for a direct route, and all requests before it are answered."""
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
        target = self._lane.find(self.url)
        if target is None:
            return False
        cast(Scope, self.scope).update(target)
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
        """Let the timer run on: at its end it sees whether the connection is idle. A timer per request costs more."""
        self._idle_since = None

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return  # the end of the answer starts another
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
        # These refer to the protocol: without this, all of them would wait for the garbage collector.
        self.cycle = cast(Any, None)
        self._answering = None
        self.pipeline.clear()
