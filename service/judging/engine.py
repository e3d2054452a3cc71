"""Where records become verdicts: every route that judges hands its records to the engine.

Small requests that arrive in the same turn of the event loop for the same model are one batch, so that nothing ever
waits for a batch to fill. What takes longer than `INLINE_SECONDS` is worked on in threads; what arrives meanwhile is
the next batch. No batch is made that is expected to take longer than `judging.batch.BATCH_SECONDS`.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, ParamSpec, TypeVar

from starlette.types import Receive

from kilter.service.detector import Verdicts
from kilter.service.detector.inputs import Table
from kilter.service.judging.admission import SURE, Admission
from kilter.service.judging.batch import (
    INLINE_SECONDS,
    Job,
    Lane,
    NextBatch,
    Outcome,
    Pace,
    Wanted,
    attempt,
    judge_all,
    refuse_all,
)
from kilter.service.models.registry import Serving
from kilter.service.monitoring.metrics import Metrics
from kilter.service.request import Notes

P = ParamSpec("P")
T = TypeVar("T")
SMALL = 256  # a request of up to as many records is batched with others; a longer one is worked on by itself
ANSWERED = 64  # requests that are answered in a turn of the loop: each takes about as long as one that is taken in
ALONE = 16  # after so many batches of one request, most are not waited for any more; one in so many still is


class Key(NamedTuple):
    """What the requests of a batch have in common."""

    serving: Serving
    wanted: Wanted


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
        self._paces: dict[str, tuple[Pace, Pace, Pace]] = {}
        """Of a model by its name: of verdicts alone, with reasons, and with nearest normals."""

    async def judge(
        self,
        serving: Serving,
        tables: Iterable[Table],
        wanted: Wanted,
        notes: Notes,
        *,
        size: int = 0,
        receive: Receive | None = None,
    ) -> list[Verdicts]:
        """Verdicts on consecutive tables, one for each that has rows: on every record, or on none.

        A list of tables is taken to be at hand; any other iterable is read in a thread, as it may take its time. `size`
        is what is to be held of bytes, 0 if the caller does, and `receive` tells when the client has left. Raises
        RequestError that lists every problem of the records, or that says that too much is in flight or that the time
        is over, and ClientDisconnect.
        """
        if not isinstance(tables, list):
            rows = 0
        elif len(tables) == 1:
            verdicts = self._at_once(serving, tables[0], wanted, notes)
            if verdicts is not None:
                return [verdicts]
            rows = tables[0].rows
        else:
            rows = sum([table.rows for table in tables])
        pace = self._pace(serving, wanted)
        now = time.monotonic()
        deadline = now + self.seconds if notes.deadline is None else notes.deadline
        if pace.queued:
            self._check_wait(pace, rows, deadline - now)
        self.admission.enter(rows, size)
        pace.queued += rows
        try:
            if not isinstance(tables, list) or rows > SMALL:
                job = Job([], 0, notes, deadline, receive, self._metrics)
                return await self._long(serving, tables, wanted, job, pace)
            if not rows or [table for table in tables if table.problems]:
                refuse_all(serving, tables, notes)
            job = Job(tables, rows, notes, deadline, receive, self._metrics)
            if rows > pace.most:
                return await self._long(serving, tables, wanted, job, pace)
            self._line_up(Key(serving, wanted), pace, job)
            return await job.verdicts()
        finally:
            pace.queued -= rows
            self.admission.leave(rows, size)

    def _line_up(self, key: Key, pace: Pace, job: Job) -> None:
        """Let a job be part of the next batch."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(pace)
        lane.waiting.append(job)
        if lane.busy:
            job.watch()
        elif not self._scheduled:
            self._schedule()

    def _at_once(self, serving: Serving, table: Table, wanted: Wanted, notes: Notes) -> Verdicts | None:
        """What `judge` gives, here and now, where requests have been coming one by one; None otherwise.

        Waiting for the end of the loop's turn costs more than what is around a verdict. Every so often one waits all
        the same, to find out whether it is still alone.
        """
        if self._alone < ALONE or self._lanes:
            return None
        rows = table.rows
        self._alone += 1
        if table.problems or not 0 < rows <= SMALL or not self._alone % ALONE or not self.admission.fits(rows):
            return None
        pace = self._pace(serving, wanted)
        if rows > pace.most or rows > pace.inline:
            return None
        if notes.deadline is not None and time.monotonic() >= notes.deadline:
            return None
        began = time.perf_counter()
        verdicts = wanted.score(serving, table)
        seconds = time.perf_counter() - began
        serving.judged(table, verdicts, seconds)
        if seconds > INLINE_SECONDS:  # otherwise those that wait are enough to learn by
            pace.learn(seconds, rows)
        notes.records += rows
        notes.anomalies += int(verdicts.anomaly.sum()) if rows > 1 else int(verdicts.anomaly.item())
        notes.seconds += seconds
        return verdicts

    def turn_away(self, serving: Serving, wanted: Wanted, notes: Notes) -> None:
        """Raise RequestError if not even one record more could be judged in a request's time: it need not be read."""
        pace = self._pace(serving, wanted)
        if pace.queued:
            left = self.seconds if notes.deadline is None else notes.deadline - time.monotonic()
            self._check_wait(pace, 1, left)

    def _check_wait(self, pace: Pace, rows: int, left: float) -> None:
        """Raise RequestError for so many records more of a request that could not be answered in the time left."""
        if pace.queued + rows > pace.most or pace.longest > left * SURE:
            self.admission.check_wait(pace.wait(rows), left)

    def _pace(self, serving: Serving, wanted: Wanted) -> Pace:
        name = serving.detector.manifest.name
        paces = self._paces.get(name)
        if paces is None:
            paces = self._paces[name] = (Pace(), Pace(), Pace())
        return paces[2 if wanted.keep is not None else 1 if wanted.reasons else 0]

    async def run(self, work: Callable[P, T], /, *arguments: P.args, **options: P.kwargs) -> T:
        """Call a function in a thread and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*arguments, **options))

    async def _long(
        self, serving: Serving, tables: Iterable[Table], wanted: Wanted, job: Job, pace: Pace
    ) -> list[Verdicts]:
        due = job.due()
        job.watch()
        if due:
            # Nothing here holds the work: it would be held by its own error's traceback. See `Job.verdicts`.
            asyncio.get_running_loop().run_in_executor(
                self._threads, judge_all, serving, tables, wanted, job, pace
            ).add_done_callback(lambda work: job.finish(work.exception() or work.result()))
        return await job.verdicts()

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
        threaded = bool(jobs) and taken.rows > lane.pace.inline
        if jobs and not threaded:
            outcome = attempt(key.serving, key.wanted, jobs)
            lane.pace.learn(outcome.seconds, taken.rows)
            hand_out(jobs, outcome)
            del outcome  # as in `_work`
        for job in (*taken.passed, *lane.waiting, *jobs):
            job.watch()
        if threaded:
            lane.busy = True
            self._batch_threads.submit(self._work, asyncio.get_running_loop(), key, lane, taken)
        elif lane.waiting:
            self._schedule()
        else:
            del self._lanes[key]

    def _work(self, loop: asyncio.AbstractEventLoop, key: Key, lane: Lane, taken: NextBatch) -> None:
        """In a thread, judge batch after batch of a lane: a loop that is busy with others holds up none.

        All of its jobs are watched, so that those which are passed over are told by their own timers.
        """
        while taken.jobs:
            outcome = attempt(key.serving, key.wanted, taken.jobs)
            lane.pace.learn(outcome.seconds, taken.rows)
            loop.call_soon_threadsafe(hand_out, taken.jobs, outcome)
            del outcome  # the traceback of an error in it holds this frame: see `Job.verdicts`
            if lane.pace.inline:
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


def hand_out(jobs: Sequence[Job], outcome: Outcome, start: int = 0) -> None:
    """Give jobs, from `start` on, what became of them: some in each turn of the loop, which has others to see to."""
    stop = start + ANSWERED
    for job, result in zip(jobs[start:stop], outcome.results[start:stop], strict=True):
        job.finish(result)
    if stop < len(jobs):
        asyncio.get_running_loop().call_soon(hand_out, jobs, outcome, stop)
