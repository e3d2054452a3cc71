"""From the scores of calibration rows to thresholds: the common one and those of groups, in the way asked for."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kilter.service.detector.arrays import Floats
from kilter.service.detector.calibration import DIGITS, Calibration, fewest, fit_tail
from kilter.service.detector.columns import Column
from kilter.service.detector.errors import KilterError
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.manifest import HIGHEST_RATE, Choice, ChoiceEvidence, Estimate
from kilter.service.detector.thresholds import Groups, Thresholds
from kilter.training.config import Rule, TrainConfig
from kilter.training.data.source import TrainingData
from kilter.training.evaluation.evaluate import percentiles
from kilter.training.fitting.model import Fitted
from kilter.training.fitting.split import largest_size

RESAMPLES = 200
WORK = 4_000_000  # rows times resamples: larger tables, whose intervals are narrow, get fewer resamples
ROUNDING = 1e-12


class Calibrated(NamedTuple):
    """Every threshold of a model, and how the rate came about."""

    thresholds: Thresholds
    chosen: Choice


class LabelledScores(NamedTuple):
    """The scores of labelled rows by which a threshold is chosen."""

    normal: Floats | None
    """Held-out normal rows, (m,); None if there are only those of the calibration."""
    anomalous: Floats
    anomaly_rate: float


def set_thresholds(
    table: Table,
    scores: Floats,
    rate: float,
    digits: int,
    *,
    chosen: Choice,
    rule: Rule,
    labelled: Callable[[], LabelledScores],
    grouping: Column | None,
    seed: int,
) -> Calibrated:
    """The thresholds for calibration rows, `table`, with their scores, (rows,), at a rate or as a rule chooses it.

    `chosen` says how the rate came about where no rule does; the values of `grouping` get thresholds of their own.
    Raises KilterError if the rows are too few for the rate, or the rule cannot be followed.
    """
    rounded = np.round(scores, digits)
    common = Calibration.of(rounded, rate, digits, fit_tail(rounded))
    if rule.way is not None:
        chosen = Choice(rule.way, rule.inputs)
    if rule.needs_labels:
        rate, chosen = choose_level(rule, common, labelled(), seed=seed)
        common = Calibration.of(rounded, rate, digits, common.tail)
    groups = calibrate_groups(grouping, table, rounded, rate, digits, seed=seed) if grouping else None
    return Calibrated(Thresholds(common, groups), chosen)


def thresholds_of_fit(data: TrainingData, config: TrainConfig, fitted: Fitted) -> Calibrated:
    """The thresholds of a model that has just been fitted, by the calibration rows of its training files."""

    scorer, held_out = fitted.scorer, fitted.split.held_out

    def labelled() -> LabelledScores:
        normal = scorer.score(take(data.table, held_out)).score if len(held_out) else None
        return LabelledScores(normal, scorer.score(take(data.table, data.anomalous)).score, data.anomaly_rate)

    return set_thresholds(
        take(data.table, fitted.split.calibration),
        fitted.calibration_scores,
        fitted.split.rate,
        DIGITS,
        chosen=Choice("default" if config.target_fpr is None else "rate"),
        rule=config.threshold,
        labelled=labelled,
        grouping=None if data.source.group_by is None else fitted.schema.field(data.source.group_by),
        seed=config.seed,
    )


def calibrate_groups(
    column: Column, table: Table, scores: Floats, target_fpr: float, digits: int, *, seed: int
) -> Groups:
    """The calibrations of the groups that have enough of the calibration rows, `table`, whose scores are (rows,).

    Of each group so many rows are left out at random that the rate times (n + 1) is whole.
    """
    rng = np.random.default_rng(seed)
    names = np.array([column.group_name(cell) for cell in table.columns[column.name].tolist()], object)
    calibrations = {}
    for name in sorted({name for name in names if name is not None}):
        own = scores[names == name]
        if len(own) >= fewest(target_fpr):
            drawn = rng.permutation(own)[: largest_size(len(own), target_fpr)]
            rounded = np.round(drawn, digits).astype(np.float64)
            calibrations[name] = Calibration.of(rounded, target_fpr, digits, fit_tail(rounded))
    return Groups(column, calibrations)


def check_labels(rule: Rule, anomalies: int) -> None:
    """Raise KilterError if a rule needs labelled anomalies and there are none."""
    if rule.needs_labels and not anomalies:
        raise KilterError(
            f"a threshold chosen by {rule.way} needs labelled anomalies, and there are none: name the label column "
            "with --label and the label of normal rows with --normal, or choose by --target-fpr or --alerts-per-day"
        )


class _Cases(NamedTuple):
    """A rule, p-values of normal and of anomalous rows, and the share of anomalies for which they are weighted."""

    rule: Rule
    normal: Floats
    anomalous: Floats
    rate: float

    def reached(self, levels: Floats) -> tuple[Floats, Floats, Floats]:
        """For each level, (levels,), the figure of the rule, what it is worth, and the precision.

        The figure is the F-beta, (1 + beta^2) precision * recall / (beta^2 precision + recall); or the expected cost
        per record, rate * miss * (1 - recall) + (1 - rate) * false alarm * false-positive rate; or the recall.
        """
        rule = self.rule
        recall, fpr = (
            np.sort(part).searchsorted(levels + ROUNDING, side="right") / len(part)
            for part in (self.anomalous, self.normal)
        )
        caught = self.rate * recall
        precision = _over(caught, caught + (1 - self.rate) * fpr)
        if rule.cost_miss is not None and rule.cost_false_alarm is not None:
            cost = self.rate * rule.cost_miss * (1 - recall) + (1 - self.rate) * rule.cost_false_alarm * fpr
            return cost, -cost, precision
        if rule.f_beta is not None:
            square = rule.f_beta**2
            figure = _over((1 + square) * precision * recall, square * precision + recall)
            return figure, figure, precision
        enough = (precision >= (rule.recall_at_precision or 0.0) - ROUNDING) & (recall > 0)
        return recall, np.where(enough, recall, -np.inf), precision

    def best(self) -> float | None:
        """The lowest of the best levels; None if none has the precision that is asked for."""
        levels = np.unique(np.concatenate([self.normal, self.anomalous]))
        worth = np.round(self.reached(levels)[1], 12)
        return None if worth.max() == -np.inf else float(levels[worth.argmax()])

    def choice(self, lowest: float, highest: float) -> tuple[float, float]:
        """The best level within bounds, the lowest where there is none, and its figure."""
        best = self.best()
        level = float(np.clip(lowest if best is None else best, lowest, highest))
        return level, float(self.reached(np.array([level]))[0][0])


def _over(above: Floats, below: Floats) -> Floats:
    """The quotient of arrays that are not negative; 0 where both are 0."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def choose_level(rule: Rule, calibration: Calibration, labelled: LabelledScores, *, seed: int) -> tuple[float, Choice]:
    """The level k / (n + 1) that serves a rule best on labelled rows, and how it came about.

    The choice is among p-values, so that its figure on these rows is also that of the stored level. Its intervals are
    those of resamples, normal and anomalous rows apart. Raises KilterError if there are no anomalies, or no level
    reaches the precision that is asked for.
    """
    check_labels(rule, len(labelled.anomalous))
    if labelled.normal is None:
        # A calibration row counts itself; without itself it stands where a new record of its score would.
        normal = calibration.p_values(calibration.scores) - 1 / (calibration.size + 1)
    else:
        normal = calibration.p_values(labelled.normal)
    rate = rule.anomaly_rate or labelled.anomaly_rate
    cases = _Cases(rule, normal, calibration.p_values(labelled.anomalous), rate)
    best = cases.best()
    if best is None:
        precision = cases.reached(cases.anomalous)[2].max()
        raise KilterError(
            f"no threshold has a precision of {rule.recall_at_precision:g} on the labelled rows, weighted so that "
            f"{100 * rate:.3g} % are anomalies: the highest is {precision:.3g}; ask for that or less with "
            "--recall-at-precision"
        )
    lowest = 1 / (calibration.size + 1)
    highest = int(HIGHEST_RATE * (calibration.size + 1) + 1e-9) / (calibration.size + 1)
    level, figure = cases.choice(lowest, highest)
    rng = np.random.default_rng(seed)
    resamples = int(np.clip(WORK // (len(cases.normal) + len(cases.anomalous)), RESAMPLES // 4, RESAMPLES))
    choices = []
    for _ in range(resamples):
        drawn, odd = (rng.choice(part, len(part)) for part in (cases.normal, cases.anomalous))
        choices.append(cases._replace(normal=drawn, anomalous=odd).choice(lowest, highest))
    levels, figures = np.transpose(choices)
    evidence = ChoiceEvidence(
        normal=len(cases.normal),
        anomalies=len(cases.anomalous),
        anomaly_rate=rate,
        held_out=labelled.normal is not None,
        figure=Estimate(figure, *percentiles(figures)),
        level=Estimate(level, *percentiles(levels)),
        edge="lowest" if level <= lowest + ROUNDING else "highest" if best > highest + ROUNDING else "",
    )
    return level, Choice(rule.way or "rate", rule.inputs, evidence)
