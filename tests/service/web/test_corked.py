"""An answer's head and body in one write."""

import asyncio

from service.web.corked import Corked

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


class Wire(asyncio.Transport):
    """A transport that remembers what was written, and that it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.writes.append(b"closed")


def written(*steps: bytes | None) -> list[bytes]:
    """What reaches the wire of some writes, the loop turning where a step is None."""
    wire = Wire()

    async def write() -> None:
        corked = Corked(wire, asyncio.get_running_loop())
        for step in steps:
            if step is None:
                await asyncio.sleep(0)
            elif step == b"close":
                corked.close()
            else:
                corked.write(step)

    asyncio.run(write())
    return wire.writes


def test_a_head_waits_for_its_body() -> None:
    """In the same turn of the loop, and no longer."""
    assert written(HEAD, b"{}") == [HEAD + b"{}"]
    assert written(HEAD, None, None, b"{}") == [HEAD, b"{}"]
    assert written(HEAD, b"{", b"}", HEAD, b"{}") == [HEAD + b"{", b"}", HEAD + b"{}"]


def test_nothing_is_lost_by_closing() -> None:
    """A head without a body is written first."""
    assert written(HEAD, b"close") == [HEAD, b"closed"]
