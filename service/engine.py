"""Where records become verdicts: every route that judges hands its records to the engine.

Small requests that arrive in the same turn of the event loop for the same model are one batch, so that nothing ever
waits for a batch to fill. What takes longer than `INLINE_SECONDS` is worked on in threads; what arrives meanwhile is
the next batch.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, ParamSpec, TypeVar

from starlette.types import Receive

from service.admission import Admission
from service.detector import Problem, Verdicts
from service.detector.inputs import Table, join
from service.job import Job
from service.metrics import Metrics
from service.notes import Notes
from service.problems import BAD_RECORDS, LISTED, RequestError
from service.registry import Serving
from service.verdicts import part, refusal

P = ParamSpec("P")
T = TypeVar("T")
BATCH = 1024
"""Records that are judged together at most: more go no faster."""
SMALL = 256
"""A request of up to as many records is batched with others; a longer one is worked on by itself."""
INLINE_SECONDS = 0.01
"""Batches that are expected to take longer are worked on in a thread, and the loop goes on answering."""


class Key(NamedTuple):
    """What the requests of a batch have in common."""

    serving: Serving
    reasons: int


class Lane:
    """The small requests for one model that wait to be a batch."""

    def __init__(self) -> None:
        self.waiting: list[Job] = []
        self.busy = False
        """Whether a batch is in a thread."""


class Engine:
    """Judges records, in batches, within bounds on what is in flight."""

    def __init__(self, admission: Admission, metrics: Metrics, seconds: float = 30.0) -> None:
        """`seconds` is how long a request may take that states no deadline."""
        self.admission = admission
        self._metrics = metrics
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1, "kilter")
        self._lanes: dict[Key, Lane] = {}
        self._scheduled = False
        self._pace: dict[tuple[str, int], tuple[float, int]] = {}
        """Seconds and records of the last batch of a model, with so many reasons."""

    async def judge(
        self,
        serving: Serving,
        tables: Iterable[Table],
        reasons: int,
        notes: Notes,
        *,
        size: int,
        deadline: float | None = None,
        receive: Receive | None = None,
    ) -> list[Verdicts]:
        """Verdicts on consecutive tables, one for each that has rows: on every record, or on none.

        A list of tables is taken to be at hand; any other iterable is read in a thread, as it may take its time. `size`
        is the length of the body in bytes, `deadline` a time by `time.monotonic`, and `receive` tells when the client
        has left. Raises RequestError that lists every problem of the records, or that says that too much is in flight
        or that the time is over, and ClientDisconnect.
        """
        if deadline is None:
            deadline = time.monotonic() + self._seconds
        if not isinstance(tables, Sequence):
            with self.admission.held(0, size):
                return await self._long(serving, tables, reasons, notes, deadline, receive)
        rows = sum(table.rows for table in tables)
        with self.admission.held(rows, size):
            if rows > SMALL:
                return await self._long(serving, tables, reasons, notes, deadline, receive)
            check(serving, tables, notes)
            job = Job(tables, notes, deadline, receive, self._metrics)
            self._lanes.setdefault(Key(serving, reasons), Lane()).waiting.append(job)
            if not self._scheduled:
                self._scheduled = True
                asyncio.get_running_loop().call_soon(self._flush)
            return await job.done

    async def run(self, work: Callable[P, T], /, *arguments: P.args, **options: P.kwargs) -> T:
        """What a function gives that is called in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: work(*arguments, **options))

    async def _long(
        self,
        serving: Serving,
        tables: Iterable[Table],
        reasons: int,
        notes: Notes,
        deadline: float,
        receive: Receive | None,
    ) -> list[Verdicts]:
        job = Job([], notes, deadline, receive, self._metrics)
        job.watch()
        work = asyncio.ensure_future(self.run(judge_all, serving, tables, reasons, job))

        def finished(work: asyncio.Future[list[Verdicts]]) -> None:
            if job.done.done():
                work.exception()
            elif (error := work.exception()) is not None:
                job.done.set_exception(error)
            else:
                job.done.set_result(work.result())

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
        jobs: list[Job] = []
        rows = 0
        while lane.waiting and not (jobs and rows + _rows(lane.waiting[0]) > BATCH):
            job = lane.waiting.pop(0)
            if not job.late():
                jobs.append(job)
                rows += _rows(job)
        if not lane.waiting and not jobs:
            del self._lanes[key]
            return
        pace = (key.serving.detector.name, key.reasons)
        seconds, last = self._pace.get(pace, (0.0, 1))
        if seconds * max(1.0, rows / last) <= INLINE_SECONDS:
            self._answer(pace, jobs, *attempt(key, jobs))
            if lane.waiting:
                asyncio.get_running_loop().call_soon(self._flush)
            else:
                del self._lanes[key]
            return
        lane.busy = True
        for job in jobs:
            job.watch()
        work = asyncio.ensure_future(self.run(attempt, key, jobs))

        def finished(work: "asyncio.Future[tuple[list[list[Verdicts] | Exception], float]]") -> None:
            lane.busy = False
            self._answer(pace, jobs, *work.result())
            self._flush()

        work.add_done_callback(finished)

    def _answer(
        self, pace: tuple[str, int], jobs: Sequence[Job], results: Sequence[list[Verdicts] | Exception], seconds: float
    ) -> None:
        self._pace[pace] = seconds, max(1, sum(map(_rows, jobs)))
        for job, result in zip(jobs, results, strict=True):
            if job.done.done():
                continue
            if isinstance(result, Exception):
                job.done.set_exception(result)
            else:
                note(job.notes, result, seconds)
                job.done.set_result(result)


