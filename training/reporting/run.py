"""What the report and the model card of a training run are written from, and its figures in words."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kilter.service.detector.arrays import Floats, Mask, Pixels, Positions
from kilter.service.detector.calibration import fewest
from kilter.service.detector.detector import Judge
from kilter.service.detector.findings import (
    DetectorChoice,
    Epoch,
    Evaluation,
    Figure,
    LabelledFigures,
    Separation,
)
from kilter.service.detector.inputs import Table
from kilter.service.detector.manifest import Promise, choice_in_words, counted
from kilter.training.data.source import ColumnDecision

SHOWN_GROUPS = 8
SEPARATION = ((0.95, "almost perfectly"), (0.8, "well"), (0.6, "fairly"), (0.3, "weakly"), (0.0, "hardly at all"))
"""How well a threshold with at least such an F1 tells anomalies from normal rows."""
WORTH_A_WORD = 0.1  # by how much the F1 of another threshold has to be higher


class Scored(NamedTuple):
    """Rows, their scores, (n,), NaN for a row with a problem, and their positions in the training files, from 0."""

    table: Table
    scores: Floats
    rows: Positions

    def strangest(self, count: int) -> Positions:
        """The positions in the table of the highest scores, highest first."""
        usable = np.flatnonzero(~np.isnan(self.scores))
        order: Positions = usable[np.argsort(-self.scores[usable], kind="stable")][:count]
        return order


class Latent(NamedTuple):
    """The posterior means of some rows, (rows, L), their scores, (rows,), and whether each is a labelled anomaly."""

    means: Floats
    scores: Floats
    anomalous: Mask
    table: Table


@dataclass(frozen=True)
class Run:
    """A training run, beside what its manifest says."""

    judge: Judge
    decisions: tuple[ColumnDecision, ...]
    """One for every column of the training files, in their order, those left out included."""
    history: list[Epoch]
    evaluation: Evaluation
    normal: Scored
    """Normal rows that the network did not see: those held out, if `fresh`, else those of the calibration."""
    fresh: bool
    anomalies: Scored | None = None
    latent: Latent | None = None
    notes: tuple[str, ...] = ()
    """Sentences that the user should read first."""
    fitted: Scored | None = None
    """The fitting rows in which suspects were looked for."""
    names: tuple[str, ...] = ()
    samples: Pixels | None = None
    """Pictures that the network makes of draws from its prior, (n, height, width, channels)."""

    @property
    def held_out(self) -> Scored | None:
        """Normal rows that neither fitting nor calibration saw."""
        return self.normal if self.fresh else None


def inline(text: str) -> str:
    """Text that cannot leave the code span that it stands in."""
    return " ".join(text.replace("`", "'").split())


def percent(rate: float) -> str:
    """A share as a percentage, with as many digits as it needs: 1 %, 0.5 %, 12.3 %."""
    return f"{100 * rate:.3g} %"


def with_interval(figure: Figure, *, as_percent: bool = False) -> str:
    """A figure with its 95 % interval, or a dash."""

    def shown(value: float) -> str:
        return percent(value) if as_percent else f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"

    if figure.value is None:
        return "–"
    if figure.low is None or figure.high is None:
        return shown(figure.value)
    return f"{shown(figure.value)} ({shown(figure.low)} to {shown(figure.high)})"


def with_error(figure: Separation | None, *, sign: bool = False) -> str:
    """A mean with its standard error, or a dash."""
    if figure is None:
        return "–"
    return f"{figure.mean:{'+' * sign}.3f} ± {figure.error:.3f}"


def choice_in_lines(choice: DetectorChoice) -> list[str]:
    """How a detector was chosen: a line for each that was tried, and the reason."""
    lines = [f"  {'ROC AUC of':<10}{'swapped':>16}{'displaced':>16}{'both':>16}{'above vae':>17}"]
    for trial in choice.trials:
        figures = (with_error(trial.swapped), with_error(trial.displaced), with_error(trial.both))
        cells = "".join(f"{figure:>16}" for figure in figures) + f"{with_error(trial.gain, sign=True):>17}"
        lines.append(f"  {trial.detector:<10}{trial.refusal or cells}")
    return [*lines, f"The detector is {choice.chosen}: {choice.reason}"]


def promise_in_words(promise: Promise) -> list[str]:
    """What the threshold promises, how its rate came about, and what holds for groups if there are any."""
    return [
        f"Of new records like the {promise.size:,} normal ones that it was calibrated on, "
        f"{percent(promise.expected_fpr)} are flagged on average, and with 99.9 % certainty no more than "
        f"{percent(promise.upper_fpr)} in the long run.",
        choice_in_words(promise.chosen, promise.size),
        *entities_in_words(promise),
        *groups_in_words(promise),
    ]


def entities_in_words(promise: Promise) -> list[str]:
    """A sentence about the column by whose values rows were set apart; none where single rows were."""
    if promise.split_by is None:
        return []
    return [
        f"Rows were set apart by {promise.split_by!r}, of whose values each counts once, by a random row: the rate "
        "holds for records of new values."
    ]


def groups_in_words(promise: Promise) -> list[str]:
    """A sentence about the thresholds of groups; none where records are not grouped."""
    by_group = promise.by_group
    if by_group is None:
        return []
    if not by_group.groups:
        return [
            f"No group of {by_group.column!r} has the {fewest(promise.target_fpr):,} calibration rows that a threshold "
            "of its own needs at this rate: all records have the common one."
        ]
    count = f"{len(by_group.groups):,} group{'s' * (len(by_group.groups) != 1)}"
    shown = ", ".join(f"{group.value} {group.threshold:.6g}" for group in by_group.groups[:SHOWN_GROUPS])
    more = f" and {len(by_group.groups) - SHOWN_GROUPS:,} more" if len(by_group.groups) > SHOWN_GROUPS else ""
    return [f"Thresholds by {by_group.column!r} for {count}: {shown}{more}. All other records have the common one."]


def alerts_in_words(rate: float, labelled: LabelledFigures | None = None, records_per_day: float | None = None) -> str:
    """How many records are flagged of a thousand, and of a day's, at a false-positive rate, in a sentence."""
    share = labelled.anomaly_rate if labelled else None
    if labelled is None or share is None or labelled.recall.value is None:
        alerts, kind = rate, "normal records, all of them false; true ones come on top"
    else:
        false = (1 - share) * rate
        alerts = share * labelled.recall.value + false
        kind = f"records of which {percent(share)} are anomalies, {_about(1000 * false)} of them false"
    day = ""
    if records_per_day is not None:
        here = f"At the {_about(records_per_day)} records a day of the training rows"
        day = f". {here}: {_about(alerts * records_per_day)} a day"
    return f"Alerts to expect: {_about(1000 * alerts)} in 1,000 {kind}{day}."


