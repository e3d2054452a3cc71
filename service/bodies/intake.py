"""Takes in the body of a request: in its time, within the limits, and out of its compression."""

import asyncio
import time
from collections.abc import Awaitable

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from kilter.service.bodies import encodings
from kilter.service.judging.admission import Hold
from kilter.service.judging.engine import Engine
from kilter.service.problems import SLOW_BODY, TOO_LARGE, RequestError
from kilter.service.request import AT_HAND, header, headers, notes_of
from kilter.service.web.begun import rest

INLINE_BYTES = 4 * 1024
"""Compressed bodies up to this size are decompressed at once, longer ones in a thread."""


class Intake:
    """Reads bodies for the routes that judge."""

    def __init__(self, engine: Engine, max_bytes: int) -> None:
        """`max_bytes` is the length of the longest body, as sent and as decompressed."""
        self._engine = engine
        self._max_bytes = max_bytes

    def hold(self) -> Hold:
        """What the request is going to hold; to be released when it is answered."""
        return Hold(self._engine.admission)

    def at_hand(self, scope: Scope) -> bytes | None:
        """The whole body, if it came with its head and is not compressed; it is not held. None if it is to be read."""
        body: bytes | None = scope.get(AT_HAND)
        if body is None or len(body) > self._max_bytes or b"content-encoding" in headers(scope):
            return None
        self._engine.admission.check_bytes(len(body))
        return body

    async def read(self, scope: Scope, receive: Receive, hold: Hold) -> bytes:
        """The whole body; its bytes are held from before it is read if it has to be waited for.

        A body that is there at once is not held: most such requests are answered before any other is looked at.
        Raises RequestError if it is too long, too slow, damaged, or too much is in flight already; and
        ClientDisconnect if it ends early.
        """
        sent = headers(scope)
        coding = encodings.coding(header(scope, b"content-encoding")) if b"content-encoding" in sent else ""
        stated = sent.get(b"content-length", b"")
        length = int(stated[:20]) if stated.isdigit() else 0
        if length > self._max_bytes:
            raise self._too_long()
        if length:
            self._engine.admission.check_bytes(length)
        reading = self._all(receive, hold, length)
        try:
            awaited = reading.send(None)
        except StopIteration as ended:  # it was there, as short ones are
            content: bytes = ended.value
        else:
            hold.reach(length)
            deadline = notes_of(scope).deadline
            seconds = self._engine.seconds if deadline is None else max(0.0, deadline - time.monotonic())
            content = await _within(seconds, rest(reading, awaited))
        if not coding:
            return content
        if len(content) <= INLINE_BYTES:
            plain = encodings.decompress(content, coding, self._max_bytes)
        else:
            plain = await self._engine.run(encodings.decompress, content, coding, self._max_bytes)
        hold.reach(len(content))
        hold.add(0, len(plain))
        return plain

    async def _all(self, receive: Receive, hold: Hold, stated: int) -> bytes:
        """The body as it comes; what goes beyond its stated length is held as it comes too."""
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")
            if len(body) > self._max_bytes:
                raise self._too_long()
            return body
        parts: list[bytes] = []
        size = 0
        while True:
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            part = message.get("body", b"")
            if size + len(part) > self._max_bytes:
                raise self._too_long()
            if size + len(part) > stated and part:
                hold.add(0, min(len(part), size + len(part) - stated))
            size += len(part)
            parts.append(part)
            if not message.get("more_body"):
                return b"".join(parts)
            message = await receive()

    def _too_long(self) -> RequestError:
        return RequestError(
            TOO_LARGE, f"the body is longer than {self._max_bytes:,} bytes: send its records in several requests"
        )


async def _within(seconds: float, reading: Awaitable[bytes]) -> bytes:
    """What reading gives. Raises RequestError if it takes longer; `asyncio.timeout` would cost more than reading."""
    task = asyncio.current_task()
    fired = False

    def end() -> None:
        nonlocal fired
        fired = True
        if task is not None:
            task.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, end)
    try:
        return await reading
    except asyncio.CancelledError:
        if not fired or task is None or task.uncancel() > 0:
            raise
        told = f"the body did not arrive within {seconds:.3g} s: send it faster, or in several requests"
        raise RequestError(SLOW_BODY, told) from None
    finally:
        timer.cancel()
