"""Connections without sockets: a server's protocol on a transport that remembers what was written."""

import asyncio
from typing import Any

from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

CONTROLS = frozenset([*range(32), 127])
"""The bytes that HTTP forbids in the names and values of headers, but for a tab in a value."""


class Wire(asyncio.Transport):
    """A transport that remembers what was written, and whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False
        self._reading = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True


class Connection:
    """A connection to an application by a protocol of uvicorn's kind; to be made in a running loop."""

    def __init__(self, app: ASGIApp, protocol: type[asyncio.Protocol] = HttpToolsProtocol, seconds: float = 60) -> None:
        """`seconds` is how long it is kept open while it is idle."""
        config = Config(app, http=protocol, lifespan="off", log_config=None)
        config.timeout_keep_alive = seconds  # type: ignore[assignment]
        config.load()
        self.state = ServerState()
        make: Any = protocol
        self.protocol = make(config=config, server_state=self.state, app_state={})
        self.wire = Wire()
        self.protocol.connection_made(self.wire)

    async def send(self, *parts: bytes) -> None:
        """Hand parts on as a loop does, outside of any task."""
        for part in parts:
            asyncio.get_running_loop().call_soon(self.protocol.data_received, part)
        await asyncio.sleep(0)

    async def answers(self, count: int) -> bytes:
        """What was written once there are so many answers."""
        async with asyncio.timeout(5):
            while b"".join(self.wire.writes).count(b"HTTP/1.1 ") < count:
                await asyncio.sleep(0.001)
        return b"".join(self.wire.writes)


def request(body: bytes, *headers: bytes, path: bytes = b"/a/short", version: bytes = b"1.1") -> bytes:
    """A POST request as it is sent."""
    lines = [b"POST %b HTTP/%b" % (path, version), b"host: h", b"content-length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def split_answer(written: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The status line and the headers of one answer. Raises AssertionError if a line of them has a control."""
    status, *lines = written.partition(b"\r\n\r\n")[0].split(b"\r\n")
    for line in (status, *lines):
        assert not CONTROLS.intersection(line), line
    return status, [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
