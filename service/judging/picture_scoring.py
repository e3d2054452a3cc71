"""How the score route answers for a model of pictures: decoded in threads, judged by the engine as records are."""

import os
import time
from asyncio import get_running_loop
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import msgspec
import numpy as np
from starlette.types import Receive

from kilter.service.bodies.body import JSON, MULTIPART, NDJSON, NPY, PNG, most_pictures
from kilter.service.bodies.json_body import JsonBody, LinesBody
from kilter.service.bodies.rows import RowReader
from kilter.service.detector import Detector, Schema, Verdicts
from kilter.service.detector.arrays import Pixels
from kilter.service.detector.columns import ImageColumn
from kilter.service.detector.inputs import Table, from_records
from kilter.service.detector.pictures.pixels import content_of, read_cell, size_of, upright
from kilter.service.detector.pictures.regions import Grid
from kilter.service.judging.admission import Hold
from kilter.service.judging.asked import Asked
from kilter.service.judging.engine import Engine
from kilter.service.judging.job import out_of_time
from kilter.service.judging.pace import Pace
from kilter.service.judging.picture_verdicts import Sent, picture_answer
from kilter.service.judging.room import Room
from kilter.service.models.serving import Serving
from kilter.service.monitoring.notes import Notes
from kilter.service.web.problems import BAD_PARAMETER, RequestError

T = TypeVar("T")
Headers = list[tuple[bytes, bytes]]
INLINE_BYTES = 16 * 1024
INLINE_PIXELS = 128 * 128
"""Bodies up to this length, of pictures that have so many pixels together, at their own size and at the model's, are
decoded at once: it takes a millisecond."""
INLINE_RESULTS = 16
"""Answers about so many pictures are written at once; to tell regions takes longer than to write them."""


class _Elsewhere(Exception):  # noqa: N818
    """More pixels than are decoded at once: a thread is to do it."""


class PictureReader:
    """Reads the pictures of one request, within its time and the room that there is."""

    def __init__(self, room: Room | None, pixels: int, hold: Hold, deadline: float) -> None:
        """Without a `room`, in the loop: small ones alone."""
        self.sizes: list[tuple[int, int]] = []
        self.first: Any = None
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
            found = read_cell(cell, column, self._pixels)
        else:
            with self._room.take(width * height):
                if time.monotonic() >= self._deadline:
                    raise out_of_time()
                found = read_cell(cell, column, self._pixels)
            self._hold.add(0, found.nbytes)
        if not self.sizes:
            self.first = cell
        self.sizes.append((width, height))
        return found


class PictureScoring:
    """Reads bodies of pictures and writes their answers; one for all routes, as memory is."""

    def __init__(self, engine: Engine, max_pixels: int, max_records: int) -> None:
        self._engine = engine
        self._max_pixels = max_pixels
        self._max_records = max_records
        self._room = Room(max_pixels)
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1, "kilter-pictures")
        self._pace = Pace()
        """Of requests, while they are decoded."""

    async def answer(
        self, serving: Serving, asked: Asked, content: bytes, hold: Hold, notes: Notes, receive: Receive
    ) -> tuple[bytes, Headers]:
        """The body of the answer, and headers that belong to it. Raises RequestError."""
        deadline = time.monotonic() + self._engine.seconds if notes.deadline is None else notes.deadline
        tables, sent = await self._read(serving.detector.schema, asked, content, hold, deadline)
        drawn = asked.back == PNG
        if drawn and sum(table.rows for table in tables) > 1:
            raise RequestError(BAD_PARAMETER, "a heat map is of one picture: send one, or ask for reasons")
        reasons = max(asked.reasons, 1) if drawn else asked.reasons
        judged = await self._engine.judge(serving, tables, reasons, notes, size=0, receive=receive)
        if not drawn:
            write = partial(_written, serving.detector, judged, sent, asked)
            return (write() if len(sent.sizes) <= INLINE_RESULTS else await self._engine.run(write)), []
        made = await self._queued(deadline, partial(self._draw, serving.detector, judged[0], sent, deadline))
        return made, _verdict(judged[0])

    async def _read(
        self, schema: Schema, asked: Asked, content: bytes, hold: Hold, deadline: float
    ) -> tuple[list[Table], Sent]:
        """The pictures of a body; small ones at once."""
        if len(content) <= INLINE_BYTES:
            reader = PictureReader(None, self._max_pixels, hold, deadline)
            try:
                return self._tables(schema, asked, content, reader)
            except _Elsewhere:
                pass
        reader = PictureReader(self._room, self._max_pixels, hold, deadline)
        return await self._queued(deadline, partial(self._tables, schema, asked, content, reader))

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

    def _tables(self, schema: Schema, asked: Asked, content: bytes, reader: PictureReader) -> tuple[list[Table], Sent]:
        column = schema.columns[0]
        if not isinstance(column, ImageColumn):
            raise TypeError("the model is none of pictures")
        limit = most_pictures(column, self._max_records)
        names = None
        if asked.kind in (JSON, NDJSON):
            form = JsonBody if asked.kind == JSON else LinesBody
            tables = [*form(content, schema, RowReader(schema), limit, reader).tables()]
        else:
            cells: Iterable[Any] = [content]
            if asked.kind == MULTIPART:
                from kilter.service.bodies.multipart import parts

                found = parts(content, asked.stated, limit)
                cells, names = [part.content for part in found], [part.name for part in found]
            elif asked.kind == NPY:
                from kilter.service.bodies.npy_body import pictures

                cells = pictures(content, column, limit)
            tables = [from_records(schema, [{column.name: cell} for cell in cells], reader)]
        return tables, Sent(reader.sizes, names, reader.first)

    def _draw(self, detector: Detector, verdicts: Verdicts, sent: Sent, deadline: float) -> bytes:
        """The heat map over the picture at its own size, which is decoded again: no other picture waits in memory."""
        from kilter.service.detector.pictures.regions import heatmap

        [(width, height)] = sent.sizes
        column, grid, evidence = detector.schema.columns[0], detector.modality.grid, verdicts.evidence
        if not isinstance(column, ImageColumn) or grid is None or evidence is None:
            raise TypeError("the model is none of pictures")
        with self._room.take(2 * width * height):
            if time.monotonic() >= deadline:
                raise out_of_time()
            return heatmap(upright(sent.first, column, self._max_pixels), evidence[0], Grid(*grid))


def _written(detector: Detector, judged: Sequence[Verdicts], sent: Sent, asked: Asked) -> bytes:
    """The answer in JSON, or in lines of it."""
    found = picture_answer(detector, judged, sent, asked.reasons)
    return msgspec.json.Encoder().encode_lines(found.results) if asked.back == NDJSON else msgspec.json.encode(found)


def _verdict(verdicts: Verdicts) -> Headers:
    """The verdict on one picture, as headers."""
    values = {
        "score": verdicts.score[0].item(),
        "p-value": verdicts.p_value[0].item(),
        "anomaly": str(bool(verdicts.anomaly[0])).lower(),
    }
    return [(f"kilter-{name}".encode(), str(value).encode()) for name, value in values.items()]
