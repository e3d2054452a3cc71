"""What the report and the model card of a training run are written from, and its figures in words."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kilter.service.detector.arrays import Floats, Mask, Pixels, Positions
from kilter.service.detector.calibration import fewest
from kilter.service.detector.detector import Judge
from kilter.service.detector.findings import Epoch, Evaluation, Figure
from kilter.service.detector.inputs import Table
from kilter.service.detector.manifest import Promise, choice_in_words
from kilter.training.data.source import ColumnDecision

SHOWN_GROUPS = 8
SEPARATION = ((0.98, "almost perfectly"), (0.9, "well"), (0.75, "fairly"), (0.6, "weakly"), (0.0, "hardly at all"))
"""How well a detector with at least such a ROC AUC tells anomalies from normal rows."""


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


def evaluation_in_words(evaluation: Evaluation) -> list[str]:
    """What the evaluation says about the quality of a model: the most important sentence first."""
    sentences = []
    if evaluation.labelled is not None:
        counts, auc = evaluation.labelled.counts, evaluation.labelled.roc_auc
        if auc.value is not None:
            word = next(word for bound, word in SEPARATION if auc.value >= bound)
            sentences.append(f"It tells anomalies from normal rows {word}: ROC AUC {with_interval(auc)}.")
        if counts.tp + counts.fn:
            right = f", and {percent(counts.tp / (counts.tp + counts.fp))} of its flags are right" if counts.tp else ""
            sentences.append(f"It flags {counts.tp:,} of {counts.tp + counts.fn:,} labelled anomalies{right}.")
    return [*sentences, _promise_verdict(evaluation)]


def _promise_verdict(evaluation: Evaluation) -> str:
    if evaluation.within_promise is None:
        return "The false-alarm rate was not checked: there were no normal rows that the model had not seen."
    low, high = evaluation.expected_flags
    counts = (
        f"{evaluation.flagged:,} of {evaluation.normal:,} normal rows are flagged, where {low:,} to {high:,} are to be "
        "expected at this rate."
    )
    if evaluation.within_promise:
        return f"The false-alarm rate holds: {counts}"
    if evaluation.flagged > high:
        return (
            f"More false alarms than promised: {counts} These rows are not like the ones that the threshold was set "
            "on; look at what changed, or calibrate on newer rows."
        )
    return f"Fewer false alarms than promised: {counts} A threshold set on rows like these would find more."
