"""An exchange is a task to what it runs: what works in a task of asyncio's own works there."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import anyio
import anyio.to_thread
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.service.fastlane.test_protocol import connect
from tests.support.wire import CONTROLS, request, split_answer

Work = Callable[[], Awaitable[str]]
SEEN: ContextVar[str] = ContextVar("seen", default="nothing")


def answered(work: Work) -> str:
    """What an endpoint answers that does some work; it is the same in a task of asyncio's own."""

    async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
        await Response((await work()).encode())(scope, receive, send)

    async def run() -> str:
        connection = connect(endpoint)
        await connection.send(request(b""))
        answer = await connection.answers(1)
        await asyncio.sleep(0)
        assert not connection.state.tasks
        return answer.partition(b"\r\n\r\n")[2].decode()

    here = asyncio.run(run())

    async def alone() -> str:
        return await work()

    assert here == asyncio.run(alone())
    return here


async def asyncio_timeout() -> str:
    try:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(10)
    except TimeoutError:
        return "late"
    return "in time"


async def asyncio_timeout_kept() -> str:
    async with asyncio.timeout(10):
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
    return "in time"


async def nested_timeouts() -> str:
    try:
        async with asyncio.timeout(0.01):
            try:
                async with asyncio.timeout(10):
                    await asyncio.sleep(10)
            except TimeoutError:
                return "the inner one"
    except TimeoutError:
        return "the outer one"
    return "neither"


async def asyncio_group() -> str:
    found: list[str] = []

    async def one(name: str) -> None:
        await asyncio.sleep(0)
        found.append(name)

    async with asyncio.TaskGroup() as group:
        for name in "ab":
            group.create_task(one(name))
    return "".join(found)


async def failing_group() -> str:
    async def fail() -> None:
        raise ValueError("it failed")

    said = "nothing"
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            await asyncio.sleep(10)
    except* ValueError as errors:
        said = str(errors.exceptions[0])
    return said


async def anyio_scope() -> str:
    with anyio.move_on_after(0.01) as scope:
        await anyio.sleep(10)
    return str(scope.cancelled_caught)


async def anyio_failing() -> str:
    try:
        with anyio.fail_after(0.01):
            await anyio.sleep(10)
    except TimeoutError:
        return "late"
    return "in time"


async def anyio_group() -> str:
    found: list[str] = []

    async def one(name: str) -> None:
        await anyio.sleep(0)
        found.append(name)

    async with anyio.create_task_group() as group:
        for name in "ab":
            group.start_soon(one, name)
    return "".join(sorted(found))


async def anyio_cancelled_group() -> str:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 10)
        group.cancel_scope.cancel()
        await anyio.sleep(10)
    return "cancelled"


async def thread() -> str:
    return await anyio.to_thread.run_sync(lambda: "from a thread")


async def gathered() -> str:
    return "".join(await asyncio.gather(asyncio.sleep(0.001, "a"), asyncio.shield(asyncio.sleep(0, "b"))))


async def waited_for() -> str:
    try:
        await asyncio.wait_for(asyncio.sleep(10), 0.01)
    except TimeoutError:
        return "late"
    return "in time"


async def current() -> str:
    task = asyncio.current_task()
    assert task is not None
    assert not task.done()
    assert task.get_loop() is asyncio.get_running_loop()
    await asyncio.sleep(0)
    return str(asyncio.current_task() is task)


async def context() -> str:
    before = SEEN.get()
    SEEN.set("something")
    await asyncio.sleep(0.001)
    return f"{before}, {SEEN.get()}"


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (asyncio_timeout, "late"),
        (asyncio_timeout_kept, "in time"),
        (nested_timeouts, "the outer one"),
        (asyncio_group, "ab"),
        (failing_group, "it failed"),
        (anyio_scope, "True"),
        (anyio_failing, "late"),
        (anyio_group, "ab"),
        (anyio_cancelled_group, "cancelled"),
        (thread, "from a thread"),
        (gathered, "ab"),
        (waited_for, "late"),
        (current, "True"),
        (context, "nothing, something"),
    ],
)
def test_what_works_in_a_task_works_in_an_exchange(work: Work, said: str) -> None:
    """Timeouts, groups, threads and variables of the context, of asyncio and of anyio."""
    assert answered(work) == said
    assert SEEN.get() == "nothing"


def test_one_that_is_cancelled_before_it_waits_ends_where_it_waits_next() -> None:
    """As a task does; it may go on if it takes that back."""

    async def cancelled() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            return f"{task.cancelling()} asked, {task.uncancel()} left"
        return "not cancelled"

    assert answered(cancelled) == "1 asked, 0 left"


def test_whoever_waits_for_its_end_is_told() -> None:
    """Once, in the order in which they asked; and not those who asked no more."""
    told: list[str] = []

    async def run() -> None:
        async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
            task = asyncio.current_task()
            assert task is not None
            for name in ("a", "b", "c"):
                task.add_done_callback(lambda _, name=name: told.append(name))  # type: ignore[misc]
            task.add_done_callback(print)
            assert task.remove_done_callback(print) == 1
            await asyncio.sleep(0)
            await Response(b"")(scope, receive, send)

        connection = connect(endpoint)
        await connection.send(request(b""))
        await connection.answers(1)
        await asyncio.sleep(0)

    asyncio.run(run())
    assert told == ["a", "b", "c"]


def sent_with(headers: list[tuple[bytes, bytes]]) -> bytes:
    """What is written for an endpoint that answers with some headers."""

    async def endpoint(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2"), *headers]})
        await send({"type": "http.response.body", "body": b"{}"})

    async def run() -> bytes:
        connection = connect(endpoint)
        await connection.send(request(b""))
        return b"".join(connection.wire.writes)

    return asyncio.run(run())


@pytest.mark.parametrize("byte", sorted(CONTROLS))
@pytest.mark.parametrize("form", [b"%b", b"%ba", b"a%b", b"a%bb", b"a%b\r\nb"])
def test_no_control_character_leaves_in_a_header(byte: int, form: bytes) -> None:
    """In its name or its value, wherever it stands: the client gets a fault that has nothing of that header."""
    text = form % bytes([byte])
    for header in ((b"x-" + text, b"value"), (b"x-name", text)):
        status, headers = split_answer(sent_with([header]))
        assert status == b"HTTP/1.1 500 Internal Server Error"
        assert not [name for name, _ in headers if name.startswith(b"x-")]


BYTES = st.binary(min_size=1, max_size=12)


@given(st.lists(st.tuples(BYTES, BYTES), min_size=1, max_size=4))
@example([(b"x-a", b"1\r")])
@example([(b"x-a", b"1\n"), (b"x-b\r", b"2")])
@example([(b"x-a", b"\r\n\r\nHTTP/1.1 200 OK")])
def test_headers_are_sent_as_they_are_or_not_at_all(headers: list[tuple[bytes, bytes]]) -> None:
    """Whatever their bytes: with a control character the answer is a fault, without one nothing is added or lost."""
    written = sent_with([(b"x-" + name, b"=" + value) for name, value in headers])
    status, sent = split_answer(written)
    assert written.count(b"HTTP/1.1 ") == 1
    if CONTROLS.intersection(b"".join(map(b"".join, headers))):
        assert status.startswith(b"HTTP/1.1 500 ")
        assert b"x-" not in written
    else:
        assert status == b"HTTP/1.1 200 OK"
        lines = [b"x-%b: =%b" % header for header in headers]
        assert [b"%b: %b" % header for header in sent if header[0].startswith(b"x-")] == lines
