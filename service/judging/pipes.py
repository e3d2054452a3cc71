"""Pipes between the event loop and a thread: bytes of which few wait, so that each side waits for the other."""

import asyncio
import threading
from collections import deque
from contextlib import suppress

WAITING_BYTES = 1 << 20
"""Bytes that wait to be taken, from which on the other side waits."""


class StreamEnded(Exception):  # noqa: N818
    """The stream was ended from outside; its loop is to end too."""


class Pipe:
    """Bytes from the event loop to a thread, or the other way, of which few wait; each side waits for the other.

    The event loop's methods are `put`, `get`, `close`; the thread's are `read` and `write`.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._at_end = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._woken = asyncio.Event()

    async def put(self, part: bytes) -> None:
        """Add bytes to be read, once there is room for some."""
        while True:
            with self._changed:
                if self._size < WAITING_BYTES or self._error is not None:
                    break
                self._woken.clear()
            await self._woken.wait()
        self._add(part)

    async def get(self) -> bytes:
        """All that was written and is not taken yet, at least a byte; none at the end. Raises what ended it."""
        while True:
            with self._changed:
                if self._parts or self._at_end or self._error is not None:
                    break
                self._woken.clear()
            await self._woken.wait()
        with self._changed:
            parts = [*self._parts]
            self._parts.clear()
            self._size = 0
            self._changed.notify_all()
            if not parts and self._error is not None:
                raise self._error
        return b"".join(parts)

    def close(self, error: BaseException | None = None) -> None:
        """There is no more or, with an error, the other side is to end with it."""
        with self._changed:
            self._at_end = self._at_end or error is None
            self._error = self._error or error
            self._changed.notify_all()
        self._wake()

    def read(self, size: int, /) -> bytes:
        """So many bytes, fewer only at the end. Raises what ended it."""
        parts: list[bytes] = []
        while size:
            with self._changed:
                self._changed.wait_for(lambda: self._parts or self._at_end or self._error is not None)
                if self._error is not None:
                    raise self._error
                if not self._parts:
                    break
                part = self._parts.popleft()
                if len(part) > size:
                    self._parts.appendleft(part[size:])
                    part = part[:size]
                self._size -= len(part)
                size -= len(part)
                parts.append(part)
            self._wake()
        return b"".join(parts)

    def write(self, content: bytes, /) -> int:
        """Add bytes once what was written before is nearly all taken. Raises what ended it."""
        with self._changed:
            self._changed.wait_for(lambda: self._size < WAITING_BYTES or self._error is not None)
            if self._error is not None:
                raise self._error
        self._add(content)
        return len(content)

    def _add(self, part: bytes) -> None:
        with self._changed:
            if part:
                self._parts.append(part)
                self._size += len(part)
            self._changed.notify_all()
        self._wake()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._woken.set)
