"""Examines a fitted model: how healthy the fit is, which detectors beat it, and which rows may have spoilt it."""

from functools import partial
from typing import NamedTuple

import msgspec
import numpy as np
from scipy import stats

from kilter.service.detector.arrays import Floats, Matrix, Positions
from kilter.service.detector.beta import CONFIDENCE
from kilter.service.detector.calibration import DIGITS, Calibration
from kilter.service.detector.detector import Judge
from kilter.service.detector.findings import DetectorComparison, Diagnosis, SuspectRow, Suspects
from kilter.service.detector.inputs import take
from kilter.training.config import TrainConfig
from kilter.training.data.source import TrainingData
from kilter.training.evaluation.baselines import RowScore, Simplification, compare
from kilter.training.evaluation.health import HealthMeasures, Surroundings, find_symptoms
from kilter.training.fitting.diagnosis import diagnose
from kilter.training.fitting.model import Fitted, score_around, score_rows

LISTED = 10
FAR = 15.0  # a score is far out when it lies this many times (upper quartile - median) above the median
FAR_SHARE = 0.5 * 2.0**-FAR
"""The share of scores that lie so far out where the upper half falls off exponentially, as surprises do."""
CERTAINTY = 1e-4  # an event of a smaller probability than this is not put down to chance


class Examined(NamedTuple):
    """The positions of the rows by which a model is examined: fitted ones, other normal ones, labelled anomalies."""

    fitted: Positions
    normal: Positions
    anomalous: Positions


class Checkup(NamedTuple):
    """The findings about a model."""

    diagnosis: Diagnosis | None
    """None where nothing was fitted step by step."""
    comparison: DetectorComparison | None
    suspects: Suspects
    surprise: Floats
    """The negative ELBO, in nats, of the fitted rows that were examined: (n,)."""


def examine_fit(
    data: TrainingData,
    fitted: Fitted,
    judge: Judge,
    config: TrainConfig,
    examined: Examined,
    simplification: Simplification,
    measures: HealthMeasures,
) -> Checkup:
    """Examine a model on rows that it was fitted to, on others, and on labelled anomalies."""
    # By the ELBO: rows that the memory of the default score holds are at no distance from it.
    surprise, calibration_surprise = (
        np.add(*judge.elbo_terms(take(data.table, rows))) for rows in (examined.fitted, fitted.split.calibration)
    )
    calibration = Calibration.of(calibration_surprise, judge.calibration.target_fpr, DIGITS)
    x, new, odd = (np.concatenate([*judge.modality.encode(take(data.table, rows))]) for rows in examined)
    diagnosis = comparison = None
    if fitted.history:
        network = fitted.module.network
        diagnosis = diagnose(network, fitted.history, config.fit, x, new, fitted.remedy, measures.tolerance)
        around = Surroundings(partial(served_score, fitted), judge.calibration, config.fit, measures)
        symptoms = find_symptoms(network, diagnosis, new, around)
        diagnosis = msgspec.structs.replace(diagnosis, symptoms=symptoms)
    if config.baselines:
        own = _own_score(fitted, config, x)
        comparison = compare(own, x, new, odd, simplification, config.seed, data.anomaly_rate)
    return Checkup(diagnosis, comparison, find_suspects(surprise, examined.fitted, calibration), surprise)


def _own_score(fitted: Fitted, config: TrainConfig, x: Matrix) -> RowScore:
    """The model's score of encoded rows that it did not see; x, (n, features), are those that it was fitted to.

    Where calibration rows stand in for such rows, the score is built anew with a memory that does not hold them.
    """
    if not fitted.stands_in:
        return partial(served_score, fitted)
    module, _ = score_around(fitted.module.network, fitted.score_kind, x, x[:0], fitted.schema, config)
    return lambda rows: score_rows(module, rows)


def served_score(fitted: Fitted, rows: Matrix) -> Floats:
    """The score of encoded records, (n, features), as it is served: (n,)."""
    (score,) = fitted.scorer.program.run(rows, ("score",))
    return score


def some(rows: Positions, most: int, seed: int) -> Positions:
    """At most so many of the rows, drawn at random."""
    return np.sort(np.random.default_rng(seed).permutation(rows)[:most]) if len(rows) > most else rows


def find_suspects(scores: Floats, rows: Positions, calibration: Calibration) -> Suspects:
    """Look for anomalies among fitting rows by their scores, (n,), and their positions in the files, from 0.

    Scores are far out when the bulk of the calibration scores does not explain them: anomalies that hide among the
    calibration rows raise the threshold, so that few fitting rows need be above it.
    """
    usable = np.flatnonzero(~np.isnan(scores))
    order = usable[np.argsort(-scores[usable], kind="stable")]
    listed = tuple(SuspectRow(int(rows[i]), float(scores[i])) for i in order[:LISTED])
    judged, size, rank = len(usable), calibration.size, calibration.rank
    flagged = int(calibration.anomalies(scores).sum())
    among_new = stats.betabinom(judged, rank, size + 1 - rank)
    low, high = map(int, among_new.interval(CONFIDENCE))
    most = int(among_new.ppf(1 - CERTAINTY))
    limit = far_limit(calibration.scores)
    far, far_calibration = int((scores[usable] > limit).sum()), int((calibration.scores > limit).sum())
    advice = (
        'Look at the rows listed under "Suspects" in the report; if they are anomalies, take them out and train again.'
    )
    notes = []
    if stats.binom.sf(far - 1, judged, FAR_SHARE) < CERTAINTY:
        notes.append(f"{far:,} of {judged:,} fitting rows score far out of the bulk and may be anomalies. {advice}")
    elif flagged > most:
        notes.append(
            f"{flagged:,} of {judged:,} fitting rows are above the threshold, where hardly ever more than {most:,} "
            f"of as many new normal rows would be: there may be anomalies among them. {advice}"
        )
    if stats.binom.sf(far_calibration - 1, size, FAR_SHARE) < CERTAINTY:
        if far_calibration >= rank:
            effect = (
                "it lies among them, so that hardly any normal row is flagged, and no anomaly below it. Take anomalies "
                "out and train again, or calibrate on cleaner rows with kilter calibrate"
            )
        else:
            left, meant = (rank - far_calibration) / (size - far_calibration + 1), calibration.expected_fpr
            effect = f"of truly normal rows {100 * left:.2g} % would be flagged, not {100 * meant:.2g} %"
        notes.append(
            f"{far_calibration:,} of the {size:,} calibration rows score far out of the bulk. Calibration rows are "
            f"never left out, so if these are anomalies, the threshold is higher than it need be: {effect}."
        )
    return Suspects(listed, judged, flagged, (low, high), far, far_calibration, tuple(notes))


def far_limit(scores: Floats) -> float:
    """The score from which on one is far out of the bulk of these, (n,)."""
    middle, upper = np.quantile(scores, [0.5, 0.75])
    return float(middle + FAR * max(upper - middle, 1e-9 * max(1.0, abs(middle))))
