"""From the scores of calibration rows to thresholds: the common one and those of groups, in the way asked for.

A rule that needs labels chooses the level that serves it best on labelled rows, in terms of the false-positive rate.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn import metrics

from kilter.service.detector.calibration import DIGITS, Calibration, needed
from kilter.service.detector.columns import Column
from kilter.service.detector.errors import KilterError
from kilter.service.detector.groups import Groups
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.promise import HIGHEST_RATE, Choice, ChoiceEvidence, Estimate
from kilter.service.detector.schema import Schema
from kilter.service.detector.tail import fit_tail
from kilter.training.config import Rule, TrainConfig
from kilter.training.data.source import TrainingData
from kilter.training.evaluation.bootstrap import percentiles
from kilter.training.fitting.model import Fitted
from kilter.training.fitting.split import largest_size

RESAMPLES = 200
WORK = 4_000_000
"""Rows times resamples: larger tables, whose intervals are narrow, get fewer resamples."""
ROUNDING = 1e-12

Floats = npt.NDArray[np.float64]


class Calibrated(NamedTuple):
    """Every threshold of a model, and how the rate came about."""

    common: Calibration
    groups: Groups | None
    chosen: Choice


class ScoredRows(NamedTuple):
    """Calibration rows and their scores, (rows,)."""

    table: Table
    scores: Floats


class LabelledScores(NamedTuple):
    """The scores of labelled rows by which a threshold is chosen."""

    normal: Floats | None
    """Held-out normal rows, (m,); None if there are only those of the calibration."""
    anomalous: Floats
    anomaly_rate: float
    """The share of anomalies among all labelled rows."""


def set_thresholds(
    rows: ScoredRows,
    rate: float,
    digits: int,
    *,
    chosen: Choice,
    rule: Rule,
    labelled: Callable[[], LabelledScores],
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
        chosen = Choice(rule.way, rule.inputs)
    if rule.needs_labels:
        rate, chosen = choose_level(rule, common, labelled(), seed=seed)
        common = Calibration.of(rounded, rate, digits, common.tail)
    groups = None
    if group_by is not None:
        column = next(column for column in schema.fields if column.name == group_by)
        groups = calibrate_groups(column, rows.table, rounded, rate, digits, seed=seed)
    return Calibrated(common, groups, chosen)


def thresholds_of_fit(data: TrainingData, config: TrainConfig, fitted: Fitted) -> Calibrated:
    """The thresholds of a model that has just been fitted, by the calibration rows of its training files."""
    scorer, held_out = fitted.scorer, fitted.split.held_out

    def labelled() -> LabelledScores:
        held = scorer.score(take(data.table, held_out)).score if len(held_out) else None
        rate = float(len(data.anomalous) / max(1, data.readable.sum()))
        return LabelledScores(held, scorer.score(take(data.table, data.anomalous)).score, rate)

    return set_thresholds(
        ScoredRows(take(data.table, fitted.split.calibration), fitted.calibration_scores),
        fitted.split.rate,
        DIGITS,
        chosen=Choice("default" if config.target_fpr is None else "rate"),
        rule=config.threshold,
        labelled=labelled,
        schema=fitted.schema,
        group_by=data.source.group_by,
        seed=config.seed,
    )


def calibrate_groups(
    column: Column, table: Table, scores: npt.NDArray[np.float64], target_fpr: float, digits: int, *, seed: int
) -> Groups:
    """The calibrations of the groups that have enough of the calibration rows, `table`, whose scores are (rows,).

    Of each group so many rows are left out at random that the rate times (n + 1) is whole.
    """
    rng = np.random.default_rng(seed)
    names = names_of(column, table)
    calibrations = {}
    for name in sorted({name for name in names if name is not None}):
        own = scores[np.array([other == name for other in names])]
        if len(own) >= needed(target_fpr):
            kept = rng.permutation(own)[: largest_size(len(own), target_fpr)]
            rounded = np.round(kept, digits).astype(np.float64)
            calibrations[name] = Calibration.of(rounded, target_fpr, digits, fit_tail(rounded))
    return Groups(column, calibrations)


def names_of(column: Column, table: Table) -> list[str | None]:
    """The group of each row of a table; None where it has none."""
    return [column.group_name(cell) for cell in table.columns[column.name].tolist()]


def check_labels(rule: Rule, anomalies: int) -> None:
    """Raise KilterError if a rule needs labelled anomalies and there are none."""
    if rule.needs_labels and not anomalies:
        raise KilterError(
            f"a threshold chosen by {rule.way} needs labelled anomalies, and there are none: name the label column "
            "with --label and the label of normal rows with --normal, or choose by --target-fpr or --alerts-per-day"
        )


class _Cases(NamedTuple):
    """p-values of normal and of anomalous rows, and the share of anomalies for which they are weighted."""

    normal: Floats
    anomalous: Floats
    rate: float

    def shares(self, level: float) -> tuple[float, float]:
        """The shares of anomalous and of normal rows whose p-value is at most `level`."""
        bound = level + ROUNDING
        return float((self.anomalous <= bound).mean()), float((self.normal <= bound).mean())


def choose_level(rule: Rule, calibration: Calibration, labelled: LabelledScores, *, seed: int) -> tuple[float, Choice]:
    """The level k / (n + 1) that serves a rule best on labelled rows, and how it came about.

    The choice is among p-values, so that what it reaches on these rows is what the stored level reaches on them.
    Raises KilterError if there are no anomalies, or no level reaches the precision that is asked for.
    """
    check_labels(rule, len(labelled.anomalous))
    if labelled.normal is None:
        # A calibration row counts itself; without itself it stands where a new record of its score would.
        normal = calibration.p_values(calibration.scores) - 1 / (calibration.size + 1)
    else:
        normal = calibration.p_values(labelled.normal)
    rate = rule.anomaly_rate or labelled.anomaly_rate
    cases = _Cases(normal, calibration.p_values(labelled.anomalous), rate)
    lowest = 1 / (calibration.size + 1)
    highest = int(HIGHEST_RATE * (calibration.size + 1) + 1e-9) / (calibration.size + 1)

    best = _best(rule, cases)
    if best is None:
        precision = _highest_precision(cases)
        raise KilterError(
            f"no threshold has a precision of {rule.recall_at_precision:g} on the labelled rows, weighted so that "
            f"{100 * rate:.3g} % are anomalies: the highest is {precision:.3g}; ask for that or less with "
            "--recall-at-precision"
        )
    level = float(np.clip(best, lowest, highest))
    levels, figures = _resampled(rule, cases, (lowest, highest), seed)
    evidence = ChoiceEvidence(
        normal=len(cases.normal),
        anomalies=len(cases.anomalous),
        anomaly_rate=rate,
        held_out=labelled.normal is not None,
        figure=_estimate(_figure(rule, cases, level), figures),
        level=_estimate(level, levels),
        edge="lowest" if level <= lowest + ROUNDING else "highest" if best > highest + ROUNDING else "",
    )
    return level, Choice(rule.way or "rate", rule.inputs, evidence)


def _best(rule: Rule, cases: _Cases) -> float | None:
    """The lowest of the best levels; None if none has the precision that is asked for."""
    ranks, labels, weights = _weighted(cases)
    if rule.cost_miss is not None and rule.cost_false_alarm is not None:
        fpr, tpr, cuts = metrics.roc_curve(labels, ranks, sample_weight=weights, drop_intermediate=False)
        cost = _cost(rule, cases.rate, tpr[1:], fpr[1:])
        return float(-cuts[1:][int(np.argmin(np.round(cost, 12)))])
    precision, recall, cuts = metrics.precision_recall_curve(labels, ranks, sample_weight=weights)
    precision, recall = precision[:-1], recall[:-1]
    if rule.f_beta is not None:
        worth = _f_beta(rule.f_beta, precision, recall)
    else:
        enough = precision >= (rule.recall_at_precision or 0.0) - ROUNDING
        if not (enough & (recall > 0)).any():
            return None
        worth = np.where(enough, recall, -1.0)
    worth = np.round(worth, 12)
    return float(-cuts[np.flatnonzero(worth == worth.max())[-1]])


def _weighted(cases: _Cases) -> tuple[Floats, npt.NDArray[np.bool_], Floats]:
    """Strangeness, label and weight of every row; anomalies weigh `rate` together and normal rows the rest."""
    ranks = -np.concatenate([cases.normal, cases.anomalous])
    labels = np.arange(len(ranks)) >= len(cases.normal)
    weights = np.where(labels, cases.rate / len(cases.anomalous), (1 - cases.rate) / len(cases.normal))
    return ranks, labels, weights


def _highest_precision(cases: _Cases) -> float:
    ranks, labels, weights = _weighted(cases)
    precision, recall, _ = metrics.precision_recall_curve(labels, ranks, sample_weight=weights)
    return float(precision[recall > 0].max())


def _figure(rule: Rule, cases: _Cases, level: float) -> float:
    """What a level reaches: F-beta, expected cost per record, or recall."""
    recall, fpr = cases.shares(level)
    if rule.cost_miss is not None:
        return float(_cost(rule, cases.rate, recall, fpr))
    if rule.f_beta is not None:
        flagged = cases.rate * recall + (1 - cases.rate) * fpr
        return float(_f_beta(rule.f_beta, cases.rate * recall / flagged if flagged else 0.0, recall))
    return recall


def _cost(rule: Rule, rate: float, recall: npt.ArrayLike, fpr: npt.ArrayLike) -> Floats:
    """Expected cost per record: rate * miss * (1 - recall) + (1 - rate) * false alarm * false-positive rate."""
    miss, false_alarm = rule.cost_miss or 0.0, rule.cost_false_alarm or 0.0
    return np.asarray(rate * miss * (1 - np.asarray(recall)) + (1 - rate) * false_alarm * np.asarray(fpr))


def _f_beta(beta: float, precision: npt.ArrayLike, recall: npt.ArrayLike) -> Floats:
    """(1 + beta^2) precision * recall / (beta^2 precision + recall); 0 where both are 0."""
    p, r = np.asarray(precision, np.float64), np.asarray(recall, np.float64)
    below = beta**2 * p + r
    return np.where(below > 0, (1 + beta**2) * p * r / np.where(below > 0, below, 1.0), 0.0)


def _resampled(rule: Rule, cases: _Cases, bounds: tuple[float, float], seed: int) -> tuple[list[float], list[float]]:
    """Level and figure of the choice on resamples of the rows, normal and anomalous ones apart."""
    rng = np.random.default_rng(seed)
    rows = len(cases.normal) + len(cases.anomalous)
    levels, figures = [], []
    for _ in range(int(np.clip(WORK // rows, RESAMPLES // 4, RESAMPLES))):
        drawn = _Cases(
            rng.choice(cases.normal, len(cases.normal)), rng.choice(cases.anomalous, len(cases.anomalous)), cases.rate
        )
        best = _best(rule, drawn)
        level = float(np.clip(bounds[0] if best is None else best, *bounds))
        levels.append(level)
        figures.append(_figure(rule, drawn, level))
    return levels, figures


def _estimate(value: float, drawn: list[float]) -> Estimate:
    return Estimate(value, *percentiles(drawn))
