"""Takes in the body of a request: in its time, within the limits, and out of its compression."""

import asyncio
import time

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from kilter.service.formats import encodings
from kilter.service.judging.admission import Hold
from kilter.service.judging.engine import Engine
from kilter.service.problems import SLOW_BODY, TOO_LARGE, RequestError
from kilter.service.request import AT_HAND, header_of, headers_of, notes_of

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
        if body is None or len(body) > self._max_bytes or b"content-encoding" in headers_of(scope):
            return None
        self._engine.admission.check_bytes(len(body))
        return body

    async def read(self, scope: Scope, receive: Receive, hold: Hold) -> bytes:
        """The whole body; its bytes are held from before it is read, but for one that came with its head.

        Raises RequestError if it is too long, too slow, damaged, or too much is in flight already; and
        ClientDisconnect if it ends early.
        """
        sent = headers_of(scope)
        coding = encodings.coding(header_of(scope, b"content-encoding")) if b"content-encoding" in sent else ""
        stated = sent.get(b"content-length", b"")
        length = int(stated[:20]) if stated.isdigit() else 0
        if length > self._max_bytes:
            raise self._too_long()
        content: bytes | None = scope.get(AT_HAND)
        if content is None:
            hold.reach(length)
            deadline = notes_of(scope).deadline
            seconds = self._engine.seconds if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                async with asyncio.timeout(seconds):
                    content = await self._receive_all(receive, hold, length)
            except TimeoutError:
                text = f"the body did not arrive within {seconds:.3g} s: send it faster, or in several requests"
                raise RequestError(SLOW_BODY, text) from None
        elif len(content) > self._max_bytes:
            raise self._too_long()
        if not coding:
            return content
        if len(content) <= INLINE_BYTES:
            plain = encodings.decompress(content, coding, self._max_bytes)
        else:
            plain = await self._engine.run(encodings.decompress, content, coding, self._max_bytes)
        hold.reach(len(content))
        hold.add(0, len(plain))
        return plain

    async def _receive_all(self, receive: Receive, hold: Hold, stated: int) -> bytes:
        """The body as it comes; what goes beyond its stated length is held as it comes too."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
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

    def _too_long(self) -> RequestError:
        return RequestError(
            TOO_LARGE, f"the body is longer than {self._max_bytes:,} bytes: send its records in several requests"
        )
