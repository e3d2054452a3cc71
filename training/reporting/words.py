"""Figures in words, for the report, the model card and the terminal."""

from typing import NamedTuple

from kilter.service.detector.calibration import fewest
from kilter.service.detector.findings import Evaluation, Figure
from kilter.service.detector.manifest import Promise
from kilter.service.detector.schema import LeftOut

SHOWN = 8
"""Groups that are named in a sentence."""


class Subject(NamedTuple):
    """The words of a report and a model card for one kind of record."""

    kind: str
    """What it is that the model judges: `tables` or `pictures`."""
    learned: str
    """How many of what the network learned from."""
    seen: str
    """What the model looks at, in a sentence."""
    fit: str
    """What a record must be, in a sentence."""
    limits: tuple[str, ...]
    divided: str
    """What to know where rows were divided at random."""
    simplified: str
    """What simple detectors see of a record, in a sentence."""
    held: str
    """What of the training rows an artifact and its report hold besides any memory, in sentences."""
    left_out: tuple[LeftOut, ...] | None = None
    """The columns that were left out; None where records have none."""


def inline(text: str) -> str:
    """Text that cannot leave the code span that it stands in."""
    return " ".join(text.replace("`", "'").split())


def percent(rate: float) -> str:
    """A share as a percentage, with as many digits as it needs: 1 %, 0.5 %, 12.3 %."""
    return f"{100 * rate:.3g} %"


def with_interval(figure: Figure, *, as_percent: bool = False) -> str:
    """A figure with its 95 % interval, or a dash."""
    if figure.value is None:
        return "–"
    shown = percent if as_percent else _plain
    if figure.low is None or figure.high is None:
        return shown(figure.value)
    return f"{shown(figure.value)} ({shown(figure.low)} to {shown(figure.high)})"


def _plain(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"


def promise_in_words(promise: Promise) -> str:
    """What the threshold promises, in one sentence."""
    return (
        f"Of new records like the {promise.size:,} normal ones that it was calibrated on, "
        f"{percent(promise.expected_fpr)} are flagged on average, and with 99.9 % certainty no more than "
        f"{percent(promise.upper_fpr)} in the long run."
    )


def groups_in_words(promise: Promise) -> list[str]:
    """What is said of the thresholds of groups: nothing where there are none."""
    by_group = promise.by_group
    if by_group is None:
        return []
    if not by_group.groups:
        return [
            f"No group of {by_group.column!r} has the {fewest(promise.target_fpr):,} calibration rows that a threshold "
            "of its own takes at this rate: all records have the common one."
        ]
    count = f"{len(by_group.groups):,} group{'s' * (len(by_group.groups) != 1)}"
    shown = ", ".join(f"{group.value} {group.threshold:.6g}" for group in by_group.groups[:SHOWN])
    more = f" and {len(by_group.groups) - SHOWN:,} more" if len(by_group.groups) > SHOWN else ""
    return [
        f"Thresholds of their own have {count} of {by_group.column!r}: {shown}{more}. All other records have the "
        "common one."
    ]


def evaluation_in_words(evaluation: Evaluation) -> list[str]:
    """What the evaluation says about the quality of a model: the most important sentence first."""
    return [*_ranking_verdict(evaluation), _promise_verdict(evaluation)]


def _ranking_verdict(evaluation: Evaluation) -> list[str]:
    labelled = evaluation.labelled
    if labelled is None:
        return []
    counts = labelled.counts
    sentences = []
    if labelled.roc_auc.value is not None:
        auc = labelled.roc_auc.value
        word = next(word for bound, word in _SEPARATION if auc >= bound)
        sentences.append(f"It tells anomalies from normal rows {word}: ROC AUC {with_interval(labelled.roc_auc)}.")
    if counts.tp + counts.fn:
        flagged = f"It flags {counts.tp:,} of {counts.tp + counts.fn:,} labelled anomalies"
        of_flags = f", and {percent(counts.tp / (counts.tp + counts.fp))} of its flags are right" if counts.tp else ""
        sentences.append(f"{flagged}{of_flags}.")
    return sentences


_SEPARATION = ((0.98, "almost perfectly"), (0.9, "well"), (0.75, "fairly"), (0.6, "weakly"), (0.0, "hardly at all"))


def _promise_verdict(evaluation: Evaluation) -> str:
    low, high = evaluation.expected_flags
    if evaluation.within_promise is None:
        return "The false-alarm rate was not checked: there were no normal rows that the model had not seen."
    flagged = f"{evaluation.flagged:,} of {evaluation.normal:,} normal rows are flagged"
    expected = f"{low:,} to {high:,} are to be expected at this rate"
    if evaluation.within_promise:
        return f"The false-alarm rate holds: {flagged}, where {expected}."
    if evaluation.flagged > high:
        return (
            f"More false alarms than promised: {flagged}, where {expected}. These rows are not like the ones that the "
            "threshold was set on; look at what changed, or calibrate on newer rows."
        )
    return (
        f"Fewer false alarms than promised: {flagged}, where {expected}. A threshold set on rows like these would "
        "find more."
    )