def _about(count: float) -> str:
    """A number of things to two figures: 0.13, 4.2, 36, 1,500."""
    rounded = float(f"{count:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"


def evaluation_in_words(evaluation: Evaluation) -> list[str]:
    """What the evaluation says about the quality of a model: the most important sentence first."""
    sentences = [] if evaluation.labelled is None else labelled_in_words(evaluation.labelled)
    return [*sentences, _promise_verdict(evaluation)]


def labelled_in_words(labelled: LabelledFigures) -> list[str]:
    """How well the threshold in use tells anomalies from normal rows, and what the ranking would allow."""
    counts, auc, f1 = labelled.counts, labelled.roc_auc, labelled.f1.value
    anomalies, sentences = counts.tp + counts.fn, []
    flags = f"it flags {counts.tp:,} of {anomalies:,} labelled anomalies"
    if labelled.precision.value is not None and labelled.anomaly_rate is not None and f1 is not None:
        word = next(word for bound, word in SEPARATION if f1 >= bound)
        right = with_interval(labelled.precision, as_percent=True)
        rests = f"This rests on {counted(anomalies, 'labelled anomaly', 'labelled anomalies')}."
        sentences.append(
            f"At its threshold it tells anomalies from normal rows {word}: {flags}, and where "
            f"{percent(labelled.anomaly_rate)} are anomalies, as here, {right} of its flags are right. {rests}"
        )
    elif anomalies:
        sentences.append(f"{flags[0].upper()}{flags[1:]}.")
    if auc.value is not None:
        ranking = f"Its ranking, whatever the threshold, has a ROC AUC of {with_interval(auc)}"
        better = labelled.best_f1 is not None and labelled.best_f1 > (f1 or 0.0) + WORTH_A_WORD
        advice = f", and allows an F1 of up to {labelled.best_f1:.2f}, where it is {f1 or 0:.2f} now: see --f-beta"
        sentences.append(f"{ranking}{advice if better else ''}.")
    return sentences


def _promise_verdict(evaluation: Evaluation) -> str:
    if not evaluation.normal:
        return "The false-alarm rate was not checked: there were no normal rows."
    if evaluation.within_promise is None:
        return "The false-alarm rate was not checked: the normal rows are not new to the model."
    low, high = evaluation.expected_flags
    rows, crossed = "normal rows", ""
    if evaluation.folds is not None:
        rows = "calibration rows"
        crossed = (
            f" It is cross-checked: each of {evaluation.folds} parts of the calibration rows was judged by the "
            "threshold that the others give."
        )
    rate = with_interval(evaluation.false_positive_rate, as_percent=True)
    counts = (
        f"{evaluation.flagged:,} of {evaluation.normal:,} {rows} are flagged, {rate}, where {low:,} to {high:,} are to "
        f"be expected at this rate.{crossed}"
    )
    if evaluation.within_promise:
        return f"The false-alarm rate holds: {counts}"
    if evaluation.flagged > high and crossed:
        return (
            f"More false alarms than promised: {counts} Calibration rows differ from one another, as rows of several "
            "sources or times do; bring more of each, or give each a threshold of its own with --group-by."
        )
    if evaluation.flagged > high:
        return (
            f"More false alarms than promised: {counts} These rows are not like the ones that the threshold was set "
            "on; look at what changed, or calibrate on newer rows."
        )
    return f"Fewer false alarms than promised: {counts} A threshold set on rows like these would find more."
