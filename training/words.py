"""Figures in words, for the report, the model card and the terminal."""

from kilter.service.detector.calibration import needed
from kilter.service.detector.promise import CalibrationInfo
from kilter.training.evaluation import Evaluation, Figure

SHOWN = 8
"""Groups that are named in a sentence."""


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


def promise(info: CalibrationInfo) -> str:
    """What the threshold promises, in one sentence."""
    return (
        f"Of new records like the {info.size:,} normal ones that it was calibrated on, {percent(info.expected_fpr)} "
        f"are flagged on average, and with 99.9 % certainty no more than {percent(info.upper_fpr)} in the long run."
    )


def by_group(info: CalibrationInfo) -> list[str]:
    """What is said of the thresholds of groups: nothing where there are none."""
    found = info.by_group
    if found is None:
        return []
    if not found.groups:
        return [
            f"No group of {found.column!r} has the {needed(info.target_fpr):,} calibration rows that a threshold of "
            "its own takes at this rate: all records have the common one."
        ]
    count = f"{len(found.groups):,} group{'s' * (len(found.groups) != 1)}"
    shown = ", ".join(f"{group.value} {group.threshold:.6g}" for group in found.groups[:SHOWN])
    more = f" and {len(found.groups) - SHOWN:,} more" if len(found.groups) > SHOWN else ""
    return [
        f"Thresholds of their own have {count} of {found.column!r}: {shown}{more}. All other records have the common "
        "one."
    ]


def verdicts(evaluation: Evaluation) -> list[str]:
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
        found = f"It flags {counts.tp:,} of {counts.tp + counts.fn:,} labelled anomalies"
        of_flags = f", and {percent(counts.tp / (counts.tp + counts.fp))} of its flags are right" if counts.tp else ""
        sentences.append(f"{found}{of_flags}.")
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
