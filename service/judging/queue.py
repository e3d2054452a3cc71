"""Requests on their way through the engine: how fast a model is, what waits for it, and how batches are made."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from kilter.service.detector import Verdicts
from kilter.service.detector.inputs import Table
from kilter.service.monitoring.metrics import Metrics
from kilter.service.problems import OUT_OF_TIME, RequestError
from kilter.service.request import Notes

BATCH = 1024
"""Records that are judged together at most: more go no faster."""
BATCH_SECONDS = 0.1
"""A batch is made so small that it is expected to take no longer: deadlines are looked at between batches."""
INLINE_SECONDS = 0.004
"""Batches that are expected to take longer are worked on in a thread, and the loop goes on answering."""
REMEMBERED = 8
"""Batches by which the next one's time is foretold: the fastest, as a busy machine slows some down."""


class Pace:
    """The seconds and records of a model's last batches, and the records of it that are in flight.

    A batch takes some seconds, whatever it holds, and some more for each record; by one batch nobody can tell which. So
    a larger one is taken to need as many times longer, and the bound on a batch grows while it proves to need less.
    Batches may be learned in any thread.
    """

    __slots__ = ("_bounds", "_seen", "inline", "longest", "most", "queued")

    def __init__(self) -> None:
        self.most = 1
        """Records that a batch may have: at least one, and as many as are expected to take `BATCH_SECONDS`."""
        self.longest = math.inf
        """Seconds that a batch of `most` records is expected to take."""
        self.inline = 0
        """Records that are expected to take `INLINE_SECONDS` at most."""
        self.queued = 0
        """Records that are admitted and not answered yet."""
        self._seen: tuple[tuple[float, int], ...] = ()
        self._bounds: tuple[int, ...] = ()

    def learn(self, seconds: float, rows: int) -> None:
        """Take in how long a batch of so many records took."""
        if seconds <= 0.0 or rows < 1:
            seconds, rows = max(seconds, 1e-9), max(rows, 1)
        bound = _bound(seconds, rows)
        if seconds > BATCH_SECONDS:  # believed at once, against all that was seen before
            self._seen, self._bounds = (), ()
        self._seen = seen = (*self._seen[1 - REMEMBERED :], (seconds, rows))
        self._bounds = bounds = (*self._bounds[1 - REMEMBERED :], bound)
        self.most = most = max(bounds)
        self.longest = self.expected(most)
        self.inline = max([int(count * INLINE_SECONDS / s) if s <= INLINE_SECONDS else 0 for s, count in seen])

    def expected(self, rows: int) -> float:
        """The seconds that a batch is going to take; infinite before the first."""
        return min([s if rows <= count else s * rows / count for s, count in self._seen], default=math.inf)

    def wait(self, rows: int) -> float:
        """The seconds until so many records more would be answered; 0 where nothing is in flight.

        What would be judged next is never refused: the service would not learn that a model has become faster.
        """
        if not self.queued or not self._seen:
            return 0.0
        total = self.queued + rows
        return self.expected(total) if total <= self.most else total / self.most * self.longest


def _bound(seconds: float, rows: int) -> int:
    """The records that may come next by a batch that took so long: half as many more, if it had time to spare."""
    linear = int(rows * BATCH_SECONDS / seconds)
    return max(1, linear) if seconds > BATCH_SECONDS else max(linear, rows + (rows + 1) // 2)


@dataclass(slots=True, eq=False, repr=False)
class Job:
    """Tables that wait for their verdicts: `done` gets these, or why there are none, and `verdicts` gives them."""

    tables: Sequence[Table]
    rows: int
    notes: Notes
    deadline: float
    """By `time.monotonic`."""
    receive: Receive | None
    metrics: Metrics
    done: asyncio.Future[list[Verdicts]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future(), init=False
    )
    _watched: bool = field(default=False, init=False)

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

    def finish(self, result: list[Verdicts] | BaseException) -> None:
        """Give it its verdicts, or why there are none, unless it has an end already."""
        if self.done.done():
            return
        if isinstance(result, BaseException):
            self.done.set_exception(result)
        else:
            self.done.set_result(result)

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
        if self.receive is not None:
            watcher = loop.create_task(self._look_out(self.receive))
            self.done.add_done_callback(lambda _: watcher.cancel())

    async def _look_out(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass  # the body, which was read without being received
        if not self.done.done():
            self.metrics.shed["left"].inc()
            self.done.set_exception(ClientDisconnect())

    def _expire(self) -> None:
        if not self.done.done():
            self.metrics.shed["deadline"].inc()
            self.done.set_exception(out_of_time())


def out_of_time() -> RequestError:
    """What a client is told whose request could not be answered in its time.

    It is a 503, not a 504: no gateway waits for a server behind it here, and a 503 may be sent again.
    """
    detail = "the time that the request was given has passed, and it was not judged: send it again, with more time"
    return RequestError(OUT_OF_TIME, detail, headers={"Retry-After": "1"})


class NextBatch(NamedTuple):
    """Jobs that are to be a batch, the number of their records, and those that were passed over: their time is up."""

    jobs: list[Job]
    rows: int
    passed: list[Job]


@dataclass(slots=True, eq=False)
class Lane:
    """The small requests for one model that wait to be a batch."""

    pace: Pace
    waiting: deque[Job] = field(default_factory=deque)
    busy: bool = False
    """Whether a thread works on it, which then is the one that takes from it."""

    def take(self) -> NextBatch:
        """The next batch: as many jobs as the pace allows, and at least one, if there is one in its time."""
        jobs: list[Job] = []
        passed: list[Job] = []
        rows, most = 0, min(BATCH, self.pace.most)
        waiting = self.waiting
        while waiting and (not jobs or rows + waiting[0].rows <= most):
            job = waiting.popleft()
            if job.due():
                jobs.append(job)
                rows += job.rows
            else:
                passed.append(job)
        return NextBatch(jobs, rows, passed)
