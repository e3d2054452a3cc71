"""Takes in the body of a request: in its time, within the limits, out of its compression; and decodes pictures.

Bodies whose records are decoded before they are judged are read here, and what speaks against a picture is drawn. Small
ones are decoded at once, all others in threads of their own, within the request's time and the room in memory.
"""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from kilter.service.detector import Detector, Verdicts
from kilter.service.detector.arrays import Pixels
from kilter.service.detector.inputs import Table
from kilter.service.detector.pictures.pixels import content_of, size_of, to_pixels
from kilter.service.formats import encodings
from kilter.service.formats.bodies import Call
from kilter.service.judging.admission import Hold, Room
from kilter.service.judging.batch import Pace, out_of_time
from kilter.service.judging.engine import Engine
from kilter.service.judging.verdicts import RecordFacts
from kilter.service.problems import SLOW_BODY, TOO_LARGE, RequestError
from kilter.service.request import AT_HAND, header_of, headers_of, notes_of

T = TypeVar("T")
INLINE_COMPRESSED = 4 * 1024  # compressed bodies up to this size are decompressed at once, longer ones in a thread
INLINE_BYTES = 16 * 1024
INLINE_PIXELS = 128 * 128
"""Bodies up to this length, of pictures that have so many pixels together, at their own size and at the model's, are
decoded at once: it takes a millisecond."""


class Intake:
    """Reads bodies for the routes that judge."""

    def __init__(self, engine: Engine, max_bytes: int) -> None:
        """`max_bytes` is the length of the longest body, as sent and as decompressed."""
        self._engine = engine
        self._max_bytes = max_bytes

    def hold(self) -> Hold:
        """What the request holds, to be released when it is answered."""
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
        if len(content) <= INLINE_COMPRESSED:
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
            TOO_LARGE,
            f"the body is longer than {self._max_bytes:,} bytes: send its records in several requests; to be scored, a "
            "table of any length may be sent to /v1/models/NAME/score/stream",
        )


class _Elsewhere(Exception):  # noqa: N818
    """More pixels than are decoded at once: a thread is to do it."""


class CellReader:
    """Reads the pictures of one request, within its time and the room that there is."""

    def __init__(self, room: Room | None, pixels: int, hold: Hold, deadline: float) -> None:
        """Without a `room`, in the loop: small ones alone."""
        self.records = RecordFacts(sizes=[])
        self._room = room
        self._pixels = pixels
        self._hold = hold
        self._deadline = deadline
        self._inline = INLINE_PIXELS

    def __call__(self, column: Any, value: Any) -> Pixels:
        cell = value if isinstance(value, np.ndarray) else content_of(value)
        width, height = size_of(cell, self._pixels)
        if self._room is None:
            self._inline -= width * height + column.width * column.height
            if self._inline < 0:
                raise _Elsewhere
            pixels = to_pixels(cell, column, self._pixels)
        else:
            with self._room.take(width * height):
                if time.monotonic() >= self._deadline:
                    raise out_of_time()
                pixels = to_pixels(cell, column, self._pixels)
            self._hold.add(0, pixels.nbytes)
        if self.records.first is None:
            self.records.first = cell
        if self.records.sizes is not None:
            self.records.sizes.append((width, height))
        return pixels


class Decoder:
    """Reads bodies for every route; one for all of them, as memory is."""

    def __init__(self, engine: Engine, max_pixels: int) -> None:
        self.max_pixels = max_pixels
        self._engine = engine
        self._room = Room(max_pixels)
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1, "kilter-pictures")
        self._pace = Pace()
        """Of requests, while they are decoded."""

    async def read(self, call: Call, hold: Hold, deadline: float) -> tuple[list[Table], RecordFacts]:
        """The records of a body, decoded. Raises RequestError."""
        if len(call.content) <= INLINE_BYTES:
            try:
                return _read(call, CellReader(None, self.max_pixels, hold, deadline))
            except _Elsewhere:
                pass
        reader = CellReader(self._room, self.max_pixels, hold, deadline)
        return await self._queued(deadline, partial(_read, call, reader))

    async def draw(self, detector: Detector, verdicts: Verdicts, records: RecordFacts, deadline: float) -> bytes:
        """What speaks against the first record, drawn over it. Raises RequestError.

        The picture is decoded again at its own size: no other picture waits in memory.
        """
        if verdicts.evidence is None or not records.sizes:
            raise TypeError("there is nothing to draw")
        (width, height), evidence = records.sizes[0], verdicts.evidence[0]

        def drawn() -> bytes:
            with self._room.take(2 * width * height):
                if time.monotonic() >= deadline:
                    raise out_of_time()
                return detector.modality.draw(records.first, evidence, self.max_pixels)

        return await self._queued(deadline, drawn)

    async def _queued(self, deadline: float, work: Callable[[], T]) -> T:
        """Call a function in a thread and return its result, unless too many wait for a thread already."""
        pace = self._pace
        if pace.queued:
            self._engine.admission.check_wait(pace.wait(1), deadline - time.monotonic())
        pace.queued += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._timed, work)
        finally:
            pace.queued -= 1

    def _timed(self, work: Callable[[], T]) -> T:
        began = time.perf_counter()
        try:
            return work()
        finally:
            self._pace.learn(time.perf_counter() - began, 1)


def _read(call: Call, reader: CellReader) -> tuple[list[Table], RecordFacts]:
    body = call.form.body_reader()(call._replace(read=reader))
    tables = list(body.tables())
    reader.records.names = body.names
    reader.records.ids = body.ids if call.ignore_unknown else None
    return tables, reader.records