def _rows(job: Job) -> int:
    return sum(table.rows for table in job.tables)


def check(serving: Serving, tables: Sequence[Table], notes: Notes) -> None:
    """Raise RequestError, listing every problem, if some record does not fit or there is none."""
    problems: list[Problem] = []
    rows = 0
    for table in tables:
        problems += [p._replace(row=rows + p.row) if p.row is not None else p for p in table.problems]
        rows += table.rows
    if problems:
        serving.rejected(problems)
        notes.rejected = len({problem.row for problem in problems if problem.row is not None})
        raise refusal(problems)
    if not rows:
        raise RequestError(BAD_RECORDS, "there are no records: send at least one")


def attempt(key: Key, jobs: Sequence[Job]) -> tuple[list[list[Verdicts] | Exception], float]:
    """For each job its verdicts, judged together, or what went wrong; and the seconds in the detector."""
    tables = [table for job in jobs for table in job.tables if table.rows]
    together = join(tables)
    began = time.perf_counter()
    try:
        verdicts = key.serving.detector.score(together, reasons=key.reasons)
    except Exception as error:  # one of them may have brought it down, and the others shall not suffer
        if len(jobs) == 1:
            return [error], time.perf_counter() - began
        alone = [attempt(key, [job]) for job in jobs]
        return [results[0] for results, _ in alone], sum(seconds for _, seconds in alone)
    seconds = time.perf_counter() - began
    key.serving.judged(together, verdicts, seconds)
    parts: list[list[Verdicts] | Exception] = []
    start = 0
    for job in jobs:
        own = []
        for table in job.tables:
            if table.rows:
                own.append(part(verdicts, start, start + table.rows))
                start += table.rows
        parts.append(own)
    return parts, seconds


def judge_all(serving: Serving, tables: Iterable[Table], reasons: int, job: Job) -> list[Verdicts]:
    """Judge every record of consecutive tables, or none. Raises RequestError that lists every problem."""
    problems: list[Problem] = []
    judged: list[tuple[Table, Verdicts, float]] = []
    rows = 0
    for table in tables:
        if job.done.done():
            return []
        if table.problems:
            problems += [p._replace(row=rows + p.row) if p.row is not None else p for p in table.problems]
            if len(problems) > LISTED:
                break
        elif table.rows and not problems:
            began = time.perf_counter()
            verdicts = serving.detector.score(table, reasons=reasons)
            judged.append((table, verdicts, time.perf_counter() - began))
        rows += table.rows
    if problems:
        serving.rejected(problems)
        job.notes.rejected = len({problem.row for problem in problems if problem.row is not None})
        raise refusal(problems)
    if not rows:
        raise RequestError(BAD_RECORDS, "there are no records: send at least one")
    for table, verdicts, seconds in judged:
        serving.judged(table, verdicts, seconds)
        note(job.notes, [verdicts], seconds)
    return [verdicts for _, verdicts, _ in judged]


def note(notes: Notes, judged: Sequence[Verdicts], seconds: float) -> None:
    """Note what was judged."""
    for verdicts in judged:
        notes.records += len(verdicts.score)
        notes.anomalies += int(verdicts.anomaly.sum())
    notes.seconds += seconds
