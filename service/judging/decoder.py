"""Reads bodies whose records are decoded before they are judged, pictures, and draws what speaks against one.

Small ones are decoded at once, all others in threads of their own, within the request's time and the room in memory.
"""

import os
import time
from asyncio import get_running_loop
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np

from kilter.service.detector import Detector, Verdicts
from kilter.service.detector.arrays import Pixels
from kilter.service.detector.inputs import Table
from kilter.service.detector.pictures.pixels import content_of, size_of, to_pixels
from kilter.service.formats.bodies import Call
from kilter.service.judging.admission import Hold, Room
from kilter.service.judging.engine import Engine
from kilter.service.judging.queue import Pace, out_of_time
from kilter.service.judging.verdicts import RecordFacts

T = TypeVar("T")
INLINE_BYTES = 16 * 1024
INLINE_PIXELS = 128 * 128
"""Bodies up to this length, of pictures that have so many pixels together, at their own size and at the model's, are
decoded at once: it takes a millisecond."""


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
        """What speaks against the first record, drawn over it. Raises RequestError."""
        return await self._queued(deadline, partial(self._drawn, detector, verdicts, records, deadline))

    def _drawn(self, detector: Detector, verdicts: Verdicts, records: RecordFacts, deadline: float) -> bytes:
        """The picture is decoded again at its own size: no other picture waits in memory."""
        if verdicts.evidence is None or not records.sizes:
            raise TypeError("there is nothing to draw")
        width, height = records.sizes[0]
        with self._room.take(2 * width * height):
            if time.monotonic() >= deadline:
                raise out_of_time()
            return detector.modality.draw(records.first, verdicts.evidence[0], self.max_pixels)

    async def _queued(self, deadline: float, work: Callable[[], T]) -> T:
        """What a function gives that is called in a thread, unless too many wait for one already."""
        pace = self._pace
        if pace.queued:
            self._engine.admission.check_wait(pace.wait(1), deadline - time.monotonic())
        pace.queued += 1
        try:
            return await get_running_loop().run_in_executor(self._threads, self._timed, work)
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
    return tables, reader.records
