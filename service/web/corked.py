"""The server's protocol, with the head of an answer and its body written together."""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Corked:
    """A transport that holds back the head of an answer until its body comes, or until the end of the loop's turn.

    Two writes are two system calls and two packets, which take longer than all that Kilter does for a record.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if self._held:
            data, self._held = self._held + data, b""
        elif data.startswith(b"HTTP/") and data.endswith(b"\r\n\r\n"):
            self._held = data
            self._loop.call_soon(self._release)
            return
        self._transport.write(data)

    def close(self) -> None:
        self._release()
        self._transport.close()

    def _release(self) -> None:
        if self._held:
            data, self._held = self._held, b""
            self._transport.write(data)


class Protocol(HttpToolsProtocol):
    """Uvicorn's fast protocol on a corked transport."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(Any, Corked(cast(asyncio.Transport, transport), self.loop)))
