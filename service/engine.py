"""Where records become verdicts: every route that judges hands its records to the engine.

Small requests that arrive in the same turn of the event loop for the same model are one batch, so that nothing ever
waits for a batch to fill. What takes longer than `INLINE_SECONDS` is worked on in threads; what arrives meanwhile is
the next batch.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, ParamSpec, TypeVar

from starlette.types import Receive

from service.admission import Admission
from service.batch import Outcome, attempt, check, judge_all
from service.detector import Verdicts
from service.detector.inputs import Table
from service.job import Job
from service.metrics import Metrics
from service.notes import Notes
from service.serving import Serving

P = ParamSpec("P")
T = TypeVar("T")
BATCH = 1024
"""Records that are judged together at most: more go no faster."""
SMALL = 256
"""A request of up to as many records is batched with others; a longer one is worked on by itself."""
INLINE_SECONDS = 0.01
"""Batches that are expected to take longer are worked on in a thread, and the loop goes on answering."""
ALONE = 16
"""After so many batches of one request, most are not waited for any more; one in so many still is."""
REMEMBERED = 8
"""Batches by whose pace the next one's is foretold: the fastest, as a busy machine slows some down."""


class Key(NamedTuple):
    """What the requests of a batch have in common."""

    serving: Serving
    reasons: int


class Lane:
    """The small requests for one model that wait to be a batch."""

    __slots__ = ("busy", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Job] = deque()
        self.busy = False
        """Whether a batch is in a thread."""


class Engine:
    """Judges records, in batches, within bounds on what is in flight."""

    def __init__(self, admission: Admission, metrics: Metrics, seconds: float = 30.0) -> None:
        self.admission = admission
        self.seconds = seconds
        """How long a request may take that states no deadline."""
        self._metrics = metrics
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1, "kilter")
        self._lanes: dict[Key, Lane] = {}
        self._scheduled = False
        self._alone = 0
        """Batches in a row that were one request."""
        self._paces: dict[tuple[str, bool], deque[tuple[float, int]]] = {}
        """Seconds and records of the last batches of a model, without reasons and with."""

    async def judge(
        self,
        serving: Serving,
        tables: Iterable[Table],
        reasons: int,
        notes: Notes,
        *,
        size: int,
        receive: Receive | None = None,
    ) -> list[Verdicts]:
        """Verdicts on consecutive tables, one for each that has rows: on every record, or on none.

        A list of tables is taken to be at hand; any other iterable is read in a thread, as it may take its time. `size`
        is what is to be held of bytes, 0 if the caller does, and `receive` tells when the client has left. Raises
        RequestError that lists every problem of the records, or that says that too much is in flight or that the time
        is over, and ClientDisconnect.
        """
        deadline = time.monotonic() + self.seconds if notes.deadline is None else notes.deadline
        rows = sum([table.rows for table in tables]) if isinstance(tables, list) else None
        held = rows or 0
        self.admission.enter(held, size)
        try:
            if rows is None or rows > SMALL:
                return await self._long(serving, tables, reasons, Job([], 0, notes, deadline, receive, self._metrics))
            pieces = list(tables)
            check(serving, pieces, notes)
            job = Job(pieces, held, notes, deadline, receive, self._metrics)
            key = Key(serving, reasons)
            if self._direct(key, job):
                return job.done.result()
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = Lane()
            lane.waiting.append(job)
            self._schedule()
            return await job.done
        finally:
            self.admission.leave(held, size)

    def _direct(self, key: Key, job: Job) -> bool:
        """Judge a job here and now where requests have been coming one by one; otherwise it is to wait for its batch.

        Waiting for the end of the loop's turn costs more than what is around a verdict. Every so often one waits all
        the same, to find out whether it is still alone.
        """
        if self._alone < ALONE or self._lanes:
            return False
        self._alone += 1
        if not self._alone % ALONE or self._expected(key, job.rows) > INLINE_SECONDS or job.late():
            return False
        self._answer(key, [job], attempt(key.serving, key.reasons, [job]))
        return True

    async def run(self, work: Callable[P, T], /, *arguments: P.args, **options: P.kwargs) -> T:
        """What a function gives that is called in a thread."""
        return await self._in_thread(lambda: work(*arguments, **options))

    def _in_thread(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _long(self, serving: Serving, tables: Iterable[Table], reasons: int, job: Job) -> list[Verdicts]:
        if job.late():
            return await job.done
        job.watch()
        work = self._in_thread(lambda: judge_all(serving, tables, reasons, job))

        def finished(work: asyncio.Future[list[Verdicts]]) -> None:
            error = work.exception()
            if job.done.done():
                return
            if error is None:
                job.done.set_result(work.result())
            else:
                job.done.set_exception(error)

        work.add_done_callback(finished)
        return await job.done

    def _flush(self) -> None:
        """Make a batch of what waits in each lane."""
        self._scheduled = False
        for key, lane in list(self._lanes.items()):
            if not lane.busy:
                self._next(key, lane)
            for job in lane.waiting:
                job.watch()

    def _next(self, key: Key, lane: Lane) -> None:
        """Judge the next batch of a lane, here or in a thread."""
        jobs: list[Job] = []
        rows = 0
        while lane.waiting and (not jobs or rows + lane.waiting[0].rows <= BATCH):
            job = lane.waiting.popleft()
            if not job.late():
                jobs.append(job)
                rows += job.rows
        self._alone = self._alone + 1 if len(jobs) == 1 and len(self._lanes) == 1 else 0
        if jobs and self._expected(key, rows) > INLINE_SECONDS:
            lane.busy = True
            for job in jobs:
                job.watch()
            work = self._in_thread(lambda: attempt(key.serving, key.reasons, jobs))
            work.add_done_callback(lambda work: self._finished(key, lane, jobs, work.result()))
            return
        if jobs:
            self._answer(key, jobs, attempt(key.serving, key.reasons, jobs))
        if lane.waiting:
            self._schedule()
        else:
            del self._lanes[key]

    def _finished(self, key: Key, lane: Lane, jobs: Sequence[Job], outcome: Outcome) -> None:
        lane.busy = False
        self._answer(key, jobs, outcome)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _expected(self, key: Key, rows: int) -> float:
        """The seconds that a batch is going to take."""
        paces = self._paces.get((key.serving.detector.name, key.reasons > 0))
        if not paces:
            return 0.0
        seconds, last = paces[-1]
        if seconds * max(1.0, rows / last) <= INLINE_SECONDS:
            return seconds
        return min(seconds * max(1.0, rows / last) for seconds, last in paces)

    def learn(self, serving: Serving, seconds: float, rows: int, *, reasons: bool = False) -> None:
        """Take in how long so many records of a model took."""
        paces = self._paces.get((serving.detector.name, reasons))
        if paces is None:
            paces = self._paces[serving.detector.name, reasons] = deque(maxlen=REMEMBERED)
        paces.append((seconds, max(1, rows)))

    def _answer(self, key: Key, jobs: Sequence[Job], outcome: Outcome) -> None:
        self.learn(key.serving, outcome.seconds, sum([job.rows for job in jobs]), reasons=key.reasons > 0)
        for job, result in zip(jobs, outcome.results, strict=True):
            if job.done.done():
                continue
            if isinstance(result, Exception):
                job.done.set_exception(result)
            else:
                job.done.set_result(result)
