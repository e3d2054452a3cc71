"""From the scores of calibration rows to thresholds: the common one and those of groups, in the way asked for."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kilter.service.detector.calibration import Calibration
from kilter.service.detector.detector import Scorer
from kilter.service.detector.groups import Groups
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.promise import Chosen
from kilter.service.detector.schema import Schema
from kilter.training.config import TrainConfig
from kilter.training.data import Data
from kilter.training.grouping import calibrate_groups
from kilter.training.rule import Rule
from kilter.training.split import Split
from kilter.training.tail import fit_tail
from kilter.training.threshold import Labelled, choose

Floats = npt.NDArray[np.float64]


class Calibrated(NamedTuple):
    """Every threshold of a model, and how the rate came about."""

    common: Calibration
    groups: Groups | None
    chosen: Chosen


class Rows(NamedTuple):
    """Calibration rows and their scores, (rows,)."""

    table: Table
    scores: Floats


def set_thresholds(
    rows: Rows,
    rate: float,
    digits: int,
    *,
    chosen: Chosen,
    rule: Rule,
    labelled: Callable[[], Labelled],
    schema: Schema,
    group_by: str | None,
    seed: int,
) -> Calibrated:
    """The thresholds for calibration rows at a rate, or at the rate that a rule chooses by labelled rows.

    `chosen` says how the rate came about where no rule does. Raises KilterError if the rows are too few for the rate,
    or the rule cannot be followed.
    """
    rounded = np.round(rows.scores, digits)
    common = Calibration.of(rounded, rate, digits, fit_tail(rounded))
    if rule.way is not None:
        chosen = Chosen(rule.way, rule.inputs)
    if rule.needs_labels:
        rate, chosen = choose(rule, common, labelled(), seed=seed)
        common = Calibration.of(rounded, rate, digits, common.tail)
    groups = None
    if group_by is not None:
        column = next(column for column in schema.fields if column.name == group_by)
        groups = calibrate_groups(column, rows.table, rounded, rate, digits, seed=seed)
    return Calibrated(common, groups, chosen)


def thresholds_of_fit(
    data: Data, config: TrainConfig, parts: Split, scorer: Scorer, rows: Rows, digits: int
) -> Calibrated:
    """The thresholds of a model that has just been fitted, by the calibration rows of its training files."""

    def labelled() -> Labelled:
        anomalous = data.readable & data.labels.anomalous if data.labels else np.zeros(data.table.rows, bool)
        held = scorer.score(take(data.table, parts.held_out)).score if len(parts.held_out) else None
        rate = float(anomalous.sum() / max(1, data.readable.sum()))
        return Labelled(held, scorer.score(take(data.table, anomalous)).score, rate)

    return set_thresholds(
        rows,
        parts.rate,
        digits,
        chosen=Chosen("default" if config.target_fpr is None else "rate"),
        rule=config.threshold,
        labelled=labelled,
        schema=scorer.modality.schema,
        group_by=data.source.group_by,
        seed=config.seed,
    )
