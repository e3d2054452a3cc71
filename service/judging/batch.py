"""Records of several requests, judged together and handed back to each."""

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple, NoReturn

import numpy as np

from kilter.service.detector import Problem, Verdicts
from kilter.service.detector.inputs import Table, cut, join
from kilter.service.judging.queue import Job, Pace
from kilter.service.models.registry import Serving
from kilter.service.problems import BAD_RECORDS, LISTED, RequestError
from kilter.service.request import Notes


class Outcome(NamedTuple):
    """For each job of a batch its verdicts, or what went wrong; and the seconds in the detector."""

    results: list[list[Verdicts] | Exception]
    seconds: float


def attempt(serving: Serving, reasons: int, jobs: Sequence[Job]) -> Outcome:
    """Judge jobs together; if that fails, each by itself, so that none suffers from another."""
    began = time.perf_counter()
    try:
        return _together(serving, reasons, jobs)
    except Exception as error:
        if len(jobs) == 1:
            return Outcome([error], time.perf_counter() - began)
        alone = [attempt(serving, reasons, [job]) for job in jobs]
        return Outcome([outcome.results[0] for outcome in alone], sum(outcome.seconds for outcome in alone))


def _together(serving: Serving, reasons: int, jobs: Sequence[Job]) -> Outcome:
    began = time.perf_counter()
    together = join([table for job in jobs for table in job.tables if table.rows])
    verdicts = serving.detector.score(together, reasons=reasons)
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


def judge_all(serving: Serving, tables: Iterable[Table], reasons: int, job: Job, pace: Pace) -> list[Verdicts]:
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
            judged.append(list(_pieces(serving, table, reasons, job, pace)))
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
    serving: Serving, table: Table, reasons: int, job: Job, pace: Pace
) -> Iterator[tuple[Table, Verdicts, float]]:
    """Judge a table piece by piece, until the job is done; each with the seconds that it took in the detector."""
    start = 0
    while start < table.rows and not job.done.done():
        piece = cut(table, start, start + pace.most)
        start += piece.rows
        began = time.perf_counter()
        verdicts = serving.detector.score(piece, reasons=reasons)
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
    """Problems of records that come after so many others."""
    return [problem._replace(row=rows + problem.row) if problem.row is not None else problem for problem in problems]


def refuse(serving: Serving, problems: Sequence[Problem], notes: Notes) -> NoReturn:
    """Count and note what is refused. Raises RequestError."""
    if not problems:
        raise RequestError(BAD_RECORDS, "there are no records: send at least one")
    serving.rejected(problems)
    notes.rejected = len({problem.row for problem in problems if problem.row is not None})
    raise refusal(problems)


def refusal(problems: Sequence[Problem]) -> RequestError:
    """What a client is told whose records do not fit."""
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
