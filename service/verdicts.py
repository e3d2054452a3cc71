"""From records to the answer of the score route."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from service.detector import Detector, Problem, Reason, Verdicts
from service.problems import BAD_RECORDS, LISTED, RequestError
from service.registry import Serving

CHUNK = 1024
"""Records that go through the detector together."""


class Result(msgspec.Struct, frozen=True, gc=False):
    """The verdict on one record."""

    score: float
    p_value: float
    anomaly: bool
    reasons: list[Reason] | msgspec.UnsetType = msgspec.UNSET


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


def judge(serving: Serving, records: Sequence[Any], reasons: int) -> Answer:
    """Judge every record or none. Raises RequestError that lists what is wrong with which record."""
    detector, metrics = serving
    problems: list[Problem] = []
    judged: list[tuple[Verdicts, float]] = []
    for start in range(0, len(records), CHUNK):
        table = detector.table(records[start : start + CHUNK])
        if table.problems:
            problems += [p._replace(row=start + p.row) if p.row is not None else p for p in table.problems]
            if len(problems) >= LISTED:
                break
        elif not problems:
            began = time.perf_counter()
            verdicts = detector.score(table, reasons=reasons)
            judged.append((verdicts, time.perf_counter() - began))
    if problems:
        metrics.rejected(problems)
        raise refusal(problems, len(records))
    for verdicts, seconds in judged:
        metrics.judged(verdicts, seconds)
    return answer_of(detector, [verdicts for verdicts, _ in judged])


def answer_of(detector: Detector, judged: Iterable[Verdicts]) -> Answer:
    """The answer that consecutive batches of verdicts make."""
    return Answer(
        Model(detector.name, detector.version),
        detector.calibration.threshold,
        detector.calibration.target_fpr,
        [result for verdicts in judged for result in results(verdicts)],
    )


def results(verdicts: Verdicts) -> list[Result]:
    """The verdicts as the answer holds them."""
    columns = (verdicts.score.tolist(), verdicts.p_value.tolist(), verdicts.anomaly.tolist())
    if verdicts.reasons is None:
        return list(map(Result, *columns))
    return list(map(Result, *columns, verdicts.reasons))


def refusal(problems: Sequence[Problem], rows: int) -> RequestError:
    """What a client is told whose records do not fit."""
    wrong = len({problem.row for problem in problems})
    detail = f"{wrong} of {rows} records {'does' if wrong == 1 else 'do'} not fit the model; none was judged"
    if len(problems) > LISTED:
        detail = f"more than {LISTED:,} problems, of which the first {LISTED:,} are listed; no record was judged"
    return RequestError(BAD_RECORDS, detail, problems)
