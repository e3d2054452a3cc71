"""The thresholds of a model: as its manifest states them, held against their scores, and at another rate."""

import math
from typing import Any

import numpy as np

from kilter.service.detector.arrays import Floats
from kilter.service.detector.artifact import CALIBRATION_SCORES, GROUP_SCORES, MANIFEST, Artifact
from kilter.service.detector.beta import quantile
from kilter.service.detector.calibration import Calibration, fewest
from kilter.service.detector.errors import ArtifactError, KilterError
from kilter.service.detector.groups import Groups, Thresholds
from kilter.service.detector.manifest import HIGHEST_RATE, UPPER, Choice, GroupPromise, GroupPromises, Promise


def check_target(target_fpr: float) -> float:
    """Return a target false-positive rate that makes sense. Raises KilterError."""
    if not 0 < target_fpr <= HIGHEST_RATE:
        raise KilterError(
            f"a target false-positive rate is above 0 and at most {HIGHEST_RATE}, like 0.01; not {target_fpr:g}"
        )
    return target_fpr


def promise_of(thresholds: Thresholds, chosen: Choice, split: str, *, left_out: bool = False) -> Promise:
    """What a manifest says of thresholds; `split` is how the calibration records were set apart: `random` or `time`.

    `left_out` says whether the memory of the score holds them, and each was scored with all of it but itself.
    """
    common, groups = thresholds
    by_group = None
    if groups is not None:
        promises = [GroupPromise(value=value, **_figures(own)) for value, own in groups.calibrations.items()]
        by_group = GroupPromises(groups.column.name, tuple(promises))
    return Promise(
        target_fpr=common.target_fpr,
        split=split,
        chosen=chosen,
        left_out=left_out,
        by_group=by_group,
        **_figures(common),
    )


def _figures(calibration: Calibration) -> dict[str, Any]:
    """What is said of one calibration: its upper quantile is of Beta(k, n + 1 - k), k being the rank."""
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
    """Thresholds by the same scores at another rate, those of groups included, and what a manifest says of them.

    A group with too few records for the rate has the common threshold, as it would from training. Raises KilterError
    if all records together are too few, or the rate is none.
    """
    common, groups = thresholds
    if common.size < fewest(check_target(target_fpr)):
        raise KilterError(
            f"a false-positive rate of {target_fpr:g} needs at least {fewest(target_fpr):,} calibration records; there "
            f"are {common.size:,}, and the smallest rate that they support is {smallest_rate(common.size):g}"
        )
    own = None
    if groups is not None:
        enough = {value: one for value, one in groups.calibrations.items() if one.size >= fewest(target_fpr)}
        own = Groups(groups.column, {value: _again(one, target_fpr) for value, one in enough.items()})
    again = Thresholds(_again(common, target_fpr), own)
    return again, promise_of(again, Choice("rate"), promise.split, left_out=promise.left_out)


def _again(calibration: Calibration, target_fpr: float) -> Calibration:
    return Calibration.of(calibration.scores, target_fpr, calibration.digits, calibration.tail)


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
    calibrations: dict[str, Calibration] = {}
    parts = np.split(artifact.tensors.get(GROUP_SCORES, np.empty(0)), ends)[:-1]
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
