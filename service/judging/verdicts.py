"""From records to the answer of the score route."""

from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from typing import Annotated, cast

import msgspec
import numpy as np

from kilter.service.detector import Detector, Problem, Reason, Verdicts
from kilter.service.problems import BAD_RECORDS, LISTED, RequestError

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


def part(verdicts: Verdicts, start: int, stop: int) -> Verdicts:
    """The verdicts on the records from `start` up to `stop`."""
    if start == 0 and stop == len(verdicts.score):
        return verdicts
    rows = slice(start, stop)
    return Verdicts(
        verdicts.score[rows],
        verdicts.p_value[rows],
        verdicts.anomaly[rows],
        None if verdicts.reasons is None else verdicts.reasons[rows],
        [],
        verdicts.features[rows],
        None if verdicts.threshold is None else verdicts.threshold[rows],
        None if verdicts.tail_probability is None else verdicts.tail_probability[rows],
        None if verdicts.evidence is None else verdicts.evidence[rows],
    )


def whole(pieces: Sequence[Verdicts]) -> Verdicts:
    """Consecutive verdicts of one model as one: the inverse of `part`."""
    if len(pieces) == 1:
        return pieces[0]
    score, p_value, anomaly, reasons, _, features, threshold, tail, evidence = zip(*pieces, strict=True)
    return Verdicts(
        np.concatenate(score),
        np.concatenate(p_value),
        np.concatenate(anomaly),
        None if reasons[0] is None else list(chain.from_iterable(reasons)),
        [],
        np.concatenate(features),
        None if threshold[0] is None else np.concatenate(threshold),
        None if tail[0] is None else np.concatenate(tail),
        None if evidence[0] is None else np.concatenate(evidence),
    )


def answer_of(detector: Detector, judged: Iterable[Verdicts]) -> Answer:
    """The answer that consecutive batches of verdicts make."""
    return Answer(
        Model(detector.name, detector.version),
        detector.calibration.threshold,
        detector.calibration.target_fpr,
        [result for verdicts in judged for result in results(verdicts, detector.calibration.target_fpr)],
    )


class AnswerWriter:
    """Writes answers of one detector: all but the results is the same each time."""

    def __init__(self, detector: Detector) -> None:
        encoder = msgspec.json.Encoder()
        self._encode, self._lines = encoder.encode, encoder.encode_lines
        self._target_fpr = detector.calibration.target_fpr
        self._head = self._encode(answer_of(detector, [])).removesuffix(b"[]}")

    def write(self, judged: Sequence[Verdicts]) -> bytes:
        """The answer that `answer_of` gives, in JSON."""
        found = [result for verdicts in judged for result in results(verdicts, self._target_fpr)]
        return b"%b%b}" % (self._head, self._encode(found))

    def lines(self, judged: Sequence[Verdicts]) -> bytes:
        """The results alone, each in a line of its own."""
        return self._lines([result for verdicts in judged for result in results(verdicts, self._target_fpr)])


def results(verdicts: Verdicts, target_fpr: float) -> list[Result]:
    """The verdicts as the answer holds them."""
    columns = (verdicts.score.tolist(), verdicts.p_value.tolist(), verdicts.anomaly.tolist())
    reasons = repeat(msgspec.UNSET) if verdicts.reasons is None else cast("list[list[Reason]]", verdicts.reasons)
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
