"""One request's records on their way through the engine."""

import asyncio
import time
from collections.abc import Sequence

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from kilter.service.detector import Verdicts
from kilter.service.detector.inputs import Table
from kilter.service.monitoring.metrics import Metrics
from kilter.service.monitoring.notes import Notes
from kilter.service.web.problems import OUT_OF_TIME, RequestError


class Job:
    """Tables that wait for their verdicts: `done` gets these, or why there are none, and `verdicts` gives them."""

    __slots__ = ("_metrics", "_receive", "_watched", "deadline", "done", "notes", "rows", "tables")

    def __init__(
        self,
        tables: Sequence[Table],
        rows: int,
        notes: Notes,
        deadline: float,
        receive: Receive | None,
        metrics: Metrics,
    ) -> None:
        self.tables = tables
        self.rows = rows
        self.notes = notes
        self.deadline = deadline
        """By `time.monotonic`."""
        self.done: asyncio.Future[list[Verdicts]] = asyncio.get_running_loop().create_future()
        self._receive = receive
        self._metrics = metrics
        self._watched = False

    async def verdicts(self) -> list[Verdicts]:
        """Wait for the verdicts. Raises what went wrong."""
        try:
            return await self.done
        except BaseException:
            # The error's traceback holds this job: were the error still held by it, both would stay, with all the
            # records, until the garbage collector comes by.
            over: asyncio.Future[list[Verdicts]] = asyncio.get_running_loop().create_future()
            over.set_result([])
            self.done = over
            raise

    def due(self) -> bool:
        """Whether it is still to be judged; asked in any thread."""
        return not self.done.done() and time.monotonic() < self.deadline

    def watch(self) -> None:
        """From now on, end it once its time runs out or its client has left: it is going to wait."""
        if self._watched or self.done.done():
            return
        self._watched = True
        loop = asyncio.get_running_loop()
        timer = loop.call_later(max(0.0, self.deadline - time.monotonic()), self._expire)
        self.done.add_done_callback(lambda _: timer.cancel())
        if self._receive is not None:
            watcher = loop.create_task(self._look_out(self._receive))
            self.done.add_done_callback(lambda _: watcher.cancel())

    async def _look_out(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass  # the body, which was read without being received
        if not self.done.done():
            self._metrics.shed["left"].inc()
            self.done.set_exception(ClientDisconnect())

    def _expire(self) -> None:
        if not self.done.done():
            self._metrics.shed["deadline"].inc()
            self.done.set_exception(out_of_time())


def out_of_time() -> RequestError:
    """What a client is told whose request could not be answered in its time.

    It is a 503, not a 504: no gateway waits for a server behind it here, and a 503 may be sent again.
    """
    detail = "the time that the request was given has passed, and it was not judged: send it again, with more time"
    return RequestError(OUT_OF_TIME, detail, headers={"Retry-After": "1"})
