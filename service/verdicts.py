"""From records to the answer of the score route."""

import time
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Annotated

import msgspec

from service.detector import Detector, Problem, Reason, Verdicts
from service.detector.inputs import Table
from service.notes import Notes
from service.problems import BAD_RECORDS, LISTED, RequestError
from service.registry import Serving

TAIL = msgspec.Meta(
    description="There for a record whose score lies where the tail of the calibration scores begins or beyond, which "
    "one normal record in ten does: an estimate, by a fitted distribution, of how many normal records score higher. It "
    "tells those apart that share the lowest p-value, and is no p-value."
)
GROUPED = msgspec.Meta(description="There if groups of records have thresholds of their own: that of this record.")


class Result(msgspec.Struct, frozen=True, gc=False):
    """The verdict on one record."""

    score: float
    p_value: float
    anomaly: bool
    reasons: list[Reason] | msgspec.UnsetType = msgspec.UNSET
    tail_probability: Annotated[float | msgspec.UnsetType, TAIL] = msgspec.UNSET
    threshold: Annotated[float | msgspec.UnsetType, GROUPED] = msgspec.UNSET
    target_fpr: Annotated[float | msgspec.UnsetType, GROUPED] = msgspec.UNSET


class Model(msgspec.Struct, frozen=True):
    """Which model judged."""

    name: str
    version: int


class Answer(msgspec.Struct, frozen=True):
    """The verdicts on the records of a request, in their order."""

    model: Model
    threshold: float
    target_fpr: float
    results: list[Result]


def judge(serving: Serving, tables: Iterable[Table], reasons: int, notes: Notes) -> list[Verdicts]:
    """Judge every record of consecutive tables, or none. Raises RequestError that lists every problem."""
    problems: list[Problem] = []
    judged: list[tuple[Table, Verdicts, float]] = []
    rows = 0
    for table in tables:
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
        notes.rejected = len({problem.row for problem in problems if problem.row is not None})
        raise refusal(problems)
    if not rows:
        raise RequestError(BAD_RECORDS, "there are no records: send at least one")
    for table, verdicts, seconds in judged:
        serving.judged(table, verdicts, seconds)
        notes.records += len(verdicts.score)
        notes.anomalies += int(verdicts.anomaly.sum())
        notes.seconds += seconds
    return [verdicts for _, verdicts, _ in judged]


def answer_of(detector: Detector, judged: Iterable[Verdicts]) -> Answer:
    """The answer that consecutive batches of verdicts make."""
    return Answer(
        Model(detector.name, detector.version),
        detector.calibration.threshold,
        detector.calibration.target_fpr,
        [result for verdicts in judged for result in results(verdicts, detector.calibration.target_fpr)],
    )


def results(verdicts: Verdicts, target_fpr: float) -> list[Result]:
    """The verdicts as the answer holds them."""
    columns = (verdicts.score.tolist(), verdicts.p_value.tolist(), verdicts.anomaly.tolist())
    reasons = repeat(msgspec.UNSET) if verdicts.reasons is None else verdicts.reasons
    if verdicts.threshold is None and verdicts.tail_probability is None:
        return list(map(Result, *columns, reasons))
    tails: Iterable[float | msgspec.UnsetType] = repeat(msgspec.UNSET)
    if verdicts.tail_probability is not None:
        tails = [msgspec.UNSET if value != value else value for value in verdicts.tail_probability.tolist()]
    if verdicts.threshold is None:
        return list(map(Result, *columns, reasons, tails))
    return list(map(Result, *columns, reasons, tails, verdicts.threshold.tolist(), repeat(target_fpr)))


def refusal(problems: Sequence[Problem]) -> RequestError:
    """What a client is told whose records do not fit."""
    wrong = len({problem.row for problem in problems})
    detail = f"{wrong} record{' does' if wrong == 1 else 's do'} not fit the model; none was judged"
    if len(problems) > LISTED:
        detail = f"more than {LISTED:,} problems, of which the first {LISTED:,} are listed; no record was judged"
    return RequestError(BAD_RECORDS, detail, problems)
