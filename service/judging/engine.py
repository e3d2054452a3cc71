"""Where records become verdicts: every route that judges hands its records to the engine.

Small requests that arrive in the same turn of the event loop for the same model are one batch, so that nothing ever
waits for a batch to fill. What takes longer than `INLINE_SECONDS` is worked on in threads; what arrives meanwhile is
the next batch. No batch is made that is expected to take longer than `service.judging.pace.BATCH_SECONDS`.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, ParamSpec, TypeVar

from starlette.types import Receive

from service.detector import Verdicts
from service.detector.inputs import Table
from service.judging.admission import Admission
from service.judging.batch import Outcome, attempt, check, judge_all
from service.judging.job import Job
from service.judging.lane import Lane, Taken
from service.judging.pace import Pace
from service.models.serving import Serving
from service.monitoring.metrics import Metrics
from service.monitoring.notes import Notes

P = ParamSpec("P")
T = TypeVar("T")
SMALL = 256
"""A request of up to as many records is batched with others; a longer one is worked on by itself."""
INLINE_SECONDS = 0.004
"""Batches that are expected to take longer are worked on in a thread, and the loop goes on answering."""
ALONE = 16
"""After so many batches of one request, most are not waited for any more; one in so many still is."""


class Key(NamedTuple):
    """What the requests of a batch have in common."""

    serving: Serving
    reasons: int


class Engine:
    """Judges records, in batches, within bounds on what is in flight."""

    def __init__(self, admission: Admission, metrics: Metrics, seconds: float = 30.0) -> None:
        self.admission = admission
        self.seconds = seconds
        """How long a request may take that states no deadline."""
        self._metrics = metrics
        count = os.cpu_count() or 1
        self._threads = ThreadPoolExecutor(count, "kilter")
        self._batch_threads = ThreadPoolExecutor(count, "kilter-batch")
        """Apart, so that batches of small requests need not wait for long ones."""
        self._lanes: dict[Key, Lane] = {}
        self._scheduled = False
        self._alone = 0
        """Batches in a row that were one request."""
        self._paces: dict[tuple[str, bool], Pace] = {}
        """Of a model by its name, without reasons and with."""

    def at_once(self, serving: Serving, tables: Sequence[Table], reasons: int, notes: Notes) -> list[Verdicts] | None:
        """What `judge` would give, here and now, where requests have been coming one by one; None otherwise.

        Waiting for the end of the loop's turn costs more than what is around a verdict. Every so often one waits all
        the same, to find out whether it is still alone.
        """
        if self._alone < ALONE or self._lanes or len(tables) != 1:
            return None
        table = tables[0]
        rows = table.rows
        self._alone += 1
        if table.problems or not 0 < rows <= SMALL or not self._alone % ALONE or not self.admission.fits(rows):
            return None
        pace = self._pace(serving, reasons)
        if rows > pace.most or pace.expected(rows) > INLINE_SECONDS:
            return None
        if notes.deadline is not None and time.monotonic() >= notes.deadline:
            return None
        began = time.perf_counter()
        verdicts = serving.detector.score(table, reasons=reasons)
        seconds = time.perf_counter() - began
        serving.judged(table, verdicts, seconds)
        pace.learn(seconds, rows)
        notes.records += rows
        notes.anomalies += int(verdicts.anomaly.sum()) if rows > 1 else int(verdicts.anomaly.item())
        notes.seconds += seconds
        return [verdicts]

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
        pace = self._pace(serving, reasons)
        if pace.queued:
            self.admission.check_wait(pace.wait(held), deadline - time.monotonic())
        self.admission.enter(held, size)
        pace.queued += held
        try:
            if rows is None or rows > SMALL:
                job = Job([], 0, notes, deadline, receive, self._metrics)
                return await self._long(serving, tables, reasons, job, pace)
            pieces = list(tables)
            check(serving, pieces, notes)
            job = Job(pieces, held, notes, deadline, receive, self._metrics)
            if rows > pace.most:
                return await self._long(serving, pieces, reasons, job, pace)
            key = Key(serving, reasons)
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = Lane(pace)
            lane.waiting.append(job)
            if lane.busy:
                job.watch()
            else:
                self._schedule()
            return await job.done
        finally:
            pace.queued -= held
            self.admission.leave(held, size)

    def turn_away(self, serving: Serving, reasons: int, notes: Notes) -> None:
        """Raise RequestError if not even one record more could be judged in a request's time: it need not be read."""
        pace = self._pace(serving, reasons)
        if pace.queued:
            left = self.seconds if notes.deadline is None else notes.deadline - time.monotonic()
            self.admission.check_wait(pace.wait(1), left)

    def learn(self, serving: Serving, seconds: float, rows: int, *, reasons: bool = False) -> None:
        """Take in how long so many records of a model took."""
        self._pace(serving, int(reasons)).learn(seconds, rows)

    def _pace(self, serving: Serving, reasons: int) -> Pace:
        name = (serving.detector.name, reasons > 0)
        pace = self._paces.get(name)
        if pace is None:
            pace = self._paces[name] = Pace()
        return pace

    async def run(self, work: Callable[P, T], /, *arguments: P.args, **options: P.kwargs) -> T:
        """What a function gives that is called in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*arguments, **options))

    async def _long(
        self, serving: Serving, tables: Iterable[Table], reasons: int, job: Job, pace: Pace
    ) -> list[Verdicts]:
        if not job.due():
            job.watch()
            return await job.done
        job.watch()
        work = asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: judge_all(serving, tables, reasons, job, pace)
        )

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

    def _next(self, key: Key, lane: Lane) -> None:
        """Judge the next batch of a lane, here or in a thread."""
        taken = lane.take()
        jobs = taken.jobs
        self._alone = self._alone + 1 if len(jobs) == 1 and len(self._lanes) == 1 else 0
        threaded = bool(jobs) and lane.pace.expected(taken.rows) > INLINE_SECONDS
        if jobs and not threaded:
            self._answer(lane.pace, jobs, attempt(key.serving, key.reasons, jobs))
        for job in (*taken.passed, *lane.waiting, *jobs):
            job.watch()
        if threaded:
            lane.busy = True
            self._batch_threads.submit(self._work, asyncio.get_running_loop(), key, lane, taken)
        elif lane.waiting:
            self._schedule()
        else:
            del self._lanes[key]

    def _work(self, loop: asyncio.AbstractEventLoop, key: Key, lane: Lane, taken: Taken) -> None:
        """In a thread, judge batch after batch of a lane: a loop that is busy with others holds up none.

        All of its jobs are watched, so that those which are passed over are told by their own timers.
        """
        while taken.jobs:
            outcome = attempt(key.serving, key.reasons, taken.jobs)
            lane.pace.learn(outcome.seconds, taken.rows)
            loop.call_soon_threadsafe(answer, taken.jobs, outcome)
            if lane.pace.expected(1) <= INLINE_SECONDS:
                break
            taken = lane.take()
        loop.call_soon_threadsafe(self._rested, lane)

    def _rested(self, lane: Lane) -> None:
        lane.busy = False
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _answer(self, pace: Pace, jobs: Sequence[Job], outcome: Outcome) -> None:
        pace.learn(outcome.seconds, sum([job.rows for job in jobs]))
        answer(jobs, outcome)


def answer(jobs: Sequence[Job], outcome: Outcome) -> None:
    """Give jobs what became of them."""
    for job, result in zip(jobs, outcome.results, strict=True):
        if job.done.done():
            continue
        if isinstance(result, Exception):
            job.done.set_exception(result)
        else:
            job.done.set_result(result)
