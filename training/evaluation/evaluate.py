"""How good a detector is on given rows: against labels where there are some, else against the promised rate."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from kilter.service.detector.arrays import Array, Floats, Mask, Positions
from kilter.service.detector.beta import CONFIDENCE, clopper_pearson
from kilter.service.detector.detector import Judge
from kilter.service.detector.findings import Counts, Evaluation, Figure, LabelledFigures
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.thresholds import Thresholds
from kilter.service.detector.verdicts import Verdicts

DRAWS = 20_000  # draws of the flags of several groups together, whose distribution has no closed form
RESAMPLES = 1_000
WORK = 50_000_000  # rows times resamples: larger tables, whose intervals are narrow, get fewer resamples
Bounds = tuple[float, float]


def evaluate_rows(
    detector: Judge,
    table: Table,
    anomalous: Mask | None,
    *,
    seed: int,
    fresh: bool = True,
    verdicts: Verdicts | None = None,
    weight: float = 1.0,
    folds: int | None = None,
    expected: tuple[int, int] | None = None,
) -> Evaluation:
    """Judge the rows of a table and hold the verdicts against labels, shape (rows,), or against the promise alone.

    Without labels every row counts as normal. Rows with problems are counted and left out. `fresh` is False where the
    normal rows are those that the threshold was set on, which can say nothing about the promise. `verdicts` are those
    on the rows, if they have been judged already. Of the file's normal rows each one here stands for `weight`, since
    others served the fit. `folds` says in how many folds they were judged, where they are those of the calibration, and
    `expected` the flags to expect then.
    """
    verdicts = verdicts or detector.score(table, errors="mark")
    usable = ~np.isnan(verdicts.score)
    normal = usable if anomalous is None else usable & ~anomalous
    flagged, rows = int(verdicts.anomaly[normal].sum()), int(normal.sum())
    notes: list[str] = []
    if not rows:
        notes.append("No normal row could be judged, so the false-positive rate and the ELBO are not known.")
    elif not fresh:
        notes.append("The normal rows are not new to the model, so the false-alarm rate is not checked.")
    normal_rows = take(table, normal)
    low, high = expected or expected_flags(normal_rows, detector.thresholds)
    labelled = None
    if anomalous is not None:
        judged = verdicts.score[usable], verdicts.anomaly[usable], anomalous[usable]
        # Where the promise holds for calibration rows, it says more of new rows than these do: they would all give k.
        promised = folds is not None and low <= flagged <= high
        alarms = rows * detector.calibration.expected_fpr if promised else flagged
        labelled = _labelled(*judged, alarms, weight, notes, seed)
    reconstruction, kl = detector.elbo_terms(normal_rows) if rows else (np.empty(0), np.empty(0))
    return Evaluation(
        rows=int(usable.sum()),
        problems=int((~usable).sum()),
        normal=rows,
        flagged=flagged,
        target_fpr=detector.calibration.target_fpr,
        promised_fpr=detector.calibration.expected_fpr,
        false_positive_rate=proportion(flagged, rows) if fresh else Figure(None),
        expected_flags=(low, high),
        within_promise=low <= flagged <= high if rows and fresh else None,
        elbo=mean_figure(-(reconstruction + kl)),
        reconstruction=mean_figure(reconstruction),
        kl=mean_figure(kl),
        labelled=labelled,
        notes=tuple(notes),
        folds=folds,
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


def _labelled(
    scores: Floats, flags: Mask, anomalous: Mask, alarms: float, weight: float, notes: list[str], seed: int
) -> LabelledFigures:
    """The figures that need labels, by scores, flags and labels of the rows that could be judged, each (rows,).

    A normal row counts `weight` times, and `alarms` of them are taken to be flagged.
    """
    positives, negatives = int(anomalous.sum()), int((~anomalous).sum())
    tp, fp = int((flags & anomalous).sum()), int((flags & ~anomalous).sum())
    counts = Counts(tp=tp, fp=fp, tn=negatives - fp, fn=positives - tp)
    nothing = Figure(None)
    if not positives or not negatives:
        notes.append(
            "No row is labelled as normal, so neither ranking nor precision means anything; recall does."
            if positives
            else "No row is labelled as an anomaly, so nothing can be said about how many would be found."
        )
        return LabelledFigures(counts, nothing, nothing, nothing, proportion(tp, positives), nothing, None, weight)
    if not tp + alarms:
        notes.append("No row was flagged, so precision is not defined.")
    ranking, bounds = Ranking.of(scores, anomalous, weight), bootstrap(scores, anomalous, weight, seed=seed)
    return LabelledFigures(
        counts=counts,
        roc_auc=Figure(ranking.roc_auc(), *bounds["roc_auc"]),
        average_precision=Figure(ranking.average_precision(), *bounds["average_precision"]),
        precision=precision_of(tp, alarms, weight),
        recall=proportion(tp, positives),
        f1=f1_of((tp, positives - tp), (alarms, negatives - alarms), weight, seed=seed),
        best_f1=ranking.best_f1(),
        weight=weight,
    )


def precision_of(tp: int, fp: float, weight: float) -> Figure:
    """tp / (tp + weight fp) with its interval, from flags of anomalies and of normal rows that count `weight` times.

    Given how many flags there are, those that are right are binomial with a share q, whose interval is Clopper and
    Pearson's; the precision is q / (q + weight (1 - q)), which grows with q. This counts that the share of anomalies
    is an estimate, too.
    """
    if not tp + fp:
        return Figure(None)
    low, high = (q / (q + weight * (1 - q)) for q in clopper_pearson(tp, tp + fp))
    return Figure(tp / (tp + weight * fp), low, high)


def f1_of(anomalies: tuple[int, int], normal: tuple[float, float], weight: float, *, seed: int) -> Figure:
    """2 tp / (2 tp + weight fp + fn) with its interval: that of draws of recall, false-positive rate and anomaly rate.

    By anomalies and normal rows, those that are flagged and those that pass: (tp, fn) and (fp, tn). The draws are those
    of the posteriors under Jeffreys' prior, so that a count of none is not taken for certain.
    """
    (tp, fn), (fp, tn) = anomalies, normal
    rng = np.random.default_rng(seed)
    recall, fpr = (rng.beta(hit + 0.5, passed + 0.5, DRAWS) for hit, passed in ((tp, fn), (fp, tn)))
    rate = rng.beta(tp + fn + 0.5, weight * (fp + tn) + 0.5, DRAWS)
    value = 2 * tp / (2 * tp + weight * fp + fn)
    low, high = percentiles(2 * rate * recall / (rate * recall + (1 - rate) * fpr + rate))
    return Figure(value, min(low, value), max(high, value))


def mean_figure(values: Floats) -> Figure:
    """The mean with its interval by the normal approximation, which needs two values."""
    if not len(values):
        return Figure(None)
    mean = float(values.mean())
    if len(values) < 2:
        return Figure(mean)
    spread = float(stats.norm.ppf((1 + CONFIDENCE) / 2) * values.std(ddof=1) / np.sqrt(len(values)))
    return Figure(mean, mean - spread, mean + spread)


class Ranking(NamedTuple):
    """Rows at or above each distinct score, from the highest down: anomalous ones, and normal ones by their weight."""

    tp: Floats
    fp: Floats

    @classmethod
    def of(cls, scores: Floats, anomalous: Mask, weight: float = 1.0) -> "Ranking":
        """The ranking of rows, scores and labels (rows,), by score; a normal row counts `weight` times."""
        ranks, count = _ranks(scores)
        return cls.of_ranks(ranks[anomalous], ranks[~anomalous], count, weight)

    @classmethod
    def of_ranks(cls, positive: Positions, negative: Positions, count: int, weight: float) -> "Ranking":
        """The ranking of anomalous and of normal rows by their ranks among `count` distinct scores."""
        tp, fp = (np.cumsum(np.bincount(ranks, minlength=count)) for ranks in (positive, negative))
        return cls(tp.astype(np.float64), weight * fp.astype(np.float64))

    def roc_auc(self) -> float:
        """Area under the ROC curve, ties counted half."""
        tp = np.concatenate(([0.0], self.tp))
        area = np.diff(self.fp, prepend=0.0) @ (tp[1:] + tp[:-1]) / 2
        return float(area / (self.tp[-1] * self.fp[-1]))

    def average_precision(self) -> float:
        """Sum of precision times the recall gained."""
        reached = np.maximum(self.tp + self.fp, np.finfo(np.float64).tiny)
        return float(np.diff(self.tp, prepend=0.0) @ (self.tp / reached) / self.tp[-1])

    def best_f1(self) -> float:
        """The highest F1 of any threshold: 2 tp / (2 tp + fp + fn)."""
        return float(np.max(2 * self.tp / (self.tp + self.fp + self.tp[-1])))


def _ranks(scores: Floats) -> tuple[Positions, int]:
    """For each row the rank of its score among the distinct ones, highest first, and how many there are."""
    distinct, ranks = np.unique(-scores, return_inverse=True)
    return ranks, len(distinct)


def bootstrap(scores: Floats, anomalous: Mask, weight: float = 1.0, *, seed: int) -> dict[str, Bounds]:
    """95 % intervals of roc_auc and average_precision by scores and labels, (rows,); normal rows count `weight` times.

    Needs rows of both labels, which are resampled apart, and of the anomalies a number that is drawn anew, since their
    share is an estimate. A resample is a count for each distinct score, so that a figure is a few cumulative sums.
    """
    ranks, count = _ranks(scores)
    rng = np.random.default_rng(seed)
    positive, negative = ranks[anomalous], ranks[~anomalous]
    drawn: dict[str, list[float]] = {"roc_auc": [], "average_precision": []}
    for _ in range(int(np.clip(WORK // len(scores), RESAMPLES // 5, RESAMPLES))):
        p = rng.integers(len(positive), size=max(1, rng.poisson(len(positive))))
        n = rng.integers(len(negative), size=len(negative))
        ranking = Ranking.of_ranks(positive[p], negative[n], count, weight)
        drawn["roc_auc"].append(ranking.roc_auc())
        drawn["average_precision"].append(ranking.average_precision())
    return {name: percentiles(values) for name, values in drawn.items()}


def percentiles(values: Sequence[float] | Array) -> tuple[float, float]:
    """The 95 % percentile interval of draws, (n,)."""
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
