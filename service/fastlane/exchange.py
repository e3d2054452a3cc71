"""A short request and its answer, in the place of uvicorn's cycle: it costs no task, and its answer is one write."""

import asyncio
import logging
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Message, Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from kilter.service.request import AT_HAND, WAITED

if TYPE_CHECKING:
    from kilter.service.fastlane.protocol import FastProtocol

log = logging.getLogger(__name__)


class Exchange:
    """A request whose body is there before it begins, so that most are answered at once, before any other is looked at.

    It is the current task of what it runs: a task of its own kind, as asyncio allows, that costs a third of asyncio's
    own. What it runs may use `asyncio.timeout`, task groups and anyio as in any other. Head and body are written
    together, since two writes are two system calls and two packets. Uvicorn's protocol sees the attributes of a cycle
    of its own.
    """

    __slots__ = (
        "__weakref__", "_app", "_body", "_callbacks", "_cancels", "_change", "_context", "_coroutine", "_fut_waiter",
        "_head", "_must_cancel", "_parts", "_protocol", "_scope", "disconnected", "keep_alive", "response_complete",
    )  # fmt: skip

    def __init__(self, protocol: "FastProtocol", app: ASGIApp, scope: Scope, body: bytes, *, keep_alive: bool) -> None:
        self._protocol = protocol
        self._app = app
        self._scope = scope
        self._body: bytes | None = body
        scope[AT_HAND] = body
        self._head: Message | None = None
        self._parts: list[bytes] = []
        self._change: asyncio.Future[None] | None = None
        """Done once the client has left or is answered, where somebody wants to know."""
        self.disconnected = False
        self.keep_alive = keep_alive
        self.response_complete = False
        self._coroutine: Coroutine[Any, Any, None] | None = None
        self._context: Context | None = None
        self._fut_waiter: asyncio.Future[Any] | None = None
        """What it waits for; anyio reads it and the next by these names."""
        self._must_cancel = False
        self._cancels = 0
        self._callbacks: list[tuple[Callable[[Any], object], Context | None]] = []

    @property
    def message_event(self) -> "Exchange":
        """What is `set` when something has changed."""
        return self

    def set(self) -> None:
        """The client has left, or is answered."""
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    def begin(self, waited: float = 0.0) -> None:
        """Answer the request or, if that has to wait for something, go on once that is done.

        It has `waited` so many seconds to be begun. Nothing is done for a client that has left meanwhile.
        """
        if self.disconnected:
            return
        if waited:
            self._scope[WAITED] = waited
        self._coroutine = self._app(self._scope, self._receive, self._send)  # type: ignore[assignment]
        self._context = copy_context()
        if self._context.run(self._step):
            self._protocol.tasks.add(self)  # type: ignore[arg-type]

    def _wake(self, done: "asyncio.Future[Any] | None" = None) -> None:
        """Go on, what was waited for being done; called in its context."""
        if not self._step():
            self._protocol.tasks.discard(self)

    def _step(self) -> bool:
        """Run to the next thing to wait for; whether there is one."""
        assert self._coroutine is not None  # noqa: S101
        loop = self._protocol.loop
        self._fut_waiter = None
        _enter_task(loop, self)  # type: ignore[arg-type]
        try:
            if self._must_cancel:
                self._must_cancel = False
                waits = self._coroutine.throw(asyncio.CancelledError())
            else:
                waits = self._coroutine.send(None)
        except StopIteration:
            error = None
        except BaseException as raised:  # as uvicorn does with that of a task
            error = raised
        else:
            if waits is None:
                loop.call_soon(self._wake, context=self._context)
            else:
                waits._asyncio_future_blocking = False
                self._fut_waiter = waits
                waits.add_done_callback(self._wake, context=self._context)
                if self._must_cancel and waits.cancel():
                    self._must_cancel = False
            return True
        finally:
            _leave_task(loop, self)  # type: ignore[arg-type]
        self._coroutine = None
        for callback, context in self._callbacks:
            loop.call_soon(callback, self, context=context)
        if not self.response_complete and not self.disconnected:
            log.error("a request was not answered", exc_info=error)
            self.keep_alive = False
            self._write(500, [(b"content-length", b"0")], b"")
        return False

    def cancel(self, msg: str | None = None) -> bool:
        """End it where it waits, as `asyncio.Task.cancel` does."""
        if self.done():
            return False
        self._cancels += 1
        if self._fut_waiter is None or not self._fut_waiter.cancel(msg):
            self._must_cancel = True
        return True

    def uncancel(self) -> int:
        """As `asyncio.Task.uncancel`."""
        self._cancels = max(0, self._cancels - 1)
        if not self._cancels:
            self._must_cancel = False
        return self._cancels

    def cancelling(self) -> int:
        """As `asyncio.Task.cancelling`."""
        return self._cancels

    def done(self) -> bool:
        """Whether it has ended."""
        return self._coroutine is None

    def get_coro(self) -> Coroutine[Any, Any, None] | None:
        """What it runs."""
        return self._coroutine

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop in which it runs."""
        return self._protocol.loop

    def get_name(self) -> str:
        """What it is called where tasks are listed."""
        return f"{self._scope['method']} {self._scope['path']}"

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        """As `asyncio.Task.add_done_callback`, of a task that has not ended."""
        self._callbacks.append((callback, context))

    def remove_done_callback(self, callback: Callable[[Any], object]) -> int:
        """As `asyncio.Task.remove_done_callback`."""
        before = len(self._callbacks)
        self._callbacks = [entry for entry in self._callbacks if entry[0] != callback]
        return before - len(self._callbacks)

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        if not self.disconnected and not self.response_complete:
            self._change = self._protocol.loop.create_future()
            await self._change
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._head = message
            return
        body: bytes = message.get("body", b"")
        if self._parts or message.get("more_body"):
            self._parts.append(body)
            if message.get("more_body"):
                return
            body = b"".join(self._parts)
        flow = self._protocol.flow
        if flow.write_paused and not self.disconnected:
            await flow.drain()
        if not self.disconnected and self._head is not None:
            self._write(self._head["status"], self._head["headers"], body)

    def _write(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Write the whole answer. Raises RuntimeError if a header has a line break, or its length is not the body's."""
        protocol = self._protocol
        given = [*protocol.server_state.default_headers, *headers]
        block = b"".join([b"%b: %b\r\n" % header for header in given])
        if block.count(b"\r") != len(given) or block.count(b"\n") != len(given):
            raise RuntimeError("a header has a line break")
        if b"content-length: %d\r\n" % len(body) not in block:
            raise RuntimeError("the length of the body is not the one that the answer states")
        if b"connection: close\r\n" in block:
            self.keep_alive = False
        elif not self.keep_alive:
            block += b"connection: close\r\n"
        protocol.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[status], block, body))
        self.response_complete = True
        self.set()
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()
