"""The thresholds that an artifact holds, held against the scores that they come from."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kilter.service.detector.artifact import CALIBRATION_SCORES, GROUP_SCORES, MANIFEST, Artifact
from kilter.service.detector.calibration import Calibration
from kilter.service.detector.errors import ArtifactError
from kilter.service.detector.groups import Groups
from kilter.service.detector.promise import CalibrationInfo, GroupInfo


class Thresholds(NamedTuple):
    """The common calibration, and those of groups if there are any."""

    common: Calibration
    groups: Groups | None


def thresholds_of(found: Artifact) -> Thresholds:
    """The calibrations of an artifact. Raises ArtifactError if the manifest states anything else than they give."""
    info, digits = found.manifest.calibration, found.manifest.score.digits
    common = _checked("calibration", info, found.tensors[CALIBRATION_SCORES], info.target_fpr, digits)
    if info.by_group is None:
        return Thresholds(common, None)
    column = found.manifest.schema.field(info.by_group.column)
    if column is None or not column.can_group:
        raise ArtifactError(f"{MANIFEST}: the schema has no column {info.by_group.column!r} that can group records")
    ends = np.cumsum([group.size for group in info.by_group.groups], dtype=np.int64)
    calibrations = {}
    parts = np.split(found.tensors.get(GROUP_SCORES, np.empty(0)), ends)[:-1]
    for group, scores in zip(info.by_group.groups, parts, strict=True):
        place = f"calibration of the group {group.value!r}"
        if group.value in calibrations:
            raise ArtifactError(f"{MANIFEST}: {place} stands there twice")
        try:
            column.group_value(group.value)
        except ValueError:
            raise ArtifactError(f"{MANIFEST}: {place}: {column.name!r} has no such value") from None
        calibrations[group.value] = _checked(place, group, scores, info.target_fpr, digits)
    return Thresholds(common, Groups(column, calibrations))


def _checked(
    place: str, info: CalibrationInfo | GroupInfo, scores: npt.NDArray[np.float64], target_fpr: float, digits: int
) -> Calibration:
    if (np.diff(scores) < 0).any():
        raise ArtifactError(f"{MANIFEST}: {place}: its scores do not ascend")
    calibration = Calibration.of(scores, target_fpr, digits, info.tail)
    for field in ("rank", "threshold"):
        stated, given = getattr(info, field), getattr(calibration, field)
        if stated != given:
            raise ArtifactError(f"{MANIFEST}: {place}: {field} is {stated}, its scores give {given}")
    fault = info.tail.fault(calibration.scores) if info.tail else None
    if fault is not None:
        raise ArtifactError(
            f"{MANIFEST}: {place}: {fault.field} of the tail is {fault.stated}, and must be {fault.expected}"
        )
    return calibration
