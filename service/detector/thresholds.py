"""The thresholds of a model, common and by group: how they judge, what a manifest states of them, and another rate."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from kilter.service.detector.arrays import Floats, Positions
from kilter.service.detector.artifact import CALIBRATION_SCORES, GROUP_SCORES, MANIFEST, Artifact
from kilter.service.detector.beta import quantile
from kilter.service.detector.calibration import Calibration, Judgement, fewest
from kilter.service.detector.columns import Column
from kilter.service.detector.errors import ArtifactError, KilterError
from kilter.service.detector.inputs import Table
from kilter.service.detector.manifest import HIGHEST_RATE, UPPER, Choice, Grouping, GroupPromise, Promise


@dataclass(frozen=True)
class Groups:
    """The calibrations of the groups that have one of their own, by the value of a column as text.

    A record of any other group, or without a value, is judged by the common calibration.
    """

    column: Column
    calibrations: Mapping[str, Calibration]

    def members(self, table: Table) -> Iterator[tuple[Positions, Calibration | None]]:
        """The positions of the rows of each group that occurs, with its calibration; None for the common one."""
        calibrations = list(self.calibrations.values())
        places = {self.column.group_value(value): place for place, value in enumerate(self.calibrations)}
        cells = table.columns[self.column.name].tolist()
        codes = np.fromiter((places.get(cell, -1) for cell in cells), np.int64, table.rows)
        if len(strangers := np.flatnonzero(codes < 0)):  # of another spelling, of no group, or without a value
            alike = {self.column.group_name(value): place for value, place in places.items()}
            codes[strangers] = [alike.get(self.column.group_name(cells[row]), -1) for row in strangers]
        for code in np.unique(codes).tolist():
            yield np.flatnonzero(codes == code), calibrations[code] if code >= 0 else None


class Thresholds(NamedTuple):
    """The common calibration, and those of groups if there are any: all that says what scores mean."""

    common: Calibration
    groups: Groups | None = None

    def judge(self, scores: Floats, table: Table) -> Judgement:
        """The judgement of scores, (n,), of the rows of a table, each by the calibration of its group."""
        if self.groups is None:
            return self.common.judge(scores)
        p_value, threshold, tail_probability = (np.full(len(scores), np.nan) for _ in range(3))
        anomaly = np.zeros(len(scores), bool)
        for rows, own in self.groups.members(table):
            calibration = own or self.common
            p_value[rows], anomaly[rows], tail, _ = calibration.judge(scores[rows])
            threshold[rows] = calibration.threshold
            if tail is not None:
                tail_probability[rows] = tail
        tails = any(calibration.tail for calibration in (self.common, *self.groups.calibrations.values()))
        return Judgement(p_value, anomaly, tail_probability if tails else None, threshold)


def check_target(target_fpr: float) -> float:
    """Return a target false-positive rate that makes sense. Raises KilterError."""
    if not 0 < target_fpr <= HIGHEST_RATE:
        raise KilterError(
            f"a target false-positive rate is above 0 and at most {HIGHEST_RATE}, like 0.01; not {target_fpr:g}"
        )
    return target_fpr


def promise_of(
    thresholds: Thresholds, chosen: Choice, split: str, *, split_by: str | None = None, left_out: bool = False
) -> Promise:
    """A manifest's entry for thresholds; `split` is how the calibration records were set apart: `random` or `time`.

    And `split_by` the column by whose values, if any.

    `left_out` says whether the memory of the score holds them, and each was scored with all of it but itself.
    """
    common, groups = thresholds
    by_group = None
    if groups is not None:
        promises = [GroupPromise(value=value, **_figures(own)) for value, own in groups.calibrations.items()]
        by_group = Grouping(groups.column.name, tuple(promises))
    stated: dict[str, Any] = {
        "split": split,
        "split_by": split_by,
        "chosen": chosen,
        "left_out": left_out,
        "by_group": by_group,
    }
    return Promise(target_fpr=common.target_fpr, **stated, **_figures(common))


def _figures(calibration: Calibration) -> dict[str, Any]:
    """The entries for one calibration; its upper quantile is of Beta(k, n + 1 - k), k being the rank."""
    rank, size = calibration.rank, calibration.size
    return {
        "size": size,
        "rank": rank,
        "threshold": calibration.threshold,
        "expected_fpr": calibration.expected_fpr,
        "upper_fpr": quantile(UPPER, rank, size + 1 - rank),
        "tail": calibration.tail,
    }


def score_tensors(thresholds: Thresholds) -> dict[str, Floats]:
    """The calibration scores as an artifact holds them."""
    common, groups = thresholds
    tensors = {CALIBRATION_SCORES: common.scores}
    if groups is not None and groups.calibrations:
        tensors[GROUP_SCORES] = np.concatenate([own.scores for own in groups.calibrations.values()])
    return tensors


def at_rate(promise: Promise, thresholds: Thresholds, target_fpr: float) -> tuple[Thresholds, Promise]:
    """Thresholds by the same scores at another rate, those of groups included, and the entry of a manifest for them.

    A group with too few records for the rate has the common threshold, as it would from training. Raises KilterError
    if all records together are too few, or the rate is none.
    """
    common, groups = thresholds
    if common.size < fewest(check_target(target_fpr)):
        raise KilterError(
            f"a false-positive rate of {target_fpr:g} needs at least {fewest(target_fpr):,} calibration records; there "
            f"are {common.size:,}, and the smallest rate that they support is {smallest_rate(common.size):g}"
        )
    if groups is not None:
        own = {
            value: replace(calibration, target_fpr=target_fpr)
            for value, calibration in groups.calibrations.items()
            if calibration.size >= fewest(target_fpr)
        }
        groups = Groups(groups.column, own)
    changed = Thresholds(replace(common, target_fpr=target_fpr), groups)
    return changed, promise_of(
        changed, Choice("rate"), promise.split, split_by=promise.split_by, left_out=promise.left_out
    )


def smallest_rate(size: int) -> float:
    """The smallest rate that `size` calibration records support, 1 / (n + 1), rounded up to six digits."""
    places = 10.0 ** (math.ceil(math.log10(size + 1)) + 5)
    return math.ceil(places / (size + 1)) / places


def thresholds_of(artifact: Artifact) -> Thresholds:
    """The thresholds of an artifact. Raises ArtifactError if the manifest states anything else than they give."""
    promise, digits = artifact.manifest.calibration, artifact.manifest.score.digits
    common = _checked("calibration", promise, artifact.tensors[CALIBRATION_SCORES], promise.target_fpr, digits)
    if promise.by_group is None:
        return Thresholds(common)
    column = artifact.manifest.schema.field(promise.by_group.column)
    if column is None or not column.can_group:
        raise ArtifactError(f"{MANIFEST}: the schema has no column {promise.by_group.column!r} that can group records")
    ends = np.cumsum([group.size for group in promise.by_group.groups], dtype=np.int64)
    parts = np.split(artifact.tensors.get(GROUP_SCORES, np.empty(0)), ends)[:-1]
    calibrations: dict[str, Calibration] = {}
    for group, scores in zip(promise.by_group.groups, parts, strict=True):
        place = f"calibration of the group {group.value!r}"
        if group.value in calibrations:
            raise ArtifactError(f"{MANIFEST}: {place} stands there twice")
        try:
            column.group_value(group.value)
        except ValueError:
            raise ArtifactError(f"{MANIFEST}: {place}: {column.name!r} has no such value") from None
        calibrations[group.value] = _checked(place, group, scores, promise.target_fpr, digits)
    return Thresholds(common, Groups(column, calibrations))


def _checked(
    place: str, promise: Promise | GroupPromise, scores: Floats, target_fpr: float, digits: int
) -> Calibration:
    if (np.diff(scores) < 0).any():
        raise ArtifactError(f"{MANIFEST}: {place}: its scores do not ascend")
    calibration = Calibration.of(scores, target_fpr, digits, promise.tail)
    for field in ("rank", "threshold"):
        stated, right = getattr(promise, field), getattr(calibration, field)
        if stated != right:
            raise ArtifactError(f"{MANIFEST}: {place}: {field} is {stated}, its scores give {right}")
    fault = promise.tail.fault(calibration.scores) if promise.tail else None
    if fault is not None:
        raise ArtifactError(f"{MANIFEST}: {place}: {fault}")
    return calibration
