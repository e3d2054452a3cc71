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
CONTROLS = bytes([*range(32), 127])
"""Bytes that HTTP forbids in headers. A tab it allows in a value, but no answer has one."""


class Exchange:
    """A request whose whole body has come before it begins, so that most are answered without waiting.

    To the application that it runs, it is the current task: one of its own kind, as asyncio allows, at a third of the
    cost of asyncio's own. `asyncio.timeout`, task groups and anyio work as in any other task. To uvicorn's protocol it
    has the attributes of a cycle. Head and body are written together, as two writes are two system calls and packets.
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
        """Done once the client has left or is answered; None until the application waits for that."""
        self.disconnected = False
        self.keep_alive = keep_alive
        self.response_complete = False
        self._coroutine: Coroutine[Any, Any, None] | None = None
        self._context: Context | None = None
        self._fut_waiter: asyncio.Future[Any] | None = None
        """What the application waits for; anyio reads it and the next by these names."""
        self._must_cancel = False
        self._cancels = 0
        self._callbacks: list[tuple[Callable[[Any], object], Context | None]] = []

    @property
    def message_event(self) -> "Exchange":
        """As of a cycle: `set` is called on it when the client has left."""
        return self

    def set(self) -> None:
        """Wake the application if it waits for the client to leave or to be answered."""
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    def begin(self, waited: float = 0.0) -> None:
        """Run the application to its end, or to the first thing that it has to wait for.

        `waited` is how many seconds the request waited for this. A client that has left meanwhile is not answered.
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
        """Go on once `done` is done; called in the context of the application."""
        if not self._step():
            self._protocol.tasks.discard(self)

    def _step(self) -> bool:
        """Run the application to the next thing that it waits for; return whether there is one."""
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
        except BaseException as raised:  # as uvicorn catches those of a task
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

    # From here on the methods of asyncio.Task, for a task that has not ended.

    def cancel(self, msg: str | None = None) -> bool:
        if self.done():
            return False
        self._cancels += 1
        if self._fut_waiter is None or not self._fut_waiter.cancel(msg):
            self._must_cancel = True
        return True

    def uncancel(self) -> int:
        self._cancels = max(0, self._cancels - 1)
        if not self._cancels:
            self._must_cancel = False
        return self._cancels

    def cancelling(self) -> int:
        return self._cancels

    def done(self) -> bool:
        return self._coroutine is None

    def get_coro(self) -> Coroutine[Any, Any, None] | None:
        return self._coroutine

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._protocol.loop

    def get_name(self) -> str:
        return f"{self._scope['method']} {self._scope['path']}"

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        self._callbacks.append((callback, context))

    def remove_done_callback(self, callback: Callable[[Any], object]) -> int:
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
        """Write the whole answer.

        Raises RuntimeError if a header has a control character, or states another length than the body's.
        """
        protocol = self._protocol
        lines = [b"%b: %b\r\n" % header for header in (*protocol.server_state.default_headers, *headers)]
        block = b"".join(lines)
        if len(block.translate(None, CONTROLS)) != len(block) - 2 * len(lines):  # each line has its own CR and LF
            raise RuntimeError("a header has a control character")
        if b"content-length: %d\r\n" % len(body) not in block:
            raise RuntimeError("the body has another length than its header states")
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
