"""Requests on the wire: short ones by exchanges, all others in uvicorn's way."""

import asyncio
import gc
import inspect
import re
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kilter.service.fastlane.exchange import Exchange
from kilter.service.fastlane.protocol import FEW, MOST, REMEMBERED, FastLane, FastProtocol
from kilter.service.routing import MATCH, Route, RouteTable, path_of
from kilter.service.routing import Scope as TokenScope
from tests.support.wire import Connection, request

HEAD = b"HTTP/1.1 200 OK\r\n"
Endpoint = Callable[[Scope, Receive, Send], Awaitable[None]]


class App:
    """An application of one direct endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.table = RouteTable([direct(endpoint)])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match = scope.get(MATCH) or self.table.match(path_of(scope))
        if match is None:
            await Response(status_code=404)(scope, receive, send)
            return
        scope["path_params"] = match.parameters
        await match.routes["POST"].endpoint(scope, receive, send)


def direct(endpoint: Endpoint) -> Route:
    """The route of an endpoint."""
    return Route("POST", "/{name}/short", TokenScope.SCORE, None, None, endpoint, direct=True)


def connect(endpoint: Endpoint, seconds: float = 60) -> Connection:
    """A connection to an application of one direct endpoint, by the fast lane."""
    return Connection(App(endpoint), FastProtocol, seconds)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what it was sent, and its path's parameter."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await Response(scope["path_params"]["name"].encode() + b":" + body)(scope, receive, send)


def test_a_request_that_comes_as_a_whole_is_answered_at_once() -> None:
    """By one write, and without a task."""

    async def run() -> None:
        connection = connect(echo)
        for count in (1, 2):
            await connection.send(request(b"one"))
            assert len(connection.wire.writes) == count
            assert connection.wire.writes[-1].startswith(HEAD)
            assert connection.wire.writes[-1].endswith(b"\r\n\r\na:one")
        assert not connection.state.tasks
        assert connection.state.total_requests == 2
        assert not connection.wire.closed

    asyncio.run(run())


@pytest.mark.parametrize("at", [5, 60, 75])
def test_a_request_in_pieces_is_answered_as_well(at: int) -> None:
    """Wherever it is cut; the next one on the connection too."""

    async def run() -> None:
        connection = connect(echo)
        whole = request(b"x" * 20)
        await connection.send(whole[:at], whole[at:])
        assert (await connection.answers(1)).endswith(b"a:" + b"x" * 20)
        await connection.send(request(b"two"))
        assert (await connection.answers(2)).endswith(b"a:two")

    asyncio.run(run())


@pytest.mark.parametrize("paths", [(b"/a/short", b"/b/short"), (b"/a/short", b"/long"), (b"/long", b"/b/short")])
def test_requests_behind_each_other_are_answered_in_their_order(paths: tuple[bytes, bytes]) -> None:
    """That come in one piece, before the first is answered."""

    async def run() -> None:
        connection = connect(echo)
        await connection.send(b"".join(request(b"body", path=path) for path in paths))
        first, second = (await connection.answers(2)).split(b"HTTP/1.1 ")[1:]
        for path, answer in zip(paths, (first, second), strict=True):
            assert answer.startswith(b"404" if path == b"/long" else b"200")
            assert path == b"/long" or answer.endswith(path[1:2] + b":body")

    asyncio.run(run())


def test_one_that_waits_goes_on_when_that_is_done() -> None:
    """The server knows of it as of a task meanwhile, and what follows on the connection waits for it."""

    async def run() -> None:
        gate = asyncio.get_running_loop().create_future()

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            await gate
            await echo(scope, receive, send)

        connection = connect(slow)
        await connection.send(request(b"one"))
        await connection.send(request(b"two", path=b"/long"))
        assert len(connection.state.tasks) == 1
        await asyncio.sleep(0.01)
        assert not connection.wire.writes
        gate.set_result(None)
        first, second = (await connection.answers(2)).split(b"HTTP/1.1 ")[1:]
        assert first.endswith(b"a:one")
        assert second.startswith(b"404")
        await asyncio.sleep(0.01)
        assert not connection.state.tasks

    asyncio.run(run())


def test_a_client_that_leaves_is_told_of() -> None:
    """To an endpoint that waits for it."""
    seen: list[str] = []

    async def run() -> None:
        async def watch(_: Scope, receive: Receive, __: Send) -> None:
            seen.append((await receive())["type"])
            seen.append((await receive())["type"])

        connection = connect(watch)
        await connection.send(request(b""))
        assert seen == ["http.request"]
        connection.protocol.connection_lost(None)
        await asyncio.sleep(0.01)
        assert not connection.state.tasks

    asyncio.run(run())
    assert seen == ["http.request", "http.disconnect"]


def test_no_more_is_read_while_requests_wait() -> None:
    """Even if the one before them looks out for its client; all are answered, and then reading goes on."""

    async def run() -> None:
        gate = asyncio.get_running_loop().create_future()

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            looking = asyncio.create_task(_until_left(receive))
            await gate
            looking.cancel()
            await Response(b"")(scope, receive, send)

        connection = connect(slow)
        whole = request(b"one")
        await connection.send(whole[:-1], whole[-1:])
        await asyncio.sleep(0.01)
        assert connection.wire.is_reading()
        await connection.send(request(b"two"))
        await asyncio.sleep(0.01)
        await connection.send(request(b"three"))
        await asyncio.sleep(0.01)
        assert not connection.wire.is_reading()
        gate.set_result(None)
        await connection.answers(3)
        assert connection.wire.is_reading()

    asyncio.run(run())


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@pytest.mark.parametrize("in_pieces", [False, True])
def test_a_client_that_leaves_others_waiting_is_told_of_as_well(in_pieces: bool) -> None:
    """To the one that is being answered; nothing is written to nobody, and no other is begun."""
    left: list[str] = []

    async def run() -> None:
        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            await _until_left(receive)
            left.append(scope["path_params"]["name"])
            await Response(b"")(scope, receive, send)

        connection = connect(slow)
        whole = request(b"one")
        cut = len(whole) - 1 if in_pieces else len(whole)
        await connection.send(
            whole[:cut], whole[cut:] + request(b"two", path=b"/b/short") + request(b"", path=b"/c/short")
        )
        await asyncio.sleep(0.01)
        connection.wire.close()
        connection.protocol.connection_lost(None)
        await asyncio.sleep(0.01)
        assert not connection.wire.writes
        assert not connection.state.tasks

    asyncio.run(run())
    assert left == ["a"]


def test_uvicorn_is_as_it_is_expected() -> None:
    """What is changed of its protocol is there, and what that touches of a cycle, an exchange has."""
    changed = {name for name, value in vars(FastProtocol).items() if callable(value)} - {"_is_short", "_close_after"}
    assert changed <= vars(HttpToolsProtocol).keys()
    touched = set(re.findall(r"cycle\.(\w+)", inspect.getsource(HttpToolsProtocol)))
    taking_in, begun_as_a_task = {"body", "more_body"}, {"run_asgi"}
    assert touched - taking_in - begun_as_a_task == {
        "disconnected", "keep_alive", "message_event", "response_complete",
    }  # fmt: skip
    assert all(hasattr(Exchange, name) for name in touched - taking_in - begun_as_a_task)


def test_one_that_waits_for_too_long_is_ended_as_a_task_is() -> None:
    """And answered by the server with an error, as it was not answered by itself."""

    async def run() -> None:
        async def stuck(_: Scope, __: Receive, ___: Send) -> None:
            await asyncio.get_running_loop().create_future()

        connection = connect(stuck)
        await connection.send(request(b""))
        for task in list(connection.state.tasks):
            task.cancel("too long")
        assert (await connection.answers(1)).startswith(b"HTTP/1.1 500 ")
        assert connection.wire.closed

    asyncio.run(run())


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"2"), (b"x-a", b"1\r\nx-b: 2")],
        [(b"content-length", b"2"), (b"x-a: 1\nx-b", b"2")],
        [(b"content-length", b"3")],
        [],
    ],
)
def test_an_answer_that_would_break_the_protocol_is_not_sent(headers: list[tuple[bytes, bytes]]) -> None:
    """The client is told of a fault instead."""

    async def run() -> None:
        async def wrong(_: Scope, __: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"{}"})

        connection = connect(wrong)
        await connection.send(request(b""))
        assert b"".join(connection.wire.writes).startswith(b"HTTP/1.1 500 ")
        assert b"x-b" not in b"".join(connection.wire.writes)

    asyncio.run(run())


def test_a_body_in_parts_is_sent_as_one() -> None:
    """As its length is stated before."""

    async def run() -> None:
        async def parts(_: Scope, __: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
            await send({"type": "http.response.body", "body": b"ab", "more_body": True})
            await send({"type": "http.response.body", "body": b"cd"})

        connection = connect(parts)
        await connection.send(request(b""))
        assert connection.wire.writes[0].endswith(b"\r\n\r\nabcd")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (request(b""), True),
        (request(b"", b"connection: close"), False),
        (request(b"", version=b"1.0"), False),
    ],
)
def test_a_connection_is_kept_unless_the_client_wants_it_closed(sent: bytes, kept: bool) -> None:
    """By its header, or by an old version of HTTP."""

    async def run() -> None:
        connection = connect(echo)
        await connection.send(sent)
        answer = await connection.answers(1)
        assert answer.startswith(HEAD)
        await asyncio.sleep(0.01)
        assert connection.wire.closed is not kept
        assert b"connection: close" not in answer if kept else b"1.0" in sent or b"connection: close" in answer

    asyncio.run(run())


def test_the_application_may_close_a_connection() -> None:
    """As it does while it stops."""

    async def run() -> None:
        async def last(scope: Scope, receive: Receive, send: Send) -> None:
            await Response(b"", headers={"connection": "close"})(scope, receive, send)

        connection = connect(last)
        await connection.send(request(b""))
        assert connection.wire.closed
        assert connection.wire.writes[0].count(b"connection: close") == 1

    asyncio.run(run())


def test_an_idle_connection_is_closed_and_one_in_use_is_not() -> None:
    """Each request and answer begin the time anew."""

    async def run() -> None:
        gate = asyncio.get_running_loop().create_future()

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path_params"]["name"] == "slow":
                await gate
            await echo(scope, receive, send)

        connection = connect(slow, seconds=0.1)
        for _ in range(4):
            await connection.send(request(b""))
            await asyncio.sleep(0.05)
        assert not connection.wire.closed
        await connection.send(request(b"", path=b"/slow/short"))
        await asyncio.sleep(0.3)
        assert not connection.wire.closed
        gate.set_result(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not connection.wire.closed
        async with asyncio.timeout(5):
            while not connection.wire.closed:
                await asyncio.sleep(0.01)

    asyncio.run(run())


@pytest.mark.parametrize("sent", [1, 3])
def test_a_connection_that_is_gone_leaves_nothing_behind(sent: int) -> None:
    """No timer holds it, and no answer: not even the garbage collector has to come by, which it seldom does."""

    async def run() -> weakref.ref[FastProtocol]:
        connection = connect(echo)
        await connection.send(request(b"") * sent)
        assert sent > 1 or connection.protocol.timeout_keep_alive_task is not None
        connection.protocol.connection_lost(None)
        assert connection.protocol.timeout_keep_alive_task is None
        await asyncio.sleep(0.01)
        return weakref.ref(connection.protocol)

    gc.disable()
    try:
        assert asyncio.run(run())() is None
    finally:
        gc.enable()


class Noted:
    """An exchange that notes in which turn of the loop it was begun."""

    def __init__(self, turns: list[int], begun: list[tuple[int, int]], number: int) -> None:
        self._turns = turns
        self._begun = begun
        self._number = number

    def begin(self, waited: float = 0.0) -> None:
        assert waited >= 0
        self._begun.append((self._turns[0], self._number))


@given(st.lists(st.integers(0, 3 * MOST), max_size=6))
def test_all_are_begun_in_their_order_and_not_too_many_in_a_turn(arriving: list[int]) -> None:
    """However many arrive in each turn of the loop."""
    turns, begun = [0], list[tuple[int, int]]()

    async def run() -> None:
        lane, loop, number = FastLane(RouteTable([])), asyncio.get_running_loop(), 0
        for count in arriving:
            for _ in range(count):
                lane.begin(cast(Exchange, Noted(turns, begun, number)), loop)
                number += 1
            await asyncio.sleep(0)
            turns[0] += 1
        while len(begun) < number:
            await asyncio.sleep(0)
            turns[0] += 1

    asyncio.run(run())
    assert [number for _, number in begun] == list(range(sum(arriving)))
    in_turn = [turn for turn, _ in begun]
    # What arrives in a turn may be begun beside what has waited for it, and FEW may have come before.
    assert all(in_turn.count(turn) <= 2 * MOST for turn in set(in_turn))


def test_a_few_are_begun_at_once() -> None:
    """Each in its own turn, for as long as they like."""
    turns, begun = [0], list[tuple[int, int]]()

    async def run() -> None:
        lane, loop = FastLane(RouteTable([])), asyncio.get_running_loop()
        for number in range(10 * FEW):
            lane.begin(cast(Exchange, Noted(turns, begun, number)), loop)
            assert begun[-1] == (number, number)
            await asyncio.sleep(0)
            turns[0] += 1

    asyncio.run(run())


async def _nothing(_: Scope, __: Receive, ___: Send) -> None: ...


def test_a_url_leads_to_the_same_place_each_time() -> None:
    """Whether it is remembered or, if it is long, looked up anew; what is asked for once is not mixed with another."""
    lane = FastLane(RouteTable([direct(_nothing)]))
    long = b"x" * REMEMBERED
    for _ in range(2):
        for url, query in ((b"/a/short", b""), (b"/a/short?q=1", b"q=1"), (b"/a/short?" + long, long)):
            scope = lane.find(url)
            assert scope is not None
            assert (scope["method"], scope["path"], scope["raw_path"]) == ("POST", "/a/short", b"/a/short")
            assert scope["query_string"] == query
            assert scope[MATCH].parameters == {"name": "a"}
        for other in (b"/a/long", b"/%61/short", b"/a/b/short", b"/" + long):
            assert lane.find(other) is None


def test_a_route_that_streams_is_no_short_one() -> None:
    """Its answer has no length, and begins before the body has its end."""
    lane = FastLane(RouteTable([replace(direct(echo), streams=True)]))
    assert lane.find(b"/a/short") is None
    assert FastLane(RouteTable([direct(echo)])).find(b"/a/short") is not None
