"""Requests on their way through the engine: how fast a model is, what waits for it, and how batches are judged.

Records of several requests are judged together and handed back to each; those of a long one are judged in pieces.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple, NoReturn

import numpy as np
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from kilter.service.detector import Problem, Verdicts
from kilter.service.detector.inputs import Table, cut, join
from kilter.service.models.registry import Serving
from kilter.service.monitoring.metrics import Metrics
from kilter.service.problems import BAD_RECORDS, LISTED, OUT_OF_TIME, RequestError
from kilter.service.request import Notes

BATCH = 1024  # records that are judged together at most: more go no faster
BATCH_SECONDS = 0.1
"""A batch is made so small that it is expected to take no longer: deadlines are looked at between batches."""
INLINE_SECONDS = 0.004
"""Batches that are expected to take longer are worked on in a thread, and the loop goes on answering."""
REMEMBERED = 8  # batches by which the next one's time is foretold: the fastest, as a busy machine slows some down


class Wanted(NamedTuple):
    """What is wanted of each record of a request beside its verdict."""

    reasons: int = 0
    """How many at most."""
    keep: tuple[str, ...] | None = None
    """The fields that are not changed in the nearest normals of anomalies; None if these are not wanted."""

    def score(self, serving: Serving, table: Table) -> Verdicts:
        """The verdicts on the records of a table, with what is wanted."""
        if self.keep is None:
            return serving.detector.score(table, reasons=self.reasons)
        return serving.detector.score(table, reasons=self.reasons, nearest_normal=True, keep=self.keep)


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
        bound = max(1, int(rows * BATCH_SECONDS / seconds))
        if seconds > BATCH_SECONDS:  # believed at once, against all that was seen before
            self._seen, self._bounds = (), ()
        else:  # it had time to spare, so that half as many more may come next
            bound = max(bound, rows + (rows + 1) // 2)
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
        """Set its verdicts or its error, unless it has one already."""
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
        timer = loop.call_later(
            max(0.0, self.deadline - time.monotonic()), lambda: self._shed("deadline", out_of_time())
        )
        self.done.add_done_callback(lambda _: timer.cancel())
        if self.receive is not None:
            watcher = loop.create_task(self._look_out(self.receive))
            self.done.add_done_callback(lambda _: watcher.cancel())

    async def _look_out(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass  # the body, which was read without being received
        self._shed("left", ClientDisconnect())

    def _shed(self, reason: str, error: Exception) -> None:
        if not self.done.done():
            self.metrics.shed[reason].inc()
            self.done.set_exception(error)


def out_of_time() -> RequestError:
    """The error for a request that was not answered in its time: a 503, which may be sent again, and no 504."""
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


class Outcome(NamedTuple):
    """For each job of a batch its verdicts, or what went wrong; and the seconds in the detector."""

    results: list[list[Verdicts] | Exception]
    seconds: float


def attempt(serving: Serving, wanted: Wanted, jobs: Sequence[Job]) -> Outcome:
    """Judge jobs together; if that fails, each by itself, so that none suffers from another."""
    began = time.perf_counter()
    try:
        return _together(serving, wanted, jobs)
    except Exception as error:
        if len(jobs) == 1:
            return Outcome([error], time.perf_counter() - began)
        alone = [attempt(serving, wanted, [job]) for job in jobs]
        return Outcome([outcome.results[0] for outcome in alone], sum(outcome.seconds for outcome in alone))


def _together(serving: Serving, wanted: Wanted, jobs: Sequence[Job]) -> Outcome:
    began = time.perf_counter()
    together = join([table for job in jobs for table in job.tables if table.rows])
    verdicts = wanted.score(serving, together)
    seconds = time.perf_counter() - began
    serving.judged(together, verdicts, seconds)
    flags = verdicts.anomaly.tolist()
    results: list[list[Verdicts] | Exception] = []
    start = 0
    for job in jobs:
        first = start
        own = []
        for table in job.tables:
            if table.rows:
                own.append(part(verdicts, start, start + table.rows))
                start += table.rows
        results.append(own)
        job.notes.records += start - first
        job.notes.anomalies += sum(flags[first:start])
        job.notes.seconds += seconds
    return Outcome(results, seconds)


def judge_all(serving: Serving, tables: Iterable[Table], wanted: Wanted, job: Job, pace: Pace) -> list[Verdicts]:
    """Judge every record of consecutive tables, or none; nothing more once the job is done, whatever the reason.

    A table is judged in as many pieces as its model's pace asks for. Raises RequestError that lists every problem.
    """
    problems: list[Problem] = []
    judged: list[list[tuple[Table, Verdicts, float]]] = []
    rows = 0
    if job.done.done():  # before the first table is read, which may take its time
        return []
    for table in tables:
        if job.done.done():
            return []
        if table.problems:
            problems += moved(table.problems, rows)
            if len(problems) > LISTED:
                break
        elif table.rows and not problems:
            judged.append(list(_pieces(serving, table, wanted, job, pace)))
        rows += table.rows
    if job.done.done():
        return []
    if problems or not rows:
        refuse(serving, problems, job.notes)
    for table, verdicts, seconds in chain.from_iterable(judged):
        serving.judged(table, verdicts, seconds)
        job.notes.records += len(verdicts.score)
        job.notes.anomalies += int(verdicts.anomaly.sum())
        job.notes.seconds += seconds
    return [whole([verdicts for _, verdicts, _ in pieces]) for pieces in judged]


def _pieces(
    serving: Serving, table: Table, wanted: Wanted, job: Job, pace: Pace
) -> Iterator[tuple[Table, Verdicts, float]]:
    """Judge a table piece by piece, until the job is done; each with the seconds that it took in the detector."""
    start = 0
    while start < table.rows and not job.done.done():
        piece = cut(table, start, start + pace.most)
        start += piece.rows
        began = time.perf_counter()
        verdicts = wanted.score(serving, piece)
        seconds = time.perf_counter() - began
        pace.learn(seconds, piece.rows)
        yield piece, verdicts, seconds


def refuse_all(serving: Serving, tables: Sequence[Table], notes: Notes) -> None:
    """Refuse tables of which some record does not fit, or that have none. Raises RequestError with every problem."""
    problems: list[Problem] = []
    rows = 0
    for table in tables:
        problems += moved(table.problems, rows)
        rows += table.rows
    refuse(serving, problems, notes)


def moved(problems: Iterable[Problem], rows: int) -> list[Problem]:
    """Problems with their records counted from so many rows earlier."""
    return [problem._replace(row=rows + problem.row) if problem.row is not None else problem for problem in problems]


def refuse(serving: Serving, problems: Sequence[Problem], notes: Notes) -> NoReturn:
    """Count and note what is refused. Raises RequestError."""
    if not problems:
        raise RequestError(BAD_RECORDS, "there are no records: send at least one")
    serving.rejected(problems)
    notes.rejected = len({problem.row for problem in problems if problem.row is not None})
    raise refusal(problems)


def refusal(problems: Sequence[Problem]) -> RequestError:
    """The error for records that do not fit."""
    wrong = len({problem.row for problem in problems})
    detail = f"{wrong} record{' does' if wrong == 1 else 's do'} not fit the model; none was judged"
    if len(problems) > LISTED:
        detail = f"more than {LISTED:,} problems, of which the first {LISTED:,} are listed; no record was judged"
    return RequestError(BAD_RECORDS, detail, problems)


def part(verdicts: Verdicts, start: int, stop: int) -> Verdicts:
    """The verdicts, none of them with problems, on the records from `start` up to `stop`."""
    if start == 0 and stop == len(verdicts.score):
        return verdicts
    return Verdicts._make([None if values is None else values[start:stop] for values in verdicts])


def whole(pieces: Sequence[Verdicts]) -> Verdicts:
    """Consecutive verdicts of one model as one: the inverse of `part`."""
    return pieces[0] if len(pieces) == 1 else Verdicts._make(map(_joined, zip(*pieces, strict=True)))


def _joined(parts: Sequence[Any]) -> Any:
    """The values of consecutive pieces; None where these have none."""
    if parts[0] is None:
        return None
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else list(chain.from_iterable(parts))
