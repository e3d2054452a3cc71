"""Another target false-positive rate for calibration scores that are there."""

import math
from typing import NamedTuple, TypeVar

import msgspec

from kilter.service.detector.beta import quantile
from kilter.service.detector.calibration import Calibration, needed
from kilter.service.detector.errors import KilterError
from kilter.service.detector.groups import Groups
from kilter.service.detector.promise import CalibrationInfo, Chosen, GroupInfo, GroupsInfo

HIGHEST = 0.5
UPPER = 0.999
Info = TypeVar("Info", CalibrationInfo, GroupInfo)


class Rated(NamedTuple):
    """Calibrations at one target false-positive rate, and what a manifest says of them."""

    common: Calibration
    groups: Groups | None
    info: CalibrationInfo


def at_rate(info: CalibrationInfo, common: Calibration, groups: Groups | None, target_fpr: float) -> Rated:
    """The same scores at another rate, that of the groups included.

    A group with too few records for the rate has the common threshold, as it would from training. Raises KilterError
    if all records together are too few, or the rate is none.
    """
    if not 0 < target_fpr <= HIGHEST:
        raise KilterError(
            f"a target false-positive rate is above 0 and at most {HIGHEST}, like 0.01; not {target_fpr:g}"
        )
    if common.size < needed(target_fpr):
        raise KilterError(
            f"a false-positive rate of {target_fpr:g} needs at least {needed(target_fpr):,} calibration records; there "
            f"are {common.size:,}, and the smallest rate that they support is {smallest(common.size):g}"
        )
    again = Calibration.of(common.scores, target_fpr, common.digits, common.tail)
    stated = msgspec.structs.replace(_stated(info, again), target_fpr=target_fpr, chosen=Chosen("rate"))
    if groups is None or info.by_group is None:
        return Rated(again, None, stated)
    own = {
        value: Calibration.of(one.scores, target_fpr, one.digits, one.tail)
        for value, one in groups.calibrations.items()
        if one.size >= needed(target_fpr)
    }
    told = tuple(_stated(group, own[group.value]) for group in info.by_group.groups if group.value in own)
    by_group = GroupsInfo(info.by_group.column, told)
    return Rated(again, Groups(groups.column, own), msgspec.structs.replace(stated, by_group=by_group))


def smallest(size: int) -> float:
    """The smallest rate that `size` calibration records support, 1 / (n + 1), rounded up to six digits."""
    places = 10.0 ** (math.ceil(math.log10(size + 1)) + 5)
    return math.ceil(places / (size + 1)) / places


def _stated(info: Info, calibration: Calibration) -> Info:
    rank, size = calibration.rank, calibration.size
    return msgspec.structs.replace(
        info,
        rank=rank,
        threshold=calibration.threshold,
        expected_fpr=calibration.expected_fpr,
        upper_fpr=quantile(UPPER, rank, size + 1 - rank),
    )
