"""What training finds out about its own result: how healthy the fit is, what beats it, and what may have spoilt it."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kilter.service.detector.calibration import Calibration
from kilter.service.detector.detector import Detector
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.networks.tabular import TabularVAE
from kilter.training.baselines import Comparison, Score, compare
from kilter.training.config import TrainConfig
from kilter.training.data import Data
from kilter.training.diagnostics import Diagnosis, diagnose
from kilter.training.model import DIGITS, Fitted
from kilter.training.run import Scored
from kilter.training.scoring import build_program, score_rows
from kilter.training.spoiling import kind_of
from kilter.training.suspects import Suspects, find_suspects

FITTED_ROWS = 20_000
"""Most fitting rows that are scored to find suspects; of more, a random sample."""
PICTURES = 2_000
"""Most pictures of a kind that are looked at: the model takes milliseconds for each."""
FLOATS = 1 << 26
"""Most numbers of the encoded pictures of a kind; of larger ones, down to `LEAST`, fewer are looked at."""
LEAST = 300

Positions = npt.NDArray[np.int64]


class Checkup(NamedTuple):
    """The findings."""

    diagnosis: Diagnosis
    comparison: Comparison | None
    """None where simple detectors were not asked for, or there is nothing to try them on."""
    suspects: Suspects
    fitted: Scored
    """The fitting rows in which suspects were looked for."""


def check_up(
    data: Data, fitted: Fitted, config: TrainConfig, detector: Detector, normal: Positions, anomalous: Positions
) -> Checkup:
    """Examine a model on normal rows that it was not fitted to and on labelled anomalies, each by their positions."""
    modality, seen = fitted.scorer.modality, fitted.split.fit
    if modality.name == "table":
        seen = _some(seen, FITTED_ROWS, config.seed)
    else:
        most = int(np.clip(FLOATS // modality.schema.width, LEAST, PICTURES))
        seen, normal, anomalous = (_some(rows, most, config.seed) for rows in (seen, normal, anomalous))
    table = take(data.table, seen)
    # By the ELBO: rows that the memory of the default score holds are at no distance from it.
    scored = Scored(table, _surprise(detector, table), seen)
    calibration = Calibration.of(
        _surprise(detector, take(data.table, fitted.split.calibration)), detector.calibration.target_fpr, DIGITS
    )
    x, new, odd = (np.concatenate([*modality.encode(take(data.table, rows))]) for rows in (seen, normal, anomalous))
    diagnosis = diagnose(fitted.module.network, fitted.history, config.fit.steps, x, new, fitted.remedy)
    comparison = (
        compare(
            _own_score(fitted, config, x),
            x,
            new,
            odd,
            kind_of(modality.schema),
            config.seed,
        )
        if config.baselines
        else None
    )
    return Checkup(diagnosis, comparison, find_suspects(scored.scores, seen, calibration), scored)


def _own_score(fitted: Fitted, config: TrainConfig, x: npt.NDArray[np.float32]) -> Score:
    """The model's score of encoded rows that it did not see; x, (n, features), are those that it was fitted to.

    Where calibration rows stand in for such rows, the score is built anew with a memory that does not hold them.
    """
    network = fitted.module.network
    if not fitted.met or not isinstance(network, TabularVAE):
        return lambda rows: fitted.scorer.program.run(rows, ("score",))[0]
    schema = fitted.scorer.modality.schema
    program = build_program(network, x, x[:0], schema, config.score, config.memory_rows, config.seed).program
    return lambda rows: score_rows(program, rows)


def _some(rows: Positions, most: int, seed: int) -> Positions:
    """At most so many of the rows, drawn at random."""
    return np.sort(np.random.default_rng(seed).permutation(rows)[:most]) if len(rows) > most else rows


def _surprise(detector: Detector, table: Table) -> npt.NDArray[np.float64]:
    """The negative ELBO of each row, (n,), in nats."""
    reconstruction, kl = detector.elbo_terms(table)
    return reconstruction + kl
