"""How good a detector is on given rows: against labels where there are some, else against what was promised."""

import numpy as np
from scipy import stats

from kilter.service.detector.arrays import Floats, Mask
from kilter.service.detector.beta import CONFIDENCE, clopper_pearson
from kilter.service.detector.detector import Judge, Verdicts
from kilter.service.detector.findings import Counts, Evaluation, Figure, LabelledFigures
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.thresholds import Thresholds
from kilter.training.evaluation.bootstrap import intervals, percentiles, ranking

DRAWS = 20_000
"""Of the flags of several groups together, whose distribution has no closed form."""


def evaluate_rows(
    detector: Judge,
    table: Table,
    anomalous: Mask | None,
    *,
    seed: int,
    fresh: bool = True,
    verdicts: Verdicts | None = None,
) -> Evaluation:
    """Judge the rows of a table and hold the verdicts against labels, shape (rows,), or against the promise alone.

    Without labels every row counts as normal. Rows with problems are counted and left out. `fresh` is False where the
    normal rows are those that the threshold was set on, which can say nothing about the promise. `verdicts` are those
    on the rows, if they have been judged already.
    """
    if verdicts is None:
        verdicts = detector.score(table, errors="mark")
    usable = ~np.isnan(verdicts.score)
    is_anomaly = np.zeros(table.rows, bool) if anomalous is None else np.asarray(anomalous, bool)
    normal = usable & ~is_anomaly
    flagged, rows = int(verdicts.anomaly[normal].sum()), int(normal.sum())
    notes: list[str] = []
    if not rows:
        notes.append("No normal row could be judged, so the false-positive rate and the ELBO are not known.")
    if rows and not fresh:
        notes.append("The normal rows are not new to the model, so the false-alarm rate is not checked.")
    labelled = None
    if anomalous is not None:
        labelled = _labelled(verdicts.score[usable], verdicts.anomaly[usable], is_anomaly[usable], notes, seed)
    calibration = detector.calibration
    normal_rows = take(table, normal)
    expected = expected_flags(normal_rows, detector.thresholds)
    reconstruction, kl = detector.elbo_terms(normal_rows) if rows else (np.empty(0), np.empty(0))
    return Evaluation(
        rows=int(usable.sum()),
        problems=int((~usable).sum()),
        normal=rows,
        flagged=flagged,
        target_fpr=calibration.target_fpr,
        promised_fpr=calibration.expected_fpr,
        false_positive_rate=proportion(flagged, rows) if fresh else Figure(None),
        expected_flags=expected,
        within_promise=expected[0] <= flagged <= expected[1] if rows and fresh else None,
        elbo=_mean(-(reconstruction + kl)),
        reconstruction=_mean(reconstruction),
        kl=_mean(kl),
        labelled=labelled,
        notes=tuple(notes),
    )


def proportion(count: int, total: int) -> Figure:
    """count / total with its Clopper-Pearson interval."""
    return Figure(count / total, *clopper_pearson(count, total)) if total else Figure(None)


def expected_flags(table: Table, thresholds: Thresholds) -> tuple[int, int]:
    """The 95 % interval of flagged rows among the normal rows of a table.

    Of m rows that are judged by one calibration, BetaBinomial(m, k, n + 1 - k) are flagged. Over groups those numbers
    are added, and the interval is that of draws.
    """
    if not table.rows:
        return (0, 0)
    common, groups = thresholds
    if groups is None:
        low, high = stats.betabinom.interval(CONFIDENCE, table.rows, common.rank, common.size + 1 - common.rank)
        return int(low), int(high)
    rng = np.random.default_rng(0)
    total = np.zeros(DRAWS, np.int64)
    shared = 0
    for rows, own in groups.members(table):
        if own is None:
            shared += len(rows)
        else:
            total += rng.binomial(len(rows), rng.beta(own.rank, own.size + 1 - own.rank, DRAWS))
    total += rng.binomial(shared, rng.beta(common.rank, common.size + 1 - common.rank, DRAWS))
    low, high = percentiles(total)
    return int(np.floor(low)), int(np.ceil(high))


def _labelled(scores: Floats, flags: Mask, anomalous: Mask, notes: list[str], seed: int) -> LabelledFigures:
    """The figures that need labels, by scores, flags and labels of the rows that could be judged, each (rows,)."""
    positives, negatives = int(anomalous.sum()), int((~anomalous).sum())
    tp, fp = int((flags & anomalous).sum()), int((flags & ~anomalous).sum())
    counts = Counts(tp=tp, fp=fp, tn=negatives - fp, fn=positives - tp)
    nothing = Figure(None)
    if not positives:
        notes.append("No row is labelled as an anomaly, so nothing can be said about how many would be found.")
        return LabelledFigures(counts, nothing, nothing, nothing, nothing, nothing, None)
    if not negatives:
        notes.append("No row is labelled as normal, so neither ranking nor precision means anything; recall does.")
        return LabelledFigures(counts, nothing, nothing, nothing, proportion(tp, positives), nothing, None)
    if not tp + fp:
        notes.append("No row was flagged, so precision is not defined.")
    curve, bounds = ranking(scores, anomalous), intervals(scores, flags, anomalous, seed=seed)
    return LabelledFigures(
        counts=counts,
        roc_auc=Figure(curve.roc_auc(), *bounds["roc_auc"]),
        average_precision=Figure(curve.average_precision(), *bounds["average_precision"]),
        precision=Figure(tp / (tp + fp), *bounds["precision"]) if tp + fp else nothing,
        recall=Figure(tp / positives, *bounds["recall"]),
        f1=Figure(2 * tp / (tp + fp + positives), *bounds["f1"]),
        best_f1=curve.best_f1(),
    )


def _mean(values: Floats) -> Figure:
    """The mean with its interval by the normal approximation, which needs two values."""
    if not len(values):
        return Figure(None)
    mean = float(values.mean())
    if len(values) < 2:
        return Figure(mean)
    spread = float(stats.norm.ppf((1 + CONFIDENCE) / 2) * values.std(ddof=1) / np.sqrt(len(values)))
    return Figure(mean, mean - spread, mean + spread)
