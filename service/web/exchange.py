"""A short request and its answer, in the place of uvicorn's cycle: it costs no task, and its answer is one write."""

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Message, Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from kilter.service.request import AT_HAND, WAITED

if TYPE_CHECKING:
    from kilter.service.web.protocol import Protocol

log = logging.getLogger(__name__)


class Exchange:
    """A request whose body is there before it begins, so that most are answered at once, before any other is looked at.

    Its application runs outside a task, which costs as much as all that is around a verdict: it may wait for nothing
    but futures, and ends as they do. Head and body are written together, since two writes are two system calls and two
    packets. Uvicorn's protocol sees the attributes of a cycle of its own.
    """

    __slots__ = (
        "_app", "_body", "_change", "_head", "_parts", "_protocol", "_running", "_scope", "_waits", "disconnected",
        "keep_alive", "response_complete",
    )  # fmt: skip

    def __init__(self, protocol: "Protocol", app: ASGIApp, scope: Scope, body: bytes, *, keep_alive: bool) -> None:
        self._protocol = protocol
        self._app = app
        self._scope = scope
        self._body: bytes | None = body
        scope[AT_HAND] = body
        self._head: Message | None = None
        self._parts: list[bytes] = []
        self._running: Any = None
        self._waits: asyncio.Future[Any] | None = None
        self._change: asyncio.Future[None] | None = None
        """Done once the client has left or is answered, where somebody wants to know."""
        self.disconnected = False
        self.keep_alive = keep_alive
        self.response_complete = False

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
        self._running = self._app(self._scope, self._receive, self._send)
        self._go_on(None)

    def cancel(self, msg: str | None = None) -> None:
        """End it where it waits, as a task is ended."""
        if self._waits is not None:
            self._waits.cancel(msg)

    def _go_on(self, done: "asyncio.Future[Any] | None") -> None:
        assert self._running is not None  # noqa: S101
        try:
            waits: asyncio.Future[Any] = self._running.send(None)
        except StopIteration:
            error = None
        except BaseException as raised:  # as uvicorn does with that of a task
            error = raised
        else:
            waits._asyncio_future_blocking = False
            waits.add_done_callback(self._go_on)
            self._waits = waits
            if done is None:
                self._protocol.tasks.add(self)  # type: ignore[arg-type]
            return
        self._running = self._waits = None
        if done is not None:
            self._protocol.tasks.discard(self)
        if not self.response_complete and not self.disconnected:
            log.error("a request was not answered", exc_info=error)
            self.keep_alive = False
            self._write(500, [(b"content-length", b"0")], b"")

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
