"""Chooses a threshold by labelled rows, in terms of the false-positive rate that a calibration gives it."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn import metrics

from kilter.service.detector.calibration import Calibration
from kilter.service.detector.errors import KilterError
from kilter.service.detector.promise import Chosen, Estimate, Evidence
from kilter.training.bootstrap import CONFIDENCE
from kilter.training.calibrate import HIGHEST_RATE
from kilter.training.rule import Rule

RESAMPLES = 200
WORK = 4_000_000
"""Rows times resamples: larger tables, whose intervals are narrow, get fewer resamples."""
ROUNDING = 1e-12

Floats = npt.NDArray[np.float64]


class Labelled(NamedTuple):
    """The scores of labelled rows by which a threshold is chosen."""

    normal: Floats | None
    """Held-out normal rows, (m,); None if there are only those of the calibration."""
    anomalous: Floats
    anomaly_rate: float
    """The share of anomalies among all labelled rows."""


class _Cases(NamedTuple):
    """p-values of normal and of anomalous rows, and the share of anomalies for which they are weighted."""

    normal: Floats
    anomalous: Floats
    rate: float

    def shares(self, level: float) -> tuple[float, float]:
        """The shares of anomalous and of normal rows whose p-value is at most `level`."""
        bound = level + ROUNDING
        return float((self.anomalous <= bound).mean()), float((self.normal <= bound).mean())


def check_labels(rule: Rule, anomalies: int) -> None:
    """Raise KilterError if a rule needs labelled anomalies and there are none."""
    if rule.needs_labels and not anomalies:
        raise KilterError(
            f"a threshold chosen by {rule.way} needs labelled anomalies, and there are none: name the label column "
            "with --label and the label of normal rows with --normal, or choose by --target-fpr or --alerts-per-day"
        )


def choose(rule: Rule, calibration: Calibration, labelled: Labelled, *, seed: int) -> tuple[float, Chosen]:
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
    evidence = Evidence(
        normal=len(cases.normal),
        anomalies=len(cases.anomalous),
        anomaly_rate=rate,
        held_out=labelled.normal is not None,
        figure=_estimate(_figure(rule, cases, level), figures),
        level=_estimate(level, levels),
        edge="lowest" if level <= lowest + ROUNDING else "highest" if best > highest + ROUNDING else "",
    )
    return level, Chosen(rule.way or "rate", rule.inputs, evidence)


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
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high))
