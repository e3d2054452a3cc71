"""What training says about its own result: how healthy the fit is, what beats it, and what may have spoilt it."""

from typing import NamedTuple

import numpy as np

from kilter.service.detector.arrays import Floats, Matrix, Positions
from kilter.service.detector.calibration import DIGITS, Calibration
from kilter.service.detector.detector import Judge
from kilter.service.detector.findings import DetectorComparison, Diagnosis, Suspects
from kilter.service.detector.inputs import Table, take
from kilter.training.config import TrainConfig
from kilter.training.data.source import TrainingData
from kilter.training.evaluation.baselines import RowScore, Simplification, compare
from kilter.training.evaluation.suspects import find_suspects
from kilter.training.fitting.diagnosis import Tolerance, diagnose
from kilter.training.fitting.model import Fitted, score_around, score_rows


class Examined(NamedTuple):
    """The rows by which a model is examined, by their positions."""

    fitted: Positions
    """Those that it was fitted to."""
    normal: Positions
    """Others that are normal."""
    anomalous: Positions
    """Labelled anomalies."""


class Checkup(NamedTuple):
    """What was found out."""

    diagnosis: Diagnosis
    comparison: DetectorComparison | None
    """None where simple detectors were not asked for, or there is nothing to try them on."""
    suspects: Suspects
    surprise: Floats
    """The negative ELBO, in nats, of the fitted rows that were examined: (n,)."""


def check_up(
    data: TrainingData,
    fitted: Fitted,
    judge: Judge,
    config: TrainConfig,
    examined: Examined,
    simplification: Simplification,
    tolerance: Tolerance,
) -> Checkup:
    """Examine a model on rows that it was fitted to, on others, and on labelled anomalies."""
    modality, seen = judge.modality, examined.fitted
    # By the ELBO: rows that the memory of the default score holds are at no distance from it.
    surprise = _surprise(judge, take(data.table, seen))
    calibration = Calibration.of(
        _surprise(judge, take(data.table, fitted.split.calibration)), judge.calibration.target_fpr, DIGITS
    )
    x, new, odd = (np.concatenate([*modality.encode(take(data.table, rows))]) for rows in examined)
    diagnosis = diagnose(fitted.module.network, fitted.history, config.fit.steps, x, new, fitted.remedy, tolerance)
    comparison = None
    if config.baselines:
        comparison = compare(_own_score(fitted, config, x), x, new, odd, simplification, config.seed)
    return Checkup(diagnosis, comparison, find_suspects(surprise, seen, calibration), surprise)


def _own_score(fitted: Fitted, config: TrainConfig, x: Matrix) -> RowScore:
    """The model's score of encoded rows that it did not see; x, (n, features), are those that it was fitted to.

    Where calibration rows stand in for such rows, the score is built anew with a memory that does not hold them.
    """
    if not fitted.stands_in:
        return lambda rows: fitted.scorer.program.run(rows, ("score",))[0]
    module, _ = score_around(fitted.module.network, fitted.score_kind, x, x[:0], fitted.schema, config)
    return lambda rows: score_rows(module, rows)


def some(rows: Positions, most: int, seed: int) -> Positions:
    """At most so many of the rows, drawn at random."""
    return np.sort(np.random.default_rng(seed).permutation(rows)[:most]) if len(rows) > most else rows


def _surprise(judge: Judge, table: Table) -> Floats:
    """The negative ELBO of each row, (n,), in nats."""
    reconstruction, kl = judge.elbo_terms(table)
    return reconstruction + kl
