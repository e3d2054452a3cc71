"""The server's protocol: a request that is answered without waiting costs no task, and its answer is one write."""

from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.web.begun import rest
from service.web.shortcut import Application


class Exchange:
    """An application on one of uvicorn's cycles: hands over a body that is there, and writes head and body together.

    Two writes are two system calls and two packets, which take longer than all that Kilter does for a record. Whatever
    is out of the ordinary goes by the cycle itself.
    """

    __slots__ = ("_app", "_cycle", "_head", "_read")

    def __init__(self, app: ASGIApp, cycle: RequestResponseCycle) -> None:
        self._app = app
        self._cycle = cycle
        self._head: Message | None = None
        """The beginning of an answer, until its body comes."""
        self._read = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        cycle = self._cycle
        if self._read or cycle.more_body or cycle.disconnected or cycle.response_complete:
            return await cycle.receive()  # type: ignore[return-value]
        self._read = True
        cycle.flow.resume_reading()
        cycle.message_event.clear()
        body, cycle.body = bytes(cycle.body), bytearray()
        return {"type": "http.request", "body": body, "more_body": False}

    async def _send(self, message: Message) -> None:
        cycle = self._cycle
        if self._head is None:
            if message["type"] == "http.response.start" and not cycle.response_started:
                self._head = message
            else:
                await cycle.send(message)  # type: ignore[arg-type]
            return
        head, self._head = self._head, None
        whole = None if message.get("more_body") else self._whole(head, message)
        if whole is None:
            await cycle.send(head)  # type: ignore[arg-type]
            await cycle.send(message)  # type: ignore[arg-type]
            return
        cycle.response_started = cycle.response_complete = True
        cycle.transport.write(whole)
        cycle.message_event.set()
        cycle.on_response()

    def _whole(self, head: Message, message: Message) -> bytes | None:
        """The answer as it is sent; None if anything about it is not as usual."""
        cycle = self._cycle
        if not cycle.keep_alive or cycle.disconnected or cycle.flow.write_paused or cycle.scope["method"] == "HEAD":
            return None
        headers = [*cycle.default_headers, *head.get("headers", ())]
        body: bytes = message.get("body", b"")
        block = b"".join([b"%b: %b\r\n" % pair for pair in headers])
        if (
            block.count(b"\r") != len(headers)
            or block.count(b"\n") != len(headers)
            or b"connection:" in block
            or b"content-length: %d\r\n" % len(body) not in block
        ):
            return None
        return b"%b%b\r\n%b" % (STATUS_LINE[head["status"]], block, body)


class Protocol(HttpToolsProtocol):
    """Uvicorn's fast protocol, which begins requests of the shortcut at once, and makes tasks only of those that wait.

    Such a request begins when all that has come is taken in, and mostly its body is among it.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        application = self.config.app
        self._short = application.short if isinstance(application, Application) else lambda _: False
        self._taking_in = False
        self._begun: tuple[RequestResponseCycle, ASGIApp] | None = None

    def data_received(self, data: bytes) -> None:
        self._taking_in = True
        super().data_received(data)
        self._taking_in = False
        if self._begun is not None:
            (cycle, app), self._begun = self._begun, None
            self._begin(cycle, app)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        exchange: Any = Exchange(app, cycle)
        if self._taking_in and self._short(cycle.scope):
            self._begun = (cycle, exchange)
        else:
            super()._start_asgi_task(cycle, exchange)

    def _begin(self, cycle: RequestResponseCycle, app: Any) -> None:
        if cycle.more_body or cycle.disconnected:
            super()._start_asgi_task(cycle, app)
            return
        running = cycle.run_asgi(app)
        try:
            awaited = running.send(None)
        except StopIteration:
            return
        task = self.loop.create_task(rest(running, awaited))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)
