"""Groups of records, each with a calibration of its own: which one judges a record, and what it says."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kilter.service.detector.arrays import Floats, Positions
from kilter.service.detector.calibration import Calibration, Judgement
from kilter.service.detector.columns import Column
from kilter.service.detector.inputs import Table


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
        for code in np.unique(codes).tolist():
            yield np.flatnonzero(codes == code), calibrations[code] if code >= 0 else None


class Thresholds(NamedTuple):
    """The common calibration, and those of groups if there are any: all that says what scores mean."""

    common: Calibration
    groups: Groups | None = None

    def judge(self, scores: Floats, table: Table) -> Judgement:
        """What is said of scores, (n,), of the rows of a table, each by the calibration of its group."""
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
